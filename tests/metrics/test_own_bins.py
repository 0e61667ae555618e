"""Sizes relative to the image, and by class: every row has the size of the definition."""

from __future__ import annotations

import pickle
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sbdata.errors import InputError
from sbdata.metrics import Accumulator, score_image, truth_from_components
from sbdata.metrics.bootstrap import bootstrap, compare
from sbdata.metrics.summary import summarise
from sbdata.metrics.tables import ScoreTables
from sbdata.score.tables_file import read_tables, write_tables
from sbdata.sizes import SizeBins

RELATIVE, BY_CLASS = SizeBins(("2.5%", "10%")), SizeBins(((3, 9), (6, 20)))
NAMES = ("one", "two")


@pytest.fixture(scope="module")
def images() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Prediction and truth of images of several sizes, with void."""
    rng = np.random.default_rng(7)
    found = {}
    for k in range(12):
        shape = tuple(rng.integers(8, 25, 2))
        blocks = [rng.choice([0, 0, 0, 0, 1, 2], (13, 13)) for _ in range(2)]
        large = [np.kron(each, np.ones((2, 2), int))[: shape[0], : shape[1]] for each in blocks]
        prediction, truth = large[0], large[1].copy()
        truth[rng.random(truth.shape) < 0.1] = 255
        found[f"{k:02}"] = prediction.astype(np.uint8), truth.astype(np.uint8)
    return found


@pytest.fixture(scope="module")
def counted(images) -> Accumulator:
    whole = Accumulator(2)
    for image_id, (prediction, truth) in images.items():
        whole.update(image_id, score_image(prediction, truth_from_components(truth), 2))
    return whole


def size_of(bins: SizeBins, area: int, class_id: int, shape: tuple[int, int]) -> str:
    """The definition, in exact arithmetic."""
    share = Fraction(area, shape[0] * shape[1])
    if bins == RELATIVE:
        reached = [share >= Fraction(1, 40), share >= Fraction(1, 10)]
    else:
        reached = [area >= edge for edge in {1: (3, 9), 2: (6, 20)}[class_id]]
    return ("small", "medium", "large")[sum(reached)]


@pytest.mark.parametrize("bins", [RELATIVE, BY_CLASS])
def test_every_row_has_the_size_of_its_area_class_and_image(bins, images, counted) -> None:
    tables = counted.tables()
    instances = tables.instance_columns(bins, NAMES)
    regions = tables.region_columns(bins, NAMES)
    for rows in (instances, regions):
        expected = [
            size_of(bins, int(area), int(class_id), images[image_id][1].shape)
            for area, class_id, image_id in zip(
                rows["area"], rows["class_id"], rows["image_id"], strict=True
            )
        ]
        assert rows["size"].tolist() == expected
        assert set(expected) == {"small", "medium", "large"}
    summary = summarise(tables, bins)
    precise = 2 * regions["matched"] >= regions["area"]
    for size in bins.names:
        chosen = instances["size"] == size
        figure = summary.ia[f"ia_{size}"]
        assert figure.n_instances == sum(summary.outcomes[size].values()) == chosen.sum()
        means = [
            instances["ia_iou"][chosen & (instances["class_id"] == c)].mean()
            for c in np.unique(instances["class_id"][chosen])
        ]
        assert figure.class_mean == pytest.approx(np.mean(means))
        of_regions = summary.region_precision[f"region_precision_{size}"]
        assert of_regions.n == (regions["size"] == size).sum()
        assert of_regions.value == pytest.approx(precise[regions["size"] == size].mean())
        counts = summary.counts_of(NAMES)
        assert [counts[name][size] for name in NAMES] == [
            (chosen & (instances["class_name"] == name)).sum() for name in NAMES
        ]


def test_the_pixels_of_an_image_are_those_of_its_whole_map(images, counted) -> None:
    tables = counted.tables()
    known = dict(zip(tables.image_ids, tables.image_pixels.tolist(), strict=True))
    assert known == {image_id: truth.size for image_id, (_, truth) in images.items()}
    assert sum(known.values()) > counted.tables().confusion.sum()  # which leaves void out


def test_a_constant_image_size_makes_relative_sizes_those_in_pixels() -> None:
    rng = np.random.default_rng(3)
    whole = Accumulator(2)
    for k in range(10):
        maps = [
            np.kron(rng.choice([0, 0, 0, 1, 2], (5, 10)), np.ones((4, 4), np.uint8))
            for _ in range(2)
        ]
        truth = truth_from_components(maps[0].astype(np.uint8))
        whole.update(str(k), score_image(maps[1].astype(np.uint8), truth, 2))
    pixels = 20 * 40
    relative = whole.compute(SizeBins(("3%", "8%")))
    same = whole.compute(SizeBins((pixels * 3 // 100, pixels * 8 // 100)))
    assert replace(relative, bins=same.bins) == same
    assert all(figure.n_instances for figure in same.ia.values())


def test_merged_and_saved_scores_keep_the_sizes(images, counted, tmp_path: Path) -> None:
    parts = [Accumulator(2), Accumulator(2)]
    for k, (image_id, (prediction, truth)) in enumerate(reversed(images.items())):
        parts[k % 2].update(image_id, score_image(prediction, truth_from_components(truth), 2))
    parts[0].merge(pickle.loads(pickle.dumps(parts[1])))  # noqa: S301 - our own
    expected = counted.compute(RELATIVE)
    assert parts[0].compute(RELATIVE) == expected
    assert Accumulator.of_tables(counted.tables()).compute(RELATIVE) == expected
    write_tables(tmp_path / "a.npz", counted.tables())
    assert summarise(read_tables(tmp_path / "a.npz"), RELATIVE) == expected


def test_tables_of_earlier_files_have_sizes_in_pixels_only(counted, tmp_path: Path) -> None:
    write_tables(tmp_path / "a.npz", counted.tables())
    with np.load(tmp_path / "a.npz") as content:
        earlier: dict[str, Any] = {k: v for k, v in content.items() if k != "0.image_pixels"}
    np.savez(tmp_path / "b.npz", **earlier)
    found = read_tables(tmp_path / "b.npz")
    assert summarise(found, SizeBins()) == counted.compute()
    assert summarise(found, BY_CLASS) == counted.compute(BY_CLASS)
    with pytest.raises(InputError, match="need the pixels of each object's image"):
        summarise(found, RELATIVE)


@pytest.mark.parametrize("bins", [RELATIVE, BY_CLASS])
def test_other_bins_are_not_compared(bins, counted) -> None:
    tables: ScoreTables = counted.tables()
    first, second = (bootstrap(tables, one, resamples=5) for one in (bins, SizeBins((20, 90))))
    with pytest.raises(InputError, match="the same size bins for both"):
        compare(first, second)
    assert compare(first, bootstrap(tables, bins, resamples=5))["ia_small.class_mean"].value == 0


@pytest.mark.parametrize("bins", [RELATIVE, BY_CLASS, SizeBins((20, 90))])
def test_the_torchmetric_has_the_same_sizes(bins, images, counted) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("torchmetrics")
    from sbdata.metrics import InstanceAwareIoU

    metric = InstanceAwareIoU(num_classes=2, bins=bins)
    for prediction, truth in images.values():
        objects = truth_from_components(truth).instance_map
        maps = (prediction, truth, objects)
        metric.update(*(torch.from_numpy(each.astype(np.int64))[None] for each in maps))
    expected = counted.compute(bins).flat(undefined=float("nan"))
    found = {name: value.item() for name, value in metric.compute().items()}
    assert found == pytest.approx(expected, nan_ok=True)
