"""``labelmap.txt``: names and colours of the numbers in a set's class masks.

Datumaro and CVAT read it beside masks in the VOC devkit's layout, and take VOC's own 20 classes if
it is missing. After a comment line it has one line ``label:color_rgb:parts:actions`` for each
number: background, the classes in order, and void, which those tools call ``ignored``. Parts and
actions stay empty. The colours are those of the palette that :func:`sbdata.mask_files.
write_index_png` gives every mask.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sbdata.errors import InputError
from sbdata.mask_files import VOID, numbers_of_colours, voc_palette
from sbdata.quoting import quoted
from sbdata.taxonomy import Taxonomy
from sbdata.text_files import read_lines

LABELMAP_FILE = "labelmap.txt"
BACKGROUND, IGNORED = "background", "ignored"

_HEAD = "# label:color_rgb:parts:actions"
_VALUES = re.compile(r"(\d{1,5})(?:[\s,]+(\d{1,3})[\s,]+(\d{1,3}))?", re.ASCII)


def labelmap_problem(taxonomy: Taxonomy) -> str:
    """Return which class name the format cannot hold, and why; empty if it holds all.

    >>> labelmap_problem(Taxonomy("pets", ("cat", "dog: small")))
    "class 'dog: small': a colon ends the name there"
    """
    for name in taxonomy.classes:
        reason = ""
        if ":" in name:
            reason = "a colon ends the name there"
        elif name in (BACKGROUND, IGNORED):
            reason = "the name has a meaning of its own there"
        elif name.startswith("#"):
            reason = "a line that begins with # is a comment there"
        elif name != name.strip() or len(name.splitlines()) > 1:
            reason = "blanks at its ends and line ends are lost there"
        if reason:
            return f"class {quoted(name)}: {reason}"
    return ""


def labelmap_text(taxonomy: Taxonomy) -> str:
    r"""Return the content of ``labelmap.txt`` for a set's classes.

    >>> labelmap_text(Taxonomy("pets", ("cat",))).splitlines()[1:]
    ['background:0,0,0::', 'cat:128,0,0::', 'ignored:224,224,192::']
    """
    palette = voc_palette()
    numbers = [0, *range(1, len(taxonomy) + 1), VOID]
    names = [BACKGROUND, *taxonomy.classes, IGNORED]
    lines = [
        f"{name}:{','.join(map(str, palette[3 * n : 3 * n + 3]))}::"
        for n, name in zip(numbers, names, strict=True)
    ]
    return "\n".join([_HEAD, *lines]) + "\n"


def parse_entry(line: str) -> tuple[str, tuple[int, ...]]:
    """Return the name in a line, and its colour or number; without either, no values.

    >>> parse_entry("tvmonitor:0,64,128:screen,stand:on"), parse_entry("dog: small : 12")
    (('tvmonitor', (0, 64, 128)), ('dog: small', (12,)))
    >>> parse_entry("cat:::"), parse_entry("cat")
    (('cat', ()), ('cat', ()))
    """
    fields = [field.strip() for field in line.split(":")]
    for place, field in enumerate(fields[1:], start=1):
        if found := _VALUES.fullmatch(field):
            values = (int(value) for value in found.groups() if value is not None)
            return ":".join(line.split(":")[:place]).strip(), tuple(values)
        if not field:
            break
    return fields[0], ()


def check_labelmap(folder: Path, classes: Sequence[str]) -> None:
    """Check that the names in a devkit's ``labelmap.txt``, if there is one, are the given ones.

    The colour of a name tells its number in the masks; without colours, its line does.

    Args:
        folder: Folder of the devkit.
        classes: Names of the numbers 1, 2, ...

    Raises:
        InputError: If a number has another name there.
    """
    path = folder / LABELMAP_FILE
    if not path.is_file():
        return
    lines = map(str.strip, read_lines(path, "class names"))
    entries = [parse_entry(line) for line in lines if line and not line.startswith("#")]
    for place, (name, values) in enumerate(entries):
        number = _number_of(values) if values else place
        if name.lower() in (BACKGROUND, IGNORED, "void") or (number or 0) > len(classes):
            continue  # masks with larger numbers are refused
        if name not in classes if number is None else number and name != classes[number - 1]:
            other = "" if number is None else f" for number {number}, not {classes[number - 1]}"
            msg = (
                f"{path}: names {quoted(name)}{other}, so these masks have other classes; give a "
                "set by --set, or name the classes in a recipe by options: {classes: [...]}"
            )
            raise InputError(msg)


def _number_of(values: Sequence[int]) -> int | None:
    """Return a number, or the one that has a colour in VOC's palette; None if none has."""
    if len(values) == 1:
        return values[0]
    if max(values) > VOID:
        return None
    number, unknown = numbers_of_colours(np.array([values], np.uint8))
    return None if unknown[0] else int(number[0])
