"""The page stands alone, and says what is synthetic."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

from sbdata.benchmark.leaderboard import read_boards
from sbdata.report.leaderboard_markdown import markdown_of
from sbdata.report.leaderboard_page import page_of
from tests.benchmark.result_examples import pseudo, result, write


class _Balanced(HTMLParser):
    """Complains of a tag that is closed out of turn."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value for key, value in attrs if key == "id" and value]
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_needs_nothing_else_and_says_synthetic(tmp_path: Path) -> None:
    stages = [{"stage": "<b>&", "small": {"n": 2, "kept": 1}}]
    hostile = result("<b>&", "sb", pseudo=pseudo(lost=stages, lost_threshold="<b>&"))
    write(tmp_path / "a", [result("irn", "ce", synthetic=True), hostile])
    write(tmp_path / "b", [result("irn", "ce", scored="zoo-b")])
    boards = read_boards([tmp_path])
    page = page_of(boards)
    assert page == page_of(read_boards([tmp_path]))
    parser = _Balanced()
    parser.feed(page)
    assert parser.open == []
    assert len(set(parser.ids)) == len(parser.ids)
    assert "<b>&" not in page
    for outside in ("<script", "http://", "https://", "url(", "@import"):
        assert outside not in page.replace("http://www.w3.org/2000/svg", "")
    assert page.count('<p class="synthetic">') == 1
    assert "pets-b (synthetic)" in markdown_of(boards[0])
    assert "synthetic" not in markdown_of(boards[1])
