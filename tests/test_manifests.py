"""The committed manifests are what their recipes give now."""

from __future__ import annotations

from pathlib import Path

import pytest

from sbdata.curate.build import build_set, rebuild_set
from sbdata.curate.inputs import Inputs
from sbdata.curate.select import SOLVER
from sbdata.curate.statistics import counts_as_text
from sbdata.curate.verify import verify_set
from sbdata.manifest import read_manifest
from sbdata.recipe import load_recipe

MANIFESTS = Path(__file__).resolve().parent.parent / "manifests"


def test_every_cell_of_shapes_b_is_in_its_band() -> None:
    manifest = read_manifest(MANIFESTS / "shapes-b")
    cells = manifest.meta["selection"]["cells"]
    assert len(cells) == 24
    assert all(60 <= cell["chosen"] <= 63 for cell in cells)
    chosen = [cell["chosen"] for cell in cells]
    assert max(chosen) / min(chosen) <= 1.1


def test_the_hash_of_shapes_b_is_the_published_one() -> None:
    """Results name it: a change of it makes them results of another set."""
    assert read_manifest(MANIFESTS / "shapes-b").logical_hash == (
        "a4b132d30bc2784ea96d876a421c40d96819ae58ea9140f43951555d8e38e598"
    )


@pytest.mark.parametrize("folder", sorted(MANIFESTS.iterdir()), ids=lambda path: path.name)
def test_the_text_twin_belongs_to_the_manifest(folder: Path) -> None:
    assert (folder / "counts.txt").read_text() == counts_as_text(read_manifest(folder))


@pytest.mark.slow
def test_shapes_b_is_built_as_committed(tmp_path: Path) -> None:
    committed = read_manifest(MANIFESTS / "shapes-b")
    solver = committed.meta["selection"]["solver"]
    if solver != SOLVER:
        pytest.skip(f"chosen by {solver}; {SOLVER} may choose other images that are as good")
    built = build_set(load_recipe("shapes-b"), tmp_path / "shapes-b", Inputs(workers=2))
    assert built.manifest.logical_hash == committed.logical_hash


@pytest.mark.slow
def test_shapes_b_is_rebuilt_from_its_manifest(tmp_path: Path) -> None:
    committed = read_manifest(MANIFESTS / "shapes-b")
    built = rebuild_set(MANIFESTS / "shapes-b", tmp_path / "shapes-b", Inputs(workers=2))
    assert built.manifest.logical_hash == committed.logical_hash
    assert verify_set(built.root) == []
