from __future__ import annotations

from pathlib import Path

import pytest

from sbdata.curate.build import build_set
from sbdata.curate.inputs import Inputs
from sbdata.recipe import load_recipe


@pytest.fixture(scope="session")
def shapes_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of eight generated images."""
    out = tmp_path_factory.mktemp("sets") / "shapes"
    few = "sources.0.options={seed: 0, pool: 16, train: 8}"
    build_set(load_recipe("shapes-train", [few]), out, Inputs())
    return out
