"""Boxes: those of a photo, and those that a view of it shows, with the ground that none covers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset

from sbdata.errors import InputError
from sbdata.train.augment import View
from sbdata.weak_labels.weak_set import Box, WeakImage, WeakSet
from sbdata_baselines.settings import ViewSettings
from sbdata_baselines.stages.photos import WeakViews, drawn

_STREAM = 3  # of chance: the order of the photos; their views are those of stream 0


def boxes_of(row: WeakImage) -> tuple[Box, ...]:
    """Return the boxes of a photo; there may be none.

    Raises:
        InputError: if boxes are not given at all.
    """
    if row.boxes is None:
        msg = f"image {row.image_id} comes without boxes, which this method learns from; give them"
        raise InputError(msg)
    return row.boxes


def regions_of(
    boxes: tuple[Box, ...], size: tuple[int, int]
) -> tuple[tuple[int, ...], npt.NDArray[np.bool_]]:
    """Return the classes that have a box, and where the boxes of each are.

    Args:
        boxes: of a photo.
        size: its height and width.

    Returns:
        Class numbers, ascending, and bool ``(K, H, W)`` in their order.

    >>> classes, regions = regions_of((Box(4, 0, 0, 2, 1), Box(4, 1, 0, 2, 1)), (1, 4))
    >>> classes, regions.astype(int).tolist()
    ((4,), [[[1, 1, 1, 0]]])
    """
    classes = tuple(sorted({box.class_id for box in boxes}))
    regions = np.zeros((len(classes), *size), np.bool_)
    for box in boxes:
        rows, columns = pixels_in(box)
        regions[classes.index(box.class_id), rows, columns] = True
    return classes, regions


def pixels_in(box: Box) -> tuple[slice, slice]:
    """Return the rows and columns of a box."""
    return slice(box.y, box.y + box.height), slice(box.x, box.x + box.width)


# --- views ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BoxViews(Dataset[tuple[npt.NDArray[Any], ...]]):
    """All views of one run: pixels, boxes, background.

    View ``p`` is a function of the seed and ``p`` alone. In an epoch every photo is seen once, in
    an order drawn anew. A view is

    - its pixels, uint8 ``(S, S, 3)``;
    - its boxes, float32 ``(B, 5)``: class, left, upper, right and lower edge in pixels of the view,
      as many rows as any photo has boxes; rows that are not needed hold zeros;
    - its background, uint8 ``(S, S)``: 1 where the photo is and no box.

    Attributes:
        weak: photos with boxes.
        settings: of the views.
        seed: of order and views.
        visible: share of a box's area that a view must show for the box to be in it. What a view
            shows of other boxes is no background either.

    Raises:
        InputError: if boxes are not given.
    """

    weak: WeakSet
    settings: ViewSettings
    seed: int
    visible: float = 0.0

    def __post_init__(self) -> None:
        self._rows  # noqa: B018 - asks for the boxes of all photos

    def __getitem__(self, position: int) -> tuple[npt.NDArray[Any], ...]:
        epoch, place = divmod(position, len(self.weak))
        row = self.weak.rows[_order((self.seed, _STREAM, 0, epoch), len(self.weak))[place]]
        alone = WeakViews(replace(self.weak, rows=(row,)), self.settings, self.seed)
        height, width = row.size
        # The draws with which WeakViews begins, so this is the view that it cuts.
        rng = np.random.default_rng((self.seed, alone.stream, 1, position))
        view = drawn((width, height), self.settings, rng)
        boxes = np.zeros((self._rows, 5), np.float32)
        seen = seen_boxes(boxes_of(row), view, self.visible)
        boxes[: len(seen)] = seen
        return alone[position][0], boxes, seen_background(boxes_of(row), view, row.size)

    @cached_property
    def _rows(self) -> int:
        return max(len(boxes_of(row)) for row in self.weak.rows)


def seen_boxes(boxes: tuple[Box, ...], view: View, visible: float = 0.0) -> npt.NDArray[np.float32]:
    """Return what a view shows of a photo's boxes.

    Args:
        boxes: of the photo.
        view: of it.
        visible: share of a box's area that must be seen.

    Returns:
        float32 ``(n, 5)``: class, left, upper, right, lower edge in pixels of the view.
    """
    found = []
    for box in boxes:
        whole = _edges(box, view)
        inner = np.clip(whole, 0, view.crop)
        share = _area(inner) / _area(whole)
        if share > 0 and share >= visible:
            found.append([box.class_id, *inner])
    return np.array(found, np.float32).reshape(-1, 5)


def seen_background(
    boxes: tuple[Box, ...], view: View, size: tuple[int, int]
) -> npt.NDArray[np.uint8]:
    """Return 1 for the pixels of a view that lie in the photo and, wholly, in none of its boxes.

    Args:
        boxes: of the photo.
        view: of it.
        size: height and width of the photo.

    Returns:
        uint8 ``(crop, crop)``.
    """
    background = np.zeros((view.crop, view.crop), np.uint8)
    left, upper, right, lower = _edges(Box(0, 0, 0, size[1], size[0]), view)
    background[_held(upper, lower), _held(left, right)] = 1
    for box in boxes:
        left, upper, right, lower = _edges(box, view)
        background[_touched(upper, lower), _touched(left, right)] = 0
    return background


def _edges(box: Box, view: View) -> npt.NDArray[np.float64]:
    """Return left, upper, right, lower edge of a box in pixels of a view, which may be outside."""
    left, upper, right, _ = view.box
    scale = view.crop / (right - left)
    edges = np.array([
        (box.x - left) * scale,
        (box.y - upper) * scale,
        (box.x + box.width - left) * scale,
        (box.y + box.height - upper) * scale,
    ])  # fmt: skip
    if view.flip:
        edges[[0, 2]] = view.crop - edges[[2, 0]]
    return edges


def _area(edges: npt.NDArray[np.float64]) -> float:
    return float((edges[2] - edges[0]) * (edges[3] - edges[1]))


def _touched(start: float, stop: float) -> slice:
    """Return the pixels of which a stretch covers at least a part."""
    return slice(max(math.floor(start), 0), max(math.ceil(stop), 0))


def _held(start: float, stop: float) -> slice:
    """Return the pixels that a stretch covers wholly."""
    return slice(max(math.ceil(start), 0), max(math.floor(stop), 0))


@lru_cache(maxsize=4)  # the running epoch and the next
def _order(key: tuple[int, ...], n: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(key).permutation(n)
