from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sbdata.curate.select import Chosen, Supply, bands, select_images, supply_of
from sbdata.errors import InputError
from sbdata.recipe import Selection
from sbdata.sizes import SizeBins
from sbdata.taxonomy import Taxonomy

EXACT = Selection(quota=3, band=0.0, gap=0.0, nodes=100_000)


def supply(counts: np.ndarray) -> Supply:
    images, cells = counts.shape
    return Supply(
        tuple(f"{i:05d}" for i in range(images)),
        tuple(f"c{i}/small" for i in range(cells)),
        counts.astype(np.int64),
    )


def outside(counts: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> int:
    return int(sum(max(lo - c, 0, c - up) for c, lo, up in zip(counts, lower, upper, strict=True)))


def best_by_hand(counts: np.ndarray, spec: Selection) -> tuple[int, int]:
    """Fewest instances outside, then fewest images, over all subsets."""
    lower, upper = bands(counts.sum(axis=0), spec)
    rows = range(len(counts))
    subsets = (s for k in range(len(counts) + 1) for s in itertools.combinations(rows, k))
    return min((outside(counts[list(s)].sum(axis=0), lower, upper), len(s)) for s in subsets)


small_counts = st.tuples(st.integers(1, 9), st.integers(1, 4)).flatmap(
    lambda shape: hnp.arrays(np.int64, shape, elements=st.sampled_from([0, 0, 1, 1, 2, 4]))
)


@settings(max_examples=150, deadline=None)
@given(small_counts, st.integers(1, 6), st.sampled_from([0.0, 0.25, 1.0]), st.integers(0, 3))
def test_the_choice_is_the_exhaustive_optimum(
    counts: np.ndarray, quota: int, band: float, seed: int
) -> None:
    if not counts.any():
        return
    spec = replace(EXACT, quota=quota, band=band)
    chosen = select_images(supply(counts), spec, seed=seed)
    assert (chosen.outside, chosen.images) == best_by_hand(counts, spec)
    rows = [int(i) for i in chosen.image_ids]
    total = counts[rows].sum(axis=0)
    assert [cell.chosen for cell in chosen.cells] == total.tolist()
    assert sum(cell.shortfall + cell.excess for cell in chosen.cells) == chosen.outside


@settings(max_examples=40, deadline=None)
@given(small_counts, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_changes_nothing(counts: np.ndarray, random: object) -> None:
    if not counts.any():
        return
    rows = []
    for image_id, row in enumerate(counts):
        for cell, n in enumerate(row):
            rows += [(f"{image_id:05d}", f"c{cell}", "small")] * int(n)
    ids = []
    for _ in range(2):
        random.shuffle(rows)  # type: ignore[attr-defined]
        names = ("image_id", "class_name", "size")
        table = pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))
        taxonomy = Taxonomy("t", tuple(f"c{i}" for i in range(counts.shape[1])))
        built = supply_of(table, taxonomy, SizeBins())
        ids.append(select_images(built, EXACT, seed=1).image_ids)
    assert ids[0] == ids[1]


def test_the_order_of_a_supply_changes_nothing() -> None:
    ordered = random_supply(300, 5, 2)
    mixed = np.random.default_rng(0).permutation(300)
    shuffled = Supply(
        tuple(ordered.image_ids[i] for i in mixed), ordered.cells, ordered.counts[mixed]
    )
    spec = Selection(quota=10, band=0.1)
    assert select_images(ordered, spec, seed=0) == select_images(shuffled, spec, seed=0)


def test_bands_follow_quota_and_supply() -> None:
    lower, upper = bands(np.array([1000, 60, 59, 0]), Selection(quota=60, band=0.05))
    assert lower.tolist() == [60, 60, 59, 0]
    assert upper.tolist() == [63, 63, 63, 63]
    lower, upper = bands(np.array([9]), Selection(quota=5, band=0.0))
    assert (lower.tolist(), upper.tolist()) == ([5], [5])


def test_short_supply_is_no_shortfall_but_crowding_is_an_excess() -> None:
    chosen = select_images(supply(np.array([[1, 0], [0, 9]])), EXACT, seed=0)
    thin, crowded = chosen.cells
    assert (thin.lower, thin.chosen, thin.shortfall) == (1, 1, 0)
    assert crowded.chosen in (0, 9)
    assert (crowded.shortfall, crowded.excess) in ((3, 0), (0, 6))


def test_the_seed_decides_among_equal_images_only() -> None:
    twins = supply(np.ones((40, 1), int))
    picks = {select_images(twins, EXACT, seed=seed).image_ids for seed in range(6)}
    assert len(picks) > 1
    assert {len(ids) for ids in picks} == {3}
    assert select_images(twins, EXACT, seed=0) == select_images(twins, EXACT, seed=0)


def test_kept_images_stay_and_dropped_ones_go() -> None:
    twins = supply(np.ones((10, 1), int))
    chosen = select_images(twins, EXACT, seed=0, keep=["00007", "00008"], drop=["00001", "00002"])
    assert {"00007", "00008"} <= set(chosen.image_ids)
    assert not {"00001", "00002"} & set(chosen.image_ids)
    assert chosen.images == 3
    crowded = select_images(twins, EXACT, seed=0, keep=[f"{i:05d}" for i in range(5)])
    assert (crowded.images, crowded.outside) == (5, 2)


def random_supply(images: int, cells: int, seed: int) -> Supply:
    """Cells of unlike frequency that often occur together, as classes in scenes do."""
    rng = np.random.default_rng(seed)
    scene = rng.integers(0, 4, (images, 1))
    rate = np.where(np.arange(cells) % 4 == scene, 1.5, 0.1) * rng.uniform(0.3, 1.0, cells)
    return supply(np.minimum(rng.poisson(rate), 12))


@pytest.mark.parametrize("columns", [4000, 150])
def test_a_restricted_search_stays_near_the_bound(columns: int) -> None:
    spec = Selection(quota=25, gap=0.02, nodes=200, columns=columns)
    chosen = select_images(random_supply(2500, 12, 3), spec, seed=0)
    assert chosen.outside == 0
    assert chosen.outside_bound == 0
    assert chosen.images_bound <= chosen.images
    assert chosen.gap is not None
    assert chosen.gap <= 0.05
    assert all(cell.lower <= cell.chosen <= cell.upper for cell in chosen.cells)


def test_a_restricted_search_is_at_most_one_image_off_where_the_optimum_is_known() -> None:
    spec = Selection(quota=6, band=0.2, gap=0.0, nodes=100_000, columns=1000)
    whole = select_images(random_supply(80, 4, 1), spec, seed=0)
    part = select_images(random_supply(80, 4, 1), replace(spec, columns=12), seed=0)
    assert part.outside == whole.outside == 0
    assert part.images_bound == whole.images_bound <= whole.images
    assert whole.images <= part.images <= whole.images + 1


def test_a_cell_that_cannot_be_avoided_is_reported_and_bounded() -> None:
    counts = np.zeros((30, 2), int)
    counts[:, 0], counts[:, 1] = 1, 5  # each instance of the first brings five of the second
    chosen = select_images(supply(counts), replace(EXACT, quota=3), seed=0)
    assert chosen.outside == min(3 * 5 - 3 + 0, (3 - 1) + (5 - 3), 3 + 3)
    assert chosen.outside_bound <= chosen.outside


def test_the_header_is_plain_and_bears_no_ids() -> None:
    chosen = select_images(random_supply(50, 3, 0), replace(EXACT, band=0.5), seed=0)
    plain = chosen.as_dict()
    assert "image_ids" not in plain
    assert plain["images"] == len(chosen.image_ids)
    assert set(plain["cells"][0]) >= {"cell", "supply", "lower", "upper", "chosen"}
    assert isinstance(chosen, Chosen)


def test_useless_input_is_refused() -> None:
    with pytest.raises(InputError, match="no candidate image"):
        select_images(supply(np.zeros((3, 2), int)), EXACT, seed=0)
    with pytest.raises(InputError, match="quota"):
        select_images(supply(np.ones((3, 2), int)), replace(EXACT, quota=0), seed=0)
    with pytest.raises(InputError, match="00009: not a candidate"):
        select_images(supply(np.ones((3, 2), int)), EXACT, seed=0, keep=["00009"])
    with pytest.raises(InputError, match="00001"):
        select_images(supply(np.ones((3, 2), int)), EXACT, seed=0, keep=["00001"], drop=["00001"])
