"""What is published of the sets of bundled recipes, for plans made before they are built.

Sources: VOC val and train_aug, 1,449 and 10,582 ids, as their lists have them (registry.yaml). COCO
2014: 82,081 of 82,783 images of train2014 and 40,137 of 40,504 of val2014 have an object. Mean
sizes: 500 x 375 and 640 x 480, the usual size of a photo in each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedSet:
    """What is known of a recipe's set before it is built.

    Attributes:
        taxonomy: Name of the taxonomy.
        images: Number of images; None if nobody has published it.
        megapixels: Usual size of a photo, in million pixels.
        sources: Names in the registry of the sources that a build reads.
        note: What a plan has to say about these values; may be empty.
        photo_bytes: Bytes of a photo that a build fetches by itself; 0 if an archive has them.
    """

    taxonomy: str
    images: int | None
    megapixels: float
    sources: tuple[str, ...]
    note: str = ""
    photo_bytes: int = 0


_VOC, _COCO = 500 * 375 / 1e6, 640 * 480 / 1e6
_COCO_PHOTO = 163_000  # train2017.zip, 19,336,861,798 bytes, over its 118,287 photos

PUBLISHED: Mapping[str, PublishedSet] = {
    "voc-trainaug": PublishedSet("voc20", 10_582, _VOC, ("voc", "sbd")),
    "voc-val": PublishedSet("voc20", 1_449, _VOC, ("voc",)),
    "pascal-b": PublishedSet(
        "voc20",
        2_000,
        _COCO,
        ("coco", "lvis", "voc", "sbd"),
        "the number of images is a guess, from 60 instances in each of 60 cells; the size of its "
        "photos is estimated by the mean of COCO's",
        _COCO_PHOTO,
    ),
    "coco14-train": PublishedSet("coco80", 82_081, _COCO, ("coco-2014", "coco-train2014")),
    "coco14-val": PublishedSet("coco80", 40_137, _COCO, ("coco-2014", "coco-val2014")),
}
"""Sets by the names of their recipes."""
