"""File names that are equal except for their Unicode form or letter case.

A letter with a diacritic is one character (form NFC) or a letter and a combining mark (form NFD).
Linux keeps the form it is given; Macs and some archivers write NFD, while lists and annotations are
mostly NFC. A name is therefore looked up in both forms. Two files whose names differ only in the
form look the same everywhere, so they are refused. Names that differ in letter case are two names.
"""

from __future__ import annotations

import os
import unicodedata
import uuid
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from sbdata.errors import InputError
from sbdata.quoting import quoted


class AmbiguousNameError(InputError):
    """Two files whose names differ only in their Unicode form."""


def composed(name: str) -> str:
    r"""Return a name with every letter and its mark as one character (NFC).

    >>> composed("e\u0301.jpg") == "\xe9.jpg"
    True
    """
    return name if name.isascii() else unicodedata.normalize("NFC", name)


class FileNames:
    r"""Collection of file names that are found in any Unicode form.

    >>> FileNames(["e\u0301.jpg", "a.jpg"]).find("\xe9.jpg") == "e\u0301.jpg"
    True
    """

    def __init__(self, names: Iterable[str], where: Path | str = "") -> None:
        self._where = where
        self._by_form: dict[str, str] = {}
        self._twins: dict[str, str] = {}
        for name in names:
            form = composed(name)
            other = self._by_form.setdefault(form, name)
            if other != name:
                self._twins[form] = name

    def find(self, name: str) -> str | None:
        """Return a name in the form in which it is stored, or None if it is not stored.

        Raises:
            AmbiguousNameError: If two names are stored that differ only in form.
        """
        form = composed(name)
        if form in self._twins:
            raise self._ambiguous(form, "either file could be meant; keep one of the two")
        return self._by_form.get(form)

    def check_distinct(self) -> None:
        """Check that no two names differ only in form, because they would find the same file.

        Raises:
            AmbiguousNameError: If two do.
        """
        for form in self._twins:
            raise self._ambiguous(form, "one file would be taken for both; rename one of the two")

    def _ambiguous(self, form: str, why: str) -> AmbiguousNameError:
        one, other = self._by_form[form], self._twins[form]
        where = f"{self._where}: " if str(self._where) else ""
        return AmbiguousNameError(
            f"{where}{one!a} and {other!a} are one name in two Unicode forms (NFC and NFD), "
            f"so {why}"
        )


def stored(folder: Path, name: str) -> Path:
    """Return the path of a file by its name, in the Unicode form in which its folder stores it.

    Args:
        folder: Folder that the name is relative to.
        name: Name of the file, with slashes between folders.

    Returns:
        The path; ``folder / name`` if no such file is stored.

    Raises:
        AmbiguousNameError: If the folder contains two files whose names differ only in form.
    """
    if name.isascii():
        return folder / name
    path = folder
    for part in name.split("/"):
        path /= part if part.isascii() else _names_of(path).find(part) or part
    return path


def _names_of(folder: Path) -> FileNames:
    try:
        return _listed(str(folder), os.stat(folder).st_mtime_ns)  # noqa: PTH116 - follows links
    except OSError:
        return FileNames(())


@lru_cache(maxsize=32)
def _listed(folder: str, _changed: int) -> FileNames:
    names = (name for name in os.listdir(folder) if not name.isascii())  # noqa: PTH208
    return FileNames(names, folder)


# --- names that some file systems treat as one ----------------------------------------------------


def differ_in_case(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Return the groups of names that differ only in letter case.

    >>> differ_in_case(["a", "b", "A"])
    [('A', 'a')]
    """
    groups: dict[str, list[str]] = {}
    for name in sorted(set(map(composed, names))):
        groups.setdefault(name.casefold(), []).append(name)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def describe_case(names: Iterable[str]) -> str:
    """Return a sentence with the names that differ only in letter case; empty if none do.

    Args:
        names: Names of images.

    >>> describe_case(["a", "b"])
    ''
    """
    groups = differ_in_case(names)
    if not groups:
        return ""
    first = " and ".join(quoted(name) for name in groups[0][:3])
    more = f" ({len(groups):,} such groups in all)" if len(groups) > 1 else ""
    return (
        f"the images {first} have names that differ only in letter case{more}; all of them count, "
        "but a macOS or Windows disk takes them for one file, so their photos and masks cannot be "
        "copied there; rename all but one"
    )


def tells_case(folder: Path) -> bool:
    """Return True if a folder can contain two files whose names differ only in letter case.

    Raises:
        OSError: If the folder cannot be written.
    """
    probe = folder / f".case.{uuid.uuid4().hex[:8]}.part"
    try:
        probe.touch()
        return not probe.with_name(probe.name.upper()).exists()
    finally:
        probe.unlink(missing_ok=True)
