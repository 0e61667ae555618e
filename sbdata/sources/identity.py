"""Identity of an image, independent of the names of its source and folder.

An image may have several identities; two files that share one are the same image. Published
datasets name their files so that the number in the name identifies the image: COCO by twelve digits
(``000000391895.jpg``, ``COCO_val2014_000000391895.jpg``), VOC by year and number
(``2007_000027.jpg``). LVIS and SBD annotate the images of these two. Numbers and years that the two
do not have are no identity: ``202611301530.jpg`` and ``2024_000001.jpg`` are names of other photos.
Nor are the six digits of the VOC2007 devkit (``000032.jpg``), which other datasets have as well;
VOC2012 gives those of its photos that are from 2007 other names.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from sbdata.file_names import composed

_COCO = re.compile(r"(?:COCO_(?:train|val|test)20\d\d_)?0{6}(\d{6})", re.ASCII)  # to 581,929
_VOC = re.compile(r"20(?:0[7-9]|1[0-2])_\d{6}", re.ASCII)


def published_image(file_name: str) -> str | None:
    """Return the image of a published dataset that a file name identifies, or None.

    >>> published_image("train2017/000000391895.jpg"), published_image("JPEGImages/2007_000027.jpg")
    ('coco 391895', 'voc 2007_000027')
    >>> published_image("COCO_val2014_000000391895.jpg"), published_image("holiday.jpg")
    ('coco 391895', None)
    """
    stem = PurePosixPath(file_name).stem
    coco = _COCO.fullmatch(stem)
    if coco:
        return coco_image(int(coco[1]))
    return f"voc {stem}" if _VOC.fullmatch(stem) else None


def coco_image(image_id: int) -> str:
    """Return the identity of the COCO image with the given id."""
    return f"coco {image_id}"


def identities_of(root: Path, file_name: str, url: str | None = None) -> tuple[str, ...]:
    """Return the identities of a source's file: its path, its URL and its published name.

    The published name may come from the URL if the file was renamed.

    Args:
        root: Folder that ``file_name`` is relative to, with links resolved.
        file_name: Path of the image relative to ``root``.
        url: URL of the image, if known.

    >>> identities_of(Path("/data"), "a.jpg", "http://images.cocodataset.org/000000000009.jpg")
    ('/data/a.jpg', 'images.cocodataset.org/000000000009.jpg', 'coco 9')
    """
    found = [composed((root / file_name).as_posix()), published_image(file_name)]
    if url is not None:
        address = url.partition("://")[2] or url
        found += [address, published_image(address)]
    return tuple(dict.fromkeys(identity for identity in found if identity is not None))
