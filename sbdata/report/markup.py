"""HTML and SVG from nested calls, in which every plain string is escaped.

Names of images, classes and folders come from files and may hold anything. A string enters the
document as text or as an attribute's value, never as markup; only :class:`Markup`, which this
module makes, is taken as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from markupsafe import Markup as Markup

from sbdata.printable import displayable

_VOID = frozenset({"br", "col", "img", "link", "meta"})  # of HTML: these have no end tag


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
        return Markup(f"<{name}{given}>")  # noqa: S704
    return Markup(f"<{name}{given}>{join(children)}</{name}>")  # noqa: S704


def join(children: Iterable[object], between: str = "") -> Markup:
    """Return children side by side, those that are not Markup as escaped text."""
    return Markup(between.join(c if isinstance(c, Markup) else text(c) for c in children))  # noqa: S704


def text(value: object) -> Markup:
    r"""Return a value as escaped text; what cannot be shown becomes the replacement character.

    Control characters are not allowed in XML, lone surrogates not in UTF-8, and characters that
    turn the direction of writing could make a name look like another.

    >>> text("<b>\x00")
    '&lt;b&gt;�'
    """
    return Markup(escape(displayable(str(value))))  # noqa: S704
