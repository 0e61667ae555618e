"""Where compiled code is kept if neither the package nor the home can be written."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from sbdata import compiled_code
from sbdata.compiled_code import keep_compiled_code

VARIABLE = "NUMBA_CACHE_DIR"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package in a folder of its own; what may be written is told by name, even to root."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(compiled_code, "__file__", str(tmp_path / "package" / "__init__.py"))
    (tmp_path / "package").mkdir()
    (tmp_path / "file").touch()
    allowed = os.access
    shut = tmp_path / "package"
    monkeypatch.setattr(
        os, "access", lambda place, how: Path(place) != shut and allowed(place, how)
    )
    return tmp_path / "package"


def test_a_private_folder_stands_in(package: Path, tmp_path: Path) -> None:
    keep_compiled_code()
    folder = Path(os.environ[VARIABLE])
    assert folder == tmp_path / f"sbdata-compiled-{os.getuid()}"
    assert folder.stat().st_mode & 0o777 == 0o700
    del os.environ[VARIABLE]
    keep_compiled_code()  # and is taken up again
    assert Path(os.environ[VARIABLE]) == folder


@pytest.mark.parametrize("trap", ["open", "link"])
def test_a_folder_that_others_could_write_is_not_used(
    package: Path, tmp_path: Path, trap: str
) -> None:
    planted = tmp_path / f"sbdata-compiled-{os.getuid()}"
    if trap == "open":
        planted.mkdir()
        planted.chmod(0o777)
    else:
        (tmp_path / "other").mkdir(mode=0o700)
        planted.symlink_to(tmp_path / "other")
    keep_compiled_code()
    assert Path(os.environ[VARIABLE]).name.startswith("sbdata-compiled-")
    assert Path(os.environ[VARIABLE]) != planted


def test_other_places_come_first(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    keep_compiled_code()
    assert VARIABLE not in os.environ
    monkeypatch.setenv(VARIABLE, "/mine")
    keep_compiled_code()
    assert os.environ[VARIABLE] == "/mine"
