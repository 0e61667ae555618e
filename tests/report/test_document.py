"""The shell of a page, its sections and its tables."""

from __future__ import annotations

from html.parser import HTMLParser

from sbdata.report.document import contents, document, section, table
from sbdata.report.markup import element


class _Parsed(HTMLParser):
    """Reads elements with their attributes, and complains of a tag that is closed out of turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def test_document_is_whole_escaped_and_forbids_everything_from_outside() -> None:
    page = document("<i>", [element("h1", "a & b"), "<script>"], ".own { color: red; }")
    assert page.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert "<title>&lt;i&gt;</title>" in page
    assert "<main><h1>a &amp; b</h1>&lt;script&gt;</main>" in page
    assert page.index(".own {") > page.index("main {")  # so that it has the last word
    policies = [m["content"] for m in _Parsed(page).all("meta") if "http-equiv" in m]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]


def test_links_lead_to_sections() -> None:
    headings = [("one", "First"), ("two", "Second")]
    page = document("t", [contents(headings), *(section(*heading, []) for heading in headings)])
    parsed = _Parsed(page)
    assert [a["href"] for a in parsed.all("a")] == ["#one", "#two"]
    assert [s["id"] for s in parsed.all("section")] == ["one", "two"]
    assert [s["aria-labelledby"] for s in parsed.all("section")] == [
        h["id"] for h in parsed.all("h2")
    ]


def test_table_scrolls_by_keyboard_and_is_named_by_its_first_sentence() -> None:
    rows = [element("tr", element("td", "x"))]
    parsed = _Parsed(table("What it is. More.", ["a", "b", "c"], rows, "own", words=(2,)))
    (box,) = parsed.all("div")
    assert box == {"class": "scroll", "tabindex": "0", "role": "region", "aria-label": "What it is"}
    assert parsed.all("table") == [{"class": "own"}]
    assert [th.get("class") for th in parsed.all("th")] == ["words", None, "words"]
    assert all(th["scope"] == "col" for th in parsed.all("th"))
