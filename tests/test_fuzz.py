"""A few mutated files of each format; ``python -m tests.fuzz`` tries many."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz import fuzz


@pytest.mark.slow
def test_mutated_files_are_read_or_refused(tmp_path: Path) -> None:
    found = fuzz(tmp_path, inputs=40, seed=17)
    assert [(one.seed, repr(one.error)[:200]) for one in found] == []
