"""Score tables come back from their file as they were, or are refused."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from sbdata.errors import InputError
from sbdata.metrics.bootstrap import bootstrap
from sbdata.metrics.tables import ScoreTables
from sbdata.score.run import ScoreOptions, score_folder
from sbdata.score.tables_file import read_tables, write_tables
from sbdata.score.truth import truth_from_set
from sbdata.sizes import SizeBins
from tests.score.conftest import shifted


@pytest.fixture(scope="module")
def tables(dataset, tmp_path_factory) -> ScoreTables:
    folder = dataset.predict(tmp_path_factory.mktemp("tables") / "p", shifted)
    options = ScoreOptions(resamples=0, fp_attribution="area")
    return score_folder(folder, truth_from_set(dataset.manifest), options).tables


def test_tables_come_back(tables: ScoreTables, tmp_path: Path) -> None:
    write_tables(tmp_path / "a.npz", tables)
    found = read_tables(tmp_path / "a.npz")
    for name in vars(tables):
        mine, theirs = getattr(tables, name), getattr(found, name)
        if isinstance(mine, np.ndarray):
            assert mine.dtype == theirs.dtype
            np.testing.assert_array_equal(mine, theirs)
        else:
            assert mine == theirs
    drawn = [bootstrap(t, SizeBins(), resamples=20) for t in (tables, found)]
    assert drawn[0].intervals() == drawn[1].intervals()
    write_tables(tmp_path / "b.npz", found)
    assert (tmp_path / "b.npz").read_bytes() == (tmp_path / "a.npz").read_bytes()


def test_unusable_tables_are_named(tables: ScoreTables, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    write_tables(path, tables)
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}

    def archive_of(**changes: bytes) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in {**parts, **changes}.items():
                if content:
                    archive.writestr(name, content)

    def damaged() -> None:
        path.write_bytes(whole[: len(whole) // 2])

    def empty() -> None:
        path.write_bytes(b"")

    for change in (
        damaged,
        empty,
        lambda: archive_of(**{"0.regions.npy": b""}),
        lambda: archive_of(**{"0.regions.npy": parts["0.confusion.npy"]}),
        lambda: archive_of(**{"head.npy": parts["0.confusion.npy"]}),
        path.unlink,
    ):
        change()
        with pytest.raises(InputError, match=r"a\.npz: not readable score tables \("):
            read_tables(path)
