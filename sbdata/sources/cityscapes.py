"""Cityscapes: one 16-bit PNG of class and instance per image, ``*_gtFine_instanceIds.png``.

A number from 1000 on is one object: its label id times 1000 plus a count from 0. A smaller number
is a label id: a class without instances, or a group of objects that the annotators could not tell
apart. Of the labels, 19 are evaluated and are the classes here, by train id plus 1; all others are
void, caravans and trailers too. A group is of its class but no instance: the dataset's evaluation
counts its pixels for the class and never as an object.

Source: Cordts et al., The Cityscapes Dataset for Semantic Urban Scene Understanding, CVPR 2016;
github.com/mcordts/cityscapesScripts, ``helpers/labels.py``, ``preparation/json2instanceImg.py``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from sbdata.mask_files import VOID, PngError, read_mask
from sbdata.sources.label_maps import LabelMap, LabelMapFormat
from sbdata.taxonomy import CITYSCAPES19

_LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
_LABELS = 34  # label ids, from 0 on
_WITH_INSTANCES = range(24, _LABELS)  # persons and vehicles
_UNKNOWN = 254
_MASK = "_gtFine_instanceIds.png"


def _table() -> npt.NDArray[np.uint8]:
    """Return the class of each number in an instance PNG."""
    table = np.full(1 << 16, _UNKNOWN, np.uint8)
    for label in range(_LABELS):
        number = _LABEL_IDS.index(label) + 1 if label in _LABEL_IDS else VOID
        table[label] = number
        if label in _WITH_INSTANCES:
            table[1000 * label : 1000 * (label + 1)] = number
    return table


_CLASS_OF = _table()


def read_instance_ids(path: Path) -> LabelMap:
    """Decode a PNG of instance ids.

    Raises:
        PngError: If it is not a 16-bit grey PNG, or has a number that no label has.
    """
    found = read_mask(path, instances=True, sixteen_bits=True)
    if found.values.dtype != np.uint16:
        detail = "8-bit numbers, which hold no instances; give the 16-bit grey file as published"
        raise PngError(path, "mode", detail)
    classes = _CLASS_OF[found.values]
    strange = found.values[classes == _UNKNOWN]
    if strange.size:
        detail = (
            f"{int(strange[0])} in it, but a label id is 0..{_LABELS - 1}, or 24..33 times 1000 "
            "plus the number of an object"
        )
        raise PngError(path, "values", detail)
    of_object = (found.values >= 1000) & (classes != VOID)
    instances = np.where(of_object, found.values, 0).astype(np.uint16)
    return LabelMap(classes, instances, found.digest)


def _photo_of(root: Path, split: str, mask: Path) -> str | None:
    if not mask.name.endswith(_MASK):
        return None
    stem = f"leftImg8bit/{split}/{mask.parent.name}/{mask.name.removesuffix(_MASK)}_leftImg8bit"
    # A set holds JPEGs, which someone may have made beside the published PNGs.
    return f"{stem}.jpg" if (root / f"{stem}.jpg").is_file() else f"{stem}.png"


CITYSCAPES = LabelMapFormat(
    name="cityscapes",
    folder="gtFine",
    taxonomy=CITYSCAPES19,
    stuff=11,
    has_background=False,
    license="Cityscapes licence: non-commercial use",
    photo_of=_photo_of,
    decode=read_instance_ids,
)
"""Cityscapes; its root holds ``gtFine`` and, for photos, ``leftImg8bit``."""
