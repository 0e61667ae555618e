"""Progress where there is no terminal: plain lines, few of them, on stderr."""

from __future__ import annotations

import pytest

from sbdata.cli.progress import showing_progress


def test_beginning_and_end_are_said_and_nothing_twice(capsys: pytest.CaptureFixture[str]) -> None:
    with showing_progress() as show:
        for done in (1, 2, 3, 3, 3):
            show("unpack", done, 3)
        show("verify", 1, 1)
    printed = capsys.readouterr()
    assert printed.err.splitlines() == ["unpack: 1 of 3", "unpack: 3 of 3", "verify: 1 of 1"]
    assert printed.out == ""


def test_in_between_a_line_comes_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    times = iter([0.0, 1.0, 5.5, 6.0, 11.0])
    with showing_progress(clock=lambda: next(times)) as show:
        for done in (1, 2, 3, 4, 5):
            show("unpack", done, 9)
    assert capsys.readouterr().err.splitlines() == [
        "unpack: 1 of 9", "unpack: 3 of 9", "unpack: 5 of 9"
    ]  # fmt: skip


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with showing_progress(quiet=True) as show:
        show("unpack", 1, 1)
    assert capsys.readouterr() == ("", "")
