"""``sbdata pseudo score`` with stages before and after the masks, and its page."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from sbdata.cli.pseudo import pseudo
from sbdata.errors import InputError
from sbdata.masks import write_index_png
from tests.report.browse_sets import pets, write_drawn


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A set, and folders with all of its objects, without class 1, and with nothing."""
    root = tmp_path_factory.mktemp("pseudo-score")
    opened = write_drawn(root / "set", pets())
    for image_id in opened:
        classes = opened.class_map(image_id)
        classes[classes == 255] = 0
        write_index_png(root / "all" / f"{image_id}.png", classes)
        some = np.where(classes == 1, 255, classes).astype(np.uint8)
        write_index_png(root / "some" / f"{image_id}.png", some)
        write_index_png(root / "none" / f"{image_id}.png", np.zeros_like(classes))
    (root / "labels.csv").write_text("image_id,classes\na,1\n\"b & 'b'\",2\nc,\n")
    return root


def call(folder, *more):
    words = ["score", folder / "some", "--set", folder / "set", "--resamples", "0", *more]
    done = CliRunner().invoke(pseudo, list(map(str, words)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def refused(folder, *more):
    with pytest.raises(InputError) as caught:
        call(folder, *more)
    return str(caught.value)


def test_stages_before_and_after_are_counted(folder) -> None:
    said = json.loads(
        call(folder, "--labels", folder / "labels.csv", "--stage", f"seeds={folder / 'all'}",
             "--after", f"segmenter={folder / 'none'}", "--json")
    )  # fmt: skip
    rows = [r for r in said["losses"] if r["threshold"] == "under 50 %" and r["size"] == "small"]
    counts = {r["stage"]: (r["lost"], r["newly_lost"], r["regained"]) for r in rows}
    # small: one object of class 1 in a, one of class 2 in b; a is labelled with class 1 alone
    assert counts == {
        "labels": (0, 0, 0), "seeds": (0, 0, 0), "masks": (1, 1, 0), "segmenter": (2, 1, 0)
    }  # fmt: skip
    large = [r for r in said["losses"] if (r["stage"], r["size"]) == ("labels", "large")]
    assert {(r["n"], r["lost"], r["to_background"]) for r in large} == {(2, 1, 1)}
    assert "page" not in said
    assert said["ignored_excluded"]["n_instances"]["ia_small"] == 1


def test_page_is_written_and_replaced(folder, tmp_path) -> None:
    page = tmp_path / "pages" / "stages.html"
    words = ("--stage", f"seeds={folder / 'all'}", "--page", page)
    assert f"{page}: 2 small objects by stage" in call(folder, *words)
    first = page.read_bytes()
    assert b"lost at masks" in first
    assert json.loads(call(folder, *words, "--objects", 1, "--json"))["page"] == str(page)
    assert b"1 of 2 small objects" in page.read_bytes()
    call(folder, *words)
    assert page.read_bytes() == first
    assert [path.name for path in page.parent.iterdir()] == ["stages.html"]


def test_what_is_refused(folder, tmp_path) -> None:
    page = tmp_path / "stages.html"
    assert "add --page" in refused(folder, "--objects", 3)
    assert "--after takes NAME=FOLDER" in refused(folder, "--after", "segmenter")
    twice = ("--stage", f"x={folder / 'all'}", "--after", f"x={folder / 'none'}")
    assert "two stages are called 'x'" in refused(folder, *twice, "--page", page)
    gone = ("--stage", f"seeds={tmp_path / 'gone'}", "--page", page)
    assert "gone: no such folder" in refused(folder, *gone)
    assert "no labels of image" in refused(folder, "--labels", short(tmp_path), "--page", page)
    assert not page.exists()
    page.write_text("mine")
    assert "would be lost" in refused(folder, "--page", page)
    assert page.read_text() == "mine"


def short(tmp_path):
    """Return a file that lacks the labels of two images."""
    path = tmp_path / "short.csv"
    path.write_text("image_id,classes\na,1\n")
    return path
