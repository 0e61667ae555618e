"""A page of a report, parsed."""

from __future__ import annotations

from html.parser import HTMLParser

VOID_TAGS = {"br", "col", "img", "input", "link", "meta"}


class Page(HTMLParser):
    """Reads a page: its elements, its text by element, its tables, and that all tags close."""

    def __init__(self, html):
        super().__init__()
        self.open, self.elements, self.tables, self.ids = [], [], [], []
        self.words = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.elements.append((tag, attrs))
        if "id" in attrs:
            self.ids.append(attrs["id"])
        if tag not in VOID_TAGS:
            self.open.append(tag)
        if tag == "table":
            self.tables.append({"caption": "", "rows": []})
        if tag == "tr":
            self.tables[-1]["rows"].append([])
        if tag in ("td", "th"):
            self.tables[-1]["rows"][-1].append([])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.words.append(data)
        if "caption" in self.open:
            self.tables[-1]["caption"] += data
        elif "td" in self.open or "th" in self.open:
            self.tables[-1]["rows"][-1][-1].append(data)

    @property
    def text(self):
        return " ".join(self.words)

    def table(self, start):
        """Return the rows of the table whose caption starts so, by the text of the first cell."""
        (found,) = [t for t in self.tables if t["caption"].startswith(start)]
        return {" ".join(row[0]): row[1:] for row in found["rows"]}

    def all(self, tag, **wanted):
        return [a for t, a in self.elements if t == tag and wanted.items() <= a.items()]
