"""Palettes: the classes that colours or numbers in predictions stand for.

A palette is a text file with a line ``name: r g b`` for each class, or ``name: n`` if pixels have
other numbers than the classes. ``labelmap.txt`` of CVAT and VOC tools
(``name:r,g,b:parts:actions``) is one, so that of a set is, too. ``background`` stands for 0,
``void`` and ``ignored`` for 255, and a name may have several lines. A pixel that the palette lacks
is refused.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sbdata.errors import InputError
from sbdata.labelmap import BACKGROUND, IGNORED, parse_entry
from sbdata.mask_files import VOID, voc_palette
from sbdata.quoting import quoted
from sbdata.taxonomy import Taxonomy
from sbdata.text_files import read_lines

PALETTES = ("voc", "cityscapes-trainids", "cityscapes-labelids")
"""Built-in palettes."""

_PLACES = np.array([1 << 16, 1 << 8, 1], np.int64)


@dataclass(frozen=True, eq=False)
class Palette:
    """Classes of colours or numbers.

    Attributes:
        name: Name of the palette, as given.
        colours: True if the codes are colours (65536 red + 256 green + blue), not numbers.
        codes: Codes, int64 ``(N,)``, ascending.
        classes: Class of each code, uint8 ``(N,)``.
    """

    name: str
    colours: bool
    codes: npt.NDArray[np.int64]
    classes: npt.NDArray[np.uint8]

    @property
    def digest(self) -> str:
        """SHA-256 of the codes and their classes."""
        return hashlib.sha256(self.codes.tobytes() + self.classes.tobytes()).hexdigest()

    def decode(self, pixels: npt.NDArray[Any]) -> tuple[npt.NDArray[np.uint8], str]:
        """Return the classes of pixels, ``(H, W)``, and a sentence on pixels without one, or "".

        Args:
            pixels: Colours ``(H, W, 3)`` uint8, or numbers ``(H, W)`` of any integer type.
        """
        codes = pixels @ _PLACES if self.colours else pixels
        places = np.minimum(np.searchsorted(self.codes, codes), len(self.codes) - 1)
        unknown, problem = self.codes[places] != codes, ""
        if unknown.any():
            y, x = (int(k) for k in np.argwhere(unknown)[0])
            problem = (
                f"{'colour' if self.colours else 'number'} {pixels[y, x].tolist()} at x = {x}, "
                f"y = {y} is not in palette {self.name} ({unknown.sum()} such pixels in all); add "
                "a line for it, or correct the prediction"
            )
        return self.classes[places], problem


def find_palette(name: str, taxonomy: Taxonomy) -> Palette:
    """Return a palette for the classes of a truth.

    Args:
        name: One of ``PALETTES``, or the path of a palette file. ``voc`` has VOC's colours of the
            class numbers.
        taxonomy: Classes.

    Raises:
        InputError: If the file cannot be read, a line is not an entry, a name is not a class, or a
            colour or number is given twice.
    """
    if name == "voc":
        numbers = np.array([*range(len(taxonomy) + 1), VOID])
        colours = np.frombuffer(voc_palette(), np.uint8).reshape(256, 3)[numbers] @ _PLACES
        order = np.argsort(colours)
        return Palette(name, True, colours[order], numbers[order].astype(np.uint8))
    path = Path(__file__).parent / f"{name}.txt" if name in PALETTES else Path(name)
    meanings = {BACKGROUND: 0, "void": VOID, IGNORED: VOID}  # unless classes are called so
    meanings |= {own: number for number, own in enumerate(taxonomy.classes, 1)}
    entries: dict[int, int] = {}
    colours_or_not = set()
    for number, line in enumerate(map(str.strip, read_lines(path, "palette entries")), 1):
        if not line or line.startswith("#"):
            continue
        problem = ""
        entry, values = parse_entry(line)
        if values:
            colours_or_not.add(len(values) == 3)
        code = int(np.dot(_PLACES[-len(values) :], values)) if values else 0
        if not values or (len(values) == 3 and max(values) > 255):
            problem = "no entry; write `name: r g b` with 0..255 each, or `name: n`"
        elif len(colours_or_not) > 1:
            problem = "a palette has colours or numbers, not both; keep to one of them"
        elif code in entries:
            problem = "that colour or number has a line already; keep one"
        elif entry not in meanings:
            problem = f"neither a class of {taxonomy.name} nor background nor void; rename it, or "
            problem += "remove the line: predictions with it are then refused"
        if problem:
            msg = f"{path}, line {number}, {quoted(line)}: {problem}"
            raise InputError(msg)
        entries[code] = meanings[entry]
    if not entries:
        msg = f"{path}: no entry in it; write lines `name: r g b`"
        raise InputError(msg)
    codes, classes = np.array(sorted(entries.items()), np.int64).T.copy()
    return Palette(name, True in colours_or_not, codes, classes.astype(np.uint8))
