from __future__ import annotations

from pathlib import Path

from baselines.cam import BASELINE
from sbdata.masks import read_index_png
from tests.baselines.weak_examples import run_all, tiny, write_weak

PAPER = tiny("classifier", "{crop: 48, long_side: [48, 64]}")


def test_the_paper_preset_runs_on_tiny_photos(tmp_path: Path) -> None:
    weak, _ = write_weak(tmp_path / "photos", empty=3)
    masks = run_all(BASELINE.last_stage("paper", PAPER), weak, tmp_path / "run")
    for row in weak.rows:
        mask = read_index_png(masks / f"{row.image_id}.png")
        assert mask.shape == row.size
        assert set(mask.ravel().tolist()) <= {0, *row.classes}
