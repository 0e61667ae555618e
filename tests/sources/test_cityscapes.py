"""Cityscapes as a source: every pixel against the list of labels, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from sbdata.cli import cli
from sbdata.errors import InputError
from sbdata.masks import decode_mask
from sbdata.recipe import SourceSpec
from sbdata.sizes import SizeBins
from sbdata.sources import open_source
from sbdata.sources.files import annotation_files, fingerprint
from sbdata.sources.scan import scan_source
from sbdata.taxonomy import CITYSCAPES19, Taxonomy, class_map
from tests.sources.label_map_examples import EVALUATED, LABELS, cityscapes, save, street

SPEC = SourceSpec("cityscapes", ("val",))


def read(root: Path, split: str = "val"):
    source = open_source(SPEC, split, root)
    images, rejections = [], []
    for chunk in source.chunks(2):
        found, left_out = source.read(chunk)
        images += found
        rejections += left_out
    return images, rejections


def test_the_classes_are_the_evaluated_labels_in_order() -> None:
    assert list(CITYSCAPES19.classes) == EVALUATED


def test_every_pixel_is_what_the_labels_say(tmp_path: Path) -> None:
    streets = {f"000000_{k:06d}": street(k) for k in range(3)}
    images, rejections = read(cityscapes(tmp_path, streets))
    assert not rejections
    assert [i.image_id for i in images] == [f"ulm_{name}_leftImg8bit" for name in streets]
    for image, ids in zip(images, streets.values(), strict=True):
        assert (image.height, image.width) == ids.shape
        singles = {str(v) for v in np.unique(ids) if v >= 1000 and LABELS[v // 1000]}
        assert {o.annotation_id for o in image.objects if not o.crowd} == singles
        crowds = {LABELS[v] for v in np.unique(ids) if v < 1000 and LABELS[v]}
        assert {o.category for o in image.objects if o.crowd} == crowds
        for one in image.objects:
            mask = decode_mask(one.rle, *ids.shape)
            numbers = np.unique(ids[mask])
            assert {LABELS[v // 1000 if v >= 1000 else v] for v in numbers} == {one.category}
            assert (mask == np.isin(ids, numbers)).all()
        ignored = [v for v in np.unique(ids) if not LABELS[v // 1000 if v >= 1000 else v]]
        assert (decode_mask(image.void, *ids.shape) == np.isin(ids, ignored)).all()


def test_a_set_of_things_has_groups_void_and_stuff_background(tmp_path: Path) -> None:
    ids = street(0)
    root = cityscapes(tmp_path / "c", {"000000_000000": ids})
    source = open_source(SPEC, "val", root)
    drawn = {}
    for name, classes in (("things", ("person", "car")), ("all", CITYSCAPES19.classes)):
        mapping = class_map(Taxonomy(name, classes), None)
        scan = scan_source(source, mapping, SizeBins(), "val", tmp_path / name)
        drawn[name] = decode_mask(scan.images()["void_rle"][0].as_py(), *ids.shape)
        rows = scan.instances().to_pylist()
        wanted = {str(v): int((ids == v).sum()) for v in np.unique(ids) if v >= 1000}
        labels = {"things": ("24", "26"), "all": ("24", "26", "33")}[name]
        found = {r["source_annotation_id"]: r["area"] for r in rows}
        assert found == {v: n for v, n in wanted.items() if v[:2] in labels}
    ignored = np.isin(ids, [1, 4]) | (ids // 1000 == 29)
    assert (drawn["things"] == (ignored | (ids == 24))).all()
    assert (drawn["all"] == (ignored | (ids < 1000))).all()


def test_more_objects_than_a_set_can_hold(tmp_path: Path) -> None:
    ids = np.full((40, 60), 7, np.uint16)
    ids[::2, ::2] = 26000 + np.arange(600).reshape(20, 30)
    root = cityscapes(tmp_path / "c", {"000000_000000": ids})
    (image,), _ = read(root)
    cars = [o for o in image.objects if not o.crowd]
    assert len(cars) == 600
    for one in (cars[0], cars[253], cars[254], cars[599]):
        assert (decode_mask(one.rle, 40, 60) == (ids == int(one.annotation_id))).all()
    mapping = class_map(Taxonomy("cars", ("car",)), None)
    source = open_source(SPEC, "val", root)
    (rejection,) = scan_source(source, mapping, SizeBins(), "val", tmp_path / "s").rejections()
    assert rejection.reason == "too_many_instances"


@pytest.mark.parametrize("number", [34, 254, 999, 7003, 23999, 34000, 65535])
def test_a_number_that_no_label_has(tmp_path: Path, number: int) -> None:
    ids = street(1)
    ids[5, 5] = number
    root = cityscapes(tmp_path, {"000000_000000": ids, "000000_000001": street(2)})
    images, (rejection,) = read(root)
    assert [i.image_id for i in images] == ["ulm_000000_000001_leftImg8bit"]
    assert rejection.reason == "mask_values"
    assert rejection.detail.startswith(f"{number} in it")


def test_eight_bits_and_damage(tmp_path: Path) -> None:
    root = cityscapes(tmp_path, {"000000_000000": street(1), "000000_000001": street(2)})
    first, second = (p for p in sorted(root.rglob("*instanceIds.png")))
    save(first, (street(1) % 34).astype(np.uint8))
    second.write_bytes(second.read_bytes()[:-40])
    images, rejections = read(root)
    assert not images
    assert [r.reason for r in rejections] == ["mask_unreadable"] * 2
    assert "give the 16-bit grey file as published" in rejections[0].detail


def test_where_it_is_found(tmp_path: Path) -> None:
    root = cityscapes(tmp_path / "data" / "cityscapes", {"000000_000000": street(1)})
    (root / "gtFine/val/ulm/._ulm_0_gtFine_instanceIds.png").write_bytes(b"litter")
    for place in (root, root / "gtFine", root.parent):
        source = open_source(SPEC, "val", place)
        assert [m.file_name for m in source.members()] == [
            "leftImg8bit/val/ulm/ulm_000000_000000_leftImg8bit.png"
        ]
        assert source.image_bytes(source.members()[0].file_name)
    save(root / "leftImg8bit/val/ulm/ulm_000000_000000_leftImg8bit.jpg", np.zeros((4, 4), np.uint8))
    (member,) = open_source(SPEC, "val", root).members()
    assert member.file_name.endswith(".jpg")
    for split, place, said in (
        ("test", root, r"gtFine: no split 'test'; splits there: val"),
        ("../val", root, "no split '../val'"),
        ("val", tmp_path, "no folder gtFine in it"),
        ("val", None, "--source-root cityscapes=PATH"),
    ):
        with pytest.raises(InputError, match=said):
            open_source(SPEC, split, place)
    with pytest.raises(InputError, match="unknown option 'classes'"):
        open_source(SourceSpec("cityscapes", ("val",), options={"classes": []}), "val", root)
    mask = next(root.rglob("ulm*instanceIds.png"))
    save(root / "gtFine/val/two" / mask.name, street(1))
    with pytest.raises(
        InputError, match=r"'gtFine/val/ulm/.*': a second mask of the image of gtFine/val/two/"
    ):
        open_source(SPEC, "val", root)
    for path in root.rglob("*instanceIds.png"):
        path.unlink()
    with pytest.raises(InputError, match="no mask of cityscapes in it"):
        open_source(SPEC, "val", root)


def test_a_mask_outside_the_root_is_not_followed(tmp_path: Path) -> None:
    root = cityscapes(tmp_path / "c", {"000000_000000": street(1)})
    mask = next(root.rglob("*instanceIds.png"))
    mask.rename(tmp_path / "elsewhere.png")
    mask.symlink_to(tmp_path / "elsewhere.png")
    images, (rejection,) = read(root)
    assert not images
    assert rejection.reason == "unsafe_path"


def test_an_edited_mask_changes_the_fingerprint(tmp_path: Path) -> None:
    root = cityscapes(tmp_path, {"000000_000000": street(1)})
    before = fingerprint(annotation_files(SPEC, "val", root))
    save(next(root.rglob("*instanceIds.png")), street(2))
    assert fingerprint(annotation_files(SPEC, "val", root))["content"] != before["content"]


def test_statistics_of_a_recipe(tmp_path: Path) -> None:
    root = cityscapes(tmp_path / "c", {"000000_000000": street(1), "000000_000001": street(2)})
    recipe = tmp_path / "streets.yaml"
    recipe.write_text(
        "name: streets\nversion: streets.v1\ntaxonomy: [car, person]\n"
        "sources: [{name: cityscapes, splits: [val]}]\n"
    )
    command = ["dataset", "stats", str(recipe), "--json", "--source-root", f"cityscapes={root}"]
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 0, done.output
    counts = json.loads(done.output)["counts"]
    cars = sum(len(np.unique(street(k)[street(k) // 1000 == 26])) for k in (1, 2))
    assert sum(counts["car"].values()) == cars > 0
