from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sbdata_baselines.settings import ViewSettings
from sbdata_baselines.stages.pairs import Pairs, pair_views

from sbdata.errors import InputError
from sbdata.train.views import batches, in_steps
from sbdata.weak_labels.weak_set import WeakSet
from tests.baselines.weak_examples import write_weak

VIEWS = ViewSettings(48, long_side=(48, 64))


@pytest.fixture
def weak(tmp_path: Path) -> WeakSet:
    return write_weak(tmp_path / "photos", n=7, empty=3)[0]


def test_pairs_share_a_class_and_each_labelled_photo_is_first_once_an_epoch(weak: WeakSet) -> None:
    photos = Pairs(weak.rows, 5, 0)
    for epoch in range(3):
        pairs = [photos.pair(p) for p in range(6 * epoch, 6 * epoch + 6)]
        assert sorted(first.image_id for first, _ in pairs) == ["p0", "p1", "p2", "p4", "p5", "p6"]
        for first, partner in pairs:
            assert set(first.classes) & set(partner.classes)
            assert first is not partner
    partners = {photos.pair(p)[1].image_id for p in range(60)}
    assert len(partners) == 6


def test_orders_and_partners_change_with_epoch_and_seed(weak: WeakSet) -> None:
    def names(seed: int, start: int) -> list[tuple[str, str]]:
        photos = Pairs(weak.rows, seed, 1)
        pairs = [photos.pair(p) for p in range(start, start + 6)]
        return [(a.image_id, b.image_id) for a, b in pairs]

    assert names(0, 0) == names(0, 0)
    assert names(0, 0) != names(0, 6)
    assert names(0, 0) != names(1, 0)


def test_sides_fit_together(weak: WeakSet) -> None:
    """Their labels share a class in every row, on whatever step the batches begin."""
    sides = pair_views(weak, VIEWS, 0)
    whole = list(batches(sides, in_steps(range(4), 3)))
    for images, labels in whole:
        assert images.shape == (6, 3, 48, 48)
        assert (labels[:3] * labels[3:]).sum(1).min() >= 1
    again = list(batches(sides, in_steps(range(2, 4), 3)))
    for one, other in zip(whole[2:], again, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_view_is_of_the_photo_and_its_labels(weak: WeakSet) -> None:
    for side, views in enumerate(pair_views(weak, VIEWS, 0)):
        for position in range(6):
            _, labels = views[position]
            wanted = Pairs(weak.rows, 0, 0).pair(position)[side].classes
            assert tuple((np.flatnonzero(labels) + 1).tolist()) == wanted


def test_a_photo_without_company_is_its_own_partner(weak: WeakSet) -> None:
    rows = weak.rows[:2]  # one red, one blue
    for position in range(4):
        first, partner = Pairs(rows, 0, 0).pair(position)
        assert first is partner
    one, other = (views[0][0] for views in pair_views(replace(weak, rows=rows), VIEWS, 0))
    assert not np.array_equal(one, other)  # though seen otherwise


def test_without_labels_there_are_no_pairs(weak: WeakSet) -> None:
    with pytest.raises(InputError, match="no photo of the training set has a class"):
        pair_views(replace(weak, rows=weak.rows[3:4]), VIEWS, 0)
