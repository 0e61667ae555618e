"""Intervals and paired comparisons against resamples that are really drawn and scored."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from sbdata.errors import InputError
from sbdata.metrics import (
    CLASS_ROW,
    COMPONENT_ROW,
    INSTANCE_ROW,
    Accumulator,
    MetricOptions,
    ScoreTables,
    bootstrap,
    compare,
    resample,
    score_image,
    truth_from_maps,
)
from sbdata.sizes import SizeBins

TINY = SizeBins((2, 6), ("tiny", "middling", "big"))
N_CLASSES = 3


def scores_of(seed, n_images, wrong):
    """Return scores of random images whose truth depends on the seed only."""
    rng, other = np.random.default_rng(seed), np.random.default_rng(int(1000 * wrong))
    found = {}
    for k in range(n_images):
        classes = rng.choice(4, (6, 6), p=[0.7, 0.15, 0.1, 0.05])
        truth = truth_from_maps(classes, np.where(classes > 0, classes, 0))
        guess = np.where(other.random((6, 6)) < wrong, other.integers(0, 4, (6, 6)), classes)
        found[f"{k:03d}"] = score_image(guess, truth, N_CLASSES)
    return found


def gather(scores):
    accumulator = Accumulator(N_CLASSES)
    for image_id, score in scores.items():
        accumulator.update(image_id, score)
    return accumulator


def draws(seed, n, resamples):
    """Return the drawn images of each resample, by arithmetic on Python's whole numbers."""
    generator = np.random.PCG64(seed)
    return [
        [(int(raw) >> 32) * n >> 32 for raw in generator.random_raw(n)] for _ in range(resamples)
    ]


def test_figures_of_a_resample_are_those_of_its_images():
    scores = scores_of(0, 9, 0.4)
    got = resample(gather(scores).tables(), TINY, resamples=40, seed=5)
    assert got.observed == {
        name: value if value is not None else pytest.approx(math.nan, nan_ok=True)
        for name, value in gather(scores).compute(TINY).headline().items()
    }
    ids = sorted(scores)
    some_undefined = False
    for r, images in enumerate(draws(5, 9, 40)):
        drawn = gather({f"{k}": scores[ids[i]] for k, i in enumerate(images)})
        for name, value in drawn.compute(TINY).headline().items():
            if value is None:
                some_undefined = True
                assert math.isnan(got.figures[name][r])
            else:
                assert got.figures[name][r] == pytest.approx(value, rel=1e-12)
    assert some_undefined


def test_a_seed_gives_the_same_draws_everywhere():
    assert draws(0, 10, 2) == [[6, 2, 0, 0, 8, 9, 6, 7, 5, 9], [8, 0, 8, 0, 7, 1, 8, 5, 2, 4]]
    weights = bootstrap._weights(np.random.PCG64(0), 10, 2)
    for r, images in enumerate(draws(0, 10, 2)):
        assert weights[:, r].tolist() == np.bincount(images, minlength=10).tolist()


def test_draws_are_even():
    n, resamples = 7, 4000
    weights = bootstrap._weights(np.random.PCG64(1), n, resamples)
    assert (weights.sum(axis=0) == n).all()
    assert np.abs(weights.mean(axis=1) - 1).max() < 0.06  # 4 standard errors of 0.015


def test_intervals_are_percentiles_of_the_defined_resamples():
    got = resample(gather(scores_of(1, 8, 0.4)).tables(), TINY, resamples=200, seed=1)
    for name, interval in got.intervals().items():
        values = got.figures[name][~np.isnan(got.figures[name])]
        assert interval.defined == values.size / 200
        assert interval.low == pytest.approx(np.percentile(values, 2.5), rel=1e-12)
        assert interval.high == pytest.approx(np.percentile(values, 97.5), rel=1e-12)
        assert interval.low <= got.observed[name] <= interval.high
    assert any(interval.defined < 1 for interval in got.intervals().values())


def test_results_do_not_depend_on_order_or_chunks(monkeypatch):
    scores = scores_of(2, 11, 0.3)
    want = resample(gather(scores).tables(), TINY, resamples=30, seed=9)
    monkeypatch.setattr(bootstrap, "_CHUNK_WEIGHTS", 40)
    backwards = dict(reversed(scores.items()))
    got = resample(gather(backwards).tables(), TINY, resamples=30, seed=9)
    for name, values in want.figures.items():
        assert values.tobytes() == got.figures[name].tobytes(), name
    other = resample(gather(scores).tables(), TINY, resamples=30, seed=10)
    assert want.figures["miou"].tolist() != other.figures["miou"].tolist()


def test_what_does_not_exist_has_no_interval():
    maps = np.array([[1, 1, 0, 0]])
    score = score_image(maps, truth_from_maps(maps, maps), N_CLASSES)
    got = resample(gather({"a": score, "b": score}).tables(), TINY, resamples=20).intervals()
    assert got["ia_big.class_mean"] is None
    assert got["component_precision_big"] is None
    assert (got["ia.class_mean"].low, got["ia.class_mean"].high) == (1, 1)
    single = resample(gather({"a": score}).tables(), TINY, resamples=20).intervals()
    assert set(single.values()) == {None}
    none = resample(gather({}).tables(), TINY, resamples=20).intervals()
    assert set(none.values()) == {None}


def test_compare_is_paired():
    good, bad = (gather(scores_of(3, 40, wrong)).tables() for wrong in (0.1, 0.3))
    a, b = resample(good, TINY, seed=4), resample(bad, TINY, seed=4)
    found = compare(a, b)
    for name, difference in found.items():
        if difference is None:
            continue
        assert difference.value == a.observed[name] - b.observed[name]
        values = a.figures[name] - b.figures[name]
        values = values[~np.isnan(values)]
        assert difference.interval.low == pytest.approx(np.percentile(values, 2.5))
        assert difference.interval.high == pytest.approx(np.percentile(values, 97.5))
        wrong_way = (values <= 0) if difference.value > 0 else (values >= 0)
        assert difference.sign_change == wrong_way.mean()
    assert found["miou"].value > 0
    assert found["miou"].sign_change == 0
    # On the same draws the two go up and down together: pairing makes the interval narrower.
    paired = found["miou"].interval.high - found["miou"].interval.low
    alone = [r.intervals()["miou"] for r in (a, b)]
    assert paired < sum(i.high - i.low for i in alone)
    back = compare(b, a)["miou"]
    assert (back.value, back.sign_change) == (-found["miou"].value, 0)
    assert back.interval.low == pytest.approx(-found["miou"].interval.high)


def test_a_set_against_itself_does_not_differ():
    one = resample(gather(scores_of(3, 10, 0.2)).tables(), TINY, resamples=50)
    for difference in compare(one, one).values():
        if difference is not None:
            assert (difference.value, difference.sign_change) == (0, 1)
            assert (difference.interval.low, difference.interval.high) == (0, 0)


def test_what_cannot_be_compared():
    scores = scores_of(3, 10, 0.2)
    tables = gather(scores).tables()
    one = resample(tables, TINY, resamples=10)
    fewer = gather({k: v for k, v in scores.items() if k != "003"}).tables()
    with pytest.raises(InputError, match=r"different images \(1 are in one only, such as 003\)"):
        compare(one, resample(fewer, TINY, resamples=10))
    equal = Accumulator(N_CLASSES, MetricOptions(share="equal"))
    maps = np.array([[1, 0]])
    for image_id in scores:
        truth = truth_from_maps(maps, maps)
        equal.update(image_id, score_image(maps, truth, N_CLASSES, equal.options))
    for what, other in (
        ("number of resamples", resample(tables, TINY, resamples=11)),
        ("seed", resample(tables, TINY, resamples=10, seed=1)),
        ("size bins", resample(tables, SizeBins((3, 6), TINY.names), resamples=10)),
        ("metric options", resample(equal.tables(), TINY, resamples=10)),
    ):
        with pytest.raises(InputError, match=f"same {what}"):
            compare(one, other)
    with pytest.raises(InputError, match="at least one resample"):
        resample(tables, TINY, resamples=0)
    single = gather({"a": scores["000"]}).tables()
    difference = compare(*(resample(single, TINY, resamples=5) for _ in range(2)))["miou"]
    assert (difference.value, difference.interval, difference.sign_change) == (0, None, None)


@pytest.mark.slow
def test_forty_thousand_images_take_seconds():
    n, rng = 40_000, np.random.default_rng(0)

    def table(row, each):
        rows = np.zeros(n * each, row)
        for name in row.names:
            rows[name] = rng.integers(1, 50, rows.size)
        return np.repeat(np.arange(n, dtype=np.int32), each), rows

    tables = ScoreTables(
        MetricOptions(),
        80,
        tuple(f"{k:05d}" for k in range(n)),
        np.zeros((81, 81), np.int64),
        *table(INSTANCE_ROW, 7),
        *table(COMPONENT_ROW, 20),
        *table(CLASS_ROW, 4),
    )
    resample(tables, TINY, resamples=1)  # compiles
    start = time.perf_counter()
    resample(tables, TINY)
    # 2 to 4 s on one core of a small machine; the bound leaves room for a busy one.
    assert time.perf_counter() - start < 15
