"""VOC's XML annotations of some images, which labels and boxes of one's own are read from."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from sbdata.errors import InputError

VocFile = tuple[str, Path, "ElementTree.ElementTree[Any]"]
"""An image's id, its annotation file, and what the file holds."""


def read_voc_files(folder: Path, image_ids: Collection[str]) -> Iterator[VocFile]:
    """Read those of ``<image_id>.xml`` that are there, in the order of the ids.

    Raises:
        InputError: naming the file that cannot be read.
    """
    for image_id in sorted(image_ids):
        file = folder / f"{image_id}.xml"
        if not file.is_file():
            continue
        try:
            tree = ElementTree.parse(file)  # noqa: S314 - expat >= 2.4.1 caps entity expansion
        except (OSError, ElementTree.ParseError, ValueError) as error:
            msg = f"{file}: not a readable VOC annotation ({error}); restore it from the devkit"
            raise InputError(msg) from error
        yield image_id, file, tree
