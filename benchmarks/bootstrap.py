"""Measure the intervals: 1,000 resamples of 40,000 images, against plain numpy.

    python benchmarks/bootstrap.py --json results/speed/bootstrap.json

The rows are synthetic: each image has one to five instances of VOC's 20 classes, regions to match,
and the classes of both. Both sides get the same rows and seed. The plain side makes the weights of
a draw, adds up the weighted rows by ``numpy.bincount`` and computes the values, one draw after the
other. All values of all draws must agree to 1e-12.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import harness
import numpy as np
import numpy.typing as npt

from sbdata.metrics import MetricOptions
from sbdata.metrics.bootstrap import bootstrap
from sbdata.metrics.image import CLASS_ROW, INSTANCE_ROW, REGION_ROW, ia_iou
from sbdata.metrics.registry import estimates
from sbdata.metrics.sums import Sums, Values
from sbdata.metrics.tables import ScoreTables
from sbdata.sizes import SizeBins

IMAGES, RESAMPLES, CLASSES = 40_000, 1000, 20
BARS = {"cpu_seconds": 5, "peak_mb": 300}
BINS = SizeBins()


def main() -> None:
    options = harness.parser(__doc__, quick=0.1).parse_args()
    images = max(10, round(IMAGES * options.scale))

    def ours(folder: Path) -> None:
        tables = synthetic(images)
        harness.begin()
        draws = bootstrap(tables, BINS, resamples=RESAMPLES).draws
        np.save(folder / "sbdata.npy", np.stack(list(draws.values())))

    def plain(folder: Path) -> None:
        tables = synthetic(images)
        harness.begin()
        np.save(folder / "plain.npy", np.stack(list(draw_by_draw(tables).values())))

    apart = 0.0

    def compare_draws(folder: Path) -> None:
        nonlocal apart
        ours, theirs = np.load(folder / "sbdata.npy"), np.load(folder / "plain.npy")
        apart = float(np.abs(ours / theirs - 1).max())

    sides = {"sbdata": harness.Side(ours), "plain numpy": harness.Side(plain, "numpy")}
    figures = harness.compare(options, sides, after=None if options.ours else compare_draws)
    harness.report(
        options, figures, images=images, resamples=RESAMPLES, bars=BARS, apart=apart, synthetic=True
    )
    print(f"{RESAMPLES:,} x {images:,} images; the sides differ by at most {apart:.1e}")
    print(f"bars at {IMAGES:,} images: {BARS['cpu_seconds']} CPU s, {BARS['peak_mb']} MB")
    if apart > 1e-12:
        sys.exit(1)


def synthetic(images: int) -> ScoreTables:
    """Return synthetic rows of that many images."""
    random = np.random.default_rng(0)
    n_instances, n_regions = random.integers(1, 6, images), random.integers(0, 6, images)
    instances = np.zeros(n_instances.sum(), INSTANCE_ROW)
    instances["class_id"] = random.integers(1, CLASSES + 1, len(instances))
    instances["area"] = np.exp(random.normal(8, 2, len(instances))).astype(int) + 1
    instances["tp"] = instances["area"] * random.random(len(instances))
    instances["fp"] = instances["area"] * random.random(len(instances))
    regions = np.zeros(n_regions.sum(), REGION_ROW)
    regions["area"] = np.exp(random.normal(8, 2, len(regions))).astype(int) + 1
    regions["matched"] = regions["area"] * random.random(len(regions))
    seen = random.random((images, CLASSES + 1)) < 0.15
    seen[:, 0] = True
    class_image, class_id = np.nonzero(seen)
    classes = np.zeros(len(class_id), CLASS_ROW)
    classes["class_id"] = class_id
    classes["true_pixels"] = random.integers(1, 90_000, len(classes))
    classes["predicted_pixels"] = random.integers(1, 90_000, len(classes))
    smaller = np.minimum(classes["true_pixels"], classes["predicted_pixels"])
    classes["matched_pixels"] = smaller * random.random(len(classes))
    places = np.arange(images, dtype=np.int32)
    return ScoreTables(
        options=MetricOptions(),
        n_classes=CLASSES,
        image_ids=tuple(f"{k:06d}" for k in range(images)),
        image_pixels=np.zeros(images, np.int64),
        confusion=np.zeros((CLASSES + 1, CLASSES + 1), np.int64),
        instance_image=np.repeat(places, n_instances),
        instances=instances,
        region_image=np.repeat(places, n_regions),
        regions=regions,
        class_image=class_image.astype(np.int32),
        classes=classes,
    )


def draw_by_draw(tables: ScoreTables) -> dict[str, Values]:
    """Return the values of every draw, by the shortest numpy code that gives them."""
    n, generator = len(tables.image_ids), np.random.PCG64(0)
    rows, regions, classes = tables.instances, tables.regions, tables.classes
    sizes, ia = BINS.index(rows["area"]) + 1, ia_iou(rows)
    region_sizes = BINS.index(regions["area"]) + 1
    good = 2 * regions["matched"].astype(int) >= regions["area"]
    matched = classes["matched_pixels"].astype(int)
    union = classes["true_pixels"].astype(int) + classes["predicted_pixels"] - matched
    back = classes["class_id"] == 0
    rates = matched[back] / union[back]
    draws = []
    for _ in range(RESAMPLES):
        weights = -np.log(((generator.random_raw(n) >> np.uint64(11)) + 0.5) * 2.0**-53)
        w, v, u = (weights[i] for i in (tables.instance_image, tables.region_image,
                                        tables.class_image))  # fmt: skip

        def by_size(size: npt.NDArray[Any], cell: Any, weight: Values, cells: int) -> Values:
            some = np.bincount(size * cells + cell, weight, 4 * cells).astype(np.float64)
            some = some.reshape(4, cells)
            some[0] = some.sum(axis=0)
            return some

        def by_class(weight: Values) -> Values:
            some = np.bincount(classes["class_id"], weight, CLASSES + 1)
            return some.astype(np.float64)[:, None]

        cells = rows["class_id"].astype(int) - 1
        sums = Sums(
            ia=by_size(sizes, cells, w * ia, CLASSES)[..., None],
            instances=by_size(sizes, cells, w, CLASSES)[..., None],
            background=np.array([[(u[back] * rates).sum()], [u[back].sum()]]),
            precise=by_size(region_sizes, 0, v * good, 1),
            regions=by_size(region_sizes, 0, v, 1),
            true=by_class(u * classes["true_pixels"]),
            union=by_class(u * union),
            matched=by_class(u * matched),
        )
        draws.append(estimates(sums, BINS))
    return {name: np.array([draw[name][0] for draw in draws]) for name in draws[0]}


if __name__ == "__main__":
    main()
