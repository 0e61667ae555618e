from __future__ import annotations

import itertools
import json
from fractions import Fraction
from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sbdata.errors import InputError
from sbdata.settings import as_plain, from_plain
from sbdata.sizes import (
    TERCILES,
    TERCILES_BY_CLASS,
    SizeBins,
    parse_bins,
    resolve_bins,
    undivided,
)


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
    "name",
    [
        "",
        "objects",
        "Objects",
        "stage",
        "a.b",
        "a b",
        "../a",
        "a\nb",
        "a" * 41,
        "\u5c0f",
        "-a",
        "a-",
    ],
)
def test_a_name_that_no_value_can_be_called_after_is_refused(name: str) -> None:
    """Values are called ``ia_<size>.<mean>``; the IA of all objects is ``ia_objects``.

    In results, the losses of a stage of pseudo-masks are ``{stage: its name, <size>: ...}``.
    """
    with pytest.raises(InputError, match=r"the name of a size must be .* rename"):
        SizeBins((5,), (name, "large"))


def test_names_that_differ_too_little_are_refused() -> None:
    with pytest.raises(InputError, match="distinct"):
        SizeBins((5,), ("very-small", "Very__small"))


@pytest.mark.parametrize(
    ("edges", "names"),
    [((1024, 1024), ("a", "b", "c")), ((9216, 1024), ("a", "b", "c")), ((0,), ("a", "b")),
     ((5,), ("a",)), ((5,), ("a", "a")), (("5%", "0.5%"), ("a", "b", "c")),
     (("0%", "5%"), ("a", "b", "c")), ((5, "5%"), ("a", "b", "c")), (("5%", 7), ("a", "b", "c")),
     (("5", "7"), ("a", "b", "c")), (("1%", "101%"), ("a", "b", "c")),
     (("1e0%", "5%"), ("a", "b", "c")), (("0.0000001%", "5%"), ("a", "b", "c")),
     ((5, (6, 7)), ("a", "b", "c")), (((5, 7), (9, 9)), ("a", "b", "c")),
     (((5, 7), (9,)), ("a", "b", "c")), ((("1%", "2%"),), ("a", "b", "c"))],
)  # fmt: skip
def test_bins_that_do_not_partition_are_refused(edges: tuple, names: tuple) -> None:
    with pytest.raises(InputError):
        SizeBins(edges, names)


@pytest.mark.parametrize("edge", [1000.5, 1024.0, float("nan"), float("inf"), None, 1j])
def test_an_edge_is_a_whole_number_of_pixels(edge: object) -> None:
    """1000.5 became 1000, so that an area of 1000 had the size above."""
    with pytest.raises(InputError, match="a size bin edge is a whole number of pixels"):
        SizeBins((edge, 9216))
    with pytest.raises(InputError, match="a size bin edge is a whole number of pixels"):
        SizeBins(((7, 9), (5, edge)))


def test_an_edge_beyond_every_image_fits_its_type() -> None:
    for edge in (2**62 + 1, 10**30):
        with pytest.raises(InputError, match="at most 4,611,686,018,427,387,904 pixels"):
            parse_bins(f"1024,{edge}")
    assert SizeBins((1024, 2**62)).index([2**31 - 1]).tolist() == [1]


def test_equal_edges_are_equal_bins() -> None:
    names = ["small", "medium", "large"]
    for same in (SizeBins([1024, 9216], names), SizeBins(np.array([1024, 9216]))):
        assert same == SizeBins()
        assert hash(same) == hash(SizeBins())
        assert as_plain(same) == as_plain(SizeBins())
    nested = SizeBins([[4, 9], [5, 7]])
    assert nested == SizeBins(((4, 9), (5, 7)))
    assert nested.index([5, 5], [1, 2]).tolist() == [1, 1]
    with pytest.raises(InputError, match="name of a size"):
        SizeBins((5,), ("small", 3))


@given(st.lists(st.integers(1, 400), min_size=1, max_size=40))
def test_terciles_are_the_smallest_areas_that_hold_a_third_and_two_thirds(areas: list[int]) -> None:
    def end(k: int) -> int:
        return next(a for a in sorted(areas) if 3 * sum(b <= a for b in areas) >= k * len(areas))

    first, second = end(1), end(2)
    if first < second < max(areas):
        bins = resolve_bins(TERCILES, areas, [1] * len(areas), 1)
        assert bins == SizeBins((first + 1, second + 1))
        assert set(bins.index(areas)) == {0, 1, 2}
    else:
        with pytest.raises(InputError, match="too few or too alike"):
            resolve_bins(TERCILES, areas, [1] * len(areas), 1)


def test_terciles_need_instances_and_known_bins_stay() -> None:
    with pytest.raises(InputError, match="areas of 0 instances are too few"):
        resolve_bins(TERCILES, [], [], 1)
    assert resolve_bins(SizeBins((5,), ("a", "b")), [], [], 1) == SizeBins((5,), ("a", "b"))


@pytest.mark.parametrize(
    "text", ["", "12", "1,2,3", "a,b", "tercile", "relative:0.1,0.2", "5%", "5%,10", "0.01,0.05"]
)
def test_bins_are_two_areas_two_shares_or_terciles(text: str) -> None:
    with pytest.raises(InputError, match="takes two areas in pixels, such as 1024,9216, two shar"):
        parse_bins(text)


def test_bins_are_parsed_and_come_back() -> None:
    assert parse_bins(" terciles-by-class ") == TERCILES_BY_CLASS
    assert parse_bins("0.50%, 05%") == SizeBins(("0.5%", "5%"))
    for bins in (SizeBins(), SizeBins(("0.5%", "100%")), SizeBins(((4, 9), (5, 7)))):
        plain = json.loads(json.dumps(as_plain(bins)))
        assert from_plain(SizeBins, plain, "bins") == bins
    assert as_plain(SizeBins())["edges"] == [1024, 9216]  # as results before had them


# --- relative to the image ------------------------------------------------------------------------

_SHARES = st.integers(1, 10**8).map(lambda n: f"{n // 10**6}.{n % 10**6:06}%")


@given(
    st.lists(_SHARES, min_size=2, max_size=2, unique=True),
    st.lists(st.tuples(st.integers(1, 4000), st.integers(1, 9000)), min_size=1, max_size=20),
    st.data(),
)
def test_a_share_is_exact(shares: list[str], images: list[tuple[int, int]], data) -> None:
    edges = sorted(shares, key=lambda share: Fraction(share[:-1]))
    bins, limits = SizeBins(tuple(edges)), [Fraction(edge[:-1]) / 100 for edge in edges]
    pixels = [height * width for height, width in images]
    # Areas around an edge, where a float would be wrong.
    areas = [
        min(n, max(1, ceil(data.draw(st.sampled_from(limits)) * n) + data.draw(st.integers(-1, 1))))
        for n in pixels
    ]
    expected = [
        sum(Fraction(a, n) >= limit for limit in limits) for a, n in zip(areas, pixels, strict=True)
    ]
    assert bins.index(areas, image_pixels=pixels).tolist() == expected
    assert [bins.name_of(a, None, n) for a, n in zip(areas, pixels, strict=True)] == [
        bins.names[k] for k in expected
    ]


@given(
    st.lists(_SHARES, min_size=2, max_size=2, unique=True),
    st.integers(10**6, 10**7),
    st.lists(st.integers(1, 10**6), min_size=1, max_size=50),
)
def test_in_images_of_one_size_shares_are_edges_in_pixels(
    shares: list[str], pixels: int, areas: list[int]
) -> None:
    ends = sorted(Fraction(share[:-1]) / 100 for share in shares)
    in_pixels = tuple(ceil(end * pixels) for end in ends)
    if in_pixels[0] < in_pixels[1]:
        bins = SizeBins(tuple(sorted(shares, key=lambda share: Fraction(share[:-1]))))
        found = bins.index(areas, image_pixels=pixels)
        assert found.tolist() == SizeBins(in_pixels).index(areas).tolist()


# --- by class -------------------------------------------------------------------------------------

_AREAS = st.lists(st.integers(1, 400), min_size=1, max_size=60)


@given(_AREAS)
def test_terciles_by_class_of_one_class_are_terciles(areas: list[int]) -> None:
    classes = [1] * len(areas)
    try:
        whole = resolve_bins(TERCILES, areas, classes, 1)
    except InputError:
        with pytest.raises(InputError, match="too few or too alike"):
            resolve_bins(TERCILES_BY_CLASS, areas, classes, 1)
        return
    bins = resolve_bins(TERCILES_BY_CLASS, areas, classes, 1)
    assert bins.edges == (whole.edges,)
    assert bins.index(areas, classes).tolist() == whole.index(areas).tolist()


@given(st.lists(st.tuples(st.integers(1, 400), st.integers(1, 3)), min_size=9, max_size=60))
def test_terciles_by_class_are_those_of_each_class(rows: list[tuple[int, int]]) -> None:
    areas, classes = [a for a, _ in rows], [c for _, c in rows]

    def terciles(own: list[int]) -> tuple[int, ...] | None:
        try:
            edges: tuple = resolve_bins(TERCILES, own, [1] * len(own), 1).edges
        except InputError:
            return None
        return edges

    own = [terciles([a for a, c in rows if c == k]) for k in (1, 2, 3)]
    whole = terciles(areas)
    if None in own and whole is None:
        return
    bins = resolve_bins(TERCILES_BY_CLASS, areas, classes, 3)
    assert bins.edges == tuple(edges or whole for edges in own)
    expected = [sum(a >= edge for edge in bins.edges_of(c)) for a, c in rows]
    assert bins.index(areas, classes).tolist() == expected
    lacking = {c: classes.count(c) for c in (1, 2, 3) if own[c - 1] is None and c in classes}
    assert undivided("terciles-by-class", areas, classes, 3) == lacking
    assert undivided("terciles", areas, classes, 3) == {}


# --- what sizes depend on -------------------------------------------------------------------------


def test_a_size_is_never_guessed() -> None:
    with pytest.raises(InputError, match="need the pixels of each object's image"):
        SizeBins(("1%", "5%")).index([5], [1])
    by_class = SizeBins(((4, 9), (5, 7)))
    with pytest.raises(InputError, match="need the class of each object"):
        by_class.index([5], image_pixels=[100])
    for wrong in (0, 3):
        with pytest.raises(InputError, match=f"classes 1..2, but an object has class {wrong}"):
            by_class.index([5, 5], [1, wrong])
    assert by_class.index([], np.array([], np.uint8)).size == 0
    assert not SizeBins(("1%",), ("a", "b")).are_intervals
    assert SizeBins((), ("all",)).index([1, 2]).tolist() == [0, 0]
