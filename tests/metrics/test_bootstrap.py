"""Intervals and paired comparisons, against weighted means that are worked out plainly."""

from __future__ import annotations

import importlib
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sbdata.errors import InputError
from sbdata.metrics import Accumulator, MetricOptions, score_image, truth_from_maps
from sbdata.metrics.bootstrap import FEW, bootstrap, compare
from sbdata.sizes import SizeBins

MODULE = importlib.import_module("sbdata.metrics.bootstrap")  # the package's name is the function
TINY = SizeBins((2, 6), ("tiny", "middling", "big"))
N_CLASSES = 3
MEANS = ("class_mean", "instance_mean")


def scores_of(seed, n_images, wrong, side=6):
    """Return scores of random images whose truth depends on the seed only."""
    rng, other = np.random.default_rng(seed), np.random.default_rng(int(1000 * wrong))
    found = {}
    for k in range(n_images):
        classes = rng.choice(4, (side, side), p=[0.7, 0.15, 0.1, 0.05])
        truth = truth_from_maps(classes, np.where(classes > 0, classes, 0))
        guess = np.where(
            other.random((side, side)) < wrong, other.integers(0, 4, (side, side)), classes
        )
        found[f"{k:03d}"] = score_image(guess, truth, N_CLASSES)
    return found


def gather(scores, n_classes=N_CLASSES):
    accumulator = Accumulator(n_classes)
    for image_id, score in scores.items():
        accumulator.update(image_id, score)
    return accumulator


def weights_of(seed, n, resamples):
    """Return the weights of each draw, one number after the other in Python's arithmetic."""
    generator = np.random.PCG64(seed)
    return [
        [-math.log(((int(generator.random_raw()) >> 11) + 0.5) / 2**53) for _ in range(n)]
        for _ in range(resamples)
    ]


def weighted_values(scores, weights, bins):
    """Return the headline values of images with weights: one image after the other, no matrix."""
    confusion = sum(w * s.confusion for s, w in zip(scores, weights, strict=True))
    true, both = confusion.sum(axis=1), np.diag(confusion)
    union = true + confusion.sum(axis=0) - both
    seen = true > 0
    found = {
        "miou": (both[seen] / union[seen]).mean(),
        "pixel_accuracy": both.sum() / true.sum(),
    }
    has_background = [s.confusion[0].sum() > 0 for s in scores]
    background = [
        s.confusion[0, 0] / (s.confusion[0].sum() + s.confusion[1:, 0].sum())
        for s, has in zip(scores, has_background, strict=True)
        if has
    ]
    of_background = [w for w, has in zip(weights, has_background, strict=True) if has]
    rows = [
        (int(row["class_id"]), bins.name_of(row["area"]), value, w)
        for s, w in zip(scores, weights, strict=True)
        for row, value in zip(s.instances, s.ia_iou, strict=True)
    ]
    for name in ("ia", "ia_objects", *(f"ia_{size}" for size in bins.names)):
        some = [r for r in rows if name in ("ia", "ia_objects") or name == f"ia_{r[1]}"]
        classes = [
            np.average([r[2] for r in some if r[0] == c], weights=[r[3] for r in some if r[0] == c])
            for c in sorted({r[0] for r in some})
        ]
        if name == "ia" and background:
            classes.append(np.average(background, weights=of_background))
        found[f"{name}.class_mean"] = np.mean(classes) if classes else math.nan
        found[f"{name}.instance_mean"] = (
            np.average([r[2] for r in some], weights=[r[3] for r in some]) if some else math.nan
        )
    regions = [
        (bins.name_of(row["area"]), 2 * row["matched"] >= row["area"], w)
        for s, w in zip(scores, weights, strict=True)
        for row in s.regions
    ]
    for name in ("region_precision", *(f"region_precision_{size}" for size in bins.names)):
        some = [r for r in regions if name in ("region_precision", f"region_precision_{r[0]}")]
        found[name] = (
            np.average([r[1] for r in some], weights=[r[2] for r in some]) if some else math.nan
        )
    return found


# --- the draws ------------------------------------------------------------------------------------


def test_a_draw_is_the_set_with_weighted_images():
    scores = scores_of(0, 9, 0.4)
    got = bootstrap(gather(scores).tables(), TINY, resamples=30, seed=5)
    assert got.observed == {
        name: value if value is not None else pytest.approx(math.nan, nan_ok=True)
        for name, value in gather(scores).compute(TINY).headline().items()
    }
    in_order = [scores[image_id] for image_id in sorted(scores)]
    assert got.observed == pytest.approx(weighted_values(in_order, [1] * 9, TINY), nan_ok=True)
    assert got.resamples == 30
    for r, weights in enumerate(weights_of(5, 9, 30)):
        want = weighted_values(in_order, weights, TINY)
        drawn = {name: float(values[r]) for name, values in got.draws.items()}
        assert drawn == pytest.approx(want, rel=1e-12, nan_ok=True)


def test_a_seed_gives_the_same_weights_everywhere():
    weights = MODULE._weights(np.random.PCG64(0), 3, 2)
    want = [[0.45104577, 1.31012358, 3.19482918], [4.10272142, 0.20669183, 0.09128715]]
    assert weights.T.tolist() == [pytest.approx(row, abs=1e-8) for row in want]
    assert weights.T.tolist() == [pytest.approx(row, rel=1e-14) for row in weights_of(0, 3, 2)]


def test_weights_are_those_of_dirichlet():
    n, resamples = 7, 20_000
    weights = MODULE._weights(np.random.PCG64(1), n, resamples)
    assert (weights > 0).all()
    share = weights / weights.sum(axis=0)
    assert np.abs(share.mean(axis=1) - 1 / n).max() < 0.005
    # Dirichlet(1, ..., 1): variance (n - 1) / (n² (n + 1)), covariance -1 / (n² (n + 1)).
    want = (np.eye(n) * n - 1) / (n**2 * (n + 1))
    assert np.abs(np.cov(share) - want).max() < 0.001


def test_mean_and_spread_of_a_simple_mean_are_the_closed_form():
    # One instance in each image: the draws are Dirichlet means of the images' IA.
    rng, scores, maps = np.random.default_rng(7), {}, np.ones((1, 100), int)
    for k in range(15):
        guess = (np.arange(100)[None] < rng.integers(20, 101)).astype(int)
        scores[f"{k:02d}"] = score_image(guess, truth_from_maps(maps, maps), N_CLASSES)
    values = np.array([float(score.ia_iou[0]) for score in scores.values()])
    got = bootstrap(gather(scores).tables(), TINY, resamples=20_000, seed=3)
    drawn = got.draws["ia_objects.class_mean"]
    assert drawn.mean() == pytest.approx(values.mean(), abs=0.002)
    assert drawn.var() == pytest.approx(values.var() / 16, rel=0.03)


def test_a_class_in_a_single_image_has_its_value_in_every_draw():
    # The image's weight cancels out of the class's own mean; it could only be drawn or be missing.
    scores, means = {}, []
    for k in range(3):
        maps = np.zeros((4, 12), int)
        maps[::2, ::2] = 1 + np.arange(12).reshape(2, 6) + 20 * k
        guess = np.where(maps % 4 == k, 0, np.minimum(maps, 1) * (k + 1))
        truth = truth_from_maps(np.minimum(maps, 1) * (k + 1), maps)
        scores[f"{k}"] = score_image(guess, truth, N_CLASSES)
        means.append(scores[f"{k}"].ia_iou.mean())
    got = bootstrap(gather(scores).tables(), TINY, resamples=200)
    assert got.draws["ia_objects.class_mean"] == pytest.approx(np.mean(means), rel=1e-12)
    interval = got.intervals()["ia_objects.class_mean"]
    assert interval.low == pytest.approx(interval.high, rel=1e-12)
    assert np.ptp(got.draws["ia_objects.instance_mean"]) > 0


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(2, 9))
def test_a_value_of_the_set_is_a_value_of_every_draw(seed, n_images):
    scores = scores_of(seed, n_images, 0.5, side=3)
    got = bootstrap(gather(scores).tables(), TINY, resamples=20, seed=seed)
    for name, values in got.draws.items():
        assert np.isnan(values).all() == np.isnan(values).any() == math.isnan(got.observed[name])


def test_draws_do_not_depend_on_the_order_of_the_images_or_the_block_size(monkeypatch):
    scores = scores_of(2, 11, 0.3)
    want = bootstrap(gather(scores).tables(), TINY, resamples=30, seed=9)
    backwards = dict(reversed(scores.items()))
    for block in (1, 40, 11 * 29, 11 * 31):
        monkeypatch.setattr(MODULE, "_BLOCK", block)
        got = bootstrap(gather(backwards).tables(), TINY, resamples=30, seed=9)
        for name, values in want.draws.items():
            assert values.tobytes() == got.draws[name].tobytes(), (name, block)
    other = bootstrap(gather(scores).tables(), TINY, resamples=30, seed=10)
    assert want.draws["miou"].tolist() != other.draws["miou"].tolist()
    more = bootstrap(gather(scores).tables(), TINY, resamples=31, seed=9)
    assert want.draws["miou"].tolist() == more.draws["miou"][:30].tolist()


# --- intervals ------------------------------------------------------------------------------------


def test_intervals_are_percentiles_of_the_draws():
    got = bootstrap(gather(scores_of(1, 12, 0.4)).tables(), TINY, resamples=200, seed=1)
    intervals = got.intervals()
    assert intervals.keys() == got.observed.keys()
    assert sum(interval is not None for interval in intervals.values()) > 8
    for name, interval in intervals.items():
        if interval is not None:
            assert interval.low == pytest.approx(np.percentile(got.draws[name], 2.5), rel=1e-12)
            assert interval.high == pytest.approx(np.percentile(got.draws[name], 97.5), rel=1e-12)
            assert interval.low <= got.observed[name] <= interval.high


def lines(count, n_images):
    """Return scores of images with ``count`` instances, each found whole, divided among them."""
    found = {}
    for k in range(n_images):
        mine = len(range(k, count, n_images))
        maps = np.zeros((1, 2 * count), int)
        maps[0, : 2 * mine : 2] = np.arange(1, mine + 1)
        truth = truth_from_maps(np.minimum(maps, 1), maps)
        found[f"{k}"] = score_image(np.minimum(maps, 1), truth, N_CLASSES)
    return found


def test_a_value_of_few_instances_has_no_interval():
    assert FEW == 10
    of_instances = [f"{n}.{m}" for n in ("ia", "ia_objects", "ia_tiny") for m in MEANS]
    of_regions = ["region_precision", "region_precision_tiny"]
    for count, enough in ((FEW - 1, False), (FEW, True)):
        got = bootstrap(gather(lines(count, 4)).tables(), TINY, resamples=20)
        intervals = got.intervals()
        for name in (*of_instances, *of_regions):
            assert got.counts[name] == count
            assert got.has_interval(name) == enough
            assert (intervals[name] is not None) == enough, name
            assert (compare(got, got)[name].interval is not None) == enough
            assert compare(got, got)[name].value == 0
        assert intervals["miou"] is not None
        assert intervals["pixel_accuracy"] is not None
        assert intervals["ia_big.class_mean"] is None


def test_few_regions_are_no_fault_of_the_instances():
    scores, maps = {}, np.zeros((1, 40), int)
    maps[0, ::2] = np.arange(1, 21)
    for k in range(3):  # one region over all of the 20 instances
        truth = truth_from_maps(np.minimum(maps, 1), maps)
        scores[f"{k}"] = score_image(np.ones((1, 40), int), truth, N_CLASSES)
    got = bootstrap(gather(scores).tables(), TINY, resamples=20)
    assert got.counts["region_precision"] == 3
    assert got.intervals()["region_precision"] is None
    assert got.intervals()["ia_tiny.class_mean"] is not None
    # A difference has an interval if both values have one.
    apart = bootstrap(gather({k: lines(60, 3)[k] for k in scores}).tables(), TINY, resamples=20)
    assert apart.intervals()["region_precision"] is not None
    assert compare(apart, got)["region_precision"].interval is None
    assert compare(got, apart)["region_precision"].interval is None
    assert compare(got, apart)["ia_tiny.class_mean"].interval is not None


def test_what_does_not_exist_has_no_interval():
    none = bootstrap(gather({}).tables(), TINY, resamples=20)
    assert set(none.intervals().values()) == {None}
    assert set(compare(none, none).values()) == {None}
    single = bootstrap(gather(lines(30, 1)).tables(), TINY, resamples=20)
    assert set(single.intervals().values()) == {None}
    assert single.observed["ia.class_mean"] == 1
    difference = compare(single, single)["miou"]
    assert (difference.value, difference.interval, difference.sign_change) == (0, None, None)


# --- comparisons ----------------------------------------------------------------------------------


def test_compare_is_paired_and_is_the_first_minus_the_second():
    good, bad = (gather(scores_of(3, 40, wrong)).tables() for wrong in (0.1, 0.3))
    a, b = bootstrap(good, TINY, seed=4), bootstrap(bad, TINY, seed=4)
    found, back = compare(a, b), compare(b, a)
    assert found.keys() == back.keys() == a.draws.keys()
    assert sum(d is not None and d.interval is not None for d in found.values()) > 8
    for name, difference in found.items():
        if difference is None:
            assert back[name] is None
            continue
        assert difference.value == a.observed[name] - b.observed[name] == -back[name].value
        if difference.interval is None:
            assert back[name].interval is None
            continue
        values = a.draws[name] - b.draws[name]
        assert difference.interval.low == pytest.approx(np.percentile(values, 2.5))
        assert difference.interval.high == pytest.approx(np.percentile(values, 97.5))
        assert back[name].interval.low == pytest.approx(-difference.interval.high, rel=1e-12)
        assert back[name].interval.high == pytest.approx(-difference.interval.low, rel=1e-12)
        wrong_way = (values <= 0) if difference.value > 0 else (values >= 0)
        assert difference.sign_change == wrong_way.mean() == back[name].sign_change
    assert found["miou"].value > 0
    assert found["miou"].sign_change == 0
    # Under the same weights the two go up and down together: pairing makes the interval narrower.
    paired = found["miou"].interval.high - found["miou"].interval.low
    alone = [r.intervals()["miou"] for r in (a, b)]
    assert paired < sum(i.high - i.low for i in alone)


def test_a_set_against_itself_does_not_differ():
    one = bootstrap(gather(scores_of(3, 20, 0.2)).tables(), TINY, resamples=50)
    with_interval = 0
    for difference in compare(one, one).values():
        if difference is not None and difference.interval is not None:
            with_interval += 1
            assert (difference.value, difference.sign_change) == (0, 1)
            assert (difference.interval.low, difference.interval.high) == (0, 0)
    assert with_interval > 8


def test_what_cannot_be_compared():
    scores = scores_of(3, 10, 0.2)
    tables = gather(scores).tables()
    one = bootstrap(tables, TINY, resamples=10)
    fewer = gather({k: v for k, v in scores.items() if k != "003"}).tables()
    with pytest.raises(InputError, match=r"different images \(1 are in one only, such as 003\)"):
        compare(one, bootstrap(fewer, TINY, resamples=10))
    equal = replace(tables, options=MetricOptions(fp_attribution="equal"))
    for what, other in (
        ("number of resamples", bootstrap(tables, TINY, resamples=11)),
        ("seed", bootstrap(tables, TINY, resamples=10, seed=1)),
        ("size bins", bootstrap(tables, SizeBins((3, 6), TINY.names), resamples=10)),
        ("metric options", bootstrap(equal, TINY, resamples=10)),
    ):
        with pytest.raises(InputError, match=f"same {what}"):
            compare(one, other)
    with pytest.raises(InputError, match="at least one resample"):
        bootstrap(tables, TINY, resamples=0)
