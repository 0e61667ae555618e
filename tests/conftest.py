"""Fixtures that several rooms share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sbdata.curate.build import build_set
from sbdata.curate.inputs import Inputs
from sbdata.recipe import load_recipe

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real photos and annotations; tests that need it skip where it is absent."""
    default = REPOSITORY.parent / "shared" / "data"
    folder = Path(os.environ.get("SBDATA_REAL_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}; name its folder by SBDATA_REAL_DATA")
    return folder


@pytest.fixture(scope="session")
def shapes_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of eight generated images."""
    out = tmp_path_factory.mktemp("sets") / "shapes"
    few = "sources.0.options={seed: 0, pool: 16, train: 8}"
    build_set(load_recipe("shapes-train", [few]), out, Inputs())
    return out
