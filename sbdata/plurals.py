"""Numbers of things as text, in the singular or the plural."""

from __future__ import annotations


def count(n: int, one: str, many: str = "") -> str:
    """Return a number of things as text.

    >>> count(1, "image"), count(1200, "image"), count(2, "class", "classes")
    ('1 image', '1,200 images', '2 classes')
    """
    return f"{n:,} {one if n == 1 else many or one + 's'}"
