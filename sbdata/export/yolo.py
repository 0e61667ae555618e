"""Export to Ultralytics' semantic segmentation: ``images/``, ``masks/`` and ``data.yaml``.

A mask is an 8-bit grey PNG of class numbers, 255 for void. Background is class 0 of ``data.yaml``,
since every other number of a mask must have a name there.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from sbdata.errors import InputError
from sbdata.export.photos import place_photo, turn_note
from sbdata.labelmap import BACKGROUND
from sbdata.manifest import IMAGES_FILE
from sbdata.parallel import Progress, run_each
from sbdata.quoting import shortened
from sbdata.sets import EvaluationSet

DATA_FILE = "data.yaml"
_IMAGES, _MASKS, _TRAIN = "images", "masks", "train"


def check_yolo(opened: EvaluationSet) -> None:
    """Check that the path of a mask follows from that of its photo.

    Ultralytics replaces the last folder called ``images``.

    Raises:
        InputError: If a split has that name.
    """
    if _IMAGES in opened.manifest.images["split"].to_pylist():
        msg = (
            f"{opened.root / IMAGES_FILE}: a split called {_IMAGES!r}, in which Ultralytics would "
            "not find the masks; build the set with another split"
        )
        raise InputError(msg)


def write_yolo(
    opened: EvaluationSet, folder: Path, *, workers: int, progress: Progress | None
) -> list[str]:
    """Write photos and class masks of a set as Ultralytics reads them.

    Photos are copies, because Ultralytics may rewrite a photo that it finds damaged.

    Returns:
        Notes on the export.
    """
    columns = (opened.manifest.images[name].to_pylist() for name in ("image_id", "split"))
    splits = dict(zip(*columns, strict=True))
    for split in sorted(set(splits.values())):
        for kind in (_IMAGES, _MASKS):
            (folder / kind / split).mkdir(parents=True)
    write = partial(_write, opened, folder, splits)
    turned = run_each(write, opened.image_ids, workers=workers, progress=progress)
    content = _data(opened, sorted(set(splits.values())))
    (folder / DATA_FILE).write_bytes(content.encode())
    trains = any(split.startswith(_TRAIN) for split in splits.values())
    none = f"no split's name begins with {_TRAIN!r}: {DATA_FILE} has no photos to train on"
    return [*turn_note(turned), *([] if trains else [none])]


def _write(opened: EvaluationSet, folder: Path, splits: Mapping[str, str], image_id: str) -> bool:
    split = splits[image_id]
    mask = Image.fromarray(opened.class_map(image_id))
    mask.save(folder / _MASKS / split / f"{image_id}.png", format="PNG")
    photo = opened.image_path(image_id)
    return place_photo(photo, folder / _IMAGES / split / photo.name, link=False)


def _data(opened: EvaluationSet, splits: list[str]) -> str:
    """Return ``data.yaml``. Splits whose names begin with "train" become ``train``, others ``val``.

    Ultralytics demands both keys; for one without a value, it reports what is missing.
    """
    folders = {split: f"{_IMAGES}/{split}" for split in splits}
    content: dict[str, Any] = {
        "train": [folders[s] for s in splits if s.startswith(_TRAIN)] or None,
        "val": [folders[s] for s in splits if not s.startswith(_TRAIN)] or None,
        "masks_dir": _MASKS,
        "names": dict(enumerate([BACKGROUND, *opened.taxonomy.classes])),
    }
    # Printable only: a line break in a name could add keys, and Ultralytics runs "download".
    name = shortened(opened.name) + (" (synthetic)" if opened.manifest.meta["synthetic"] else "")
    head = f"# {name}, built by sbdata; logical hash {opened.logical_hash}\n"
    return head + yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
