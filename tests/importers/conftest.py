"""A set of four images with VOC's ids, whose truth the published files may have."""

from __future__ import annotations

from pathlib import Path

import pytest

from sbdata.importers.target import Target
from tests.importers.published import build_voc_set, target_of


@pytest.fixture(scope="session")
def voc_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_voc_set(tmp_path_factory.mktemp("imports") / "four")


@pytest.fixture
def target(voc_set: Path) -> Target:
    return target_of(voc_set)
