from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sbdata_baselines.controls import striped
from sbdata_baselines.methods.controls import LABELS_ONLY

from sbdata.masks import read_index_png
from tests.baselines.weak_examples import last_stage, run_all, write_weak


@pytest.mark.parametrize("classes", [(4,), (1, 2), (1, 5, 8)])
def test_every_class_gets_an_equal_stripe(classes: tuple[int, ...]) -> None:
    mask = striped(classes, (5, 60))
    numbers, counts = np.unique(mask, return_counts=True)
    assert numbers.tolist() == list(classes)
    assert set(counts.tolist()) == {5 * 60 // len(classes)}
    assert (np.diff(mask.astype(int), axis=1) >= 0).all()


def test_an_image_without_labels_is_background(tmp_path: Path) -> None:
    weak, _ = write_weak(tmp_path / "photos", empty=1)
    masks = run_all(last_stage(LABELS_ONLY, "smoke"), weak, tmp_path / "run")
    assert not read_index_png(masks / "p1.png").any()
    assert (read_index_png(masks / "p0.png") == 1).all()
    assert LABELS_ONLY.control
