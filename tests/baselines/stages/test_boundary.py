from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sbdata_baselines.settings import (
    BoundarySettings,
    NetworkSettings,
    Schedule,
    Sgd,
    ViewSettings,
    WalkSettings,
)
from sbdata_baselines.stages.boundary import load_boundary, train_boundary, walk_maps
from sbdata_baselines.stages.maps import ClassMaps, read_maps, write_maps
from sbdata_baselines.stages.masks import write_pseudo_mask
from sbdata_baselines.stages.photos import pixels_of

from sbdata.masks import LabelMap
from sbdata.weak_labels.weak_set import WeakSet
from tests.baselines.weak_examples import task_of, write_weak

SETTINGS = BoundarySettings(
    NetworkSettings("resnet18", "none"),
    ViewSettings(48),
    Sgd(0.1, 0.9, head=1),
    Schedule(20, 4),
    radius=4,
)


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[WeakSet, dict[str, LabelMap], Path]:
    root = tmp_path_factory.mktemp("boundary")
    weak, truth = write_weak(root / "photos")
    for image_id, mask in truth.items():
        write_pseudo_mask(root / "seeds", image_id, mask)
    train_boundary(task_of(weak, root / "edges"), SETTINGS, root / "seeds")
    return weak, truth, root


def test_edges_are_high_where_the_classes_meet(
    trained: tuple[WeakSet, dict[str, LabelMap], Path],
) -> None:
    weak, truth, root = trained
    edges_of = load_boundary(task_of(weak, root / "x"), root / "edges")
    for row in weak.rows:
        edges = edges_of(pixels_of(row))
        assert edges.shape == (16, 18)
        cells = truth[row.image_id][2::4, 2::4].astype(int)
        border = np.zeros_like(cells, bool)
        border[:-1] |= np.diff(cells, axis=0) != 0
        border[1:] |= np.diff(cells, axis=0) != 0
        border[:, :-1] |= np.diff(cells, axis=1) != 0
        border[:, 1:] |= np.diff(cells, axis=1) != 0
        assert edges[border].mean() > edges[~border].mean() + 0.1


def test_edges_of_the_mirrored_photo_are_mirrored(
    trained: tuple[WeakSet, dict[str, LabelMap], Path],
) -> None:
    weak, _, root = trained
    photo = pixels_of(weak.rows[0])
    mirrored = photo[:, ::-1].copy()
    both = load_boundary(task_of(weak, root / "x"), root / "edges")
    np.testing.assert_allclose(both(mirrored), both(photo)[:, ::-1], atol=1e-5)
    one = load_boundary(task_of(weak, root / "x"), root / "edges", flip=False)
    assert not np.allclose(one(mirrored), one(photo)[:, ::-1], atol=1e-5)
    # The logits are averaged, as in IRN's code: odds become their geometric mean.
    first, second = (edges / (1 - edges) for edges in (one(photo), one(mirrored)[:, ::-1]))
    odds = np.sqrt(first * second)
    np.testing.assert_allclose(both(photo), odds / (1 + odds), atol=1e-5)


def test_a_seed_point_spreads_over_its_square(
    trained: tuple[WeakSet, dict[str, LabelMap], Path],
) -> None:
    """A map that knows a corner of the square only knows more of it after the walk."""
    weak, truth, root = trained
    row = weak.rows[0]
    inside = truth[row.image_id] == 1
    rows, columns = np.nonzero(inside)
    corner = np.zeros(row.size, np.float32)
    corner[rows.min() : rows.min() + 12, columns.min() : columns.min() + 12] = 1
    for other in weak.rows:
        maps = np.zeros((len(other.classes), *other.size), np.float32)
        if other is row:
            maps[0] = corner
        write_maps(root / "maps", other.image_id, ClassMaps(other.classes, maps))
    walk_maps(task_of(weak, root / "walk"), WalkSettings(3, 10, 64), root / "maps", root / "edges")
    walked = read_maps(root / "walk", row.image_id).maps[0]
    assert walked.max() == pytest.approx(1, abs=1e-3)
    far = inside.copy()
    far[: rows.min() + 16, : columns.min() + 16] = False
    assert walked[far].mean() > 2 * walked[~inside].mean()


def test_the_backbone_stays(trained: tuple[WeakSet, dict[str, LabelMap], Path]) -> None:
    _, _, root = trained
    kept = torch.load(root / "edges" / "model.pt", weights_only=True)["model"]
    assert not any(key.startswith("backbone") for key in kept)
