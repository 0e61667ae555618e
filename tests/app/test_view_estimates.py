"""The app's intervals are those of the result, and of a slow bootstrap where it has none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from PIL import Image

from sbdata.app.attached import AttachedRun
from sbdata.app.panel_data import Objects, ObjectScores, area_edges, count_outcomes, gather_objects
from sbdata.app.run_folder import Run, read_run
from sbdata.app.view_estimates import (
    Curve,
    SizeEstimate,
    ia_by_area,
    ia_by_size,
    ia_differences,
    size_names,
)
from sbdata.errors import InputError
from sbdata.metrics import Accumulator, MetricOptions, score_image, truth_from_maps
from sbdata.metrics.bootstrap import FEW, bootstrap
from sbdata.sets import EvaluationSet, open_set
from sbdata.sizes import SizeBins

CLASSES = ("cat", "dog")
RUN = AttachedRun("run", "run")


def attached(run: Run) -> AttachedRun:
    note = run.metric_note
    return AttachedRun(
        run.name, run.title, MetricOptions(**note["options"]), note["resamples"], note["seed"]
    )


def objects_of(opened: EvaluationSet, runs: Sequence[Run], image_ids: Sequence[str]) -> Objects:
    """Return the objects of some images from the tables on disk, without FiftyOne."""
    truth = opened.manifest.instances.to_pylist()
    names = {"area": "area", "number": "instance_id", "label": "class_name", "size": "size",
             "source": "source"}  # fmt: skip
    columns = {
        name: [[row[key] for row in truth if row["image_id"] == i] for i in image_ids]
        for name, key in names.items()
    }
    scores = {}
    for run in runs:
        rows = run.instances.to_pylist()
        scores[run.name] = {
            name: [[row[name] for row in rows if row["image_id"] == i] for i in image_ids]
            for name in ("tp", "fp", "outcome")
        }
    return gather_objects(image_ids, columns, scores)


@pytest.fixture
def crowd(build_album: Any) -> EvaluationSet:
    """Forty images of up to four squares each, of all sizes."""
    random = np.random.default_rng(0)
    squares = {}
    for k in range(40):
        corners = [(0, 0, 12), (0, 13, 12), (13, 0, 12), (13, 13, 12)]
        some = random.permutation(4)[: random.integers(0, 5)]
        squares[f"i{k:02}"] = [
            (int(random.integers(1, 3)), top, left, int(random.integers(2, room)))
            for top, left, room in (corners[j] for j in some)
        ]
    return open_set(build_album(squares=squares))


@pytest.fixture
def result(crowd: EvaluationSet, score_album: Any) -> Path:
    """A run whose squares are shifted, compared with one that has no cats."""
    score_album(crowd.root, "no cats", lost=1)
    return score_album(crowd.root, "shifted", shift=1, resamples=200, seed=5, against=["no cats"])


def as_in_summary(values: dict[str, SizeEstimate]) -> dict[str, Any]:
    """Return estimates in the form of ``summary.json``."""

    def mean(value: Any) -> dict[str, Any]:
        ends = value.interval
        return {
            "value": value.value,
            "interval": None if ends is None else {"low": ends.low, "high": ends.high},
        }

    return {
        name: {
            "class_mean": mean(one.class_mean),
            "instance_mean": mean(one.instance_mean),
            "n_instances": one.n_objects,
            "n_classes": one.n_classes,
        }
        for name, one in values.items()
    }


def test_values_and_intervals_of_a_whole_run_are_those_of_its_summary_to_the_digit(
    crowd: EvaluationSet, result: Path
) -> None:
    summary = orjson.loads((result / "summary.json").read_bytes())
    run = read_run(result)
    shown = objects_of(crowd, [run], list(reversed(crowd.image_ids)))  # in whatever order
    found = as_in_summary(ia_by_size(shown, attached(run), CLASSES, crowd.bins))
    assert found == {name: summary["ia"][name] for name in size_names(crowd.bins)}
    assert all(one["class_mean"]["interval"] for one in found.values())  # or it would say little
    counts = count_outcomes(shown, run.name, crowd.bins.names)
    assert counts.tolist() == [list(of_size.values()) for of_size in summary["outcomes"].values()]
    assert (counts.sum(axis=0) > 0).sum() > 1


def test_differences_of_two_whole_runs_are_those_of_the_comparison_to_the_digit(
    crowd: EvaluationSet, result: Path
) -> None:
    summary = orjson.loads((result / "summary.json").read_bytes())
    a, b = read_run(result), read_run(result.parent / "no cats")
    shown = objects_of(crowd, [a, b], crowd.image_ids)
    found = ia_differences(shown, attached(a), attached(b), CLASSES, crowd.bins)
    (compared,) = summary["compared"]
    for name, one in found.items():
        expected = compared["differences"][f"{name}.class_mean"]
        assert one is not None
        assert one.interval is not None
        assert (one.value, one.interval.low, one.interval.high, one.sign_change) == (
            expected["value"], expected["interval"]["low"], expected["interval"]["high"],
            expected["sign_change"],
        )  # fmt: skip
        first = a.summary["ia"][name]["class_mean"]["value"]
        second = b.summary["ia"][name]["class_mean"]["value"]
        assert one.value == first - second


def test_a_part_of_the_images_is_as_if_those_alone_had_been_scored(
    crowd: EvaluationSet, result: Path, tmp_path: Path
) -> None:
    some = crowd.image_ids[::2]
    run = read_run(result)
    scored = Accumulator(len(CLASSES))
    for image_id in some:
        with Image.open(tmp_path / "predictions" / "shifted" / f"{image_id}.png") as image:
            prediction = np.array(image)
        truth = truth_from_maps(crowd.class_map(image_id), crowd.instance_map(image_id))
        scored.update(image_id, score_image(prediction, truth, len(CLASSES)))
    expected = bootstrap(scored.tables(), crowd.bins, resamples=200, seed=5)
    found = ia_by_size(objects_of(crowd, [run], some), attached(run), CLASSES, crowd.bins)
    for name in size_names(crowd.bins):
        for mean in ("class_mean", "instance_mean"):
            one = getattr(found[name], mean)
            assert one.value == expected.observed[f"{name}.{mean}"]
            assert one.interval == expected.intervals()[f"{name}.{mean}"]
    whole = ia_by_size(
        objects_of(crowd, [run], crowd.image_ids), attached(run), CLASSES, crowd.bins
    )
    assert found != whole


def test_without_intervals_in_the_result_the_default_number_of_draws_is_taken(
    crowd: EvaluationSet, score_album: Any
) -> None:
    run = read_run(score_album(crowd.root, "plain", shift=1))
    assert run.summary["ia"]["ia"]["class_mean"]["interval"] is None
    again = read_run(score_album(crowd.root, "drawn", shift=1, resamples=1000))
    shown = objects_of(crowd, [run, again], crowd.image_ids)
    one, other = (ia_by_size(shown, attached(r), CLASSES, crowd.bins) for r in (run, again))
    assert one == other


def test_runs_of_other_options_are_not_subtracted() -> None:
    objects = _objects([0, 1], [600, 610], {"a": [0.1, 0.2], "b": [0.3, 0.4]})
    other = AttachedRun("b", "b", MetricOptions(fp_attribution="area"))
    with pytest.raises(InputError, match="same metric options"):
        ia_differences(objects, AttachedRun("a", "a"), other, CLASSES, SizeBins())


# --- by area, on made-up objects ------------------------------------------------------------------


def _objects(
    images: Sequence[int],
    areas: Sequence[int],
    ia: dict[str, Sequence[float]],
    labels: Sequence[str] | None = None,
) -> Objects:
    """Return objects whose true pixels make up a given IA, as far as whole pixels can."""
    bins = SizeBins()
    area = np.array(areas, np.int64)
    return Objects(
        tuple(f"{k:04}" for k in range(max(images) + 1)),
        np.array(images, np.int64),
        np.arange(1, area.size + 1),
        area,
        {
            "label": np.array(labels or ["cat"] * area.size, object),
            "size": np.array([bins.name_of(a) for a in areas], object),
            "source": np.array(["voc"] * area.size, object),
        },
        {
            run: ObjectScores(
                np.round(np.array(values) * area),
                np.zeros(area.size),
                np.array(["partial"] * area.size, object),
            )
            for run, values in ia.items()
        },
        np.arange(max(images) + 1) * 1000 + 1000,
    )


def _curve(found: Objects, classes: Sequence[str] = CLASSES) -> tuple[Curve, np.ndarray]:
    edges = area_edges(found.area, SizeBins())
    return ia_by_area(found, RUN, classes, edges), edges


def test_the_mean_is_that_of_the_scored_objects() -> None:
    ia = [0.2, 0.4, math.nan, 1.0]
    found = _objects([0, 0, 1, 1], [600, 610, 620, 5000], {"run": ia}, ["cat", "dog", "cat", "dog"])
    curve, edges = _curve(found)
    place = int(np.searchsorted(edges, 600, side="right")) - 1
    assert curve.n[place] == 2
    assert curve.mean[place] == pytest.approx(0.3)
    assert curve.n.sum() == 3
    assert np.isnan(curve.mean[curve.n == 0]).all()


def test_an_object_that_a_user_gave_another_name_is_in_no_class_and_left_out() -> None:
    found = _objects([0, 1], [600, 600], {"run": [0.5, 1.0]}, ["cat", "my own"])
    curve, _ = _curve(found)
    assert curve.n.sum() == 1
    values = ia_by_size(found, RUN, CLASSES, SizeBins())["ia_small"]
    assert (values.class_mean.value, values.n_objects, values.n_classes) == (0.5, 1, 1)


def test_the_band_is_that_of_a_bootstrap_over_images() -> None:
    """A slow loop over resamples, and the interval that the normal approximation gives."""
    random = np.random.default_rng(1)
    images = np.repeat(np.arange(60), 3)
    level = np.repeat(random.uniform(0.2, 0.8, 60), 3)  # objects of an image are alike
    ia = np.clip(level + random.normal(0, 0.05, 180), 0, 1)
    curve, _ = _curve(_objects(images.tolist(), [600] * 180, {"run": ia.tolist()}))
    place = int(np.flatnonzero(curve.n)[0])
    means = []
    for _ in range(2000):
        weights = random.dirichlet(np.ones(60))[images]
        means.append((weights * ia).sum() / weights.sum())
    low, high = np.percentile(means, [2.5, 97.5])
    assert curve.low[place] == pytest.approx(low, abs=0.012)
    assert curve.high[place] == pytest.approx(high, abs=0.012)
    spread = ia.reshape(60, 3).mean(axis=1).std(ddof=1) / math.sqrt(60)
    assert (curve.high[place] - curve.low[place]) / 3.92 == pytest.approx(spread, rel=0.15)
    as_if_independent = ia.std(ddof=1) / math.sqrt(180)
    assert curve.high[place] - curve.low[place] > 1.4 * 3.92 * as_if_independent


@pytest.mark.parametrize(
    ("objects", "images", "has_one"),
    [(FEW - 1, FEW - 1, False), (FEW, FEW, True), (FEW, 2, True), (FEW, 1, False)],
)
def test_few_objects_or_a_single_image_have_no_interval(
    objects: int, images: int, has_one: bool
) -> None:
    ia = np.linspace(0, 1, objects).tolist()
    found = _objects([k % images for k in range(objects)], [600] * objects, {"run": ia})
    found = found.subset(np.argsort(found.image, kind="stable"))
    curve, _ = _curve(found)
    place = int(np.flatnonzero(curve.n)[0])
    assert np.isnan([curve.low[place], curve.high[place]]).tolist() == [not has_one] * 2
    assert curve.mean[place] == pytest.approx(0.5, abs=0.01)


def test_a_view_without_images_or_without_objects_has_no_values() -> None:
    columns = {name: [] for name in ("area", "number", "label", "size", "source")}
    scores = {"run": {name: [] for name in ("tp", "fp", "outcome")}}
    empty = gather_objects([], columns, scores)
    columns, scores = (
        {name: [None] for name in columns},
        {"run": {name: [None] for name in scores["run"]}},
    )
    for found in (empty, gather_objects(["a"], columns, scores)):
        curve, _ = _curve(found)
        assert curve.n.sum() == 0
        assert np.isnan([*curve.mean, *curve.low, *curve.high]).all()
        values = ia_by_size(found, RUN, CLASSES, SizeBins())
        assert {one.class_mean.value for one in values.values()} == {None}
        differences = ia_differences(found, RUN, RUN, CLASSES, SizeBins())
        assert set(differences.values()) == {None}


def test_sizes_relative_to_the_image_and_by_class() -> None:
    found = _objects(
        [0, 0, 1, 1], [9, 10, 10, 20], {"run": [0.0, 0.5, 0.25, 1.0]}, ["cat", "dog", "cat", "dog"]
    )  # in images of 1,000 and 2,000 pixels
    relative = ia_by_size(found, RUN, ("cat", "dog"), SizeBins(("0.6%", "1%")))
    assert [relative[f"ia_{s}"].n_objects for s in ("small", "medium", "large")] == [1, 1, 2]
    assert relative["ia_small"].class_mean.value == pytest.approx(0.25, abs=0.06)
    by_class = ia_by_size(found, RUN, ("cat", "dog"), SizeBins(((10, 11), (5, 10))))
    assert [by_class[f"ia_{s}"].n_objects for s in ("small", "medium", "large")] == [1, 1, 2]
    assert by_class["ia_small"].class_mean.value == 0
