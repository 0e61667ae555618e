"""From nothing to a built set in two commands, with every host on this machine."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq

from tests.cli import command
from tests.sources.miniatures import IMAGES, LABELS, TRAIN_AUG, publish, serving

# Whatever is asked for elsewhere than on this machine goes to a proxy that is not there.
NO_PROXY_THERE = "http://127.0.0.1:9"
OFFLINE = {
    "http_proxy": NO_PROXY_THERE, "https_proxy": NO_PROXY_THERE, "no_proxy": "127.0.0.1",
}  # fmt: skip


def test_fetch_then_build(tmp_path: Path) -> None:
    sbdata = partial(command.sbdata, cwd=tmp_path, **OFFLINE)
    build = ("dataset", "build", "pascal-b", "--set", "select.quota=2", "--workers", "1", "--json")
    said = sbdata(*build, status=2).stderr
    assert "sbdata sources fetch coco" in said
    with serving(publish(tmp_path / "published")) as site:
        mirrors = ("--mirror", f"https://={site.address}", "--mirror", f"http://={site.address}")
        fetch = ("sources", "fetch", "--registry", site.registry, *mirrors, "--json")
        fetched = json.loads(sbdata(*fetch, "voc", "sbd", "coco", "lvis").stdout)
        site.asked.clear()
        built = json.loads(sbdata(*build, *mirrors[2:]).stdout)
        asked = list(site.asked)

    devkit = tmp_path / "data" / "sources" / "voc" / "VOCdevkit" / "VOC2012"
    assert [made["images"] for made in fetched["derived"]] == [len(LABELS), len(TRAIN_AUG)]
    trainaug = devkit / "ImageSets" / "Segmentation" / "trainaug.txt"
    assert trainaug.read_text().split() == list(TRAIN_AUG)
    labels = (devkit / "image_labels.csv").read_text().splitlines()
    assert labels == ["image_id,classes", *(f"{i},{names}" for i, names in LABELS.items())]

    chosen = pq.read_table(tmp_path / "data" / "pascal-b" / "images.parquet").to_pylist()
    assert built["after"]["images"] == len(chosen) > 0
    assert sorted(asked) == sorted(f"/images.cocodataset.org/{row['file_name']}" for row in chosen)
    assert len(chosen) < sum(map(len, IMAGES.values())), "some of the photos, not all"
    assert all(check["checked"] for check in built["leakage"])
    assert all(other["statistics"] for other in built["compared"])
    again = json.loads(sbdata("dataset", "stats", "voc-val", "--json").stdout)
    assert again["images"] == 2
    sbdata("dataset", "verify", tmp_path / "data" / "pascal-b")
