from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sbdata.errors import InputError
from sbdata.sizes import TERCILES, SizeBins, parse_bins, resolve_bins


@given(
    st.lists(st.integers(1, 10**6), min_size=1, max_size=5, unique=True).map(sorted),
    st.integers(0, 2 * 10**6),
)
def test_every_area_has_exactly_one_size(edges: list[int], area: int) -> None:
    bins = SizeBins(tuple(edges), tuple(f"s{i}" for i in range(len(edges) + 1)))
    limits = [0, *edges, float("inf")]
    inside = [low <= area < high for low, high in itertools.pairwise(limits)]
    assert sum(inside) == 1
    assert bins.name_of(area) == f"s{inside.index(True)}"


@pytest.mark.parametrize(
    ("edges", "names"),
    [((1024, 1024), ("a", "b", "c")), ((9216, 1024), ("a", "b", "c")), ((0,), ("a", "b")),
     ((5,), ("a",)), ((5,), ("a", "a"))],
)  # fmt: skip
def test_bins_that_do_not_partition_are_refused(edges: tuple, names: tuple) -> None:
    with pytest.raises(InputError):
        SizeBins(edges, names)


@given(st.lists(st.integers(1, 400), min_size=1, max_size=40))
def test_terciles_are_the_smallest_areas_that_hold_a_third_and_two_thirds(areas: list[int]) -> None:
    def end(k: int) -> int:
        return next(a for a in sorted(areas) if 3 * sum(b <= a for b in areas) >= k * len(areas))

    first, second = end(1), end(2)
    if first < second < max(areas):
        bins = resolve_bins(TERCILES, areas)
        assert bins == SizeBins((first + 1, second + 1))
        assert set(bins.index(areas)) == {0, 1, 2}
    else:
        with pytest.raises(InputError, match="too few or too alike"):
            resolve_bins(TERCILES, areas)


def test_terciles_need_instances_and_known_bins_stay() -> None:
    with pytest.raises(InputError, match="areas of 0 instances are too few"):
        resolve_bins(TERCILES, [])
    assert resolve_bins(SizeBins((5,), ("a", "b")), []) == SizeBins((5,), ("a", "b"))


@pytest.mark.parametrize("text", ["", "12", "1,2,3", "a,b", "tercile", "relative:0.1,0.2"])
def test_bins_are_two_areas_or_terciles(text: str) -> None:
    with pytest.raises(InputError, match="takes two areas in pixels, such as 1024,9216, or terc"):
        parse_bins(text)
