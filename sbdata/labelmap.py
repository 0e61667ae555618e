"""``labelmap.txt``: names and colours of the numbers in a set's class masks.

Datumaro and CVAT read it beside masks in the VOC devkit's layout, and take VOC's own 20 classes if
it is missing. After a comment line it has one line ``label:color_rgb:parts:actions`` for each
number: background, the classes in order, and void, which those tools call ``ignored``. Parts and
actions stay empty. The colours are those of the palette that :func:`sbdata.mask_files.
write_index_png` gives every mask.
"""

from __future__ import annotations

from sbdata.mask_files import VOID, voc_palette
from sbdata.quoting import quoted
from sbdata.taxonomy import Taxonomy

LABELMAP_FILE = "labelmap.txt"
BACKGROUND, IGNORED = "background", "ignored"

_HEAD = "# label:color_rgb:parts:actions"


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
