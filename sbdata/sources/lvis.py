"""LVIS: COCO's images with finer masks of 1,203 categories.

The files have COCO's format, with two differences: images are named only by their COCO URL (the
splits mix COCO's folders), and each image lists the categories that may have more objects than are
annotated.
"""

from __future__ import annotations

from pathlib import Path

from sbdata.errors import InputError
from sbdata.recipe import SourceSpec
from sbdata.sources.coco import CocoSource, PhotoNames, needed_root, open_annotations

_LAYOUTS = ("lvis_v1_{split}.json", "annotations/lvis_v1_{split}.json")


def open_lvis(spec: SourceSpec, split: str, root: Path | None) -> CocoSource:
    """Open one split of LVIS.

    Args:
        spec: Source entry of the recipe. By default the annotations are ``lvis_v1_{split}.json`` in
            the root or its folder ``annotations``; v0.5 is read with ``annotations:
            lvis_v0.5_{split}.json``. Images are in the same folders as in COCO (``train2017/...``).
            Only categories of its ``class_map`` are read.
        split: ``train`` or ``val``.
        root: Folder with the annotations and, if they are local, COCO's images.

    Raises:
        InputError: If the annotation file is missing, not in LVIS's format, or without images.
    """
    root = needed_root(spec, root, "LVIS's annotations")
    file = lvis_file(spec, split, root)
    folder = None if spec.images is None else spec.images.replace("{split}", split)
    return open_annotations(spec, split, root, file, PhotoNames(folder, from_url=True))


def lvis_file(spec: SourceSpec, split: str, root: Path) -> Path:
    """Return the annotation file of one split.

    Raises:
        InputError: If it is missing; the message says where to get it.
    """
    layouts = (spec.annotations,) if spec.annotations is not None else _LAYOUTS
    files = [root / layout.replace("{split}", split) for layout in layouts]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        where = (
            "the recipe names it as annotations"
            if spec.annotations is not None
            else f"it is in lvis_v1_{split}.json.zip from the dataset page of LVIS's website "
            "(lvisdataset.org), whose splits are train and val"
        )
        msg = (
            f"{files[0]}: no such file; {where}; give its folder by --source-root "
            f"{spec.name}=PATH, or another split by --set"
        )
        raise InputError(msg)
    return file
