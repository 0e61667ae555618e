from __future__ import annotations

from pathlib import Path

from sbdata_baselines.methods.cam import BASELINE

from tests.baselines.weak_examples import run_paper, tiny, write_weak

PAPER = tiny("classifier", "{crop: 48, long_side: [48, 64]}")


def test_the_paper_preset_runs_on_tiny_photos(tmp_path: Path) -> None:
    weak, _ = write_weak(tmp_path / "photos", empty=3)
    run_paper(BASELINE, PAPER, weak, tmp_path / "run")
