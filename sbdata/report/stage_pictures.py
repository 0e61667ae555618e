"""Pictures of one object: its photo, and the class mask of a stage on it, as SVG.

The values of a mask differ in pattern, not in colour alone: the object's class is a plain colour,
another class is striped, and 255 is dotted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from sbdata.drawing.mask_paths import Mask, contour_path, outlined
from sbdata.drawing.svg import element
from sbdata.masks import VOID, LabelMap
from sbdata.report.gallery import photo_uri

_HATCHED = ("other", "ignored")
_UNITS = 96  # side of a crop in the units of the hatching


@dataclass(frozen=True, eq=False)
class ObjectCrop:
    """Part of a photo around an object.

    Attributes:
        number: Number of the object on the page, which makes the ids of its elements unique.
        photo: Photo, uint8 ``(H, W, 3)``.
        own: Pixels of the object, bool ``(H, W)``.
        siblings: Other pixels of its class, bool ``(H, W)``.
        class_id: Its class.
    """

    number: int
    photo: npt.NDArray[np.uint8]
    own: Mask
    siblings: Mask
    class_id: int


def photo_picture(crop: ObjectCrop, said: str) -> Markup:
    """Draw the photo with the outlines of the object and of its siblings.

    The pictures of the stages refer to this one, so it must be in the same document.

    Args:
        crop: Object to draw.
        said: Text alternative of the picture.
    """
    height, width = crop.own.shape
    image = element(
        "image",
        href=photo_uri(crop.photo),
        width=width,
        height=height,
        id=f"photo-{crop.number}",
        preserveAspectRatio="none",
    )
    return _picture(
        crop,
        said,
        element("defs", *_hatching(crop.number, max(height, width) / _UNITS)),
        image,
        outlined(crop.siblings, "sibling", _stroke(crop)),
    )


def stage_picture(crop: ObjectCrop, values: LabelMap | None, said: str) -> Markup:
    """Draw a stage's class mask over the photo in grey, with the outline of the object.

    Args:
        crop: Object to draw.
        values: Class numbers of the mask, uint8 ``(H, W)``; None if the stage has no mask.
        said: Text alternative of the picture.
    """
    painted = []
    if values is not None:
        masks = {
            "own": values == crop.class_id,
            "other": (values != crop.class_id) & (values != 0) & (values != VOID),
            "ignored": values == VOID,
        }
        painted = [
            element("path", d=contour_path(mask), **_paint(name, crop.number))
            for name, mask in masks.items()
            if mask.any()
        ]
    grey = element("use", href=f"#photo-{crop.number}", filter="url(#grey)")
    return _picture(crop, said, grey, *painted)


def legend() -> Iterator[tuple[Markup, str]]:
    """Yield a swatch and its meaning for each element of the pictures.

    The first swatch defines the filter of the grey photos, so the legend must be in the document.
    """
    levels = element("feColorMatrix", type="saturate", values="0")
    defs: Markup | str = element("defs", element("filter", levels, id="grey"), *_hatching(0, 1.0))
    for name, meaning in (
        ("truth", "the object"),
        ("sibling", "other pixels of its class (in the photo)"),
        ("own", "its class"),
        ("other", "another class"),
        ("ignored", "255: ignored"),
        ("nothing", "background"),
    ):
        swatch = element("rect", width=32, height=18, **_paint(name, 0))
        yield element("svg", defs, swatch, viewBox="0 0 32 18", class_="swatch"), meaning
        defs = ""


def _picture(crop: ObjectCrop, said: str, *marks: object) -> Markup:
    height, width = crop.own.shape
    return element(
        "svg",
        element("title", said),
        *marks,
        outlined(crop.own, "truth", _stroke(crop)),
        viewBox=f"0 0 {width} {height}",
        class_="panel",
        role="img",
    )


def _stroke(crop: ObjectCrop) -> float:
    """Return the width of outlines in pixels of the photo, so that they scale with the crop."""
    return float(max(crop.own.shape)) / 110


def _paint(name: str, number: int) -> dict[str, str]:
    """Return the attributes that paint an element; number 0 is the legend."""
    return {"fill": f"url(#{name}-{number})"} if name in _HATCHED else {"class_": name}


def _hatching(number: int, scale: float) -> list[Markup]:
    """Return the patterns of another class and of 255, for the pictures of one object."""
    stripes = element("path", d="M-2 2L2 -2M0 8L8 0M6 10L10 6", class_="stripes")
    dots = element("circle", cx=4, cy=4, r="1.7", class_="dots")
    return [
        element(
            "pattern",
            element("rect", width=8, height=8, class_=name),
            form,
            id=f"{name}-{number}",
            width=8,
            height=8,
            patternUnits="userSpaceOnUse",
            patternTransform=f"scale({scale:.3g})",
        )
        for name, form in zip(_HATCHED, (stripes, dots), strict=True)
    ]
