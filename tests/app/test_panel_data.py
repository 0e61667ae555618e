from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sbdata.app.panel_data import (
    LEAST_IMAGES,
    Objects,
    area_edges,
    count_by_area,
    count_cells,
    gather_objects,
    groups_of,
    ia_by_area,
)
from sbdata.sizes import SizeBins

BINS = SizeBins()


def _objects(
    images: Sequence[int],
    areas: Sequence[int],
    labels: Sequence[str] | None = None,
    ia: Sequence[float] | None = None,
) -> Objects:
    labels = labels or ["cat"] * len(areas)
    return Objects(
        np.array(images, np.int64),
        np.array(areas, np.int64),
        {
            "label": np.array(labels, object),
            "size": np.array([BINS.name_of(a) for a in areas], object),
            "source": np.array(["voc"] * len(areas), object),
        },
        {} if ia is None else {"run": np.array(ia, np.float64)},
    )


# --- gathering ------------------------------------------------------------------------------------


def test_every_object_keeps_its_image_and_values() -> None:
    found = gather_objects(
        {
            "area": [[5, 6], None, [], [7]],
            "label": [["a", "b"], None, [], ["c"]],
            "size": [["small", "small"], None, [], ["small"]],
            "source": [["voc", "coco"], None, [], ["lvis"]],
            "cam": [[0.1, None], None, [], [0.3]],
            "irn": [None, None, None, None],  # a field that no sample has yet
        },
        runs=["cam", "irn"],
    )
    assert found.image.tolist() == [0, 0, 3]
    assert found.area.tolist() == [5, 6, 7]
    assert found.texts["label"].tolist() == ["a", "b", "c"]
    assert found.texts["source"].tolist() == ["voc", "coco", "lvis"]
    np.testing.assert_array_equal(found.scores["cam"], [0.1, np.nan, 0.3])
    assert np.isnan(found.scores["irn"]).all()
    assert (len(found), found.n_images) == (3, 2)


def test_an_object_that_was_drawn_in_the_app_is_left_out() -> None:
    found = gather_objects(
        {
            "area": [[None, 9]],
            "label": [["mine", "cat"]],
            "size": [[None, "small"]],
            "source": [[None, "voc"]],
        }
    )
    assert found.texts["label"].tolist() == ["cat"]
    assert found.area.tolist() == [9]


def test_a_view_without_objects_is_empty() -> None:
    columns = {name: [None, []] for name in ("area", "label", "size", "source", "cam")}
    found = gather_objects(columns, runs=["cam"])
    assert (len(found), found.n_images) == (0, 0)
    edges = area_edges(found.area, BINS)
    assert edges[0] <= 512
    assert edges[-1] > 9216
    assert count_cells(found, ["cat"], BINS.names).tolist() == [[0, 0, 0]]
    curve = ia_by_area(found, "cam", edges)
    assert curve.n.sum() == 0
    assert np.isnan(curve.mean).all()
    assert np.isnan(curve.low).all()


# --- counts ---------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 400_000), max_size=40))
@settings(max_examples=40, deadline=None)
def test_edges_hold_every_area_and_show_every_size(areas: list[int]) -> None:
    edges = area_edges(areas, BINS)
    assert (np.diff(edges) > 0).all()
    assert all(edges[0] <= area < edges[-1] for area in areas)
    assert edges[0] < BINS.edges[0]
    assert edges[-1] > BINS.edges[-1]
    assert all(edge == math.ceil(2 ** (k / 2)) for edge, k in _halves(edges))


def _halves(edges: np.ndarray) -> list[tuple[int, int]]:
    """Pair each edge with the half octave nearest to it."""
    return [
        (edge, min(range(50), key=lambda k: abs(math.ceil(2 ** (k / 2)) - edge)))
        for edge in edges.tolist()
    ]


@given(
    st.lists(
        st.tuples(st.integers(1, 100_000), st.sampled_from(["cat", "cow", "dog"])), max_size=40
    )
)
@settings(max_examples=40, deadline=None)
def test_each_object_is_counted_once(rows: list[tuple[int, str]]) -> None:
    found = _objects([0] * len(rows), [a for a, _ in rows], [label for _, label in rows])
    edges = area_edges(found.area, BINS)
    groups = groups_of(found, "label", ["cat", "cow"])
    counts = count_by_area(found, edges, "label", groups)
    for group in groups:
        for place, (low, high) in enumerate(pairwise(edges.tolist())):
            expected = sum(label == group and low <= area < high for area, label in rows)
            assert counts[group][place] == expected
    assert sum(int(n.sum()) for n in counts.values()) == len(rows)
    cells = count_cells(found, groups, BINS.names)
    for i, group in enumerate(groups):
        for j, size in enumerate(BINS.names):
            assert cells[i, j] == sum(
                label == group and BINS.name_of(area) == size for area, label in rows
            )


def test_known_groups_come_first_and_absent_ones_are_left_out() -> None:
    found = _objects([0] * 4, [1, 2, 3, 4], ["zebra", "cow", "cat", "ape"])
    assert groups_of(found, "label", ["cow", "dog", "cat"]) == ["cow", "cat", "ape", "zebra"]


# --- IA by area -----------------------------------------------------------------------------------


def test_the_mean_is_that_of_the_scored_objects() -> None:
    found = _objects([0, 0, 1, 1], [600, 610, 620, 5000], ia=[0.2, 0.4, np.nan, 1.0])
    edges = area_edges(found.area, BINS)
    curve = ia_by_area(found, "run", edges)
    place = int(np.searchsorted(edges, 600, side="right")) - 1
    assert curve.n[place] == 2
    assert curve.mean[place] == pytest.approx(0.3)
    assert curve.n.sum() == 3
    assert np.isnan(curve.mean[curve.n == 0]).all()


def test_the_band_is_that_of_a_bootstrap_over_images() -> None:
    """A slow loop over resamples, and the interval that the normal approximation gives."""
    random = np.random.default_rng(1)
    images = np.repeat(np.arange(60), 3)
    level = np.repeat(random.uniform(0.2, 0.8, 60), 3)  # objects of an image are alike
    ia = np.clip(level + random.normal(0, 0.05, 180), 0, 1)
    found = _objects(images.tolist(), [600] * 180, ia=ia.tolist())
    edges = area_edges(found.area, BINS)
    curve = ia_by_area(found, "run", edges, resamples=2000)
    place = int(np.flatnonzero(curve.n)[0])
    means = []
    for _ in range(2000):
        drawn = random.integers(0, 60, 60)
        means.append(np.concatenate([ia[images == image] for image in drawn]).mean())
    low, high = np.percentile(means, [2.5, 97.5])
    assert curve.low[place] == pytest.approx(low, abs=0.012)
    assert curve.high[place] == pytest.approx(high, abs=0.012)
    spread = ia.reshape(60, 3).mean(axis=1).std(ddof=1) / math.sqrt(60)
    assert (curve.high[place] - curve.low[place]) / 3.92 == pytest.approx(spread, rel=0.15)
    as_if_independent = ia.std(ddof=1) / math.sqrt(180)
    assert curve.high[place] - curve.low[place] > 1.4 * 3.92 * as_if_independent


@pytest.mark.parametrize("images", [LEAST_IMAGES - 1, LEAST_IMAGES])
def test_few_images_give_no_band(images: int) -> None:
    found = _objects(list(range(images)), [600] * images, ia=np.linspace(0, 1, images).tolist())
    curve = ia_by_area(found, "run", area_edges(found.area, BINS))
    place = int(np.flatnonzero(curve.n)[0])
    assert np.isnan(curve.low[place]) == (images < LEAST_IMAGES)
    assert np.isnan(curve.high[place]) == (images < LEAST_IMAGES)
    assert curve.mean[place] == pytest.approx(0.5)


def test_a_band_is_the_same_every_time_and_however_the_draws_are_divided(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    random = np.random.default_rng(2)
    found = _objects(
        random.integers(0, 30, 200).tolist(),
        random.integers(20, 40_000, 200).tolist(),
        ia=random.random(200).tolist(),
    )
    edges = area_edges(found.area, BINS)
    whole = ia_by_area(found, "run", edges)
    monkeypatch.setattr("sbdata.app.panel_data._WEIGHTS_AT_ONCE", 100)
    parts = ia_by_area(found, "run", edges)
    np.testing.assert_allclose(parts.low, whole.low)
    np.testing.assert_allclose(parts.high, whole.high)
    inner = ~np.isnan(whole.low)
    assert inner.sum() > 5
    assert (whole.low[inner] <= whole.mean[inner]).all()
    assert (whole.mean[inner] <= whole.high[inner]).all()
