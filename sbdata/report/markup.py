"""HTML and SVG from nested calls, in which every plain string is escaped.

Names of images, classes and folders come from files and may hold anything. A string enters the
document as text or as an attribute's value, never as markup; only :class:`Markup`, which this
module makes, is taken as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from unicodedata import category

_VOID = frozenset({"br", "col", "img", "link", "meta"})  # of HTML: these have no end tag
_TURNS = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class Markup(str):
    """A string that is already HTML or SVG."""

    __slots__ = ()


def element(name: str, /, *children: object, **attributes: object) -> Markup:
    """Return one element.

    Args:
        name: of the tag.
        children: Markup is kept; anything else is shown as escaped text.
        attributes: ``class_`` stands for ``class`` and ``stroke_width`` for ``stroke-width``. None
            leaves an attribute out.

    >>> element("p", "1 < 2 ", element("b", "&"), class_="note")
    '<p class="note">1 &lt; 2 <b>&amp;</b></p>'
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Markup(f"<{name}{given}>")
    return Markup(f"<{name}{given}>{join(children)}</{name}>")


def join(children: Iterable[object], between: str = "") -> Markup:
    """Return children side by side, those that are not Markup as escaped text."""
    return Markup(between.join(c if isinstance(c, Markup) else text(c) for c in children))


def text(value: object) -> Markup:
    r"""Return a value as escaped text; what cannot be shown becomes the replacement character.

    Control characters are not allowed in XML, lone surrogates not in UTF-8, and characters that
    turn the direction of writing could make a name look like another.

    >>> text("<b>\x00")
    '&lt;b&gt;�'
    """
    shown = str(value)
    if not shown.isprintable():
        shown = "".join(c if _can_stand(c) else "\ufffd" for c in shown)
    return Markup(escape(shown))


def _can_stand(character: str) -> bool:
    if character in "\n\t":
        return True
    return category(character) not in ("Cc", "Cs", "Cn") and character not in _TURNS
