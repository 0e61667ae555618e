"""The quickstart: its claim, the same bytes twice, offline, and folders of others left alone."""

from __future__ import annotations

import hashlib
import json
import re
import socket
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from sbdata.cli import cli
from sbdata.curate.build import rebuild_set
from sbdata.curate.inputs import Inputs
from sbdata.errors import InputError
from sbdata.formatting import estimate
from sbdata.masks import read_index_png
from sbdata.quickstart import (
    BLURRED,
    NAMES,
    PERFECT,
    SET,
    WITHOUT_SMALL,
    Quickstart,
    blurred,
    run_quickstart,
)
from sbdata.sets import open_set

DOCS = Path(__file__).resolve().parent.parent / "docs"


def silent(stage: str, done: int, total: int) -> None:
    """Show nothing."""


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def no_socket(*arguments: object, **named: object) -> None:
    msg = "a socket was opened"
    raise AssertionError(msg)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Quickstart:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "socket", no_socket)
        return run_quickstart(tmp_path_factory.mktemp("quickstart") / "new", silent)


def test_the_same_miou_and_another_ia_of_small_objects(found: Quickstart) -> None:
    perfect, without, blur = (found.values[name] for name in (PERFECT, WITHOUT_SMALL, BLURRED))
    assert set(perfect.values()) == {1.0}
    assert abs(without["miou"] - blur["miou"]) < 0.01
    assert without["miou"] < 1
    assert without["ia_small"] == 0
    assert blur["ia_small"] - without["ia_small"] > 0.2
    assert without["ia_medium"] == without["ia_large"] == 1
    assert found.images == 24


def test_report_and_figure_say_synthetic(found: Quickstart) -> None:
    assert "(synthetic)" in found.report.read_text()
    assert "synthetic images" in found.figure.read_text()


def test_a_second_run_writes_the_same_bytes(found: Quickstart) -> None:
    before = hashes(found.folder)
    said = CliRunner().invoke(cli, ["quickstart", "--out", str(found.folder), "--json"])
    assert said.exit_code == 0, said.output
    assert hashes(found.folder) == before
    assert json.loads(said.stdout)["values"] == found.values


def test_the_committed_picture_is_todays(found: Quickstart) -> None:
    def without_photo(path: Path) -> str:  # its bytes depend on the JPEG encoder
        return re.sub(r"data:image/jpeg;base64,[\w+/=]+", "", path.read_text())

    assert without_photo(DOCS / "quickstart.svg") == without_photo(found.figure)


def test_the_page_shows_todays_values(found: Quickstart) -> None:
    page = (DOCS / "quickstart.md").read_text()
    for name, values in found.values.items():
        cells = (NAMES[name], *(estimate(key, value) for key, value in values.items()))
        assert f"| {' | '.join(cells)} |" in page
    assert f"{found.instances} instances" in page


@pytest.mark.parametrize("name", ["predictions", "quickstart.json"])
def test_a_folder_of_others_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match="holds files of something else; give another"):
        run_quickstart(tmp_path, silent)
    with pytest.raises(InputError, match="a file, not a folder"):
        run_quickstart(tmp_path / name, silent)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_blurred_takes_the_most_frequent_class_of_each_window() -> None:
    classes = np.random.default_rng(0).integers(0, 4, (9, 13)).astype(np.uint8)
    padded = np.pad(classes, 2, mode="edge")
    expected = [
        [np.bincount(padded[y : y + 5, x : x + 5].ravel()).argmax() for x in range(13)]
        for y in range(9)
    ]
    np.testing.assert_array_equal(blurred(classes, 2), expected)


@pytest.mark.slow
def test_the_set_that_comes_with_the_package_is_what_its_manifest_builds(tmp_path: Path) -> None:
    built = rebuild_set(SET, tmp_path / "set", Inputs())
    assert built.manifest.logical_hash == open_set(SET).logical_hash
    masks = ("SegmentationClass/*.png", "SegmentationObject/*.png")
    for path in sorted(found for mask in masks for found in SET.glob(mask)):
        again = tmp_path / "set" / path.relative_to(SET)
        assert (read_index_png(again) == read_index_png(path)).all()
