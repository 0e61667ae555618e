"""Pages from templates, in which everything but markup is escaped.

A page is one file. It has no script and asks for nothing over a network; its content policy forbids
both. Values go through :mod:`sbdata.formatting`, whose functions the templates have as filters.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from sbdata import formatting
from sbdata.drawing import chart_style
from sbdata.printable import displayable

_FILTERS = ("caption", "change", "count", "estimate", "percent", "span")


def render(template: str, **values: Any) -> str:
    """Return the text of the page that a template makes of values; the same gives the same.

    Args:
        template: name of a page in ``sbdata/report/templates``.
        values: what it shows. A string is text, whatever it holds; only Markup stands as it is.
    """
    return _environment().get_template(f"{template}.html.j2").render(style=_style(), **values)


@cache
def _environment() -> Environment:
    found = Environment(
        loader=PackageLoader("sbdata.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters |= {name: getattr(formatting, name) for name in _FILTERS}
    found.filters |= {
        "estimate": lambda value, key, *more: formatting.estimate(key, value, *more),
        "change": lambda value, key: formatting.change(key, value),
        "class_name": _class_name,
    }
    return found


def _finalize(value: object) -> object:
    return value if isinstance(value, Markup) else displayable(str(value))


def _class_name(class_id: int, scored: Any) -> str:
    return "background" if class_id == 0 else str(scored.taxonomy.name_of(class_id))


@cache
def _style() -> Markup:
    sheet = (resources.files("sbdata.report") / "report.css").read_text("utf-8")
    return Markup(chart_style() + sheet)  # noqa: S704 - our own files
