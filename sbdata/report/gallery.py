"""Gallery of the worst small instances: photo, truth and prediction around each."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from PIL import Image

from sbdata.drawing.mask_paths import filled, outlined
from sbdata.drawing.svg import element
from sbdata.errors import InputError
from sbdata.masks import VOID
from sbdata.metrics.image import ia_iou
from sbdata.report.crops import crop_around
from sbdata.score.result import LoadImage, ScoreResult

MOST = 24
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
    small = np.flatnonzero((tables.instance_sizes(scored.bins) == 0) & (values < 1))
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
    crop = crop_around(instance)
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
        href=photo_uri(photo[crop]),
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


def photo_uri(photo: npt.NDArray[np.uint8]) -> str:
    """Return a photo, uint8 ``(H, W, 3)``, as a JPEG in a ``data:`` address, at most 256 pixels."""
    image = Image.fromarray(np.ascontiguousarray(photo, np.uint8))
    image.thumbnail((_PHOTO_SIDE, _PHOTO_SIDE))
    stream = io.BytesIO()
    image.save(stream, format="JPEG", quality=_QUALITY, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()
