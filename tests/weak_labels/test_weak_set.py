"""What a baseline may see, and that it reaches nothing else."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sbdata.errors import InputError
from sbdata.sets import open_set
from sbdata.weak_labels.weak_set import Box, WeakSet, weak_set
from tests.benchmark.conftest import Sets


def everything_in(value: Any, seen: set[int]) -> Iterator[Any]:
    """Give all that attributes, items and closures lead to."""
    if id(value) in seen or isinstance(value, type):
        return
    seen.add(id(value))
    yield value
    if isinstance(value, dict):
        inner = [*value.keys(), *value.values()]
    elif isinstance(value, list | tuple | set | frozenset):
        inner = list(value)
    elif isinstance(value, str | bytes | int | float | Path) or value is None:
        inner = []
    else:
        inner = list(getattr(value, "__dict__", {}).values())
        inner += [getattr(value, name) for name in getattr(type(value), "__slots__", ())]
        inner += [cell.cell_contents for cell in getattr(value, "__closure__", None) or ()]
    for one in inner:
        yield from everything_in(one, seen)


@pytest.mark.parametrize("boxes", [False, True])
def test_no_path_leads_to_the_set(sets: Sets, tmp_path: Path, boxes: bool) -> None:
    weak = weak_set(open_set(sets.training), tmp_path / "weak", boxes=boxes)
    assert weak.digest  # is kept in the object, too
    found = list(everything_in(weak, set()))
    assert {type(v) for v in found} <= {
        WeakSet, dict, tuple, str, int, bool, type(None), type(tmp_path),
        type(weak.rows[0]), type(weak.taxonomy), *([Box] if boxes else []),
    }  # fmt: skip
    paths = [v for v in found if isinstance(v, Path)]
    assert len(paths) == 6
    for path in paths:
        assert not path.is_symlink()
        assert path.resolve().parent == (tmp_path / "weak").resolve()
        assert not (path.parent.parent / "SegmentationClass").exists()
    assert not [v for v in found if isinstance(v, str) and os.sep in v]


def test_walk_finds_a_hidden_path() -> None:
    @dataclasses.dataclass
    class Leak:
        rows: tuple[Any, ...]

    secret = Path("/truth")
    assert secret in everything_in(Leak(({"a": [lambda: secret]},)), set())


def test_labels_and_photos_are_those_of_the_set(sets: Sets, tmp_path: Path) -> None:
    opened = open_set(sets.training)
    weak = weak_set(opened, tmp_path / "weak", boxes=True)
    assert [row.image_id for row in weak.rows] == list(opened)
    assert weak.synthetic
    for row in weak.rows:
        there = set(opened.class_map(row.image_id).ravel().tolist()) - {0, 255}
        assert row.classes == tuple(sorted(there))
        assert row.photo.read_bytes() == opened.image_path(row.image_id).read_bytes()
        assert row.size == opened.size_of(row.image_id)
        assert row.boxes is not None
        assert {box.class_id for box in row.boxes} == there
        objects = opened.instance_map(row.image_id)
        for number, box in enumerate(row.boxes, start=1):
            ys, xs = (objects == number).nonzero()
            assert (box.x, box.y) == (xs.min(), ys.min())
            assert (box.width, box.height) == (xs.max() + 1 - box.x, ys.max() + 1 - box.y)


def test_digest_tells_supervision_apart(sets: Sets, tmp_path: Path) -> None:
    opened = open_set(sets.training)
    plain = weak_set(opened, tmp_path / "a")
    labels = {row.image_id: row.classes for row in plain.rows}
    assert weak_set(opened, tmp_path / "b").digest == plain.digest
    assert weak_set(opened, tmp_path / "b", labels=labels).digest == plain.digest
    assert weak_set(opened, tmp_path / "b", boxes=True).digest != plain.digest
    other = {**labels, opened.image_ids[0]: (1, 2, 3, 4)}
    assert weak_set(opened, tmp_path / "b", labels=other).digest != plain.digest
    maps = tmp_path / "maps"
    maps.mkdir()
    for image_id in opened:
        (maps / f"{image_id}.png").write_bytes(b"a map")
    assert weak_set(opened, tmp_path / "b", saliency=maps).digest != plain.digest


def test_unusable_labels_are_told(sets: Sets, tmp_path: Path) -> None:
    opened = open_set(sets.training)
    with pytest.raises(InputError, match="the labels lack image"):
        weak_set(opened, tmp_path / "weak", labels={})
    with pytest.raises(InputError, match="a label is not a class of shapes8"):
        weak_set(opened, tmp_path / "weak", labels=dict.fromkeys(opened, (9,)))


def test_own_boxes_take_the_place_of_the_sets(sets: Sets, tmp_path: Path) -> None:
    opened = open_set(sets.training)
    boxes = {image_id: (Box(3, 1, 2, 5, 6), Box(1, 0, 0, 2, 2)) for image_id in opened}
    weak = weak_set(opened, tmp_path / "weak", boxes=boxes)
    assert {row.boxes for row in weak.rows} == {boxes[opened.image_ids[0]]}
    assert {row.classes for row in weak.rows} == {(1, 3)}
    assert weak.digest != weak_set(opened, tmp_path / "weak", boxes=True).digest
    more = weak_set(opened, tmp_path / "weak", boxes=boxes, labels=dict.fromkeys(opened, (1, 2, 3)))
    assert {row.classes for row in more.rows} == {(1, 2, 3)}


def test_unusable_boxes_are_told(sets: Sets, tmp_path: Path) -> None:
    opened = open_set(sets.training)

    def made(box: Box, **options: Any) -> WeakSet:
        boxes = dict.fromkeys(opened, (box,))
        return weak_set(opened, tmp_path / "weak", boxes=boxes, **options)

    with pytest.raises(InputError, match="the boxes lack image"):
        weak_set(opened, tmp_path / "weak", boxes={})
    with pytest.raises(InputError, match="a box of 4 x 999 pixels at 1, 2 does not lie in the im"):
        made(Box(1, 1, 2, 4, 999))
    with pytest.raises(InputError, match="does not lie in the image"):
        made(Box(1, -1, 2, 4, 4))
    with pytest.raises(InputError, match="a label is not a class of shapes8"):
        made(Box(9, 1, 2, 4, 4))
    with pytest.raises(InputError, match="class 2 has a box but no label; correct one"):
        made(Box(2, 1, 2, 4, 4), labels=dict.fromkeys(opened, (1,)))


def test_a_photo_that_was_altered_is_refused(sets: Sets, tmp_path: Path) -> None:
    shutil.copytree(sets.training, tmp_path / "set")
    opened = open_set(tmp_path / "set")
    weak_set(opened, tmp_path / "weak")
    photo = opened.image_path(opened.image_ids[0])
    whole = bytearray(photo.read_bytes())
    whole[-3] ^= 1
    photo.unlink()  # another file of the same name and size; the link still has the former bytes
    photo.write_bytes(whole)
    with pytest.raises(
        InputError, match=rf"{photo.name}: not the file that the set was built with"
    ):
        weak_set(opened, tmp_path / "weak")


def test_another_photo_of_the_same_size_is_linked_anew(sets: Sets, tmp_path: Path) -> None:
    opened = open_set(sets.training)
    digest = weak_set(opened, tmp_path / "weak").digest
    first = sorted((tmp_path / "weak").iterdir())[0]
    whole = first.read_bytes()
    first.unlink()
    first.write_bytes(bytes(len(whole)))
    weak = weak_set(opened, tmp_path / "weak")
    assert weak.digest == digest
    assert first.read_bytes() == whole
