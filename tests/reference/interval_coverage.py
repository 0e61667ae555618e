"""How often 95 % intervals of a set with rare classes hold the population's value.

``python -m tests.reference.interval_coverage`` draws sets of images from a population whose values
are known, and prints how the intervals of the Bayesian bootstrap fare beside those of resampling
the images with replacement, which the project used before. Both compute the same values of the same
sets; only the weights of the images differ. A resample can lack a class, which then drops out of
the mean; a Bayesian draw cannot. Neither knows how a class varies that it has seen in one image:
among the images of a class with m of them, the Bayesian draws have (m - 1) / (m + 1) of the
variance that the class's mean has.

Columns: ``coverage``, the share of intervals that hold the population's value; ``centre``, the mean
of the interval's middle minus the set's value, and ``width``, both in points (hundredths); the
share of intervals that exclude the set's own value; the share of draws that lack a class.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

import numpy as np

from sbdata.metrics import MetricOptions
from sbdata.metrics.bootstrap import bootstrap
from sbdata.metrics.image import CLASS_ROW, INSTANCE_ROW, REGION_ROW
from sbdata.metrics.registry import estimates
from sbdata.metrics.sums import image_sums, ratio
from sbdata.metrics.tables import ScoreTables
from sbdata.sizes import SizeBins

BINS = SizeBins()
VALUES = ("miou", "ia.class_mean", "ia.instance_mean")
PIXELS = 100_000


@dataclass(frozen=True)
class Population:
    """Images that hold some of the classes.

    Attributes:
        name: for the table.
        in_images: in how many of 110 images each class is expected.
        quality: of each class; 0 finds half of an instance's pixels.
    """

    name: str
    in_images: np.ndarray
    quality: np.ndarray


HALF_RARE = np.array([30] * 6 + [12] * 4 + [3] * 10)
MOSTLY_RARE = np.array([30] * 5 + [8] * 15 + [2] * 60)
POPULATIONS = (
    Population("20 classes, none rare", np.full(20, 30), np.full(20, 1.0)),
    Population("20 classes, 10 rare", HALF_RARE, np.full(20, 1.0)),
    Population("20 classes, 10 rare and worse", HALF_RARE, np.where(HALF_RARE > 3, 1.5, -0.5)),
    Population("80 classes, 60 rare and worse", MOSTLY_RARE, np.where(MOSTLY_RARE > 2, 1.5, -1.0)),
)


def draw_set(population, n_images, rng):
    """Return the tables of random images, as if their predictions had been scored.

    An image holds each class by chance, with one instance and perhaps more of it. How well they are
    found depends on the class, the image and the instance.
    """
    n_classes = len(population.quality)
    present = rng.random((n_images, n_classes)) < population.in_images / 110
    count = present * (1 + rng.poisson(0.5, present.shape))
    image, class_index = (a.ravel() for a in np.indices(count.shape))
    image, class_index = (np.repeat(a, count.ravel()) for a in (image, class_index))
    area = np.exp(rng.normal(7, 1.5, image.size)).astype(np.int64).clip(20, 20_000)
    of_image = rng.normal(0, 0.7, n_images)
    logit = population.quality[class_index] + of_image[image] + rng.normal(0, 1, image.size)
    recall = 1 / (1 + np.exp(-logit))
    tp = np.rint(area * recall).astype(np.int64)
    fp = np.rint(area * (1 - recall) * rng.exponential(0.5, image.size)).astype(np.int64)

    instances = np.zeros(image.size, INSTANCE_ROW)
    instances["class_id"], instances["area"] = class_index + 1, area
    instances["tp"], instances["fp"] = tp, fp
    regions = np.zeros(image.size, REGION_ROW)
    regions["class_id"], regions["area"], regions["matched"] = class_index + 1, tp + fp, tp

    def by_class(values):
        """Sum over the instances of each image and class; class 0 is left to be filled."""
        found = np.zeros((n_images, n_classes + 1), np.int64)
        np.add.at(found, (image, class_index + 1), values)
        return found

    true, matched, false = by_class(area), by_class(tp), by_class(fp)
    predicted = matched + false
    true[:, 0] = predicted[:, 0] = PIXELS
    matched[:, 0] = PIXELS - false.sum(axis=1)
    predicted[:, 0] += (true - matched)[:, 1:].sum(axis=1) - false.sum(axis=1)
    class_image, class_id = np.nonzero(true)
    classes = np.zeros(class_image.size, CLASS_ROW)
    classes["class_id"] = class_id
    for name, counts in (
        ("true_pixels", true),
        ("predicted_pixels", predicted),
        ("matched_pixels", matched),
    ):
        classes[name] = counts[class_image, class_id]
    return ScoreTables(
        options=MetricOptions(),
        n_classes=n_classes,
        image_ids=tuple(f"{k:06d}" for k in range(n_images)),
        image_pixels=np.zeros(n_images, np.int64),
        confusion=np.zeros((n_classes + 1, n_classes + 1), np.int64),
        instance_image=image.astype(np.int32),
        instances=instances,
        region_image=image.astype(np.int32),
        regions=regions,
        class_image=class_image.astype(np.int32),
        classes=classes,
    )


def class_values(tables):
    """Return the values of each class, background first, whose means are the values of a set.

    The instance mean has no part by class; it is the same number for each.
    """
    sums = image_sums(tables, BINS).weighted(np.ones((len(tables.image_ids), 1)))
    background = ratio(sums.background[:1], sums.background[1:])
    objects = ratio(sums.ia[0], sums.instances[0])
    instance_mean = sums.ia[0].sum() / sums.instances[0].sum()
    return {
        "miou": ratio(sums.matched, sums.union)[:, 0],
        "ia.class_mean": np.concatenate([background, objects])[:, 0],
        "ia.instance_mean": np.full(tables.n_classes + 1, instance_mean),
    }


def with_replacement(tables, resamples, rng):
    """Return [low, high] by value from resampled images, and the share that lack a class.

    Percentiles are over the resamples that have the value at all.
    """
    n = len(tables.image_ids)
    drawn = rng.multinomial(n, np.full(n, 1 / n), size=resamples).T.astype(np.float64)
    sums = image_sums(tables, BINS).weighted(drawn)
    occurs = np.isin(np.arange(1, tables.n_classes + 1), tables.instances["class_id"])
    lacking = (sums.instances[0][occurs] == 0).any(axis=0).mean()
    found = estimates(sums, BINS)
    return {name: np.nanpercentile(found[name], [2.5, 97.5]) for name in VALUES}, float(lacking)


def bayesian(tables, resamples, seed):
    """Return [low, high] by value from the package's bootstrap; no draw lacks a class."""
    draws = bootstrap(tables, BINS, resamples=resamples, seed=seed).draws
    return {name: np.percentile(draws[name], [2.5, 97.5]) for name in VALUES}, 0.0


def simulate(population, *, n_images, sets, resamples, seed, large=100_000):
    """Return one row for each value and bootstrap.

    Args:
        population: that images are drawn from.
        n_images: of a set.
        sets: how many are drawn. The true value of one is the mean of the population's values over
            the classes that the set has.
        resamples: of each bootstrap.
        seed: of everything.
        large: how many images the population's value is computed from.
    """
    rng = np.random.default_rng(seed)
    truth = class_values(draw_set(population, large, rng))
    found = {(name, kind): [] for name in VALUES for kind in ("with replacement", "Bayesian")}
    for k in range(sets):
        tables = draw_set(population, n_images, rng)
        has = np.append(0, np.unique(tables.instances["class_id"]))
        target = {name: truth[name][has].mean() for name in VALUES}
        estimate = {name: values[has].mean() for name, values in class_values(tables).items()}
        for kind, (intervals, lacking) in (
            ("with replacement", with_replacement(tables, resamples, rng)),
            ("Bayesian", bayesian(tables, resamples, seed + k)),
        ):
            for name, (low, high) in intervals.items():
                row = (
                    low <= target[name] <= high,
                    (low + high) / 2 - estimate[name],
                    high - low,
                    not low <= estimate[name] <= high,
                    lacking,
                )
                found[name, kind].append(row)
    return [
        {
            "population": population.name,
            "value": name,
            "bootstrap": kind,
            **dict(zip(COLUMNS, np.mean(rows, axis=0).tolist(), strict=True)),
        }
        for (name, kind), rows in found.items()
    ]


COLUMNS = ("coverage", "centre", "width", "excludes its estimate", "draws lacking a class")


def main(arguments=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=110)
    parser.add_argument("--sets", type=int, default=300)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    head = ("population", "value", "bootstrap", *COLUMNS)
    print("| " + " | ".join(head) + " |\n" + "| --- " * 3 + "| ---: " * len(COLUMNS) + "|")
    for population in POPULATIONS:
        for row in simulate(
            population,
            n_images=given.images,
            sets=given.sets,
            resamples=given.resamples,
            seed=given.seed,
        ):
            print(
                f"| {row['population']} | {row['value']} | {row['bootstrap']} "
                f"| {row['coverage']:.1%} | {100 * row['centre']:+.2f} | {100 * row['width']:.2f} "
                f"| {row['excludes its estimate']:.1%} | {row['draws lacking a class']:.1%} |"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main()
