"""Read VOC's XML annotations of some images, for user-provided labels and boxes."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from sbdata.errors import InputError

VocFile = tuple[str, Path, "ElementTree.ElementTree[Any]"]
"""Image id, path of the annotation file, and the file's content."""


def read_voc_files(folder: Path, image_ids: Collection[str]) -> Iterator[VocFile]:
    """Yield the files ``<image_id>.xml`` that exist, in the order of the ids.

    Raises:
        InputError: If a file cannot be read; the message names it.
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
