"""ADE20K's instance masks: one RGB PNG per image, with the category in red and the object in green.

Red is the category, 1..100, and 0 everything else, which is background. Green is the number of the
object, unique in its image whatever its category; 0 is none. Blue is not defined, and not read. The
number of an instance is 256 times red plus green, so that no object ever has two categories.

Source: Zhou et al., Scene Parsing through ADE20K Dataset, CVPR 2017; the instance task of the
Places Challenge 2017, github.com/CSAILVision/placeschallenge, ``instancesegmentation``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sbdata.mask_files import RGB, PngError, read_header, read_png
from sbdata.sources.label_maps import LabelMap, LabelMapFormat
from sbdata.taxonomy import ADE100


def read_instance_colours(path: Path) -> LabelMap:
    """Decode a PNG of categories and objects.

    Raises:
        PngError: If it is not an 8-bit RGB PNG, or has a category above 100.
    """
    header = read_header(path)
    if (header.colour, header.depth) != (RGB, 8):
        detail = f"{header.words}; ADE20K's instance masks are 8-bit RGB, annotations/ has others"
        raise PngError(path, "mode", detail)
    png = read_png(path, header)
    classes, numbers = np.ascontiguousarray(png.pixels[..., 0]), png.pixels[..., 1]
    if classes.max() > len(ADE100):
        detail = f"category {classes.max()} in red; ADE20K's instance masks have 0..{len(ADE100)}"
        raise PngError(path, "values", detail)
    of_object = (classes > 0) & (numbers > 0)
    codes = classes.astype(np.uint16) * np.uint16(256) + numbers
    return LabelMap(classes, np.where(of_object, codes, np.uint16(0)), png.digest)


def _photo_of(root: Path, split: str, mask: Path) -> str:
    return f"images/{split}/{mask.stem}.jpg"


ADE20K = LabelMapFormat(
    name="ade20k",
    folder="annotations_instance",
    taxonomy=ADE100,
    stuff=0,
    has_background=True,
    license="ADE20K: annotations BSD-3-Clause, photos for non-commercial research",
    photo_of=_photo_of,
    decode=read_instance_colours,
)
"""ADE20K; its root (``ADEChallengeData2016``) holds ``annotations_instance`` and ``images``."""
