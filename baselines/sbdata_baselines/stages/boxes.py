"""Boxes: those of a photo, those visible in a view, and the background outside all of them."""

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

_STREAM = 3  # random stream of the photos' order; their views use stream 0


def boxes_of(row: WeakImage) -> tuple[Box, ...]:
    """Return the boxes of a photo; there may be none.

    Raises:
        InputError: if the photo comes without box annotations.
    """
    if row.boxes is None:
        msg = f"image {row.image_id} has no boxes, which this method needs; give them by --boxes"
        raise InputError(msg)
    return row.boxes


def regions_of(
    boxes: tuple[Box, ...], size: tuple[int, int]
) -> tuple[tuple[int, ...], npt.NDArray[np.bool_]]:
    """Return the classes that have a box, and the region that the boxes of each class cover.

    Args:
        boxes: Boxes of a photo.
        size: Height and width of the photo.

    Returns:
        Class numbers, ascending, and regions in the same order, bool ``(K, H, W)``.

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
    """Return the row and column slices of a box."""
    return slice(box.y, box.y + box.height), slice(box.x, box.x + box.width)


# --- views ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BoxTarget:
    """Target of a view: its boxes and its background.

    Attributes:
        count: Number of box rows of each view; unused rows hold zeros.
        visible: Fraction of a box's area that a view must show for the box to be included. The
            visible part of an excluded box is not background either.
    """

    count: int
    visible: float = 0.0

    def __call__(self, row: WeakImage, view: View) -> Arrays:
        """Return the boxes and the background of a view.

        Returns:
            Boxes, float32 ``(count, 5)``: class, left, upper, right and lower edge in pixels of
            the view; and background, uint8 ``(S, S)``: 1 for pixels of the photo outside all boxes.
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
        weak: Photos with boxes, each seen once per epoch, in an order drawn anew for every epoch.
        settings: Settings of the views.
        seed: Seed of order and views.
        visible: Fraction of a box's area that a view must show for the box to be included.

    Raises:
        InputError: if boxes are not given.
    """
    count = max(len(boxes_of(row)) for row in weak.rows)
    return Views(Shuffled(weak.rows, seed, _STREAM), settings, BoxTarget(count, visible), seed)


def seen_boxes(boxes: tuple[Box, ...], view: View, visible: float = 0.0) -> npt.NDArray[np.float32]:
    """Return the boxes of a photo that a view shows.

    Args:
        boxes: Boxes of the photo.
        view: View of the photo.
        visible: Fraction of a box's area that must be visible.

    Returns:
        Boxes, float32 ``(n, 5)``: class, left, upper, right, lower edge in pixels of the view.
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
    """Return 1 for pixels of a view that lie in the photo and, entirely, outside all boxes.

    Args:
        boxes: Boxes of the photo.
        view: View of the photo.
        size: Height and width of the photo.

    Returns:
        Background, uint8 ``(crop, crop)``.
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
    """Return the pixels that an interval covers at least partly."""
    return slice(max(math.floor(start), 0), max(math.ceil(stop), 0))


def _held(start: float, stop: float) -> slice:
    """Return the pixels that an interval covers entirely."""
    return slice(max(math.ceil(start), 0), max(math.floor(stop), 0))
