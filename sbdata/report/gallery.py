"""Gallery of the worst small instances: photo, truth and prediction around each."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from PIL import Image

from sbdata.drawing.mask_paths import Mask, filled, outlined
from sbdata.drawing.svg import element
from sbdata.errors import InputError
from sbdata.masks import VOID
from sbdata.metrics.image import ia_iou
from sbdata.score.result import LoadImage, ScoreResult

MOST = 24
_MARGIN = 0.75  # margin on each side of an instance, as a fraction of its box's longer side
_LEAST_SIDE = 64  # smallest side of the shown square, in pixels of the image
_PHOTO_SIDE = 256  # largest side of a stored photo, in pixels
_QUALITY = 85
_GREY = 128


@dataclass(frozen=True)
class Worst:
    """Instance of the gallery; ``size`` is the smallest of the bins."""

    image_id: str
    instance_id: int
    class_id: int
    area: int
    ia: float


def worst_small(scored: ScoreResult, most: int = MOST) -> list[Worst]:
    """Return the worst instances of the smallest size: by increasing IA, then by decreasing area.

    Instances with an IA of 1 are left out.
    """
    tables, rows = scored.tables, scored.tables.instances
    values = ia_iou(rows)
    small = np.flatnonzero((scored.bins.index(rows["area"]) == 0) & (values < 1))
    # Rows are sorted by image and instance, and lexsort keeps that order among equal rows.
    order = small[np.lexsort((-rows["area"][small].astype(np.int64), values[small]))]
    return [
        Worst(
            image_id=tables.image_ids[tables.instance_image[k]],
            instance_id=int(rows["instance_id"][k]),
            class_id=int(rows["class_id"][k]),
            area=int(rows["area"][k]),
            ia=float(values[k]),
        )
        for k in order[:most].tolist()
    ]


def picture_svg(worst: Worst, name: str, said: str, load_image: LoadImage) -> Markup:
    """Draw three views of one instance: the photo, the truth on it, the prediction on it.

    Args:
        worst: Instance to draw.
        name: Id of the photo, unique in the document.
        said: Text alternative of the picture.
        load_image: Function that returns the arrays of its image.

    Raises:
        InputError: if the arrays differ in size or do not contain the instance.
    """
    photo, class_map, instance_map, prediction = load_image(worst.image_id)
    if photo is None:
        photo = np.full((*class_map.shape, 3), _GREY, np.uint8)
    shapes = {a.shape[:2] for a in (photo, class_map, instance_map, prediction)}
    if len(shapes) > 1:
        found = ", ".join(f"{w} x {h}" for h, w in sorted(shapes))
        msg = (
            f"image {worst.image_id}: photo, truth and prediction differ in size ({found}); "
            "make them equal and score again"
        )
        raise InputError(msg)
    instance = (instance_map == worst.instance_id) & (class_map != VOID)
    if not instance.any():
        msg = f"image {worst.image_id}: no instance {worst.instance_id}; score the set again"
        raise InputError(msg)
    rows, columns = _crop(instance)
    crop = np.s_[rows.start : rows.stop, columns.start : columns.stop]
    instance, classes, guess = instance[crop], class_map[crop], prediction[crop]
    tall, wide = instance.shape
    # Strokes are given in pixels of the image, so they scale with the crop.
    stroke = max(tall, wide) / 110
    views = (
        (),
        (
            filled(classes == VOID, "void"),
            outlined((classes == worst.class_id) & ~instance, "sibling", stroke),
            outlined(instance, "truth", stroke),
        ),
        (
            filled((guess != worst.class_id) & (guess != 0) & (guess != VOID), "other"),
            filled(guess == worst.class_id, "found"),
            outlined(instance, "truth", stroke),
        ),
    )
    gap = wide * 0.03
    image = element(
        "image",
        href=_data_uri(photo[crop]),
        width=wide,
        height=tall,
        id=name,
        preserveAspectRatio="none",
    )
    panels = [
        element(
            "svg",
            image if k == 0 else element("use", href=f"#{name}"),
            *marks,
            x=f"{k * (wide + gap):g}",
            width=wide,
            height=tall,
            viewBox=f"0 0 {wide} {tall}",
        )
        for k, marks in enumerate(views)
    ]
    return element(
        "svg",
        element("title", said),
        *panels,
        viewBox=f"0 0 {3 * wide + 2 * gap:g} {tall}",
        class_="views",
        role="img",
    )


def _crop(instance: Mask) -> tuple[range, range]:
    """Return the rows and columns of a square around an instance, shifted to lie in the image."""
    ys, xs = np.flatnonzero(instance.any(axis=1)), np.flatnonzero(instance.any(axis=0))
    box = max(int(ys[-1] - ys[0]), int(xs[-1] - xs[0])) + 1
    side = max(_LEAST_SIDE, math.ceil(box * (1 + 2 * _MARGIN)))
    return (
        _window(int(ys[0]), int(ys[-1]), side, instance.shape[0]),
        _window(int(xs[0]), int(xs[-1]), side, instance.shape[1]),
    )


def _window(first: int, last: int, side: int, length: int) -> range:
    side = min(side, length)
    start = max(0, min((first + last + 1 - side) // 2, length - side))
    return range(start, start + side)


def _data_uri(photo: npt.NDArray[np.uint8]) -> str:
    image = Image.fromarray(np.ascontiguousarray(photo, np.uint8))
    image.thumbnail((_PHOTO_SIDE, _PHOTO_SIDE))
    stream = io.BytesIO()
    image.save(stream, format="JPEG", quality=_QUALITY, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()
