from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sbdata.errors import InputError
from sbdata.sizes import SizeBins


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
