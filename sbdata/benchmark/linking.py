"""Linking: imported masks as the only stage of a method.

This module imports little of sbdata: a stage's key covers all code that it can reach, and a change
elsewhere should not invalidate imported masks.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sbdata.errors import InputError
from sbdata.importers.digests import digest_of, mask_digest
from sbdata.masks import read_index_png
from sbdata.storage import writing

if TYPE_CHECKING:
    from sbdata.benchmark.stage import StageContext


@dataclass(frozen=True)
class ImportSettings:
    """Description of imported masks in a result; the stage's key depends on it.

    Attributes:
        name: Name of the import.
        source: Title of the method, if given.
        url: URL of the files.
        layout: Layout of the files.
        rule: Conversion rule in words; empty for finished masks.
        files_sha256: SHA-256 over the published files.
        masks_sha256: SHA-256 over the masks.
    """

    name: str
    source: str
    url: str
    layout: str
    rule: str
    files_sha256: str
    masks_sha256: str


def link_masks(task: StageContext, settings: ImportSettings) -> None:
    """Link the masks of an import, whose folder is the stage's source.

    Raises:
        InputError: if masks are missing, of other sizes, or not those that were imported.
    """
    folder = task.source or Path()
    remedy = "import them again by 'sbdata pseudo import' for this training set"
    absent = [r.image_id for r in task.weak.rows if not (folder / f"{r.image_id}.png").is_file()]
    if absent:
        msg = f"{folder}: no mask of image {absent[0]} ({len(absent):,} are missing); {remedy}"
        raise InputError(msg)
    size_of = {row.image_id: row.size for row in task.weak.rows}
    digests = []
    files = sorted(folder.glob("*.png"))
    for done, file in enumerate(files, start=1):
        mask = read_index_png(file)
        digests.append((file.stem, mask_digest(mask)))
        size = size_of.get(file.stem)
        if size is not None:
            if mask.shape != size:
                msg = (
                    f"{file}: {mask.shape[1]} x {mask.shape[0]} pixels, but its image has "
                    f"{size[1]} x {size[0]}; {remedy}"
                )
                raise InputError(msg)
            with writing(task.folder / file.name) as temporary:
                shutil.copyfile(file, temporary)
        task.progress(done, len(files))
    if digest_of(digests) != settings.masks_sha256:
        msg = f"{folder}: the masks are not those recorded in import.json; {remedy}"
        raise InputError(msg)
