"""What all pages have in common."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from importlib import resources

import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

from sbdata.report import pages


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


def _made(source: str, **values: object) -> str:
    imports = '{% from "macros.html.j2" import contents, section, table, head with context %}'
    return pages._environment().from_string(imports + source).render(**values)


def test_a_page_is_whole_and_forbids_everything_from_outside() -> None:
    page = pages.render("page", title="<i> & \x00")
    assert page.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert "<title>&lt;i&gt; &amp; �: IA-IoU" in page
    policies = [m["content"] for m in _Parsed(page).all("meta") if "http-equiv" in m]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]


def test_only_markup_stands_as_it_is() -> None:
    made = _made('<p title="{{ a }}">{{ a }}{{ b }}{{ n }}</p>', a='"<\u202e', b=Markup("<b>"), n=3)
    assert made == '<p title="&#34;&lt;�">&#34;&lt;�<b>3</p>'


def test_a_name_that_is_not_given_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        _made("{{ missing }}")


def test_links_lead_to_sections() -> None:
    source = (
        """{{ contents(s) }}{% for id in s %}{% call section(id, s) %}x{% endcall %}{% endfor %}"""
    )
    parsed = _Parsed(_made(source, s={"one": "First", "two": "Second"}))
    assert [a["href"] for a in parsed.all("a")] == ["#one", "#two"]
    assert [s["id"] for s in parsed.all("section")] == ["one", "two"]
    assert [s["aria-labelledby"] for s in parsed.all("section")] == [
        h["id"] for h in parsed.all("h2")
    ]


def test_a_table_scrolls_by_keyboard_and_is_named_by_its_first_sentence() -> None:
    source = """{% call table("What it is. More.", titles, "own", words=(2,)) %}
        <tr>{{ head("x") }}</tr>{% endcall %}"""
    parsed = _Parsed(_made(source, titles=["a", "b", {"caption": "c", "doc": "says"}]))
    (box,) = parsed.all("div")
    assert box == {"class": "scroll", "tabindex": "0", "role": "region", "aria-label": "What it is"}
    assert parsed.all("table") == [{"class": "own"}]
    assert [th.get("class") for th in parsed.all("th")] == ["words", None, "words", "words"]
    assert [th.get("title") for th in parsed.all("th")] == [None, None, "says", None]
    assert [th["scope"] for th in parsed.all("th")] == ["col", "col", "col", "row"]


def test_no_template_turns_escaping_off() -> None:
    for file in (resources.files("sbdata.report") / "templates").iterdir():
        assert not re.search(r"\|\s*safe|autoescape|<script", file.read_text("utf-8")), file.name
