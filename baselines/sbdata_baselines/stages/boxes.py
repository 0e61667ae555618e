"""Boxes: those of a photo, and those that a view of it shows, with the ground that none covers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sbdata.errors import InputError
from sbdata.train.augment import View
from sbdata.train.views import Arrays, Shuffled, Views
from sbdata.weak_labels.weak_set import Box, WeakImage, WeakSet
from sbdata_baselines.settings import ViewSettings

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
class BoxTarget:
    """What goes with a view of a photo: its boxes, and the background.

    Attributes:
        count: rows of boxes in each view; those that are not needed hold zeros.
        visible: share of a box's area that a view must show for the box to be in it. What a view
            shows of other boxes is no background either.
    """

    count: int
    visible: float = 0.0

    def __call__(self, row: WeakImage, view: View) -> Arrays:
        """Return what a view shows.

        Returns:
            Boxes, float32 ``(count, 5)``: class, left, upper, right and lower edge in pixels of
            the view; and background, uint8 ``(S, S)``: 1 where the photo is and no box.
        """
        boxes = np.zeros((self.count, 5), np.float32)
        seen = seen_boxes(boxes_of(row), view, self.visible)
        boxes[: len(seen)] = seen
        return boxes, seen_background(boxes_of(row), view, row.size)


def box_views(
    weak: WeakSet, settings: ViewSettings, seed: int, visible: float = 0.0
) -> Views[WeakImage]:
    """Return all views of one run: pixels, boxes, background.

    Args:
        weak: photos with boxes, each seen once an epoch, in an order drawn anew for every epoch.
        settings: settings of the views.
        seed: seed of order and views.
        visible: see :class:`BoxTarget`.

    Raises:
        InputError: if boxes are not given.
    """
    count = max(len(boxes_of(row)) for row in weak.rows)
    return Views(Shuffled(weak.rows, seed, _STREAM), settings, BoxTarget(count, visible), seed)


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
        whole = edges_in(box, view)
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
    left, upper, right, lower = edges_in(Box(0, 0, 0, size[1], size[0]), view)
    background[_held(upper, lower), _held(left, right)] = 1
    for box in boxes:
        left, upper, right, lower = edges_in(box, view)
        background[_touched(upper, lower), _touched(left, right)] = 0
    return background


def edges_in(box: Box, view: View) -> npt.NDArray[np.float64]:
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
