"""The simulation of the intervals' coverage, at tiny scale.

Its full run is in docs/definitions/metric.md.
"""

from __future__ import annotations

import numpy as np
import pytest

from sbdata.metrics import Accumulator, score_image, truth_from_maps
from tests.reference import interval_coverage as simulation


def set_with_rare_classes():
    """Return one class in every image, found whole, and 20 that one image each has, all missed."""
    accumulator = Accumulator(21)
    for k in range(20):
        maps = np.zeros((1, 6), int)
        maps[0, :2], maps[0, 3:5] = 21, k + 1
        truth = truth_from_maps(maps, maps)
        accumulator.update(f"{k:02d}", score_image(np.where(maps == 21, 21, 0), truth, 21))
    return accumulator


def test_intervals_of_the_bayesian_bootstrap_hold_the_value_where_resampling_excludes_it():
    tables = set_with_rare_classes().tables()
    rng = np.random.default_rng(0)
    resampled, lacking = simulation.with_replacement(tables, 500, rng)
    weighted, _ = simulation.bayesian(tables, 500, 0)
    for name in ("miou", "ia.class_mean"):
        value = set_with_rare_classes().compute().headline()[name]
        low, high = resampled[name]
        assert low > value  # every resample lacks some of the missed classes
        low, high = weighted[name]
        assert low - 1e-12 <= value <= high + 1e-12
    assert lacking == 1


@pytest.mark.parametrize("population", simulation.POPULATIONS, ids=lambda p: p.name)
def test_the_simulation_runs_and_depends_on_the_seed_alone(population):
    settings = {"n_images": 30, "sets": 3, "resamples": 50, "large": 500}
    rows = simulation.simulate(population, seed=1, **settings)
    assert rows == simulation.simulate(population, seed=1, **settings)
    assert rows != simulation.simulate(population, seed=2, **settings)
    assert len(rows) == 2 * len(simulation.VALUES)
    for row in rows:
        assert 0 <= row["coverage"] <= 1
        assert row["width"] > 0
        if row["bootstrap"] == "Bayesian":
            assert row["excludes its estimate"] == row["draws lacking a class"] == 0


def test_the_drawn_tables_add_up():
    tables = simulation.draw_set(simulation.POPULATIONS[1], 40, np.random.default_rng(0))
    rows = tables.classes
    assert (
        rows["matched_pixels"] <= np.minimum(rows["true_pixels"], rows["predicted_pixels"])
    ).all()
    assert rows["true_pixels"].sum() == rows["predicted_pixels"].sum()
    instances = tables.instances
    assert (instances["tp"] <= instances["area"]).all()
    mine = rows["class_id"] > 0
    assert rows["true_pixels"][mine].sum() == instances["area"].sum()
