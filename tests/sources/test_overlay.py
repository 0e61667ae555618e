"""Finer masks laid over a base, against an exhaustive search for the best matching."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sbdata.errors import InputError
from sbdata.masks import decode_mask, encode_mask
from sbdata.recipe import SourceSpec
from sbdata.sources import AnnotatedImage, AnnotatedObject, Chunk, Member, Rejection
from sbdata.sources.coco import open_coco
from sbdata.sources.lvis import open_lvis
from sbdata.sources.overlay import OverlaidSource
from sbdata.taxonomy import VOC20, ClassMap, class_map

BASE_MAP = ClassMap(VOC20, {"cat": "cat", "dog": "dog"})
FINER_MAP = ClassMap(VOC20, {"kitten": "cat", "cat": "cat", "puppy": "dog"})
SIDE = 24


@dataclass(frozen=True)
class Held:
    """A source whose images are held in memory; None stands for one that cannot be used."""

    name: str
    images: tuple[AnnotatedImage | None, ...]
    ids: tuple[str, ...]
    split: str = "val"
    generated: bool = False

    def chunks(self, images: int) -> Sequence[Chunk]:
        return [Chunk(0, len(self.ids))]

    def read(self, chunk: Chunk) -> tuple[list[AnnotatedImage], list[Rejection]]:
        return self.read_at(range(chunk.start, chunk.stop))

    def read_at(self, positions: Sequence[int]) -> tuple[list[AnnotatedImage], list[Rejection]]:
        images = [self.images[p] for p in positions]
        rejections = [
            Rejection(self.name, "file.json", "polygon_points", "2 points", self.ids[p], "77")
            for p in positions
            if self.images[p] is None
        ]
        return [i for i in images if i is not None], rejections

    def position(self, source_image_id: str) -> int | None:
        return self.ids.index(source_image_id) if source_image_id in self.ids else None

    def members(self) -> Sequence[Member]:
        return [Member(i, f"{i}.jpg") for i in self.ids]

    def image_bytes(self, file_name: str) -> bytes | None:
        return self.name.encode()

    def pixel_sha256(self, file_name: str) -> str | None:
        return None


def box(x: int, y: int, w: int, h: int) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[y : y + h, x : x + w] = True
    return mask


def thing(number: int, category: str, mask: np.ndarray, *, crowd: bool = False) -> AnnotatedObject:
    return AnnotatedObject(str(number), category, encode_mask(mask), crowd=crowd)


def picture(number: int, *things: AnnotatedObject, side: int = SIDE) -> AnnotatedImage:
    return AnnotatedImage(f"{number:03d}", str(number), f"{number:03d}.jpg", side, side, things)


def held(name: str, *images: AnnotatedImage) -> Held:
    return Held(name, images, tuple(i.source_image_id for i in images))


def overlaid(base: Held, *finer: Held, min_iou: float = 0.5) -> OverlaidSource:
    return OverlaidSource(base, finer, BASE_MAP, FINER_MAP, min_iou)


def read(source: OverlaidSource) -> tuple[list[AnnotatedImage], list[Rejection]]:
    return source.read(source.chunks(100)[0])


def test_a_matching_mask_replaces_and_the_rest_stays() -> None:
    coarse, fine = box(2, 2, 10, 10), box(3, 2, 9, 10)
    base = held("coco", picture(1, thing(5, "cat", coarse), thing(6, "dog", box(15, 15, 5, 5))))
    finer = held("lvis", picture(1, thing(40, "kitten", fine)))
    (found,), rejections = read(overlaid(base, finer))
    assert rejections == []
    cat, dog = found.objects
    assert (cat.annotation_id, cat.category) == ("lvis:40", "cat")
    assert np.array_equal(decode_mask(cat.rle, SIDE, SIDE), fine)
    assert dog == base.images[0].objects[1]
    assert replace(found, objects=()) == replace(base.images[0], objects=())


@pytest.mark.parametrize(
    "other",
    [
        thing(40, "puppy", box(2, 2, 10, 10)),
        thing(40, "lamp", box(2, 2, 10, 10)),
        thing(40, "kitten", box(2, 2, 10, 10), crowd=True),
        thing(40, "kitten", box(2, 2, 10, 4)),
        thing(40, "kitten", box(14, 14, 10, 10)),
    ],
    ids=["other class", "no class", "crowd", "too different", "elsewhere"],
)
def test_what_does_not_match_replaces_nothing(other: AnnotatedObject) -> None:
    base = held("coco", picture(1, thing(5, "cat", box(2, 2, 10, 10))))
    images, rejections = read(overlaid(base, held("lvis", picture(1, other))))
    assert (images, rejections) == (list(base.images), [])


def test_crowds_and_categories_without_a_class_keep_their_masks() -> None:
    mask = box(2, 2, 10, 10)
    base = held("coco", picture(1, thing(5, "cat", mask, crowd=True), thing(6, "lamp", mask)))
    finer = held("lvis", picture(1, thing(40, "kitten", box(2, 2, 10, 9))))
    assert read(overlaid(base, finer))[0] == list(base.images)


def test_the_threshold_itself_is_enough() -> None:
    base = held("coco", picture(1, thing(5, "cat", box(0, 0, 10, 10))))
    finer = held("lvis", picture(1, thing(40, "kitten", box(0, 0, 10, 5))))
    assert read(overlaid(base, finer, min_iou=0.5))[0][0].objects[0].annotation_id == "lvis:40"
    assert read(overlaid(base, finer, min_iou=0.501))[0][0].objects[0].annotation_id == "5"


def test_several_finer_splits_each_have_some_images() -> None:
    cat = thing(5, "cat", box(2, 2, 10, 10))
    base = held("coco", *(picture(n, cat) for n in (1, 2, 3)))
    train = held("lvis", picture(2, thing(20, "cat", box(2, 2, 10, 9))))
    val = held("lvis", *(picture(n, thing(30 + n, "cat", box(2, 2, 10, 9))) for n in (2, 3)))
    images, _ = read(overlaid(base, train, val))
    assert [i.objects[0].annotation_id for i in images] == ["5", "lvis:20", "lvis:33"]


def test_unusable_finer_annotations_are_left_and_that_is_said() -> None:
    base = held("coco", *(picture(n, thing(n, "cat", box(2, 2, 10, 10))) for n in (1, 2)))
    other_size = picture(2, side=SIDE + 1)
    finer = Held("lvis", (None, other_size), ("1", "2"))
    images, rejections = read(overlaid(base, finer))
    assert images == list(base.images)
    assert [(r.source, r.reason, r.image_id, r.annotation_id) for r in rejections] == [
        ("lvis", "overlay_skipped", "001", "77"), ("lvis", "overlay_skipped", "002", ""),
    ]  # fmt: skip
    assert "polygon_points: 2 points" in rejections[0].detail
    assert "25 x 25" in rejections[1].detail


def test_images_rejected_by_the_base_stay_rejected() -> None:
    base = Held("coco", (None,), ("1",))
    finer = held("lvis", picture(1, thing(4, "cat", box(0, 0, 9, 9))))
    images, rejections = read(overlaid(base, finer))
    assert images == []
    assert [r.reason for r in rejections] == ["polygon_points"]


def test_everything_but_masks_is_the_bases() -> None:
    base = held("coco", picture(1))
    source = overlaid(base, held("lvis", picture(1)))
    assert (source.name, source.split, source.generated) == ("coco", "val", False)
    assert source.members() == base.members()
    assert source.image_bytes("001.jpg") == b"coco"
    assert source.pixel_sha256("001.jpg") is None


boxes = st.lists(
    st.tuples(*(st.integers(0, 8) for _ in range(2)), *(st.integers(1, 12) for _ in range(2))),
    max_size=4,
)


@settings(deadline=None)
@given(boxes, boxes, st.sampled_from([0.3, 0.5, 0.8]))
def test_the_matching_is_the_best_one(
    ours: list[tuple[int, int, int, int]], theirs: list[tuple[int, int, int, int]], min_iou: float
) -> None:
    coarse, fine = [box(*b) for b in ours], [box(*b) for b in theirs]
    base = held("coco", picture(1, *(thing(k, "cat", m) for k, m in enumerate(coarse))))
    finer = held("lvis", picture(1, *(thing(k, "cat", m) for k, m in enumerate(fine))))
    (found,), _ = read(overlaid(base, finer, min_iou=min_iou))
    overlap = np.array([[(a & b).sum() / (a | b).sum() for b in fine] for a in coarse])
    overlap = overlap.reshape(len(coarse), len(fine))
    overlap[overlap < min_iou] = 0

    chosen = [
        (k, int(o.annotation_id.removeprefix("lvis:")))
        for k, o in enumerate(found.objects)
        if o.annotation_id.startswith("lvis:")
    ]
    assert len({j for _, j in chosen}) == len(chosen)
    assert all(overlap[pair] >= min_iou for pair in chosen)
    assert all(found.objects[k].rle == encode_mask(fine[j]) for k, j in chosen)
    places = [*range(len(fine)), *[None] * len(coarse)]
    best = max(
        sum(overlap[k, j] for k, j in enumerate(order) if j is not None)
        for order in itertools.permutations(places, len(coarse))
    )
    assert sum(overlap[pair] for pair in chosen) == pytest.approx(best)


def test_a_source_without_ids_to_look_up_cannot_be_laid_over() -> None:
    class NoIds:
        name = "voc"

    with pytest.raises(InputError, match="voc cannot be an overlay"):
        OverlaidSource(held("coco"), [NoIds()], BASE_MAP, FINER_MAP, 0.5)


@pytest.mark.realdata
def test_a_file_laid_over_itself_changes_names_alone(real_data: Path) -> None:
    root = real_data / "coco128"
    spec = SourceSpec("coco", ("train2017",), class_map="coco-to-voc20")
    mapping = class_map(VOC20, "coco-to-voc20")
    base = open_coco(spec, "train2017", root)
    as_lvis = SourceSpec("lvis", ("x",), annotations="annotations/instances_train2017.json")
    finer = open_lvis(as_lvis, "x", root)
    chunk = base.chunks(1000)[0]
    plain, _ = base.read(chunk)
    laid, rejections = OverlaidSource(base, (finer,), mapping, mapping, 0.99).read(chunk)
    assert rejections == []
    for before, after in zip(plain, laid, strict=True):
        assert [o.rle for o in after.objects] == [o.rle for o in before.objects]
        assert [o.annotation_id for o in after.objects] == [
            o.annotation_id if o.crowd else f"lvis:{o.annotation_id}" for o in before.objects
        ]
