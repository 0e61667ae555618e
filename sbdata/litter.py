"""Litter: files that desktops and file servers drop into any folder they show."""

from __future__ import annotations

_NAMES = frozenset(
    {
        ".ds_store", ".localized", ".directory", ".spotlight-v100", ".fseventsd", ".trashes",
        ".temporaryitems", ".appledouble", "__macosx", "icon\r", "thumbs.db", "ehthumbs.db",
        "ehthumbs_vista.db", "desktop.ini", "$recycle.bin", "system volume information", "@eadir",
    }
)  # fmt: skip
_BEGINNINGS = ("._", ".nfs", ".fuse_hidden")


def is_litter(name: str) -> bool:
    """Tell whether a file's or a folder's own name is one that a desktop or a file server gives.

    >>> is_litter("Thumbs.db"), is_litter("._photo.jpg"), is_litter("photo.jpg")
    (True, True, False)
    """
    return name.lower() in _NAMES or name.startswith(_BEGINNINGS)
