"""Export a loaded set for sharing, in FiftyOne's own format."""

from __future__ import annotations

import shutil
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import orjson

from sbdata.app.info import INFO, info_of
from sbdata.errors import InputError
from sbdata.storage import new_folder

if TYPE_CHECKING:
    import fiftyone as fo

_CARDS = ("README.md", "dataset.json")  # licences and origin of the set
_METADATA = "metadata.json"


def export_dataset(dataset: fo.Dataset, out: Path) -> Path:
    """Write a dataset with its photos, masks, scores and views into a folder.

    ``fiftyone.Dataset.from_dir(dataset_dir=out, dataset_type=fiftyone.types.FiftyOneDataset)``
    reads it again. The export does not contain the paths of this machine. The set's card, which
    names the licences, is included.

    Args:
        dataset: Dataset that holds a set.
        out: Folder that does not exist yet, or is empty.

    Raises:
        InputError: If the folder is not empty or cannot be written.
    """
    import fiftyone as fo

    known = info_of(dataset)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        msg = f"{out}: already exists; export to a new folder"
        raise InputError(msg)
    try:
        with new_folder(out) as prepared:
            dataset.export(
                export_dir=str(prepared), dataset_type=fo.types.FiftyOneDataset, progress=False
            )
            for name in _CARDS:
                card = Path(known["root"]) / name
                if card.is_file():
                    shutil.copyfile(card, prepared / name)
            _without_paths(prepared / _METADATA)
    except OSError as error:
        msg = f"{out}: cannot be written ({error.strerror or error}); export to another folder"
        raise InputError(msg) from error
    return out


def _without_paths(metadata: Path) -> None:
    content = orjson.loads(metadata.read_bytes())
    noted = content["info"][INFO]
    noted["root"] = noted["masks"] = ""
    for run in noted["runs"].values():
        run["folder"] = PurePath(run["folder"]).name
    metadata.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))
