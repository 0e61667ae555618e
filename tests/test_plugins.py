"""Things by name that other packages and scripts add."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sbdata.errors import InputError
from sbdata.plugins import Registry, forget_entries


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package with three entry points, of which one cannot be imported."""
    (tmp_path / "far_away.py").write_text("NUMBER = 7\nTEXT = 'seven'\n")
    about = tmp_path / "far_away-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: far-away\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[sbdata.tests]\nfar = far_away:NUMBER\nbroken = far_away:ABSENT\nwrong = far_away:TEXT\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    forget_entries()
    yield tmp_path
    forget_entries()


def numbers() -> Registry[int]:
    def check(thing: int) -> str:
        return "" if isinstance(thing, int) else "is not a number"

    return Registry("sbdata.tests", "number", {"one": 1, "two": 2}, check)


def test_own_things_then_registered_ones_then_entry_points(installed: Path) -> None:
    found = numbers()
    found.register("three", 3)
    assert list(found) == ["one", "two", "three", "broken", "far", "wrong"]
    assert len(found) == 6
    assert (found["two"], found.find("three"), found["far"]) == (2, 3, 7)
    assert "far" in found
    assert "four" not in found
    found.unregister("three")
    assert "three" not in found


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("four", "no number called 'four'; choose from one, two, broken, far, wrong"),
        ("broken", "number 'broken': far_away:ABSENT cannot be imported"),
        ("wrong", "number 'wrong': far_away:TEXT is not a number"),
    ],
)
def test_what_is_not_there_is_said(installed: Path, name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        numbers().find(name)


def test_a_name_is_given_once(installed: Path) -> None:
    for name in ("one", "far"):
        with pytest.raises(InputError, match=f"a number called '{name}' already exists"):
            numbers().register(name, 1)
    with pytest.raises(InputError, match="number 'new': is not a number"):
        numbers().register("new", "text")  # type: ignore[arg-type]


def test_a_missing_key_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        numbers()["four"]
