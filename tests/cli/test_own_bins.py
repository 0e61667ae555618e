"""Sizes relative to the image, and by class, in the commands: edges and n are always said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from sbdata.cli import cli
from sbdata.errors import InputError

TRUTH = ("--class-masks", "classes", "--instance-masks", "objects", "--taxonomy", "pets.txt")
FAST = ("--resamples", "0", "--no-report")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nine images of growing size: a cat of growing area, a dog of constant area in the first."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pets.txt").write_text("cat\ndog\n")
    for k in range(1, 10):
        classes = np.zeros((20, 10 * k), np.uint8)
        classes[0, : 2 * k - 1] = 1
        if k == 1:
            classes[10:12, :2] = 2
        for place in ("classes", "objects", "p"):
            (tmp_path / place).mkdir(exist_ok=True)
            Image.fromarray(classes).save(tmp_path / place / f"{k}.png")
    return tmp_path


def sbdata(*arguments: str) -> str:
    done = CliRunner().invoke(cli, list(arguments))
    assert done.exit_code == 0, done.output
    return done.stdout


def refused(*arguments: str) -> str:
    error = CliRunner().invoke(cli, list(arguments)).exception
    assert isinstance(error, InputError)
    return str(error)


def test_edges_and_n_of_each_class_are_printed_and_written(folder: Path) -> None:
    said = sbdata("score", "p", *TRUTH, *FAST, "--bins", "terciles-by-class")
    # The cats have the areas 1, 3 ... 17; the one dog has no terciles of its own.
    assert (
        "sizes by class, divided in pixels (n small, medium, large): cat at 6 and 12 (3, 3, 3); "
        "dog at 6 and 12 (1, 0, 0)."
    ) in " ".join(said.split())
    flat = " ".join(said.split())
    assert "note: sizes are the terciles within each class of this truth" in flat
    assert (
        "note: the areas of 1 class are too few or too alike for terciles of their own; those "
        "over all classes divide them (n: dog 1)"
    ) in flat
    summary = json.loads((folder / "scores/p/summary.json").read_text())
    assert summary["bins"]["edges"] == [[6, 12], [6, 12]]
    assert summary["provenance"]["options"]["bins"] == "terciles-by-class"
    n = [summary["ia"][f"ia_{size}"]["n_instances"] for size in ("small", "medium", "large")]
    assert n == [4, 3, 3]


def test_shares_of_the_image_are_printed_and_merged_from_shards(folder: Path) -> None:
    call = ("score", "p", *TRUTH, *FAST, "--bins", "0.75%,0.90%")
    said = sbdata(*call)
    # Areas 2k - 1 of 200 k pixels: 0.5 %, 0.75 %, 0.833 % ... 0.944 %; the dog has 2 %.
    assert "sizes: small is under 0.75% of the image, medium 0.75% to 0.9%, large 0.9% and" in said
    assert "sizes are divided at 0.75%, 0.9% of the image as asked" not in said  # no own sizes
    summary = json.loads((folder / "scores/p/summary.json").read_text())
    assert summary["bins"]["edges"] == ["0.75%", "0.9%"]
    n = [summary["ia"][f"ia_{size}"]["n_instances"] for size in ("small", "medium", "large")]
    assert n == [1, 3, 6]
    for shard in ("1/2", "2/2"):
        sbdata(*call, "--shard", shard, "--out", "shards")
    sbdata("score", "--merge", "shards", "--no-report", "--out", "merged")
    for file in (folder / "scores/p").iterdir():
        assert (folder / "merged/p" / file.name).read_bytes() == file.read_bytes()


def test_statistics_and_a_report_by_other_sizes(folder: Path) -> None:
    settings = ["--set", "sources.0.options={seed: 0, pool: 12, train: 4}", "--set", "select=null"]
    sbdata("dataset", "build", "shapes-b", "--out", "set", *settings)
    call = ("dataset", "stats", "./set", "--bins", "terciles-by-class")
    own, counts = sbdata(*call), json.loads(sbdata(*call, "--json"))
    edges = counts["bins"]["edges"]
    for (first, second), (name, row) in zip(edges, counts["counts"].items(), strict=True):
        n = ", ".join(f"{row[size]:,}" for size in ("small", "medium", "large"))
        assert f"{name} at {first:,} and {second:,} ({n})" in " ".join(own.split())
    relative = sbdata("dataset", "stats", "./set", "--bins", "0.5%,5%")
    assert "sizes: small is under 0.5% of the image, medium 0.5% to 5%, large 5% and" in relative
    for bins, said in (
        ("terciles-by-class", "Sizes are by class, with the edges below."),
        ("0.5%,5%", "Small is under 0.5% of the image."),
    ):
        sbdata("score", "set/SegmentationClass", "--set", "set", "--resamples", "0", "--bins", bins)
        page = (folder / "scores/SegmentationClass/report.html").read_text()
        assert said in page
        sbdata("browse", "set", "scores/SegmentationClass", "--out", f"{said[:5]}.html")


@pytest.mark.parametrize(
    ("bins", "message"),
    [
        ("0.5%,10", "--bins takes two areas in pixels"),
        ("5%,0.5%", "must be positive and increase"),
        ("0.5%,200%", "a share up to 100%"),
        ("terciles-by-image", "or terciles or terciles-by-class"),
    ],
)
def test_other_texts_are_refused(folder: Path, bins: str, message: str) -> None:
    assert message in refused("score", "p", *TRUTH, "--bins", bins)


def test_areas_that_are_too_alike_are_refused(folder: Path) -> None:
    for place in ("classes", "objects", "p"):
        for k in range(2, 10):
            (folder / place / f"{k}.png").unlink()
    for bins in ("terciles", "terciles-by-class"):
        said = refused("score", "p", *TRUTH, *FAST, "--bins", bins)
        assert "the areas of 2 instances are too few or too alike to divide them in ter" in said
    assert not (folder / "scores").exists()
