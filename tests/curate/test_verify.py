"""Every kind of damage is found and named, and a good set has none."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sbdata.curate.materialise import write_checksums, write_set
from sbdata.curate.verify import Damage, verify_set
from sbdata.errors import InputError
from sbdata.manifest import (
    INSTANCES_SCHEMA,
    Manifest,
    images_schema,
    logical_hash,
    make_manifest,
    read_manifest,
    write_manifest,
)
from sbdata.masks import encode_mask, read_index_png, write_index_png
from sbdata.sizes import SizeBins
from sbdata.taxonomy import Taxonomy

PETS = Taxonomy("pets", ("cat", "dog"))
BINS = SizeBins()
IDS = ("a", "b", "c")
GENERATED = "c"  # its sha256 is of its pixels


def jpeg(seed: int, size: tuple[int, int] = (40, 30), kind: str = "JPEG") -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).resize(size).save(out, kind)
    return out.getvalue()


def rectangle(y: int, x: int, height: int, width: int) -> bytes:
    mask = np.zeros((30, 40), bool)
    mask[y : y + height, x : x + width] = True
    return encode_mask(mask)


def make() -> Manifest:
    instances = [
        {
            "image_id": image_id,
            "instance_id": number,
            "source": "album",
            "source_annotation_id": f"{image_id}{number}",
            "class_id": number,
            "class_name": PETS.name_of(number),
            "area": 50,
            "area_fraction": 50 / 1200,
            "bbox_x": 20 * (number - 1),
            "bbox_y": 3,
            "bbox_w": 10,
            "bbox_h": 5,
            "size": "small",
            "components": 1,
            "touches_border": number == 1,
            "is_difficult": False,
            "rle": rectangle(3, 20 * (number - 1), 5, 10),
        }
        for image_id in IDS
        for number in (1, 2)
    ]
    images = [
        {
            "image_id": image_id,
            "split": "val",
            "source": "album",
            "source_image_id": image_id,
            "file_name": f"{image_id}.jpg",
            "width": 40,
            "height": 30,
            "sha256": hashlib.sha256(
                b"pixels" if image_id == GENERATED else jpeg(place)
            ).hexdigest(),
            "sha256_of": "pixels" if image_id == GENERATED else "file",
            "labels": [1, 2],
            "void_rle": rectangle(20, 0, 2, 40),
            "n_small": 2,
            "n_medium": 0,
            "n_large": 0,
        }
        for place, image_id in enumerate(IDS)
    ]
    return make_manifest(
        "album",
        pa.Table.from_pylist(images, images_schema(BINS)),
        pa.Table.from_pylist(instances, INSTANCES_SCHEMA),
        PETS,
        BINS,
        {},
    )


@pytest.fixture
def root(tmp_path) -> Path:
    (tmp_path / "JPEGImages").mkdir()
    for place, image_id in enumerate(IDS):
        (tmp_path / "JPEGImages" / f"{image_id}.jpg").write_bytes(jpeg(place))
    (tmp_path / "README.md").write_text("# album\n")
    write_set(make(), tmp_path)
    return tmp_path


def found(root: Path, **options) -> set[tuple[str, str]]:
    return {(damage.path, damage.kind) for damage in verify_set(root, **options)}


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 0x10
    path.write_bytes(data)


def rewrite(root: Path, file: str, change) -> None:
    pq.write_table(change(pq.read_table(root / file)), root / file)


def set_cell(table: pa.Table, column: str, row: int, value) -> pa.Table:
    values = table[column].to_pylist()
    values[row] = value
    place = table.schema.get_field_index(column)
    field = table.schema.field(column)
    return table.set_column(place, field, pa.array(values, field.type))


both_ways = pytest.mark.parametrize("hidden", [False, True], ids=["", "checksums_renewed"])

PHOTO, MASK, OBJECTS = "JPEGImages/a.jpg", "SegmentationClass/a.png", "SegmentationObject/a.png"
LIST = "ImageSets/Segmentation/val.txt"


@pytest.mark.parametrize("workers", [1, 3])
def test_a_good_set_has_no_damage(root, workers):
    seen = []
    assert verify_set(root, workers=workers, progress=lambda *n: seen.append(n)) == []
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_files_of_a_desktop_are_no_damage(root):
    (root / ".DS_Store").touch()
    assert verify_set(root) == []


# --- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [PHOTO, MASK, OBJECTS, LIST, "images.parquet", "instances.parquet", "rejected.csv",
     "checksums.txt", "README.md"],
)  # fmt: skip
def test_a_missing_file_is_named(root, name):
    (root / name).unlink()
    assert found(root) == {(name, "missing_file")}


@pytest.mark.parametrize("name", [PHOTO, MASK, OBJECTS, LIST, "rejected.csv"])
def test_a_missing_file_is_named_though_the_checksums_forgot_it(root, name):
    (root / name).unlink()
    write_checksums(root)
    assert found(root) == {(name, "missing_file")}


def test_a_missing_folder_is_many_missing_files(root):
    for path in (root / "SegmentationClass").iterdir():
        path.unlink()
    (root / "SegmentationClass").rmdir()
    assert found(root) == {(f"SegmentationClass/{i}.png", "missing_file") for i in IDS}


@pytest.mark.parametrize(
    "name",
    ["JPEGImages/d.jpg", "SegmentationClass/d.png", "ImageSets/Segmentation/train.txt",
     "JPEGImages/.a.jpg.0123abcd.part", "notes.txt", "deep/er/thumbs.txt", ".hidden"],
)  # fmt: skip
def test_an_extra_file_is_named(root, name):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(jpeg(9))
    assert found(root) == {(name, "extra_file")}


@pytest.mark.parametrize("name", ["JPEGImages/d.jpg", "ImageSets/Segmentation/train.txt"])
@pytest.mark.parametrize("checksums", ["renewed", "missing"])
def test_an_extra_image_or_list_is_known_by_the_manifest(root, name, checksums):
    (root / name).write_bytes(jpeg(9))
    write_checksums(root)
    if checksums == "missing":
        (root / "checksums.txt").unlink()
    assert found(root) - {("checksums.txt", "missing_file")} == {(name, "extra_file")}


def test_a_link_to_a_folder_is_extra(root, tmp_path_factory):
    (root / "more").symlink_to(tmp_path_factory.mktemp("more"))
    assert found(root) == {("more", "extra_file")}
    (root / "checksums.txt").unlink()
    assert found(root) == {("more", "extra_file"), ("checksums.txt", "missing_file")}


@pytest.mark.parametrize(
    "name",
    [
        PHOTO,
        "JPEGImages/c.jpg",
        MASK,
        LIST,
        "rejected.csv",
        "README.md",
        "images.parquet",
        "labelmap.txt",
    ],
)
def test_a_flipped_byte_is_found_in_any_file(root, name):
    data = (root / name).read_bytes()
    for place in (0, len(data) // 3, len(data) // 2, len(data) - 1):
        (root / name).write_bytes(data)
        flip(root / name, place)
        assert {path for path, _ in found(root)} == {name}, place
    (root / name).write_bytes(data)
    assert verify_set(root) == []


def test_a_flipped_byte_in_a_document_is_a_changed_file(root):
    flip(root / "README.md", 3)
    assert found(root) == {("README.md", "changed_file")}


def test_a_flipped_byte_in_the_checksums_does_not_pass(root):
    data = (root / "checksums.txt").read_bytes()
    for place in range(0, len(data), 41):
        flip(root / "checksums.txt", place)
        assert verify_set(root), place
        (root / "checksums.txt").write_bytes(data)


def test_checksums_that_cannot_be_read_are_named(root):
    (root / "checksums.txt").write_text("nothing of the kind\n")
    assert found(root) == {("checksums.txt", "checksums")}


@pytest.mark.parametrize("name", ["../secret.txt", "/etc/passwd"])
def test_checksums_do_not_lead_out_of_the_folder(root, name):
    with (root / "checksums.txt").open("a") as stream:
        stream.write(f"{'0' * 64}  {name}\n")
    assert found(root) == {("checksums.txt", "checksums")}


def test_a_line_missing_from_the_checksums_is_named(root):
    lines = (root / "checksums.txt").read_text().splitlines(keepends=True)
    kept = [line for line in lines if MASK not in line]
    (root / "checksums.txt").write_text("".join(kept))
    assert found(root) == {(MASK, "checksums")}
    (root / "checksums.txt").write_text("")
    assert len(found(root)) == len(lines)


# --- images --------------------------------------------------------------------------------------


@both_ways
@pytest.mark.parametrize("name", [PHOTO, "JPEGImages/c.jpg"])
@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (jpeg(0)[:-100], "unreadable_image"),
        (b"<html>", "unreadable_image"),
        (b"", "unreadable_image"),
        (jpeg(0, (30, 40)), "image_size"),
        (jpeg(0, kind="PNG"), "image_format"),
    ],
)
def test_a_damaged_image_is_named(root, name, content, kind, hidden):
    (root / name).write_bytes(content)
    if hidden:
        write_checksums(root)
    assert found(root) == {(name, kind)}


@both_ways
def test_another_image_of_the_same_size_is_named(root, hidden):
    (root / PHOTO).write_bytes(jpeg(77))
    if hidden:
        write_checksums(root)
    assert found(root) == {(PHOTO, "changed_image")}


def test_a_generated_image_is_known_by_the_checksums(root):
    """Its recorded hash is of pixels that no longer exist after encoding."""
    (root / "JPEGImages/c.jpg").write_bytes(jpeg(77))
    assert found(root) == {("JPEGImages/c.jpg", "changed_file")}


# --- masks and lists -----------------------------------------------------------------------------


@both_ways
@pytest.mark.parametrize("name", [MASK, OBJECTS])
def test_one_altered_pixel_is_found(root, name, hidden):
    mask = read_index_png(root / name)
    mask[4, 5] = 2
    write_index_png(root / name, mask)
    if hidden:
        write_checksums(root)
    (damage,) = verify_set(root)
    assert damage == Damage(
        name, "altered_mask", "1 of 1200 pixels differ from the manifest's masks"
    )


@both_ways
def test_void_that_was_filled_in_is_found(root, hidden):
    mask = read_index_png(root / MASK)
    mask[mask == 255] = 0
    write_index_png(root / MASK, mask)
    if hidden:
        write_checksums(root)
    assert found(root) == {(MASK, "altered_mask")}


@both_ways
def test_a_mask_of_another_size_is_named(root, hidden):
    write_index_png(root / MASK, read_index_png(root / MASK).T)
    if hidden:
        write_checksums(root)
    (damage,) = verify_set(root)
    assert damage == Damage(MASK, "altered_mask", "30 x 40 pixels, not the image's size")


@both_ways
def test_a_mask_in_colours_is_named(root, hidden):
    with Image.open(root / MASK) as mask:
        coloured = mask.convert("RGB")
    coloured.save(root / MASK)
    if hidden:
        write_checksums(root)
    (damage,) = verify_set(root)
    assert (damage.path, damage.kind) == (MASK, "unreadable_mask")
    assert "an 8-bit RGB image" in damage.detail
    assert MASK not in damage.detail  # the path stands before it


@both_ways
@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n", None])
def test_a_broken_mask_is_named(root, content, hidden):
    data = (root / MASK).read_bytes()
    (root / MASK).write_bytes(data[:-30] if content is None else content)
    if hidden:
        write_checksums(root)
    assert found(root) == {(MASK, "unreadable_mask")}


def test_the_same_pixels_packed_otherwise_are_a_changed_file(root):
    with Image.open(root / MASK) as mask:
        mask.load()
        mask.save(root / MASK, compress_level=0)
    assert found(root) == {(MASK, "changed_file")}
    write_checksums(root)
    assert verify_set(root) == []


@both_ways
@pytest.mark.parametrize("text", ["a\nb\n", "a\nb\nc\nd\n", "c\nb\na\n", "", "a\nb\nc"])
def test_an_altered_list_is_named(root, text, hidden):
    (root / LIST).write_text(text)
    if hidden:
        write_checksums(root)
    assert found(root) == {(LIST, "altered_list")}


@both_ways
def test_an_altered_label_map_is_named(root, hidden):
    text = (root / "labelmap.txt").read_text()
    (root / "labelmap.txt").write_text(text.replace("cat:128,0,0", "dog:128,0,0"))
    if hidden:
        write_checksums(root)
    assert found(root) == {("labelmap.txt", "altered_list")}


def test_a_set_of_before_label_maps_is_good(root):
    before = read_manifest(root).logical_hash
    (root / "labelmap.txt").unlink()
    assert found(root) == {("labelmap.txt", "missing_file")}
    write_checksums(root)  # as such a set has them
    assert found(root) == set()
    assert read_manifest(root).logical_hash == before


# --- the manifest --------------------------------------------------------------------------------


@both_ways
@pytest.mark.parametrize(
    ("file", "column", "value"),
    [
        ("images.parquet", "license", "CC0"),
        ("images.parquet", "labels", [1]),
        ("instances.parquet", "bbox_x", 7),
        ("instances.parquet", "area", 51),
        ("instances.parquet", "area", 5000),  # contradicts its size as well
    ],
)
def test_an_edited_manifest_is_named(root, file, column, value, hidden):
    rewrite(root, file, lambda table: set_cell(table, column, 0, value))
    if hidden:
        write_checksums(root)
    paths = {path for path, kind in found(root) if kind == "manifest"}
    tables = {"images.parquet", "instances.parquet"}
    assert found(root) == {(path, "manifest") for path in paths}
    assert paths == (tables if hidden else {file})


def falsify(root: Path, file: str, column: str, row: int, value: object) -> None:
    """Change a cell and write the logical hash and the checksums anew, as an expert would."""
    manifest = read_manifest(root)
    tables = {"images.parquet": manifest.images, "instances.parquet": manifest.instances}
    tables[file] = set_cell(tables[file], column, row, value)
    renew(root, Manifest(tables["images.parquet"], tables["instances.parquet"], manifest.meta))


def renew(root: Path, manifest: Manifest) -> None:
    meta = {**manifest.meta, "logical_hash": logical_hash(manifest)}
    write_manifest(Manifest(manifest.images, manifest.instances, meta), root)
    write_checksums(root)


@pytest.mark.parametrize(
    ("column", "value", "gives"),
    [
        ("area", 51, "50"),
        ("area", 900, "50"),
        ("area_fraction", 0.0417, "0.041666666666666664"),
        ("bbox_x", 1, "0"),
        ("bbox_y", 4, "3"),
        ("bbox_w", 11, "10"),
        ("bbox_h", 6, "5"),
        ("components", 2, "1"),
        ("touches_border", False, "True"),
    ],
)
def test_what_follows_from_a_mask_is_derived_and_compared(root, column, value, gives):
    """The logical hash and the checksums agree with the falsified table."""
    falsify(root, "instances.parquet", column, 0, value)
    (damage,) = verify_set(root)
    assert damage == Damage(
        "instances.parquet",
        "manifest",
        f"image a, instance 1: {column} is {value}, but its mask gives {gives}",
    )


def test_a_size_is_derived_from_the_mask(root):
    """Area and size are falsified together, so that they agree with each other."""
    manifest = read_manifest(root)
    instances = set_cell(set_cell(manifest.instances, "area", 0, 5000), "size", 0, "medium")
    renew(root, Manifest(manifest.images, instances, manifest.meta))
    assert found(root) == {("instances.parquet", "manifest")}


@pytest.mark.parametrize(
    ("column", "value"),
    [("labels", [1]), ("labels", []), ("n_small", 1), ("n_medium", 1), ("n_large", 2)],
)
def test_labels_and_counts_of_an_image_are_derived(root, column, value):
    falsify(root, "images.parquet", column, 1, value)
    (damage,) = verify_set(root)
    assert (damage.path, damage.kind) == ("images.parquet", "manifest")
    assert damage.detail.startswith(f"image b: {column} is {value}, but its instances give ")


def test_masks_that_overlap_in_the_manifest_are_found(root):
    """The second one lies on top, so the first is not as large as its code."""
    falsify(root, "instances.parquet", "rle", 1, rectangle(3, 5, 5, 10))
    assert ("instances.parquet", "manifest") in found(root)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, None),
        ({"images": 4}, "4 images chosen, but the set has 3"),
        ({"cells": "cat/small"}, "cat/small has 3 instances, not 9"),
        ({"cells": None}, "is invalid ("),
    ],
)
def test_the_cells_of_a_selection_are_counted_again(root, change, said):
    manifest = read_manifest(root)
    cells = [
        {"cell": f"{name}/{size}", "chosen": 3 if size == "small" else 0}
        for name in PETS.classes
        for size in BINS.names
    ]
    if change.get("cells", "") is None:
        cells = [3]
    for cell in cells:
        if change.get("cells") == "cat/small" == cell["cell"]:
            cell["chosen"] = 9
    selection = {"images": change.get("images", 3), "cells": cells}
    meta = {**manifest.meta, "selection": selection}
    renew(root, Manifest(manifest.images, manifest.instances, meta))
    details = [damage.detail for damage in verify_set(root)]
    assert len(details) == (said is not None)
    assert all(said in detail for detail in details)


def test_an_edited_header_is_the_manifests_damage(root):
    manifest = read_manifest(root)
    write_manifest(
        Manifest(manifest.images, manifest.instances, {**manifest.meta, "source": {"images": 9}}),
        root,
    )
    write_checksums(root)
    assert {kind for _, kind in found(root)} == {"manifest"}


@both_ways
def test_a_mask_edited_in_manifest_and_file_is_still_an_edit(root, hidden):
    """Someone redraws an object everywhere but cannot keep the hash."""
    rewrite(root, "instances.parquet", lambda t: set_cell(t, "rle", 0, rectangle(3, 0, 5, 11)))
    for name in (MASK, OBJECTS):
        mask = read_index_png(root / name)
        mask[3:8, 0:11] = 1
        write_index_png(root / name, mask)
    if hidden:
        write_checksums(root)
    assert {kind for _, kind in found(root)} == (
        {"manifest"} if hidden else {"manifest", "changed_file"}
    )


def test_an_edited_code_that_does_not_fit_is_the_manifests_damage(root):
    rewrite(root, "instances.parquet", lambda t: set_cell(t, "rle", 0, b"1"))
    assert found(root) == {("instances.parquet", "manifest")}


@both_ways
@pytest.mark.parametrize("file", ["images.parquet", "instances.parquet"])
def test_a_wrong_schema_is_named(root, file, hidden):
    rewrite(root, file, lambda table: table.drop_columns([table.column_names[-1]]))
    if hidden:
        write_checksums(root)
    (damage,) = verify_set(root)
    assert (damage.path, damage.kind) == (file, "schema")
    assert "is missing" in damage.detail


@both_ways
def test_a_table_that_is_no_parquet_is_named(root, hidden):
    (root / "instances.parquet").write_bytes(b"PAR1 and so on")
    if hidden:
        write_checksums(root)
    assert found(root) == {("instances.parquet", "manifest")}


def test_the_other_files_are_checked_where_the_manifest_cannot_be_read(root):
    (root / "instances.parquet").write_bytes(b"")
    flip(root / PHOTO, 50)
    flip(root / MASK, 50)
    (root / "extra").touch()
    assert found(root) == {
        ("instances.parquet", "manifest"),
        (PHOTO, "changed_file"),
        (MASK, "changed_file"),
        ("extra", "extra_file"),
    }


def test_the_manifest_of_another_set_is_found_out_by_the_files(root, tmp_path_factory):
    """Both tables replaced, hash and checksums in order: the images are not its own."""
    other = make()
    column = other.images.schema.get_field_index("sha256")
    field = other.images.schema.field("sha256")
    images = other.images.set_column(column, field, pa.array(["0" * 64] * 3))
    changed = Manifest(images, other.instances, other.meta)
    honest = {**other.meta, "logical_hash": logical_hash(changed)}
    write_manifest(Manifest(images, other.instances, honest), root)
    write_checksums(root)
    read_manifest(root)
    assert found(root) == {
        ("JPEGImages/a.jpg", "changed_image"),
        ("JPEGImages/b.jpg", "changed_image"),
    }


# --- everything at once --------------------------------------------------------------------------


def test_damage_is_listed_whole_sorted_and_alike_for_any_workers(root):
    (root / PHOTO).unlink()
    (root / MASK).write_bytes(b"")
    (root / LIST).write_text("")
    (root / "zzz").touch()
    damage = verify_set(root)
    assert [(one.path, one.kind) for one in damage] == [
        (LIST, "altered_list"),
        (PHOTO, "missing_file"),
        (MASK, "unreadable_mask"),
        ("zzz", "extra_file"),
    ]
    assert verify_set(root, workers=4) == damage


def test_a_folder_that_is_no_set_is_an_input_error(tmp_path):
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(InputError, match="not a set; give the folder"):
            verify_set(folder)
