"""HTML pages from templates, with all values escaped except markup.

A page is one file without network access, and without scripts unless it is the browse page; its
content policy forbids both. Values are formatted by :mod:`sbdata.formatting`, whose functions are
filters of the templates.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, FileSystemBytecodeCache, PackageLoader, StrictUndefined
from markupsafe import Markup

from sbdata import formatting
from sbdata.compiled_code import kept_code
from sbdata.drawing import chart_style
from sbdata.plurals import count
from sbdata.printable import displayable

_FILTERS = ("caption", "percent", "span")


def render(template: str, **values: Any) -> str:
    """Return the HTML of a template filled with values; the same values give the same text.

    Args:
        template: Name of a page in ``sbdata/report/templates``.
        values: Values to show. Strings are escaped; only Markup is inserted unchanged.
    """
    return _environment().get_template(f"{template}.html.j2").render(style=_style(), **values)


@cache
def _environment() -> Environment:
    folder = kept_code()
    found = Environment(
        loader=PackageLoader("sbdata.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        bytecode_cache=FileSystemBytecodeCache(str(folder), "%s.j2c") if folder else None,
    )
    found.filters |= {name: getattr(formatting, name) for name in _FILTERS}
    found.filters |= {
        "estimate": lambda value, key, *more: formatting.estimate(key, value, *more),
        "change": lambda value, key: formatting.change(key, value),
        "count": count,
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
