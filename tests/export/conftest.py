"""The small sets of the exports' tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from sbdata.sets import EvaluationSet, open_set
from tests.export.sets import IMAGES, build_pets, with_columns


@pytest.fixture(scope="session")
def one_split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set as it is built."""
    return build_pets(tmp_path_factory.mktemp("pets"))


@pytest.fixture(scope="session")
def pets(one_split: Path, tmp_path_factory: pytest.TempPathFactory) -> EvaluationSet:
    """The same set with the splits train and val."""
    splits = ["train" if number % 3 else "val" for number in range(IMAGES)]
    root = with_columns(one_split, tmp_path_factory.mktemp("splits") / "pets", split=splits)
    return open_set(root)
