"""Litter: files that desktops and sync programs create in any folder they show or copy."""

from __future__ import annotations

import re

_NAMES = frozenset(
    {
        "thumbs.db",
        "ehthumbs.db",
        "ehthumbs_vista.db",
        "desktop.ini",
        "icon\r",
        ".ds_store",
        ".localized",
        ".directory",
        ".spotlight-v100",
        ".trashes",
        ".fseventsd",
        ".temporaryitems",
        ".apdisk",
        "__macosx",
        "$recycle.bin",
        "system volume information",
        "@eadir",
        "lost+found",
    }
)
_COPIES = re.compile(r"\._.*|thumbs\.db:encryptable|\.nfs.*|~\$.*", re.DOTALL)


def is_litter(name: str, *, hidden: bool = True) -> bool:
    """Return True if a file or folder of this name is litter rather than data.

    Args:
        name: Name without folders.
        hidden: True if every hidden file counts, not only those that desktops create.

    >>> [n for n in ("a.png", "._a.png", ".DS_Store", "Thumbs.db", "__MACOSX") if is_litter(n)]
    ['._a.png', '.DS_Store', 'Thumbs.db', '__MACOSX']
    >>> is_litter(".part"), is_litter(".part", hidden=False)
    (True, False)
    """
    lower = name.lower()
    known = lower in _NAMES or _COPIES.fullmatch(lower) is not None
    return known or (hidden and name.startswith("."))
