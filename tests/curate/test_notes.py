"""What stands beside a set's numbers, and a source that changed since the set was built."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from sbdata.cli import cli
from sbdata.curate.build import build_set, built_already, measure_sources, rebuild_set
from sbdata.curate.inputs import Inputs
from sbdata.curate.materialise import read_rejected
from sbdata.curate.statistics import counts_as_text
from sbdata.curate.verify import verify_set
from sbdata.errors import InputError
from sbdata.layout import SOURCES_MARKER
from sbdata.mask_files import write_index_png
from sbdata.recipe import Recipe, Selection, SourceSpec
from sbdata.sizes import SizeBins
from tests.curate.conftest import HEIGHT, WIDTH, photo

SPEC = SourceSpec("yard", ("all",), "coco", annotations="labels.json", images="photos")
YARD = Recipe("yard", "yard.v1", ("fox", "hen"), (SPEC,))


def turned(seed: int, tag: int) -> bytes:
    stream = io.BytesIO()
    tags = Image.Exif()
    tags[0x0112] = tag
    Image.open(io.BytesIO(photo(seed))).save(stream, "JPEG", exif=tags)
    return stream.getvalue()


class Yard:
    """A folder with three photos, a fox or hen on each."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.names = ["a.jpg", "b.jpg", "c.jpg"]
        self.categories = ["fox", "hen"]
        self.size = (WIDTH, HEIGHT)
        self.outline: list[float] = [10, 10, 60, 10, 60, 50, 10, 50]
        self.photos = {name: photo(i) for i, name in enumerate(self.names)}

    def save(self, **changes: Any) -> Path:
        folder = self.root / "photos"
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in self.photos.items():
            (folder / name).write_bytes(data)
        content = {
            "images": [
                {"id": i, "file_name": n, "width": self.size[0], "height": self.size[1]}
                for i, n in enumerate(self.names)
            ],
            "annotations": [
                {"id": i + 1, "image_id": i, "category_id": 1 + i % 2, "iscrowd": 0,
                 "segmentation": [self.outline]}
                for i in range(len(self.names))
            ],
            "categories": [{"id": i + 1, "name": n} for i, n in enumerate(self.categories)],
            **changes,
        }  # fmt: skip
        (self.root / "labels.json").write_text(json.dumps(content))
        return self.root

    def inputs(self) -> Inputs:
        return Inputs(roots={"yard": self.save()})


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    return Yard(tmp_path / "yard")


def test_a_plain_source_gives_no_notes(yard: Yard, tmp_path: Path) -> None:
    built = build_set(YARD, tmp_path / "set", yard.inputs())
    assert built.notes == ()
    assert measure_sources(YARD, yard.inputs()).notes == ()


def test_classes_without_a_category_are_noted(yard: Yard, tmp_path: Path) -> None:
    yard.categories[0] = "Fox"
    built = build_set(YARD, tmp_path / "set", yard.inputs())
    (note,) = built.notes
    assert "fox (it has 'Fox')" in note
    assert measure_sources(YARD, yard.inputs()).notes == (note,)
    found = built_already(tmp_path / "set", YARD, yard.inputs())
    assert found is not None
    assert found.notes == (note,)
    result = CliRunner().invoke(cli, ["dataset", "stats", str(built.root), "--json"])
    assert json.loads(result.output)["notes"] == [note]


def test_classes_without_a_number_in_masks_are_noted(tmp_path: Path) -> None:
    root = tmp_path / "devkit"
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[10:50, 10:60] = 1
    for folder in ("SegmentationClass", "SegmentationObject"):
        write_index_png(root / folder / "a.png", mask)
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    (root / "ImageSets/Segmentation/all.txt").write_text("a\n")
    spec = SourceSpec("yard", ("all",), "voc")  # without its classes, so that 1 is aeroplane
    yard = Recipe("yard", "yard.v1", ("fox", "hen"), (spec,))
    measured = measure_sources(yard, Inputs(roots={"yard": root}))
    assert measured.statistics.instances == 0
    (note,) = measured.notes
    assert note.startswith("source yard has no category for 2 classes: fox, hen;")


def test_an_unmet_quota_is_noted(yard: Yard, tmp_path: Path) -> None:
    recipe = replace(YARD, select=Selection(quota=3))
    built = build_set(recipe, tmp_path / "set", yard.inputs())
    assert "6 of 6 cells have fewer than the 3 instances wanted" in built.notes[0]
    found = built_already(tmp_path / "set", recipe, yard.inputs())
    assert found is not None
    assert found.notes == built.notes


@pytest.mark.parametrize(("tag", "said"), [(3, "180 degrees"), (2, "mirrored"), (4, "mirrored")])
def test_photos_that_are_shown_turned_are_noted(
    yard: Yard, tmp_path: Path, tag: int, said: str
) -> None:
    yard.photos["b.jpg"] = turned(1, tag)
    built = build_set(YARD, tmp_path / "set", yard.inputs())
    (note,) = built.notes
    assert note.startswith("1 photo has an EXIF orientation tag (b: ")
    assert said in note
    result = CliRunner().invoke(cli, ["dataset", "stats", str(built.root), "--json"])
    assert json.loads(result.output)["notes"] == [note]


def test_photos_turned_by_a_quarter_are_refused_by_that_name(yard: Yard, tmp_path: Path) -> None:
    yard.photos = {name: turned(i, 6) for i, name in enumerate(yard.names)}
    yard.size = (HEIGHT, WIDTH)
    with pytest.raises(InputError, match="EXIF orientation tag shows it turned by 90") as caught:
        build_set(YARD, tmp_path / "set", yard.inputs())
    kept = tmp_path / ".set.building" / "rejected.csv"
    assert str(kept) in str(caught.value)
    assert {r.reason for r in read_rejected(kept)} == {"image_size"}


def test_when_nothing_is_left_the_reasons_are_said_and_kept(yard: Yard, tmp_path: Path) -> None:
    yard.names = ["photos\\a.jpg", "photos\\b.jpg"]
    with pytest.raises(InputError, match=r"unsafe_path 2 .*backslash") as caught:
        build_set(YARD, tmp_path / "set", yard.inputs())
    kept = tmp_path / ".set.building" / "rejected.csv"
    assert str(kept) in str(caught.value)
    assert len(read_rejected(kept)) == 2
    assert not (tmp_path / "set").exists()


def test_photos_behind_a_link_out_of_the_source_are_refused_as_links(
    yard: Yard, tmp_path: Path
) -> None:
    root = yard.save()
    (root / "photos").rename(tmp_path / "disk")
    (root / "photos").symlink_to(tmp_path / "disk")
    with pytest.raises(InputError, match="by a link"):
        build_set(YARD, tmp_path / "set", Inputs(roots={"yard": root}))


def test_names_that_differ_in_case_are_noted(yard: Yard, tmp_path: Path) -> None:
    yard.names[1] = "A.jpg"
    yard.photos["A.jpg"] = photo(9)
    built = build_set(YARD, tmp_path / "set", yard.inputs())
    assert built.after.images == 3
    (note,) = built.notes
    assert "'A' and 'a' have names that differ only in letter case" in note
    assert measure_sources(YARD, yard.inputs()).notes == (note,)
    found = built_already(tmp_path / "set", YARD, yard.inputs())
    assert found is not None
    assert found.notes == built.notes
    assert verify_set(tmp_path / "set") == []


def test_a_disk_that_takes_them_for_one_file_is_refused(
    yard: Yard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sbdata.curate.build.tells_case", lambda folder: False)
    build_set(YARD, tmp_path / "plain", yard.inputs())
    yard.names[1] = "A.jpg"
    yard.photos["A.jpg"] = photo(9)
    with pytest.raises(InputError, match="this disk takes 'A' and 'a' for one file"):
        build_set(YARD, tmp_path / "set", yard.inputs())
    monkeypatch.undo()
    built = build_set(YARD, tmp_path / "set", yard.inputs())
    monkeypatch.setattr("sbdata.curate.build.tells_case", lambda folder: False)
    with pytest.raises(InputError, match="this disk takes 'A' and 'a' for one file"):
        rebuild_set(built.root, tmp_path / "again", yard.inputs())


@pytest.mark.parametrize("there", [True, False])
def test_a_set_is_built_where_a_link_leads(yard: Yard, tmp_path: Path, there: bool) -> None:
    disk, link = tmp_path / "disk" / "set", tmp_path / "link"
    (disk if there else disk.parent).mkdir(parents=True)
    link.symlink_to(disk)
    built = build_set(YARD, link, yard.inputs())
    assert built.root == link
    assert link.is_symlink()
    assert verify_set(disk) == []
    assert [path.name for path in disk.parent.iterdir()] == ["set"]


def test_names_of_classes_and_sizes_keep_tables_whole(yard: Yard, tmp_path: Path) -> None:
    yard.categories = ["fox|cub", "hen"]
    bins = SizeBins((50, 9000), ("a_name_of_a_size", "the_next_name", "last"))
    built = build_set(replace(YARD, taxonomy=("fox|cub", "hen"), bins=bins), tmp_path / "set",
                      yard.inputs())  # fmt: skip
    assert "| fox\\|cub | 0 | 2 | 0 |" in (built.root / "README.md").read_text()
    lines = counts_as_text(built.manifest).splitlines()
    assert [line.split() for line in lines[3:]] == [
        ["class", *bins.names], ["fox|cub", "0", "2", "0"], ["hen", "0", "1", "0"],
    ]  # fmt: skip


def test_one_stem_with_two_suffixes_is_left_out(yard: Yard, tmp_path: Path) -> None:
    yard.names[1] = "a.JPG"
    yard.photos["a.JPG"] = photo(9)
    built = build_set(YARD, tmp_path / "set", yard.inputs())
    assert built.manifest.meta["rejected"] == {"duplicate_file_name": 2}


def test_photos_of_a_source_that_are_shown_turned_are_noted(yard: Yard, tmp_path: Path) -> None:
    yard.photos["b.jpg"] = turned(1, 3)
    measured = measure_sources(YARD, yard.inputs())
    (note,) = measured.notes
    assert note.startswith("1 photo has an EXIF orientation tag (b: turned by 180 degrees)")
    built = build_set(YARD, tmp_path / "set", yard.inputs())
    assert built.notes == (note,)
    (yard.root / "photos" / "b.jpg").unlink()  # annotations without photos are measured, too
    assert measure_sources(YARD, Inputs(roots={"yard": yard.root})).notes == ()
    (yard.root / "photos" / "b.jpg").write_bytes(b"no photo")
    assert measure_sources(YARD, Inputs(roots={"yard": yard.root})).notes == ()


@pytest.mark.parametrize("tag", [3, 6])
def test_turned_photos_of_a_devkit_are_noted(tmp_path: Path, tag: int) -> None:
    root = tmp_path / "VOC2012"
    values = np.zeros((HEIGHT, WIDTH), np.uint8)
    values[10:40, 10:40] = 1
    for folder in ("SegmentationClass", "SegmentationObject"):
        write_index_png(root / folder / "a.png", values)
    (root / "JPEGImages").mkdir()
    (root / "JPEGImages/a.jpg").write_bytes(turned(1, tag))
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    (root / "ImageSets/Segmentation/val.txt").write_text("a\n")
    recipe = tmp_path / "one.yaml"
    recipe.write_text(
        "name: one\nversion: one.v1\ntaxonomy: voc20\nsources:\n"
        "- {name: voc, format: voc, splits: [val]}\n"
    )
    stats = ["dataset", "stats", str(recipe), "--source-root", f"voc={tmp_path}"]
    result = CliRunner().invoke(cli, [*stats, "--workers", "2"])
    assert "note: 1 photo has an EXIF orientation tag (a: turned by " in result.output
    found = json.loads(CliRunner().invoke(cli, [*stats, "--json"]).output)
    assert "EXIF" in found["notes"][0]


def test_statistics_say_what_is_in_no_number(yard: Yard) -> None:
    yard.outline = [10, 10, 1000, 10, 1000, 50]
    measured = measure_sources(YARD, yard.inputs())
    assert measured.statistics.images == 0
    assert [r.reason for r in measured.rejections] == ["polygon_outside"] * 3


def test_the_commands_say_what_was_left_out(yard: Yard, tmp_path: Path) -> None:
    yard.names[2] = "c\x1b[31m.jpg"
    root = yard.save()
    recipe = tmp_path / "yard.yaml"
    recipe.write_text(
        "name: yard\nversion: yard.v1\ntaxonomy: [fox, hen]\nselect: {quota: 2}\nsources:\n"
        "- {name: yard, format: coco, splits: [all], annotations: labels.json, images: photos}\n"
    )
    stats = ["dataset", "stats", str(recipe), "--source-root", f"yard={root}", "--workers", "1"]
    result = CliRunner().invoke(cli, stats)
    assert "left out of all numbers above: unsafe_path 1" in result.output
    assert "\x1b" not in result.output
    found = json.loads(CliRunner().invoke(cli, [*stats, "--json"]).output)
    assert (found["images"], found["rejected"]) == (2, {"unsafe_path": 1})
    build = ["dataset", "build", *stats[2:], "--out", str(tmp_path / "set")]
    result = CliRunner().invoke(cli, build)
    assert "note: 6 of 6 cells have fewer than the 2 instances wanted" in result.output


def test_the_first_reasons_are_said_of_a_set_that_was_built(yard: Yard, tmp_path: Path) -> None:
    yard.photos["b.jpg"] = turned(1, 6)
    yard.outline = [10, 10, 30, 10, 30, 30, 10, 30]
    root = yard.save()
    content = json.loads((root / "labels.json").read_text())
    content["images"][1] |= {"width": HEIGHT, "height": WIDTH}
    (root / "labels.json").write_text(json.dumps(content))
    recipe = tmp_path / "yard.yaml"
    recipe.write_text(
        "name: yard\nversion: yard.v1\ntaxonomy: [fox, hen]\nsources:\n"
        "- {name: yard, format: coco, splits: [all], annotations: labels.json, images: photos}\n"
    )
    build = ["dataset", "build", str(recipe), "--source-root", f"yard={root}", "--workers", "1"]
    build += ["--out", str(tmp_path / "set")]
    stats = ["dataset", "stats", str(tmp_path / "set")]
    reason = "EXIF orientation tag shows it turned by 90 degrees"
    for command in (build, build, stats):  # built, was there already, measured
        result = CliRunner().invoke(cli, command)
        assert "image_size 1" in result.output
        assert reason in " ".join(result.output.split())
        found = json.loads(CliRunner().invoke(cli, [*command, "--json"]).stdout)
        assert reason in found["rejected_such_as"]
    (tmp_path / "set" / "rejected.csv").write_text("damaged")
    result = CliRunner().invoke(cli, stats)
    assert "image_size 1" in result.output


# --- changes --------------------------------------------------------------------------------------


def test_corrected_annotations_are_seen(yard: Yard, tmp_path: Path) -> None:
    out = tmp_path / "set"
    build_set(YARD, out, yard.inputs())
    assert verify_set(out) == []
    assert built_already(out, YARD, yard.inputs()) is not None  # written anew, the same content
    yard.outline = [10, 10, 90, 10, 90, 90, 10, 90]
    with pytest.raises(InputError, match=r"changed since the set was built \(.*labels.json\)"):
        built_already(out, YARD, yard.inputs())


def test_what_is_not_known_or_not_at_hand_is_not_compared(yard: Yard, tmp_path: Path) -> None:
    out = tmp_path / "set"
    build_set(YARD, out, yard.inputs())
    assert built_already(out, YARD, Inputs()) is not None  # the source is gone
    yard.outline = [10, 10, 90, 10, 90, 90, 10, 90]
    for content in (b"{", b"[]", b'{"logical_hash": "0", "sources": {}}'):
        (out / SOURCES_MARKER).write_bytes(content)
        assert built_already(out, YARD, yard.inputs()) is not None
        assert verify_set(out) == []
    (out / SOURCES_MARKER).unlink()
    assert built_already(out, YARD, yard.inputs()) is not None


@pytest.mark.parametrize("place", ["file/set", "file"])
def test_an_output_that_cannot_be_made_is_named_before_the_work(
    yard: Yard, tmp_path: Path, place: str
) -> None:
    (tmp_path / "file").touch()
    inputs = yard.inputs()
    (yard.root / "labels.json").write_text("no JSON: it must not be looked at")
    build = built_already if place == "file" else build_set
    out = tmp_path / place
    arguments = (out, YARD, inputs) if build is built_already else (YARD, out, inputs)
    with pytest.raises(InputError, match="file"):
        build(*arguments)  # type: ignore[operator]
