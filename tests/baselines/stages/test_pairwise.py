from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sbdata_baselines.settings import (
    NetworkSettings,
    PairwiseSettings,
    PairwiseWalkSettings,
    Schedule,
    Sgd,
    ViewSettings,
)
from sbdata_baselines.stages.maps import ClassMaps, read_maps, write_maps
from sbdata_baselines.stages.masks import write_pseudo_mask
from sbdata_baselines.stages.pairwise import train_pairwise, walk_pairwise

from tests.baselines.weak_examples import task_of, write_weak

SETTINGS = PairwiseSettings(
    NetworkSettings("resnet18", "none", frozen=5),
    ViewSettings(48),
    Sgd(0.02, 0.9, head=1),
    Schedule(20, 4),
    radius=3,
    widths=(8, 8, 16),
)


def test_the_walk_tells_object_from_background(tmp_path: Path) -> None:
    """A noisy map of the square becomes an evener one, beside its background's map."""
    weak, truth = write_weak(tmp_path / "photos", empty=3)
    rng = np.random.default_rng(0)
    for row in weak.rows:
        write_pseudo_mask(tmp_path / "seeds", row.image_id, truth[row.image_id])
        maps = [(truth[row.image_id] == c) * rng.random(row.size) for c in row.classes]
        stack = np.array(maps, np.float32).reshape(len(maps), *row.size)
        write_maps(tmp_path / "maps", row.image_id, ClassMaps(row.classes, stack))
    train_pairwise(task_of(weak, tmp_path / "pairs"), SETTINGS, tmp_path / "seeds")
    walk_pairwise(
        task_of(weak, tmp_path / "walk"),
        PairwiseWalkSettings(steps=8),
        tmp_path / "maps",
        tmp_path / "pairs",
    )
    for row in weak.rows:
        walked = read_maps(tmp_path / "walk", row.image_id)
        assert walked.background is not None
        assert max(walked.background.max(), walked.maps.max(initial=0)) == pytest.approx(
            1, abs=1e-3
        )
        if not row.classes:
            assert walked.background.min() > 0.99
            continue
        inside = truth[row.image_id] == row.classes[0]
        before = read_maps(tmp_path / "maps", row.image_id).maps[0]
        assert walked.maps[0][inside].mean() > 2 * walked.maps[0][~inside].mean()
        spread = walked.maps[0][inside].std() / walked.maps[0][inside].mean()
        assert spread < before[inside].std() / before[inside].mean()
