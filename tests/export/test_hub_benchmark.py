"""``eval.yaml`` of an export against the documented schema of the Hub's benchmarks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from sbdata.errors import InputError
from sbdata.export.export_set import export_set
from sbdata.export.hub_benchmark import hub_tasks
from sbdata.export.huggingface import write_manifest_alone
from sbdata.sets import EvaluationSet, open_set

SIZES = ("small", "medium", "large")


def check_schema(content: dict, hosted: dict[str, set[str]]) -> None:
    """Check eval.yaml by https://huggingface.co/docs/hub/eval-results, read in November 2026.

    Args:
        content: Content of the file.
        hosted: Splits of the repository's configs.
    """
    assert list(content) == ["name", "description", "evaluation_framework", "tasks"]
    assert all(isinstance(content[key], str) and content[key] for key in list(content)[:3])
    assert content["tasks"]
    for task in content["tasks"]:
        assert set(task) == {"id", "config", "split"}
        assert re.fullmatch(r"[A-Za-z0-9_]+", task["id"])
        assert task["split"] in hosted[task["config"]]
    assert len({task["id"] for task in content["tasks"]}) == len(content["tasks"])


def hosted_by(folder: Path) -> dict[str, set[str]]:
    """Read configs and splits from the card's header, as the Hub does."""
    front = yaml.safe_load((folder / "README.md").read_text().split("---")[1])
    return {
        config["config_name"]: {files["split"] for files in config["data_files"]}
        for config in front["configs"]
    }


def test_an_export_is_a_benchmark_if_asked(one_split: Path, tmp_path: Path) -> None:
    opened = open_set(one_split)
    export_set(opened, "hf", tmp_path / "plain")
    assert not (tmp_path / "plain/eval.yaml").exists()
    export_set(opened, "hf", tmp_path / "out", benchmark=True)
    content = yaml.safe_load((tmp_path / "out/eval.yaml").read_text())
    check_schema(content, hosted_by(tmp_path / "out"))
    assert content["name"] == "pets"
    assert opened.logical_hash in content["description"]
    assert "ia_iou.v2" in content["description"]
    assert "synthetic" not in content["description"]
    (split,) = set(opened.manifest.images["split"].to_pylist())
    ending = f"v2_{opened.logical_hash[:8]}"
    names = ("miou", "ia", *(f"ia_{size}" for size in SIZES))
    assert [t["id"] for t in content["tasks"]] == [f"{split}_{name}_{ending}" for name in names]


def test_a_manifest_without_photos_is_one_too(one_split: Path, tmp_path: Path) -> None:
    write_manifest_alone(open_set(one_split), tmp_path, benchmark=True)
    content = yaml.safe_load((tmp_path / "eval.yaml").read_text())
    check_schema(content, hosted_by(tmp_path))


def test_what_cannot_be_a_benchmark_is_refused(pets: EvaluationSet, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has 2 splits, and a benchmark of the Hub is one split"):
        export_set(pets, "hf", tmp_path / "out", benchmark=True)
    with pytest.raises(InputError, match="not of an export to coco; choose hf"):
        export_set(pets, "coco", tmp_path / "out", benchmark=True)
    assert not list(tmp_path.iterdir())


def test_tasks_differ_by_split_version_set_and_size() -> None:
    base = ("val", ("s", "m"), "ia_iou.v2", "a" * 64)
    for place, other in enumerate(("test", ("x", "y"), "ia_iou.v3", "b" * 64)):
        changed = [*base[:place], other, *base[place + 1 :]]
        common = set(hub_tasks(*base)) & set(hub_tasks(*changed))
        assert len(common) == (2 if place == 1 else 0)  # mIoU and IA do not depend on sizes
    with pytest.raises(InputError, match="build the set with other names"):
        hub_tasks("val", ("a b", "a-b"), "ia_iou.v2", "a" * 64)
