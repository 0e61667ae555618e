"""Derived files: lists that WSSS papers use with VOC 2012 and that no archive contains.

``trainaug`` is the list of 10,582 training images: VOC's segmentation train and all of SBD, minus
VOC's segmentation val (SBD was split before VOC 2012 and overlaps its val). Image-level labels are
the classes of the objects in each of VOC's XML annotations. They include difficult objects, since
an object is in the photo even if it is hard to see.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from sbdata.errors import InputError
from sbdata.quoting import quoted
from sbdata.sources.voc import devkit_folders, train_aug
from sbdata.taxonomy import VOC20

_LISTS = "ImageSets/Segmentation"
_LABELLED = "Annotations"
_SBD_LISTS = "benchmark_RELEASE/dataset"


@dataclass(frozen=True)
class Derived:
    """Text file computed from other files.

    Attributes:
        path: Path relative to the tree that it is written to.
        text: Content of the file.
        count: Number of images that it lists.
    """

    path: str
    text: str
    count: int


def derive_train_aug(voc: Path, sbd: Path) -> Derived:
    """Compute the list ``trainaug`` from unpacked archives.

    Args:
        voc: Folder that VOC's archive was unpacked in.
        sbd: Folder that SBD's archive was unpacked in.

    Raises:
        InputError: If a list is missing or empty.
    """
    lists = _devkit(voc) / _LISTS
    train, val = (_ids(lists / f"{name}.txt") for name in ("train", "val"))
    augmented = [i for name in ("train", "val") for i in _ids(sbd / _SBD_LISTS / f"{name}.txt")]
    ids = train_aug(train, val, augmented)
    path = (lists / "trainaug.txt").relative_to(voc).as_posix()
    return Derived(path, "".join(f"{image_id}\n" for image_id in ids), len(ids))


def derive_image_labels(voc: Path) -> Derived:
    """Compute image-level labels from VOC's XML annotations, for every image that has one.

    The file has the columns ``image_id`` and ``classes``; class names are separated by spaces.

    Args:
        voc: Folder that VOC's archive was unpacked in.

    Raises:
        InputError: If there are no annotations, or one cannot be read.
    """
    base = _devkit(voc)
    files = sorted((base / _LABELLED).glob("*.xml"))
    if not files:
        msg = f"{base / _LABELLED}: no XML annotations there; fetch the source voc again"
        raise InputError(msg)
    lines = [f"{file.stem},{' '.join(classes_of_xml(file))}\n" for file in files]
    path = (base / "image_labels.csv").relative_to(voc).as_posix()
    return Derived(path, "".join(["image_id,classes\n", *lines]), len(files))


def is_derived_from(path: str) -> bool:
    """Return True if a derived file depends on this file of VOC's or SBD's archive.

    >>> is_derived_from("VOCdevkit/VOC2012/Annotations/2007_000027.xml")
    True
    """
    folder = posixpath.dirname(path)
    return folder.endswith((f"/{_LABELLED}", f"/{_LISTS}")) or folder == _SBD_LISTS


def classes_of_xml(file: Path) -> tuple[str, ...]:
    """Return the classes of the objects in a VOC annotation, each once, in VOC's order.

    Parts of objects (heads and hands of the layout task) do not count as objects.

    Raises:
        InputError: If the file cannot be read or an object has a class that VOC does not define.
    """
    try:
        tree = ElementTree.parse(file)  # noqa: S314 - expat >= 2.4.1 caps entity expansion
    except (OSError, ElementTree.ParseError, ValueError) as error:
        msg = f"{file}: not a readable VOC annotation ({error}); repair the source voc"
        raise InputError(msg) from error
    names = {node.findtext("name", "").strip() for node in tree.iterfind("object")}
    unknown = sorted(names - set(VOC20.classes))
    if unknown:
        msg = f"{file}: {quoted(unknown[0])} is not a class of VOC; repair the source voc"
        raise InputError(msg)
    return tuple(name for name in VOC20.classes if name in names)


def _devkit(voc: Path) -> Path:
    for base in devkit_folders(voc):
        if (base / _LISTS).is_dir():
            return base
    msg = f"{voc}: no VOC devkit there ({_LISTS} is missing); fetch the source voc again"
    raise InputError(msg)


def _ids(path: Path) -> list[str]:
    try:
        ids = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path}: not a readable list of image ids ({error}); repair its source"
        raise InputError(msg) from error
    if not ids:
        msg = f"{path}: the list is empty; repair its source"
        raise InputError(msg)
    return ids
