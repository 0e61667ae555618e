"""What an export refuses, what it replaces, and what a failure or a kill leaves."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from sbdata.errors import InputError
from sbdata.export import export_set as module
from sbdata.export.export_set import FORMATS, export_set
from sbdata.manifest import (
    Manifest,
    ManifestError,
    labels_schema,
    logical_hash,
    make_manifest,
    write_manifest,
)
from sbdata.sets import EvaluationSet, open_set
from tests.export.sets import tree
from tests.killing import Ended, Order, starting

ALL = sorted(FORMATS)


@pytest.fixture
def own(pets: EvaluationSet, tmp_path: Path) -> Path:
    """A copy of the set, to be damaged."""
    return Path(shutil.copytree(pets.root, tmp_path / "pets"))


# --- sets that cannot be exported -----------------------------------------------------------------


@pytest.mark.parametrize("form", ALL)
def test_an_altered_photo_is_refused(own: Path, tmp_path: Path, form: str) -> None:
    with (own / "JPEGImages/000000000003.jpg").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(InputError, match=r"000000000003\.jpg: not the file that the set was built"):
        export_set(open_set(own), form, tmp_path / "exports/out")
    assert not (tmp_path / "exports").exists()


@pytest.mark.parametrize(
    ("form", "folder"),
    [("hf", "Class"), ("hf", "Object"), ("yolo", "Class"), ("cvat", "Class"), ("cvat", "Object")],
)
def test_an_altered_mask_is_refused(own: Path, tmp_path: Path, form: str, folder: str) -> None:
    mask = own / f"Segmentation{folder}/000000000003.png"
    with Image.open(mask) as image:
        Image.fromarray(np.zeros_like(np.asarray(image))).save(mask)
    with pytest.raises(InputError, match=r"000000000003\.png: not the file that the set was built"):
        export_set(open_set(own), form, tmp_path / "out")


@pytest.mark.parametrize("form", ALL)
def test_a_set_with_labels_only_is_refused(pets: EvaluationSet, tmp_path: Path, form: str) -> None:
    of = pets.manifest
    columns = {name: of.images[name] for name in labels_schema().names if name != "boxes"}
    columns["boxes"] = pa.nulls(len(pets), labels_schema().field("boxes").type)
    columns["void_rle"] = pa.nulls(len(pets), pa.binary())
    manifest = make_manifest(
        "bare", pa.table(columns), of.instances.slice(0, 0), of.taxonomy, of.bins,
        {"synthetic": False}, labels_only=True,
    )  # fmt: skip
    with pytest.raises(InputError, match=f"has labels only, but an export to {form} needs masks"):
        export_set(EvaluationSet(pets.root, manifest), form, tmp_path / "out")


def test_more_instances_than_a_mask_holds_are_refused(own: Path) -> None:
    """By the reader of manifests, for whatever is done with the set."""
    manifest = open_set(own).manifest
    rows = manifest.instances
    place, field = rows.schema.get_field_index("instance_id"), rows.schema.field("instance_id")
    numbers = [255, *rows["instance_id"].to_pylist()[1:]]
    rows = rows.set_column(place, field, pa.array(numbers, field.type))
    wrong = Manifest(manifest.images, rows, dict(manifest.meta))
    wrong.meta["logical_hash"] = logical_hash(wrong)
    write_manifest(wrong, own)
    with pytest.raises(ManifestError, match="an instance_id is not between 1 and 254; rebuil"):
        open_set(own)


# --- places ---------------------------------------------------------------------------------------


def test_the_folder_of_the_set_is_never_written(own: Path, tmp_path: Path) -> None:
    before = tree(own)
    (tmp_path / "link").symlink_to(own)
    for out in (own, own / "out", own / "../pets/x/y", tmp_path, tmp_path / "link/out"):
        with pytest.raises(InputError, match="the folder of the set, or one inside or around it"):
            export_set(open_set(own), "coco", out)
    assert tree(own) == before


def fill_file(out: Path) -> None:
    out.write_text("mine")


def fill_folder(out: Path) -> None:
    out.mkdir()
    (out / "thesis.txt").write_text("mine")


def fill_other_marker(out: Path) -> None:
    fill_folder(out)
    (out / "export.json").write_text('["sbdata_export"]')


@pytest.mark.parametrize("fill", [fill_file, fill_folder, fill_other_marker])
def test_what_is_no_export_is_left_alone(
    pets: EvaluationSet, tmp_path: Path, fill: Callable[[Path], None]
) -> None:
    out = tmp_path / "out"
    fill(out)
    before = tree(tmp_path)
    with pytest.raises(InputError, match="out: exists and is not an export to yolo; give another"):
        export_set(pets, "yolo", out)
    assert tree(tmp_path) == before


def test_an_export_to_another_format_is_left_alone(pets: EvaluationSet, tmp_path: Path) -> None:
    export_set(pets, "coco", tmp_path / "out")
    with pytest.raises(InputError, match="exists and is not an export to cvat"):
        export_set(pets, "cvat", tmp_path / "out")


@pytest.mark.parametrize("form", ALL)
def test_an_unchanged_export_is_replaced_by_the_same_bytes(
    pets: EvaluationSet, tmp_path: Path, form: str
) -> None:
    (tmp_path / "out").mkdir()
    export_set(pets, form, tmp_path / "out")
    before = tree(tmp_path)
    (tmp_path / "out/.DS_Store").touch()
    export_set(pets, form, tmp_path / "out")
    assert tree(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    marker = json.loads((tmp_path / "out/export.json").read_text())
    assert (marker["sbdata_export"], marker["logical_hash"]) == (form, pets.logical_hash)
    if shutil.which("sha256sum"):
        command = ["sha256sum", "--check", "--strict", "--quiet", "checksums.txt"]
        assert subprocess.run(command, cwd=tmp_path / "out", check=False).returncode == 0


@pytest.mark.parametrize("change", ["added", "edited", "unlisted"])
def test_work_of_others_in_an_export_is_not_lost(
    pets: EvaluationSet, tmp_path: Path, change: str
) -> None:
    out = tmp_path / "out"
    export_set(pets, "cvat", out)
    mask = out / "SegmentationClass/000000000001.png"
    if change == "added":
        (out / "runs").mkdir()
        (out / "runs/weights.pt").write_bytes(b"w")
        named = "runs/weights.pt"
    elif change == "edited":
        mask.write_bytes(mask.read_bytes() + b"corrected")
        named = "SegmentationClass/000000000001.png"
    else:
        (out / "checksums.txt").unlink()
        named = "checksums.txt"
    before = tree(out)
    with pytest.raises(InputError, match=named):
        export_set(pets, "cvat", out)
    assert tree(out) == before


# --- failures and kills ---------------------------------------------------------------------------


@pytest.mark.parametrize("form", ALL)
def test_a_failure_leaves_nothing(
    pets: EvaluationSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    def write_half(opened: EvaluationSet, folder: Path, **_: object) -> list[str]:
        (folder / "half").write_text("half")
        raise OSError(28, "No space left on device", str(folder / "half"))

    found = FORMATS[form]
    broken = module.Format(write_half, found.reads, found.check)
    monkeypatch.setattr(module, "FORMATS", {form: broken})
    with pytest.raises(InputError, match=r"the disk is full .*; make room there"):
        export_set(pets, form, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills processes that it forks")
def test_a_kill_leaves_no_export_or_a_whole_one(pets: EvaluationSet, tmp_path: Path) -> None:
    place = tmp_path / "place"
    arguments = ["dataset", "export", str(pets.root), "--to", "coco", "--workers", "1", "--json"]
    arguments += ["--out", str(place / "out")]

    def run(step: int) -> Ended:
        return starter.run(Order(arguments, str(place), step))

    with starting(tmp_path / "said", "sbdata.cli.export", "sbdata.export.export_set") as starter:
        warm = [*arguments[:-1], str(tmp_path / "warm")]
        assert starter.run(Order(warm, str(place), forked=False)).status == 0
        ended = run(0)
        assert ended.status == 0, (tmp_path / "said").read_text()
        whole, steps = tree(place / "out"), len(ended.steps)
        kills = 0
        for former in (True, False):
            for step in [*range(1, steps, max(1, steps // 3)), *range(steps - 3, steps + 1)]:
                shutil.rmtree(place, ignore_errors=True)
                if former:
                    export_set(pets, "coco", place / "out")
                kills += run(step).killed
                if (place / "out").exists():
                    assert tree(place / "out") == whole
                assert run(0).status == 0, (tmp_path / "said").read_text()
                assert tree(place / "out") == whole
                assert [path.name for path in place.iterdir()] == ["out"]
        assert kills > 8
