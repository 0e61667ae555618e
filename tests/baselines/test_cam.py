from __future__ import annotations

from pathlib import Path

from sbdata_baselines.methods.cam import BASELINE

from tests.baselines.weak_examples import (
    assert_only_labelled,
    last_stage,
    run_all,
    tiny,
    write_weak,
)

PAPER = tiny("classifier", "{crop: 48, long_side: [48, 64]}")


def test_the_paper_preset_runs_on_tiny_photos(tmp_path: Path) -> None:
    weak, _ = write_weak(tmp_path / "photos", empty=3)
    masks = run_all(last_stage(BASELINE, "paper", PAPER), weak, tmp_path / "run")
    assert_only_labelled(weak, masks)
