"""Classes of masks that sbdata wrote, from the record that lies with them.

Numbers alone cannot tell whose classes they are. ``sbdata predict`` records the classes in its
folder, ``sbdata pseudo import`` beside it.
"""

from __future__ import annotations

from pathlib import Path

from sbdata.errors import InputError
from sbdata.json_files import read_json
from sbdata.layout import IMPORT_RECORD, IMPORTED_MASKS, PREDICTIONS_RECORD
from sbdata.plurals import count
from sbdata.taxonomy import Taxonomy, alike


def check_classes(
    folder: Path,
    taxonomy: Taxonomy,
    *,
    reader: str = "the truth",
    remedy: str = "predict or import for this truth again",
) -> None:
    """Check that masks of sbdata have the classes that they are read as, if a record names them.

    Args:
        folder: Folder of masks.
        taxonomy: Classes that their numbers are read as.
        reader: What has these classes, for the message.
        remedy: Remedy, for the message.

    Raises:
        InputError: If the masks have other classes. Names may differ in spelling: case, blanks,
            hyphens and underscores.
    """
    place = folder.resolve()
    imported = [place.parent / IMPORT_RECORD] if place.name == IMPORTED_MASKS else []
    for record in (place / PREDICTIONS_RECORD, *imported):
        classes = _recorded_classes(record)
        if classes and not alike(classes, taxonomy.classes):
            theirs, ours = (", ".join(names[:3]) for names in (classes, taxonomy.classes))
            msg = (
                f"{folder}: masks of {count(len(classes), 'class', 'classes')} ({theirs}, ...), "
                f"says {record.name}, but {reader} has {len(taxonomy)} ({ours}, ...); {remedy}"
            )
            raise InputError(msg)


def _recorded_classes(record: Path) -> list[str]:
    """Return the classes that a record of sbdata names; empty if it names none, or is another's."""
    try:
        found = read_json(record, "")
    except InputError:
        return []
    found = found if isinstance(found, dict) else {}
    if record.name == IMPORT_RECORD and not str(found.get("format")).startswith("sbdata.import."):
        return []
    classes = found.get("classes")
    return list(map(str, classes)) if isinstance(classes, list) else []
