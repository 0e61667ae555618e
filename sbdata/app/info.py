"""Notes that sbdata stores in a FiftyOne dataset, and the paths of the dataset's files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sbdata.errors import InputError
from sbdata.settings import from_plain
from sbdata.sizes import SizeBins

if TYPE_CHECKING:
    import fiftyone as fo

INFO = "sbdata"
_OTHER = re.compile(r"[^0-9A-Za-z]+")


def dataset_name(set_name: str) -> str:
    """Return the name of a set's dataset in FiftyOne.

    >>> dataset_name("shapes-b")
    'sbdata-shapes-b'
    """
    return f"sbdata-{set_name}"


def field_name(title: str) -> str:
    """Return a name converted to a valid name of a FiftyOne field.

    >>> field_name("cam.sb-ewc seed 0")
    'cam_sb_ewc_seed_0'
    """
    return _OTHER.sub("_", title).strip("_") or "unnamed"


def is_ours(dataset: fo.Dataset) -> bool:
    """Return whether sbdata made a dataset."""
    found = dataset.info.get(INFO)
    return isinstance(found, dict) and "logical_hash" in found


def info_of(dataset: fo.Dataset) -> dict[str, Any]:
    """Return the notes that sbdata stored in a dataset.

    Returns:
        ``set``, ``logical_hash`` (None while it is being filled), ``root``, ``masks``,
        ``synthetic``, ``classes``, ``sizes``, ``bins`` (see :func:`bins_of`),
        ``views`` (names of the views that sbdata saved) and ``runs`` by name, each with ``title``,
        ``folder``, ``predictions_sha256``, ``values`` and how it was scored (see
        :mod:`sbdata.app.attached`).

    Raises:
        InputError: If sbdata did not make the dataset.
    """
    if not is_ours(dataset):
        msg = (
            f"FiftyOne's dataset {dataset.name!r} was not made by sbdata; rename it by "
            f"`fiftyone datasets rename {dataset.name} NEW` or delete it"
        )
        raise InputError(msg)
    return dict(dataset.info[INFO])


def bins_of(known: Mapping[str, Any]) -> SizeBins:
    """Return the size bins of the set that a dataset was loaded from.

    Args:
        known: Notes of the dataset, see :func:`info_of`. Those of sbdata 0.2.0 have the upper end
            of every size but the last, by name.
    """
    bins = known["bins"]
    if set(bins) != {"edges", "names"}:
        return SizeBins(tuple(bins.values()), tuple(known["sizes"]))
    found = from_plain(SizeBins, bins, "bins")
    assert isinstance(found, SizeBins)  # noqa: S101 - for the type checker
    return found


def set_root(known: Mapping[str, Any]) -> Path:
    """Return the folder of the set that a dataset was loaded from.

    Args:
        known: Notes of the dataset, see :func:`info_of`.

    Raises:
        InputError: If the folder is no longer there.
    """
    root = Path(known["root"])
    if not root.is_dir():
        msg = f"{root}: the set is no longer there; run 'sbdata app' with the folder it is in now"
        raise InputError(msg)
    return root


def note_info(dataset: fo.Dataset, **values: Any) -> None:
    """Update some of the notes that sbdata stored in a dataset."""
    dataset.info[INFO] = {**dataset.info.get(INFO, {}), **values}
    dataset.save()


def lost_files(paths: Iterable[str | None]) -> bool:
    """Return whether any of the files is missing; None entries are ignored."""
    return any(path is not None and not Path(path).is_file() for path in paths)


def masks_folder(masks: Path, dataset: str, content: str, digest: str) -> Path:
    """Return the folder of the class maps with one content.

    Args:
        masks: Folder of all class maps.
        dataset: Name of the dataset in FiftyOne.
        content: Field that shows the class maps.
        digest: Hash of the content, so that different contents get different folders.
    """
    return masks / dataset / f"{content}-{digest[:16]}"
