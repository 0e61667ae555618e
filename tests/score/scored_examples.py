"""Scored folders for the tests of charts and report: tiny images, plausible wrong predictions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from sbdata.metrics import Accumulator, MetricOptions, score_image, truth_from_maps
from sbdata.metrics.bootstrap import bootstrap, compare
from sbdata.metrics.image import ia_iou
from sbdata.metrics.summary import summarise
from sbdata.score.result import Comparison, InstanceChange, ScoreResult
from sbdata.sizes import SizeBins
from sbdata.taxonomy import Taxonomy

TAXONOMY = Taxonomy("three", ("disc", "square", "star"))
BINS = SizeBins((64, 400))


def example_images(count=12, *, seed=0, classes=(1, 2), invented=3, loss=0.4):
    """Image id to photo, class map, instance map and prediction; "invented" is never true."""
    truths, guesses = np.random.default_rng(seed), np.random.default_rng([seed, int(loss * 100)])
    height, width = 48, 60
    images = {}
    for k in range(count):
        class_map = np.zeros((height, width), np.uint8)
        instance_map = np.zeros((height, width), np.uint8)
        prediction = np.zeros((height, width), np.uint8)
        for number, class_id in enumerate(classes, start=1):
            side = int(truths.integers(4, 26))
            left = (number - 1) * width // len(classes)
            y, x = int(truths.integers(0, height - side)), left + int(truths.integers(0, 4))
            cut = int(guesses.integers(0, max(1, side // 2)))
            class_map[y : y + side, x : x + side] = class_id
            instance_map[y : y + side, x : x + side] = number
            if guesses.random() > loss:
                prediction[y + cut : y + side, x : x + side] = class_id
        prediction[:2, -2:] = invented  # an invented object
        class_map[-1, :] = instance_map[-1, :] = 255
        photo = truths.integers(0, 256, (height, width, 3)).astype(np.uint8)
        images[f"image_{k:03d}"] = (photo, class_map, instance_map, prediction)
    return images


def scored_from(images, *, taxonomy=TAXONOMY, bins=BINS, against=None, **changes):
    """Score images, and another set of predictions of them against the first."""
    tables = _tables(images, taxonomy)
    drawn = bootstrap(tables, bins, resamples=60)
    compared = ()
    if against is not None:
        other = _tables(against, taxonomy)
        second = bootstrap(other, bins, resamples=60)
        first_ia, second_ia = ia_iou(tables.instances), ia_iou(other.instances)
        columns = tables.instance_columns(bins, taxonomy.classes)
        moved = tuple(
            InstanceChange(
                image_id=str(columns["image_id"][k]),
                instance_id=int(columns["instance_id"][k]),
                class_name=str(columns["class_name"][k]),
                area=int(columns["area"][k]),
                size=str(columns["size"][k]),
                first=float(first_ia[k]),
                second=float(second_ia[k]),
            )
            for k in np.argsort(-np.abs(second_ia - first_ia), kind="stable")[:5]
        )
        figures = summarise(other, bins).headline()
        compared = (Comparison("second", figures, compare(drawn, second), moved),)
    scored = ScoreResult(
        name="first",
        predictions=Path("predictions") / "first",
        truth_name="tiny-set",
        synthetic=True,
        taxonomy=taxonomy,
        bins=bins,
        options=MetricOptions(),
        summary=summarise(tables, bins),
        intervals=drawn.intervals(),
        tables=tables,
        compared=compared,
        provenance={"sbdata": "0.1.0", "set hash": "0123abcd", "seed": 0},
    )
    return replace(scored, **changes)


def _tables(images, taxonomy):
    accumulator = Accumulator(len(taxonomy))
    for image_id, (_, class_map, instance_map, prediction) in images.items():
        truth = truth_from_maps(class_map, instance_map)
        accumulator.update(image_id, score_image(prediction, truth, len(taxonomy)))
    return accumulator.tables()
