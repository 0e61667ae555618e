"""Documents: what the project's HTML pages have in common, from the head to the tables.

A page has no script and asks for nothing over a network; its content policy forbids both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import resources

from sbdata.drawing import chart_style
from sbdata.report.markup import Markup, element

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def document(title: str, content: Iterable[object], further_style: str = "") -> str:
    """Return the text of a whole page.

    Args:
        title: of the window.
        content: of the page's main part.
        further_style: after the sheets of charts and report, which every page has.
    """
    sheet = (resources.files("sbdata.report") / "report.css").read_text("utf-8")
    page = element(
        "html",
        element(
            "head",
            element("meta", charset="utf-8"),
            element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("meta", name="color-scheme", content="light dark"),
            element("link", rel="icon", href="data:,"),
            element("title", title),
            element("style", Markup(chart_style() + sheet + further_style)),
        ),
        element("body", element("main", *content)),
        lang="en",
    )
    return f"<!DOCTYPE html>\n{page}\n"


def contents(headings: Iterable[tuple[str, str]]) -> Markup:
    """Return links to the sections of a page, given the id and heading of each."""
    links = (element("li", element("a", heading, href=f"#{id_}")) for id_, heading in headings)
    return element("nav", element("ul", *links), aria_label="Contents")


def section(id_: str, heading: str, content: Iterable[object]) -> Markup:
    """Return a section that a link can lead to."""
    title = element("h2", heading, id=f"{id_}-title")
    return element("section", title, *content, id=id_, aria_labelledby=f"{id_}-title")


def table(
    caption: str,
    head: Sequence[object],
    rows: Iterable[Markup],
    class_: str | None = None,
    words: Sequence[int] = (),
) -> Markup:
    """Return a table in a box of its own that scrolls sideways, by keyboard too.

    Args:
        caption: whose first sentence also names the box.
        head: the titles of the columns.
        rows: elements ``tr``.
        class_: of the table.
        words: places of the columns that hold words, beside the first.
    """
    columns = (
        element("th", title, scope="col", class_="words" if k in (0, *words) else None)
        for k, title in enumerate(head)
    )
    whole = element(
        "table",
        element("caption", element("span", caption)),
        element("thead", element("tr", *columns)),
        element("tbody", *rows),
        class_=class_,
    )
    label = caption.split(".")[0]
    return element("div", whole, class_="scroll", tabindex=0, role="region", aria_label=label)
