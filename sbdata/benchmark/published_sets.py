"""Published facts about the sets of bundled recipes, for plans made before they are built.

Sources: VOC val and train_aug have 1,449 and 10,582 ids in their lists (registry.yaml). Of COCO
2014, 82,081 of 82,783 images of train2014 and 40,137 of 40,504 of val2014 have an object. The mean
sizes are the usual sizes of a photo in each, 500 x 375 and 640 x 480.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedSet:
    """Facts about a recipe's set that are known before it is built.

    Attributes:
        taxonomy: Name of the taxonomy.
        images: Number of images; None if nobody has published it.
        megapixels: Usual size of a photo, in million pixels.
        sources: Names in the registry of the sources that a build reads.
        photo_bytes: Mean size of a photo's file.
        note: Sentence about these values that a plan must show; may be empty.
        fetched: True if a build downloads its photos one by one; False if an archive has them.
    """

    taxonomy: str
    images: int | None
    megapixels: float
    sources: tuple[str, ...]
    photo_bytes: int
    note: str = ""
    fetched: bool = False


_VOC, _COCO = 500 * 375 / 1e6, 640 * 480 / 1e6
_VOC_PHOTO = 1_999_639_040 // 17_125  # VOCtrainval_11-May-2012.tar over its photos
_COCO_PHOTO = 19_336_861_798 // 118_287  # train2017.zip over its photos

PUBLISHED: Mapping[str, PublishedSet] = {
    "voc-trainaug": PublishedSet("voc20", 10_582, _VOC, ("voc", "sbd"), _VOC_PHOTO),
    "voc-val": PublishedSet("voc20", 1_449, _VOC, ("voc",), _VOC_PHOTO),
    "pascal-b": PublishedSet(
        "voc20",
        2_000,
        _COCO,
        ("coco", "lvis", "voc", "sbd"),
        _COCO_PHOTO,
        "2,000 images of pascal-b are a guess, from a quota of 60 instances in each of 60 cells",
        fetched=True,
    ),
    "coco14-train": PublishedSet(
        "coco80", 82_081, _COCO, ("coco-2014", "coco-train2014"), _COCO_PHOTO
    ),
    "coco14-val": PublishedSet("coco80", 40_137, _COCO, ("coco-2014", "coco-val2014"), _COCO_PHOTO),
}
"""Sets by the names of their recipes."""
