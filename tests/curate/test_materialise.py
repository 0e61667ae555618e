"""A set on disk against the maps that its manifest was made from."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask

from sbdata.checksums import read_checksums
from sbdata.curate.materialise import (
    files_of,
    image_lists,
    read_rejected,
    remove_strangers,
    write_checksums,
    write_rejected,
    write_set,
)
from sbdata.drawn_rows import DrawnRow, draw_image, drawn_rows
from sbdata.errors import InputError
from sbdata.manifest import (
    INSTANCES_SCHEMA,
    Manifest,
    ManifestError,
    images_schema,
    make_manifest,
    read_manifest,
    write_manifest,
)
from sbdata.masks import MaskError, encode_mask, measure_visible, voc_palette
from sbdata.sizes import SizeBins
from sbdata.sources import Rejection
from sbdata.taxonomy import Taxonomy

PETS = Taxonomy("pets", ("cat", "dog", "hen"))
BINS = SizeBins((20, 60), ("small", "medium", "large"))


def random_maps(seed: int, height: int = 24, width: int = 31) -> tuple[np.ndarray, np.ndarray]:
    """Return a class map and an object map: rectangles one over the other, some of them void."""
    chance = np.random.default_rng(seed)
    objects = np.zeros((height, width), np.uint8)
    classes = np.zeros((height, width), np.uint8)
    for number in range(1, int(chance.integers(1, 7))):
        y, x = chance.integers(0, height - 3), chance.integers(0, width - 3)
        part = slice(y, y + int(chance.integers(2, 14))), slice(x, x + int(chance.integers(2, 14)))
        objects[part] = number
        classes[part] = chance.integers(1, 4)
    void = chance.random((height, width)) < 0.05
    objects[void] = classes[void] = 255
    return classes, objects


def make(maps: dict[str, tuple[np.ndarray, np.ndarray]], **columns) -> Manifest:
    images, instances = [], []
    for image_id, (classes, objects) in maps.items():
        height, width = objects.shape
        visible = measure_visible(np.asfortranarray(objects), 254)
        mine = []
        for number in np.unique(objects[(objects > 0) & (objects < 255)]).tolist():
            k, class_id = number - 1, int(classes[objects == number][0])
            area = int(visible.area[k])
            box = dict(zip(("bbox_x", "bbox_y", "bbox_w", "bbox_h"), visible.bbox[k], strict=True))
            mine.append(
                {
                    "image_id": image_id,
                    "instance_id": number,
                    "source": "album",
                    "source_annotation_id": str(number),
                    "class_id": class_id,
                    "class_name": PETS.name_of(class_id),
                    "area": area,
                    "area_fraction": area / objects.size,
                    **box,
                    "size": BINS.name_of(area),
                    "components": int(visible.components[k]),
                    "touches_border": bool(visible.touches_border[k]),
                    "is_difficult": False,
                    "rle": visible.rle[k],
                }
            )
        void = objects == 255
        images.append(
            {
                "image_id": image_id,
                "split": "val",
                "source": "album",
                "source_image_id": image_id,
                "file_name": f"{image_id}.jpg",
                "width": width,
                "height": height,
                "sha256_of": "file",
                "labels": sorted({row["class_id"] for row in mine}),
                "void_rle": encode_mask(void) if void.any() else None,
                **{f"n_{size}": sum(row["size"] == size for row in mine) for size in BINS.names},
                **columns,
            }
        )
        instances += mine
    return make_manifest(
        "album",
        pa.Table.from_pylist(images, images_schema(BINS)),
        pa.Table.from_pylist(instances, INSTANCES_SCHEMA),
        PETS,
        BINS,
        {},
    )


MAPS = {f"{seed:03}": random_maps(seed) for seed in (3, 1, 2, 0)}


def put_images(root: Path, ids=MAPS) -> None:
    (root / "JPEGImages").mkdir(parents=True, exist_ok=True)
    for image_id in ids:
        Image.new("RGB", (31, 24), (10, 20, 30)).save(root / "JPEGImages" / f"{image_id}.jpg")


@pytest.fixture
def written(tmp_path) -> Path:
    put_images(tmp_path)
    write_set(make(MAPS), tmp_path)
    return tmp_path


def contents(root: Path) -> dict[str, bytes]:
    """All files of a set but its marker, which holds times."""
    files = [p for p in root.rglob("*") if p.is_file()]
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in files}


# --- drawing -------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(4, 40), st.integers(4, 40))
def test_maps_come_back_as_they_were(seed, height, width):
    classes, objects = random_maps(seed, height, width)
    (row,) = drawn_rows(make({"a": (classes, objects)}))
    drawn_classes, drawn_objects = draw_image(row)
    assert np.array_equal(drawn_classes, classes)
    assert np.array_equal(drawn_objects, objects)
    assert drawn_classes.dtype == drawn_objects.dtype == np.uint8


def test_drawing_agrees_with_pycocotools():
    for row in drawn_rows(make(MAPS)):
        classes = np.zeros((row.height, row.width), np.uint8)
        for class_id, rle in zip(row.class_ids, row.rles, strict=True):
            mask = coco_mask.decode({"size": [row.height, row.width], "counts": rle})
            assert not classes[mask > 0].any()  # visible masks never overlap
            classes[mask > 0] = class_id
        if row.void_rle is not None:
            size = [row.height, row.width]
            classes[coco_mask.decode({"size": size, "counts": row.void_rle}) > 0] = 255
        assert np.array_equal(draw_image(row)[0], classes)


def test_rows_of_an_image_without_instances_or_void_are_background():
    blank = np.zeros((5, 7), np.uint8)
    manifest = make({"b": (blank, blank), "a": MAPS["001"], "c": MAPS["002"]})
    rows = list(drawn_rows(manifest))
    assert [row.image_id for row in rows] == ["a", "b", "c"]
    assert rows[1] == DrawnRow("b", 7, 5, None, [], [], [])
    assert not draw_image(rows[1])[0].any()


def test_void_lies_over_what_it_should_not_meet():
    full = encode_mask(np.ones((2, 3), bool))
    void = encode_mask(np.array([[1, 0, 0], [0, 0, 0]], bool))
    classes, objects = draw_image(DrawnRow("a", 3, 2, void, [254], [3], [full]))
    assert classes.tolist() == [[255, 3, 3], [3, 3, 3]]
    assert objects.tolist() == [[255, 254, 254], [254, 254, 254]]


def test_a_mask_of_another_size_is_refused_with_the_image_named():
    code = encode_mask(np.ones((4, 4), bool))
    with pytest.raises(MaskError, match="image a: a run-length code does not fit"):
        draw_image(DrawnRow("a", 5, 4, None, [1], [1], [code]))


def test_unsorted_rows_are_refused_and_not_lost():
    manifest = make(MAPS)
    backwards = manifest.instances.take(list(range(manifest.instances.num_rows))[::-1])
    with pytest.raises(ManifestError, match="not sorted by image"):
        list(drawn_rows(Manifest(manifest.images, backwards, manifest.meta)))


# --- writing -------------------------------------------------------------------------------------


def test_the_set_is_a_voc_devkit(written):
    ids = sorted(MAPS)
    assert sorted(contents(written)) == sorted(
        [
            "ImageSets/Segmentation/val.txt",
            *(f"JPEGImages/{i}.jpg" for i in ids),
            *(f"SegmentationClass/{i}.png" for i in ids),
            *(f"SegmentationObject/{i}.png" for i in ids),
            "checksums.txt",
            "images.parquet",
            "instances.parquet",
            "labelmap.txt",
            "rejected.csv",
        ]
    )
    assert (written / "ImageSets/Segmentation/val.txt").read_text().split() == ids
    for image_id, maps in MAPS.items():
        for folder, wanted in zip(("SegmentationClass", "SegmentationObject"), maps, strict=True):
            with Image.open(written / folder / f"{image_id}.png") as found:
                assert (found.mode, found.format) == ("P", "PNG")
                assert bytes(found.getpalette()) == voc_palette()
                assert np.array_equal(np.asarray(found), wanted)


@pytest.mark.parametrize("workers", [1, 3])
def test_the_same_manifest_gives_the_same_bytes_anywhere(written, tmp_path_factory, workers):
    """Also from the two tables alone, as they lie on disk."""
    other = tmp_path_factory.mktemp("other")
    put_images(other)
    write_set(read_manifest(written), other, workers=workers)
    assert contents(other) == contents(written)


def test_writing_again_replaces_what_is_wrong(written):
    before = contents(written)
    (written / "SegmentationClass" / "001.png").write_bytes(b"broken")
    (written / "SegmentationClass" / ".001.png.0123abcd.part").write_bytes(b"left by a kill")
    (written / "ImageSets/Segmentation/val.txt").write_text("001\n")
    (written / "rejected.csv").unlink()
    write_set(make(MAPS), written)
    assert contents(written) == before


def test_a_missing_image_stops_before_anything_is_written(tmp_path):
    put_images(tmp_path, ["000", "003"])
    with pytest.raises(InputError, match=r"JPEGImages/001.jpg: no such file, and 1 other"):
        write_set(make(MAPS), tmp_path)
    assert sorted(contents(tmp_path)) == ["JPEGImages/000.jpg", "JPEGImages/003.jpg"]


def test_a_set_that_is_being_written_has_no_checksums(written, monkeypatch):
    monkeypatch.setattr("sbdata.curate.materialise.write_manifest", no_space)
    with pytest.raises(OSError, match="no space"):
        write_set(make(MAPS), written)
    assert not (written / "checksums.txt").exists()


def no_space(*_):
    raise OSError("no space")


def test_each_split_has_its_sorted_list():
    manifest = make(dict.fromkeys(("b", "a", "c"), MAPS["000"]))
    names = pa.array(["train", "val", "train"])
    column = manifest.images.schema.get_field_index("split")
    images = manifest.images.set_column(column, manifest.images.schema.field("split"), names)
    assert image_lists(Manifest(images, manifest.instances, manifest.meta)) == {
        "ImageSets/Segmentation/train.txt": "a\nc\n",
        "ImageSets/Segmentation/val.txt": "b\n",
    }


def test_names_that_a_label_map_cannot_hold_leave_it_out(written, monkeypatch):
    monkeypatch.setattr("sbdata.curate.materialise.labelmap_problem", lambda _: "class 'a:b'")
    write_set(make(MAPS), written)
    assert not (written / "labelmap.txt").exists()
    assert "labelmap.txt" not in read_checksums(written)


def test_progress_counts_images(tmp_path):
    put_images(tmp_path)
    seen = []
    write_set(make(MAPS), tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 4) for i in range(1, 5)]


def test_strangers_are_removed_and_nothing_else(written):
    before = contents(written)
    strangers = [
        "ImageSets/Segmentation/train.txt",
        "JPEGImages/009.jpg",
        "SegmentationClass/009.png",
        "SegmentationObject/009.png",
    ]
    others = ["JPEGImages/notes.txt", "README.md", "sub/009.jpg"]
    (written / "sub").mkdir()
    for name in strangers + others:
        (written / name).write_text("x")
    assert remove_strangers(make(MAPS), written) == [written / name for name in strangers]
    assert contents(written).keys() == before.keys() | set(others)


# --- rejected.csv --------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=("C", "Z"), include_characters=" "))
rejections = st.lists(st.builds(Rejection, texts, texts, texts, texts, texts, texts))


@settings(max_examples=30, deadline=None)
@given(rejections)
def test_rejections_come_back_sorted(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "rejected.csv"
    write_rejected(path, rows)
    key = ("source", "file", "reason", "detail", "image_id", "annotation_id")
    assert read_rejected(path) == sorted(rows, key=lambda r: [getattr(r, k) for k in key])


def test_hostile_names_stay_on_their_line(tmp_path):
    name = 'a\nb\r\0,"\ud800\u2028;\x1b[2J'
    write_rejected(tmp_path / "r.csv", [Rejection("coco", name, "unsafe_path", "x")])
    text = (tmp_path / "r.csv").read_bytes().decode()
    assert text == (
        "source,file,reason,detail,image_id,annotation_id\n"
        'coco,"a\\nb\\r\\x00,""\\ud800\\u2028;\\x1b[2J",unsafe_path,x,,\n'
    )


@pytest.mark.parametrize("content", [None, b"", b"a,b\n", b"\xff\xfe", b"source\n1,2\n"])
def test_what_is_no_list_of_rejections_is_refused(tmp_path, content):
    path = tmp_path / "rejected.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"rejected.csv: "):
        read_rejected(path)


# --- checksums.txt -------------------------------------------------------------------------------


def test_checksums_are_those_of_every_other_file(written):
    lines = (written / "checksums.txt").read_text().splitlines()
    expected = {
        name: hashlib.sha256(data).hexdigest()
        for name, data in contents(written).items()
        if name != "checksums.txt"
    }
    assert lines == [f"{expected[name]}  {name}" for name in sorted(expected)]
    assert read_checksums(written) == expected


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="sha256sum is not installed")
def test_sha256sum_reads_them(written):
    (written / "with space.txt").write_text("x")
    write_checksums(written, workers=2)
    command = ["sha256sum", "--check", "--strict", "--quiet", "checksums.txt"]
    assert subprocess.run(command, cwd=written, check=False).returncode == 0
    (written / "JPEGImages/001.jpg").write_bytes(b"other")
    done = subprocess.run(command, cwd=written, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "JPEGImages/001.jpg: FAILED" in done.stdout


def test_files_of_a_desktop_do_not_count(written):
    before = read_checksums(written)
    (written / "JPEGImages" / ".DS_Store").touch()
    write_checksums(written)
    assert read_checksums(written) == before


@pytest.mark.parametrize("name", ["a\nb", "a\\b", "a:b"])
def test_files_that_cannot_be_listed_are_refused(written, name):
    (written / name).touch()
    with pytest.raises(InputError, match=r"cannot be listed in checksums.txt"):
        write_checksums(written)


def test_links_to_folders_are_refused_and_broken_links_too(written, tmp_path_factory):
    (written / "link").symlink_to(tmp_path_factory.mktemp("elsewhere"))
    assert "link" in files_of(written)
    with pytest.raises(InputError, match="'link' cannot be listed"):
        write_checksums(written)
    (written / "link").unlink()
    (written / "link").symlink_to("nowhere")
    with pytest.raises(InputError, match="'link' cannot be listed"):
        write_checksums(written)


@pytest.mark.parametrize(
    "line", ["x", "", "0" * 64 + " one-space", "0" * 64 + "  ../secret", "g" * 64 + "  a"]
)
def test_a_line_that_is_no_checksum_is_refused(tmp_path, line):
    (tmp_path / "checksums.txt").write_text(f"{'0' * 64}  fine.txt\n{line}\n")
    with pytest.raises(InputError, match=r"checksums.txt: line 2 is not"):
        read_checksums(tmp_path)


def test_a_manifest_alone_is_the_whole_description(tmp_path):
    """Written, read and drawn again: the masks are the maps it began with."""
    write_manifest(make(MAPS), tmp_path)
    for row in drawn_rows(read_manifest(tmp_path)):
        classes, objects = draw_image(row)
        assert np.array_equal(classes, MAPS[row.image_id][0])
        assert np.array_equal(objects, MAPS[row.image_id][1])
