"""Round trips, the logical hash, and refusals of damaged or edited manifests."""

from __future__ import annotations

import hashlib
import json
import random

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sbdata.manifest import (
    IMAGES_FILE,
    INSTANCES_FILE,
    INSTANCES_SCHEMA,
    Manifest,
    ManifestError,
    SchemaError,
    images_schema,
    is_manifest,
    logical_hash,
    make_manifest,
    read_manifest,
    rows_of,
    size_counts,
    write_manifest,
)
from sbdata.sizes import SizeBins
from sbdata.taxonomy import Taxonomy

ANIMALS = Taxonomy("animals", ("cat", "dog", "hen"))
BINS = SizeBins()


def image_row(image_id: str, instances: list[dict], **changes) -> dict:
    mine = [row for row in instances if row["image_id"] == image_id]
    return {
        "image_id": image_id,
        "split": "val",
        "source": "photos",
        "source_image_id": f"source {image_id}",
        "file_name": f"val/{image_id}.jpg",
        "width": 300,
        "height": 200,
        "url": f"http://photos.test/{image_id}.jpg",
        "license": None,
        "sha256": hashlib.sha256(image_id.encode()).hexdigest(),
        "sha256_of": "file",
        "phash": "0123456789abcdef",
        "labels": sorted({row["class_id"] for row in mine}),
        "void_rle": b"0",
        **{f"n_{name}": sum(row["size"] == name for row in mine) for name in BINS.names},
        **changes,
    }


def instance_row(image_id: str, number: int, class_id: int, area: int) -> dict:
    return {
        "image_id": image_id,
        "instance_id": number,
        "source": "photos",
        "source_annotation_id": f"{image_id}-{number}",
        "class_id": class_id,
        "class_name": ANIMALS.name_of(class_id),
        "area": area,
        "area_fraction": area / 60_000,
        "bbox_x": 1,
        "bbox_y": 2,
        "bbox_w": 3,
        "bbox_h": 4,
        "size": BINS.name_of(area),
        "components": 1,
        "touches_border": False,
        "is_difficult": False,
        "rle": b"Pa[2",
    }


def tables(images: list[dict], instances: list[dict]) -> tuple[pa.Table, pa.Table]:
    return (
        pa.Table.from_pylist(images, images_schema(BINS)),
        pa.Table.from_pylist(instances, INSTANCES_SCHEMA),
    )


INSTANCES = [
    instance_row("b", 2, 3, 20_000),
    instance_row("b", 1, 1, 100),
    instance_row("a", 1, 1, 1024),
]
IMAGES = [image_row(image_id, INSTANCES) for image_id in ("c", "b", "a")]


def build(images=IMAGES, instances=INSTANCES, extra=None) -> Manifest:
    return make_manifest("set", *tables(images, instances), ANIMALS, BINS, extra or {})


def rewrite(folder, file, change, **options):
    """Change a written table as a user with pyarrow would, keeping its header."""
    table = pq.read_table(folder / file)
    pq.write_table(change(table), folder / file, **options)


def set_cell(table: pa.Table, column: str, row: int, value) -> pa.Table:
    values = table[column].to_pylist()
    values[row] = value
    place = table.schema.get_field_index(column)
    field = table.schema.field(column)
    return table.set_column(place, field, pa.array(values, field.type))


# --- round trips ---------------------------------------------------------------------------------


def test_what_is_written_is_read(tmp_path):
    made = build(extra={"recipe": {"seed": 0}, "synthetic": False})
    write_manifest(made, tmp_path)
    assert is_manifest(tmp_path)
    read = read_manifest(tmp_path)
    assert read.images.equals(made.images)
    assert read.instances.equals(made.instances)
    assert read.meta == made.meta
    assert (read.name, read.taxonomy, read.bins) == ("set", ANIMALS, BINS)
    assert sorted(path.name for path in tmp_path.iterdir()) == [IMAGES_FILE, INSTANCES_FILE]


def test_what_is_read_is_written_alike(tmp_path):
    """One library version gives one file, so that a set made again compares byte for byte."""
    write_manifest(build(), tmp_path / "one")
    write_manifest(read_manifest(tmp_path / "one"), tmp_path / "two")
    for file in (IMAGES_FILE, INSTANCES_FILE):
        assert (tmp_path / "two" / file).read_bytes() == (tmp_path / "one" / file).read_bytes()


def test_rows_are_sorted_and_further_columns_dropped():
    images, instances = tables(IMAGES, INSTANCES)
    images = images.append_column("note", pa.array(["x"] * 3))
    made = make_manifest("set", images, instances, ANIMALS, BINS, {})
    assert made.images["image_id"].to_pylist() == ["a", "b", "c"]
    pairs = [(r["image_id"], r["instance_id"]) for r in made.instances.to_pylist()]
    assert pairs == [("a", 1), ("b", 1), ("b", 2)]
    assert made.images.schema.equals(images_schema(BINS))


def test_a_set_without_instances_is_a_set(tmp_path):
    made = build([image_row("a", [])], [])
    write_manifest(made, tmp_path)
    assert read_manifest(tmp_path).instances.num_rows == 0


names = st.text(
    st.characters(exclude_categories=("C", "Z"), exclude_characters="/\\:."), min_size=1, max_size=9
)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(names, unique=True, max_size=6),
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 50_000)), max_size=9),
    st.randoms(use_true_random=False),
)
def test_round_trip_of_any_rows_in_any_order(tmp_path_factory, ids, objects, chance):
    instances = [
        instance_row(ids[i % len(ids)], i + 1, class_id, area)
        for i, (class_id, area) in enumerate(objects)
        if ids
    ]
    images = [image_row(i, instances, void_rle=chance.choice([None, b"0"]), url=None) for i in ids]
    first = build(images, instances)
    chance.shuffle(images)
    chance.shuffle(instances)
    second = build(images, instances)
    assert first.logical_hash == second.logical_hash
    folder = tmp_path_factory.mktemp("any")
    write_manifest(second, folder)
    assert read_manifest(folder).images.to_pylist() == first.images.to_pylist()


# --- the logical hash ----------------------------------------------------------------------------


def test_the_hash_is_that_of_plain_json_lines():
    """The documented form, spelled out with the standard library."""
    made = build()
    lines = [{key: value for key, value in made.meta.items() if key != "logical_hash"}]
    for table in (made.images, made.instances):
        for row in table.to_pylist():
            row.pop("phash", None)
            lines.append({k: v.decode() if isinstance(v, bytes) else v for k, v in row.items()})
    text = "".join(
        json.dumps(line, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"
        for line in lines
    )
    assert made.logical_hash == hashlib.sha256(text.encode()).hexdigest()


def test_the_hash_is_fixed():
    """A change of the canonical form would orphan every published hash."""
    assert build().logical_hash == (
        "793a2902b633e18ef193ecc5aa6949bdd685bbace1ec536f9751c1985f428025"
    )


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "none"},
        {"compression": "snappy", "row_group_size": 1},
        {"use_dictionary": False, "version": "1.0", "data_page_version": "2.0"},
    ],
)
def test_the_hash_does_not_depend_on_how_parquet_is_written(tmp_path, options):
    made = build()
    write_manifest(made, tmp_path)
    for file in (IMAGES_FILE, INSTANCES_FILE):
        rewrite(tmp_path, file, lambda table: table, **options)
    read = read_manifest(tmp_path)
    assert logical_hash(read) == made.logical_hash
    assert read.instances.equals(made.instances)


def test_the_hash_does_not_depend_on_the_order_of_rows_in_the_file(tmp_path):
    made = build()
    write_manifest(made, tmp_path)
    for file in (IMAGES_FILE, INSTANCES_FILE):
        rewrite(tmp_path, file, lambda t: t.take(list(range(t.num_rows))[::-1]))
    assert read_manifest(tmp_path).images.equals(made.images)


OTHER = {
    "image_id": "aa", "split": "test", "labels": [1, 2], "void_rle": None, "license": "CC0",
    "url": None, "sha256": None,
}  # fmt: skip


def changed(value, column):
    if column in OTHER:
        return OTHER[column]
    if isinstance(value, bool):
        return not value
    if isinstance(value, bytes):
        return value + b"0"
    return value + (1 if isinstance(value, int) else 0.5 if isinstance(value, float) else "x")


@pytest.mark.parametrize("column", [n for n in images_schema(BINS).names if n != "phash"])
def test_the_hash_changes_with_any_cell_of_images(column):
    made = build()
    row = 2  # image c, which no instance names
    edited = set_cell(made.images, column, row, changed(made.images[column][row].as_py(), column))
    assert logical_hash(Manifest(edited, made.instances, made.meta)) != made.logical_hash


@pytest.mark.parametrize("column", INSTANCES_SCHEMA.names)
def test_the_hash_changes_with_any_cell_of_instances(column):
    made = build()
    edited = set_cell(made.instances, column, 0, changed(made.instances[column][0].as_py(), column))
    assert logical_hash(Manifest(made.images, edited, made.meta)) != made.logical_hash


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("version", 3),
        ("name", "other"),
        ("synthetic", True),
        ("taxonomy", {"name": "pets", "classes": ["cat", "dog", "hen"]}),
        ("bins", {"edges": [1024, 9217], "names": ["small", "medium", "large"]}),
    ],
)
def test_the_hash_changes_with_what_the_numbers_mean(key, value):
    made = build()
    edited = Manifest(made.images, made.instances, {**made.meta, key: value})
    assert logical_hash(edited) != made.logical_hash


HEADER = {
    "recipe": {"name": "set", "version": "set.v1", "description": "d", "seed": 0},
    "candidates": {"scanned": 9, "kept": 3},
    "rejected": {"crowd_share": 6},
    "selection": {"images": 3, "solver": "HiGHS 1", "cells": [{"cell": "cat/small", "chosen": 1}]},
    "leakage": [{"training_set": "coco-train2017", "checked": True, "result": "9 ids compared"}],
    "source": {"images": 9, "instances": 30, "area_quantiles": [1, 5]},
    "compared": [{"set": "voc-val", "statistics": {"images": 5}, "missing": ""}],
}


def places_of(value, path=()):
    """Every plain value of nested mappings and lists, by the keys that lead to it."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return [place for key, inner in items for place in places_of(inner, (*path, key))]
    return [path]


NOT_COVERED = (("selection", "solver"), ("compared", 0, "missing"))


@pytest.mark.parametrize("place", places_of(HEADER), ids=lambda p: ".".join(map(str, p)))
def test_the_hash_changes_with_any_fact_of_the_header(place, tmp_path):
    made = build(extra=HEADER)
    meta = json.loads(json.dumps(made.meta))
    inner = meta
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = changed(inner[place[-1]], None)
    edited = Manifest(made.images, made.instances, meta)
    assert (logical_hash(edited) == made.logical_hash) == (place in NOT_COVERED)
    write_manifest(edited, tmp_path)
    if place not in NOT_COVERED:
        with pytest.raises(ManifestError, match="the manifest was edited"):
            read_manifest(tmp_path)


def test_what_may_differ_between_machines_is_named_in_the_header_all_the_same():
    for path in NOT_COVERED:
        assert path in places_of(HEADER)


@pytest.mark.parametrize("key", sorted(HEADER))
def test_the_hash_changes_if_a_part_of_the_header_is_taken_out(key):
    made = build(extra=HEADER)
    meta = {k: v for k, v in made.meta.items() if k != key}
    assert logical_hash(Manifest(made.images, made.instances, meta)) != made.logical_hash


def test_the_perceptual_hash_is_left_out_of_the_hash():
    other = [image_row(i, INSTANCES, phash=None) for i in ("a", "b", "c")]
    assert build(other).logical_hash == build().logical_hash


def test_moving_a_cut_between_rows_changes_the_hash():
    """Rows are separate lines: equal text, divided otherwise, is another set."""
    one = [image_row("a", [], source="x", split="yz")]
    two = [image_row("a", [], source="xy", split="z")]
    assert build(one, []).logical_hash != build(two, []).logical_hash


# --- refusals ------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    write_manifest(build(), tmp_path)
    return tmp_path


@pytest.mark.parametrize("file", [IMAGES_FILE, INSTANCES_FILE])
def test_a_missing_table_is_named(folder, file):
    (folder / file).unlink()
    assert not is_manifest(folder)
    with pytest.raises(ManifestError, match=f"{file}: no such file"):
        read_manifest(folder)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"<html>", None])
def test_a_damaged_table_is_named(folder, content):
    path = folder / INSTANCES_FILE
    path.write_bytes(path.read_bytes()[:-100] if content is None else content)
    with pytest.raises(ManifestError, match=f"{INSTANCES_FILE}: not a readable Parquet file"):
        read_manifest(folder)


def test_no_flipped_byte_goes_unnoticed_or_ends_in_a_traceback(folder):
    """A byte either does not matter to the rows, or is refused as a ManifestError."""
    path = folder / IMAGES_FILE
    data, rows = path.read_bytes(), build().images
    chance = random.Random(0)
    refused = 0
    for place in chance.sample(range(len(data)), 150):
        broken = bytearray(data)
        broken[place] ^= 1 << chance.randrange(8)
        path.write_bytes(broken)
        try:
            assert read_manifest(folder).images.equals(rows)
        except ManifestError:
            refused += 1
    assert refused > 20


def test_an_edited_cell_is_refused(folder):
    rewrite(folder, INSTANCES_FILE, lambda t: set_cell(t, "bbox_x", 0, 9))
    with pytest.raises(ManifestError, match="the manifest was edited"):
        read_manifest(folder)
    assert read_manifest(folder, check_hash=False).instances["bbox_x"][0].as_py() == 9


def test_an_edited_phash_is_no_edit(folder):
    rewrite(folder, IMAGES_FILE, lambda t: set_cell(t, "phash", 0, None))
    read_manifest(folder)


def test_a_run_length_code_that_is_not_text_is_refused_and_no_traceback(folder):
    rewrite(folder, INSTANCES_FILE, lambda t: set_cell(t, "rle", 0, b"\xff\x00"))
    with pytest.raises(ManifestError, match="edited"):
        read_manifest(folder)


def test_text_that_is_no_text_is_refused(folder):
    def spoil(table):
        offsets = pa.py_buffer(np.array([0, 1, 1, 1], np.int32).tobytes())
        bad = pa.StringArray.from_buffers(3, offsets, pa.py_buffer(b"\xff"))
        place = table.schema.get_field_index("license")
        return table.set_column(place, table.schema.field("license"), bad)

    rewrite(folder, IMAGES_FILE, spoil)
    with pytest.raises(ManifestError, match=f"{IMAGES_FILE}: not a readable Parquet file"):
        read_manifest(folder)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        (IMAGES_FILE, lambda t: t.drop_columns(["url"]), "url is missing, not string"),
        (INSTANCES_FILE, lambda t: t.drop_columns(["rle"]), "rle is missing, not binary"),
        (
            INSTANCES_FILE,
            lambda t: t.set_column(6, "area", t["area"].cast(pa.float64())),
            "area is double, not int32",
        ),
        (
            IMAGES_FILE,
            lambda t: t.append_column("n_huge", pa.array([0] * t.num_rows)),
            "n_huge is not a column of it",
        ),
        (
            IMAGES_FILE,
            lambda t: t.select(t.column_names[::-1]),
            "columns in another order",
        ),
    ],
)
def test_a_wrong_schema_is_refused_with_the_column_named(folder, file, change, message):
    rewrite(folder, file, change)
    with pytest.raises(SchemaError, match=f"{file}: wrong schema: .*{message}"):
        read_manifest(folder)


def test_another_version_is_refused(folder):
    for file in (IMAGES_FILE, INSTANCES_FILE):
        rewrite(folder, file, lambda t: with_header(t, version=99))
    with pytest.raises(SchemaError, match="version 99, this sbdata reads 1, 2, 3; rebuild"):
        read_manifest(folder)


# --- version 1 -----------------------------------------------------------------------------------


def first_version(images=IMAGES, **header) -> Manifest:
    """The same set as version 1 has it, with the hash that version 1 recorded."""
    made = build(images)
    meta = {**made.meta, "version": 1, **header}
    meta["logical_hash"] = logical_hash(Manifest(made.images, made.instances, meta))
    return Manifest(made.images, made.instances, meta)


def test_a_manifest_of_version_1_keeps_its_version_and_hash(tmp_path):
    """Its hash is the one that was pinned when version 1 was the only one."""
    old = first_version()
    assert old.logical_hash == "7b5a09fd2a9c09f018b01f5a03c5914a44aec408e689e4d7ac54f9fa4193e84f"
    write_manifest(old, tmp_path / "one")
    read = read_manifest(tmp_path / "one")
    assert (read.meta["version"], read.logical_hash) == (1, old.logical_hash)
    write_manifest(read, tmp_path / "two")
    assert read_manifest(tmp_path / "two").logical_hash == old.logical_hash


def test_a_recipe_of_version_1_is_read_with_the_present_name_of_its_key(tmp_path):
    write_manifest(first_version(recipe={"name": "set", "judges": ["voc-trainaug"]}), tmp_path)
    recipe = read_manifest(tmp_path).meta["recipe"]
    assert recipe == {"name": "set", "exclude_overlap_with": ["voc-trainaug"]}


def test_rows_of_version_1_are_hashed_too(tmp_path):
    write_manifest(first_version(), tmp_path)
    rewrite(tmp_path, INSTANCES_FILE, lambda t: set_cell(t, "bbox_x", 0, 9))
    with pytest.raises(ManifestError, match="the manifest was edited"):
        read_manifest(tmp_path)


# --- claims --------------------------------------------------------------------------------------

GENERATED = [image_row(i, INSTANCES, sha256_of="pixels") for i in ("a", "b", "c")]


def test_a_set_of_generated_images_is_synthetic_unasked():
    assert build(GENERATED).meta["synthetic"] is True
    assert build().meta["synthetic"] is False
    assert build(extra={"synthetic": True}).meta["synthetic"] is True


def test_generated_images_cannot_pass_as_photos(tmp_path):
    """Of version 1 too, whose hash does not cover the claim."""
    with pytest.raises(ManifestError, match="edited: its header says that the set is not synth"):
        build(GENERATED, extra={"synthetic": False})
    with pytest.raises(ManifestError, match="or recipe say that images are generated"):
        build(extra={"synthetic": False, "recipe": {"synthetic": True}})
    write_manifest(first_version(GENERATED, synthetic=False), tmp_path)
    with pytest.raises(ManifestError, match="edited: its header says that the set is not synth"):
        read_manifest(tmp_path)


def test_a_set_bears_the_name_of_its_recipe():
    with pytest.raises(ManifestError, match="edited: its set is called 'set', but 'other' in its"):
        build(extra={"recipe": {"name": "other"}})


def with_header(table: pa.Table, **changes) -> pa.Table:
    meta = {**orjson.loads(table.schema.metadata[b"sbdata"]), **changes}
    kept = {k: v for k, v in meta.items() if v != "drop"}
    return table.replace_schema_metadata({b"sbdata": orjson.dumps(kept)})


@pytest.mark.parametrize(
    "changes",
    [
        {"taxonomy": "drop"},
        {"taxonomy": {"name": "x", "classes": []}},
        {"bins": {"edges": [5, 4], "names": ["a", "b", "c"]}},
        {"bins": 3},
        {"name": "drop"},
        {"logical_hash": "drop"},
        {"synthetic": "drop"},
        {"synthetic": "no"},
        {"name": 3},
        {"taxonomy": {"name": "x", "classes": ["cat", 3]}},
        {"taxonomy": {"name": "x", "classes": "cat"}},
        {"bins": {"edges": ["1024", "9216"], "names": ["small", "medium", "large"]}},
        {"bins": {"edges": [1024, 9216], "names": [1, 2, 3]}},
        {"bins": {"names": ["small", "medium", "large"]}},
        {"bins": {}},
        {"recipe": 3},
        {"candidates": {"kept": "3"}},
        {"rejected": ["crowd_share"]},
        {"selection": 5},
        {"leakage": {"training_set": "x"}},
        {"source": [1]},
        {"compared": [3]},
    ],
)
def test_a_broken_header_is_refused(folder, changes):
    for file in (IMAGES_FILE, INSTANCES_FILE):
        rewrite(folder, file, lambda t: with_header(t, **changes))
    with pytest.raises(SchemaError, match="header is invalid"):
        read_manifest(folder)


def test_a_strangers_parquet_file_is_refused(folder):
    rewrite(folder, IMAGES_FILE, lambda t: t.replace_schema_metadata(None))
    with pytest.raises(SchemaError, match="not written by sbdata"):
        read_manifest(folder)


def test_tables_of_two_sets_are_refused(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    write_manifest(build([image_row("z", [])], []), other)
    (folder / INSTANCES_FILE).write_bytes((other / INSTANCES_FILE).read_bytes())
    with pytest.raises(ManifestError, match="belong to different sets"):
        read_manifest(folder)


def with_instance(**changes) -> list[dict]:
    return [*INSTANCES[1:], {**INSTANCES[0], **changes}]


@pytest.mark.parametrize(
    ("images", "instances", "message"),
    [
        ([*IMAGES, IMAGES[0]], INSTANCES, "image_id occurs twice"),
        (IMAGES, [*INSTANCES, INSTANCES[0]], "image_id \\+ instance_id occurs twice"),
        (IMAGES[:1], INSTANCES, "instances of unlisted images \\(a\\)"),
        (IMAGES, with_instance(class_name="cat"), "class 3 is not 'cat' in"),
        (IMAGES, with_instance(class_id=4), "class 4 is not"),
        (IMAGES, with_instance(class_id=0), "class 0 is not"),
        (IMAGES, with_instance(size="small"), "size of an instance does not match its area"),
        (IMAGES, with_instance(instance_id=0), "instance_id is not between 1 and 254"),
        (IMAGES, with_instance(instance_id=255), "instance_id is not between 1 and 254"),
        ([*IMAGES, image_row("../a", [])], INSTANCES, "image_id '../a' cannot name a file"),
        ([*IMAGES, image_row("d", [], split="a/b")], INSTANCES, "split 'a/b' cannot name a file"),
        ([*IMAGES, image_row("d", [], width=0)], INSTANCES, "an image has no pixels"),
        (
            [*IMAGES, image_row("d", [], width=2**31 - 1)],
            INSTANCES,
            "an image has 429,496,729,400 pixels by its width and height",
        ),
        ([*IMAGES, image_row("d", [], width=9_460, height=9_460)], INSTANCES, "89,491,600 pixels"),
    ],
)
def test_tables_that_contradict_each_other_are_refused(images, instances, message):
    with pytest.raises(ManifestError, match=message):
        build(images, instances)


def test_a_table_without_a_column_is_refused():
    images, instances = tables(IMAGES, INSTANCES)
    with pytest.raises(ManifestError, match="images table without the columns width"):
        make_manifest("set", images.drop_columns(["width"]), instances, ANIMALS, BINS, {})


def test_values_that_do_not_fit_are_refused():
    images, instances = tables(IMAGES, INSTANCES)
    halves = images.set_column(5, "width", pa.array([1.5] * 3))
    with pytest.raises(ManifestError, match="images table with values that do not fit"):
        make_manifest("set", halves, instances, ANIMALS, BINS, {})
    empty = images.set_column(1, "split", pa.array([None] * 3, pa.string()))
    with pytest.raises(ManifestError, match="images table with values that do not fit"):
        make_manifest("set", empty, instances, ANIMALS, BINS, {})


# --- small readers -------------------------------------------------------------------------------


def test_counts_hold_every_cell():
    counts = size_counts(build().instances, ANIMALS, BINS)
    assert counts == {
        "cat": {"small": 1, "medium": 1, "large": 0},
        "dog": {"small": 0, "medium": 0, "large": 0},
        "hen": {"small": 0, "medium": 0, "large": 1},
    }


def test_rows_of_keeps_the_tables_order():
    found = rows_of(build().instances, ["b", "nobody"])
    assert found["instance_id"].to_pylist() == [1, 2]
