"""Fixtures that several rooms share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real photos and annotations; tests that need it skip where it is absent."""
    default = REPOSITORY.parent / "shared" / "data"
    folder = Path(os.environ.get("SBDATA_REAL_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}; name its folder by SBDATA_REAL_DATA")
    return folder
