"""Object sizes: the limits of area between small, medium and large."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Any, Literal, TypeGuard

import numpy as np
import numpy.typing as npt

from sbdata.errors import InputError
from sbdata.quoting import quoted

_TAKEN = ("objects", "stage")  # there is an ia_objects; losses by stage have a key for each size
_NAME = re.compile(r"(?=.{1,40}$)[A-Za-z0-9]+([_-]+[A-Za-z0-9]+)*")
_SHARE = re.compile(r"\d{1,3}(\.\d{1,6})?%", re.ASCII)
_MOST = 2**62  # pixels; more does not fit an int64 for certain
_WHOLE = 100 * 10**6  # a whole image, in the units of a share: millionths of a percent


@dataclass(frozen=True)
class SizeBins:
    """Half-open area intervals, so that every instance has exactly one size.

    ``names[i]`` holds the areas with ``edges[i-1] <= area < edges[i]``; the first interval starts
    at 0 and the last one has no upper end. The default edges are 32² and 96² pixels, the usual
    limits from MS COCO. (pycocotools counts an area of exactly 1024 as small AND medium; here it
    is medium.)

    Edges are areas in pixels; or shares of the image's area, height times width including void,
    written ``"0.5%"``; or areas in pixels for each class, one tuple for each class 1..C.

    Args:
        edges: Increasing edges, one fewer than names; or a tuple of such edges for each class.
        names: Names of the sizes, the smallest first: up to 40 of the letters a to z, digits, and
            ``_`` and ``-`` between them. Values are called after them, such as ``ia_small``;
            ``objects`` and ``stage`` are taken.

    Raises:
        InputError: If edges do not increase, an edge is neither a whole number of pixels nor a
            share written as above with at most six decimals, a name is not as above, or the counts
            do not match.

    >>> SizeBins().name_of(1023), SizeBins().name_of(1024), SizeBins().name_of(9216)
    ('small', 'medium', 'large')
    >>> SizeBins(("0.5%", "5%")).index([4, 5, 50], image_pixels=1000).tolist()
    [0, 1, 2]
    >>> SizeBins(((10, 20), (5, 50))).index([7, 7], classes=[1, 2]).tolist()
    [0, 1]
    """

    edges: tuple[int, ...] | tuple[str, ...] | tuple[tuple[int, ...], ...] = (1024, 9216)
    names: tuple[str, ...] = ("small", "medium", "large")

    def __post_init__(self) -> None:
        # Plain tuples, so that equal edges are equal bins.
        edges: tuple[Any, ...] = tuple(map(_plain, self.edges))
        if edges and all(isinstance(edge, str) for edge in edges):
            edges = tuple(map(_shortest, edges))
        object.__setattr__(self, "edges", edges)
        object.__setattr__(self, "names", tuple(self.names))
        of_class = edges if _is_nested(edges) else (edges,)
        for row in of_class:
            self._check(row)
        for name in self.names:
            plain = isinstance(name, str) and _NAME.fullmatch(name)
            if not plain or name.lower() in _TAKEN:
                msg = (
                    "the name of a size must be up to 40 letters a to z, digits, and _ or - "
                    f"between them, and not {' or '.join(_TAKEN)}; rename {quoted(name)}"
                )
                raise InputError(msg)

    def _check(self, edges: tuple[Any, ...]) -> None:
        # Fields of the app are called after them, too.
        alike = {re.sub("[_-]+", "_", str(name).lower()) for name in self.names}
        if len(self.names) != len(edges) + 1 or len(alike) != len(self.names):
            msg = (
                f"size bins need one more name than edges, all of them distinct, not {self.names} "
                f"for {edges}"
            )
            raise InputError(msg)
        if any(isinstance(edge, str) for edge in edges) and not self.relative:
            msg = (
                f"size bin edges must be areas in pixels or shares such as 0.5%, not both: {edges}"
            )
            raise InputError(msg)
        if any(isinstance(edge, tuple) for edge in edges):
            msg = f"size bins need edges in pixels for each class, not {edges}"
            raise InputError(msg)
        if not all(isinstance(edge, int | str) for edge in edges):
            msg = (
                "a size bin edge is a whole number of pixels, or a share such as 0.5%, not as in "
                f"{quoted(edges)}"
            )
            raise InputError(msg)
        ends = [0, *(_millionths(edge) if isinstance(edge, str) else edge for edge in edges)]
        if any(low >= high for low, high in pairwise(ends)):
            msg = f"size bin edges must be positive and increase, not {edges}"
            raise InputError(msg)
        if ends[-1] > _MOST:
            msg = f"a size bin edge must be at most {_MOST:,} pixels, not {quoted(edges[-1])}"
            raise InputError(msg)

    @property
    def relative(self) -> bool:
        """Return whether the edges are shares of the image's area."""
        return bool(self.edges) and all(isinstance(edge, str) for edge in self.edges)

    @property
    def by_class(self) -> bool:
        """Return whether each class has its own edges."""
        return _is_nested(self.edges)

    @property
    def pixel_edges(self) -> tuple[int, ...]:
        """Return the edges in pixels, the same for every class and image; empty for other edges."""
        return tuple(edge for edge in self.edges if not isinstance(edge, str | tuple))

    @property
    def are_intervals(self) -> bool:
        """Return whether a size is an interval of areas, the same for every class and image."""
        return not (self.relative or self.by_class)

    def edges_of(self, class_id: int) -> tuple[int, ...] | tuple[str, ...]:
        """Return the edges of one class 1..C; they differ between classes only if ``by_class``."""
        edges: Any = self.edges
        return tuple(edges[class_id - 1] if self.by_class else edges)

    def index(
        self,
        areas: npt.ArrayLike,
        classes: npt.ArrayLike | None = None,
        image_pixels: npt.ArrayLike | None = None,
    ) -> npt.NDArray[np.int64]:
        """Return the index in ``names`` for each area.

        Args:
            areas: Areas in pixels.
            classes: Class 1..C of each area; needed if the edges are by class.
            image_pixels: Height times width of each area's image, or of the only one; needed if the
                edges are shares of it.

        Raises:
            InputError: If an argument that the edges need is missing, or a class has no edges.
        """
        if self.relative:
            return self._index_of_shares(np.asarray(areas, np.int64), image_pixels)
        if self.by_class:
            return self._index_by_class(np.asarray(areas), classes)
        return np.searchsorted(np.asarray(self.edges, np.int64), np.asarray(areas), side="right")

    def _index_of_shares(
        self, areas: npt.NDArray[np.int64], image_pixels: npt.ArrayLike | None
    ) -> npt.NDArray[np.int64]:
        if image_pixels is None:
            msg = (
                "sizes relative to the image need the pixels of each object's image, which are not "
                "known here; give edges in pixels"
            )
            raise InputError(msg)
        # Integers, so that an area exactly at an edge gets the correct size. No overflow: an image
        # has fewer than 2^27 pixels, and a share at most 10^8 units.
        pixels = np.asarray(image_pixels, np.int64)
        found = np.zeros(np.broadcast_shapes(areas.shape, pixels.shape), np.int64)
        for edge in self.edges:
            found += areas * _WHOLE >= _millionths(str(edge)) * pixels
        return found

    def _index_by_class(
        self, areas: npt.NDArray[Any], classes: npt.ArrayLike | None
    ) -> npt.NDArray[np.int64]:
        if classes is None:
            msg = (
                "sizes by class need the class of each object, which is not known here; give edges "
                "for all classes"
            )
            raise InputError(msg)
        numbers = np.asarray(classes, np.int64)
        if numbers.size and not 1 <= numbers.min() <= numbers.max() <= len(self.edges):
            msg = (
                f"sizes by class have edges of the classes 1..{len(self.edges)}, but an object has "
                f"class {numbers.max() if numbers.min() > 0 else numbers.min()}; take the bins of "
                "the same classes"
            )
            raise InputError(msg)
        edges = np.asarray(self.edges, np.int64)[numbers - 1]
        return np.asarray((areas[..., None] >= edges).sum(axis=-1), np.int64)

    def name_of(
        self, area: int, class_id: int | None = None, image_pixels: int | None = None
    ) -> str:
        """Return the name of the size of an area in pixels; the arguments are :meth:`index`'s."""
        return self.names[int(self.index(area, class_id, image_pixels))]


def _is_nested(edges: Sequence[Any]) -> TypeGuard[tuple[tuple[int, ...], ...]]:
    return bool(edges) and all(isinstance(edge, tuple) for edge in edges)


def _plain(edge: Any) -> Any:
    """Return an edge as a plain int, or the edges of a class as a tuple; others as they are."""
    if isinstance(edge, list | tuple | np.ndarray):
        return tuple(map(_plain, edge))
    return int(edge) if isinstance(edge, np.integer) else edge


def _shortest(share: str) -> str:
    """Return a share in its shortest form; the text is checked.

    >>> _shortest("0.50%"), _shortest("05%")
    ('0.5%', '5%')
    """
    if not _SHARE.fullmatch(share) or _millionths(share) > _WHOLE:
        msg = (
            "a size bin edge relative to the image is a share up to 100%, with at most six "
            f"decimals, such as 0.5%, not {quoted(share)}"
        )
        raise InputError(msg)
    return f"{Decimal(share[:-1]).normalize():f}%"


def _millionths(share: str) -> int:
    """Return a share in millionths of a percent, exactly."""
    return int(Decimal(share[:-1]) * 10**6)


TERCILES: Literal["terciles"] = "terciles"
"""Size bins that the areas of the data determine."""

TERCILES_BY_CLASS: Literal["terciles-by-class"] = "terciles-by-class"
"""Size bins that the areas of each class determine."""

Terciles = Literal["terciles", "terciles-by-class"]
AskedBins = SizeBins | Terciles
"""Size bins as a user gives them: known edges, or terciles of the data."""


def parse_bins(text: str) -> AskedBins:
    """Return the size bins written as two areas or shares of the image, or as terciles.

    Raises:
        InputError: If the text is none of these, or the edges do not increase.

    >>> parse_bins("400,2500").edges, parse_bins("0.5%,5%").edges, parse_bins("terciles")
    ((400, 2500), ('0.5%', '5%'), 'terciles')
    """
    given = text.strip()
    if given == TERCILES:
        return TERCILES
    if given == TERCILES_BY_CLASS:
        return TERCILES_BY_CLASS
    parts = [part.strip() for part in given.split(",")]
    if len(parts) == 2:
        if all(part.endswith("%") for part in parts):
            return SizeBins(tuple(parts))
        try:
            return SizeBins(tuple(map(int, parts)))
        except ValueError:
            pass
    msg = (
        "--bins takes two areas in pixels, such as 1024,9216, two shares of the image's area, such "
        f"as 0.5%,5%, or {TERCILES} or {TERCILES_BY_CLASS} for those of the data, not "
        f"{quoted(text)}"
    )
    raise InputError(msg)


def resolve_bins(
    asked: AskedBins, areas: npt.ArrayLike, classes: npt.ArrayLike, n_classes: int
) -> SizeBins:
    """Return size bins with known edges; those of terciles come from the areas.

    Each edge is one above the smallest area that a third, or two thirds, of the instances do not
    exceed. So at least a third is small, and at least two thirds are small or medium; instances of
    equal area always have one size. By class, this holds within each class; a class whose areas
    cannot be divided in three has the terciles over all classes, see :func:`undivided`.

    Args:
        asked: Size bins, ``"terciles"`` or ``"terciles-by-class"``.
        areas: Areas in pixels of all instances.
        classes: Class 1..C of each instance.
        n_classes: Number of classes, C.

    Raises:
        InputError: If the areas are too few or too alike to be divided in three.

    >>> resolve_bins("terciles", [5, 7, 7, 20, 30, 90], [1, 1, 1, 2, 2, 2], 2).edges
    (8, 21)
    >>> resolve_bins("terciles-by-class", [5, 7, 9, 20, 30, 90], [1, 1, 1, 2, 2, 2], 2).edges
    ((6, 8), (21, 31))
    """
    if isinstance(asked, SizeBins):
        return asked
    every = np.asarray(areas, np.int64)
    if asked == TERCILES:
        return SizeBins(_over_all(every))
    rows = _rows_by_class(every, classes, n_classes)
    whole = _over_all(every) if None in rows else ()
    return SizeBins(tuple(row or whole for row in rows))


def undivided(
    asked: AskedBins, areas: npt.ArrayLike, classes: npt.ArrayLike, n_classes: int
) -> dict[int, int]:
    """Return the classes with instances that have no terciles of their own, with n instances.

    The arguments are those of :func:`resolve_bins`, which gives these classes the terciles over all
    classes. Empty unless terciles by class are asked for.
    """
    if asked != TERCILES_BY_CLASS:
        return {}
    rows = _rows_by_class(np.asarray(areas, np.int64), classes, n_classes)
    n = np.bincount(np.asarray(classes, np.int64), minlength=n_classes + 1)
    return {c: int(n[c]) for c, row in enumerate(rows, start=1) if row is None and n[c]}


def _rows_by_class(
    areas: npt.NDArray[np.int64], classes: npt.ArrayLike, n_classes: int
) -> list[tuple[int, ...] | None]:
    of = np.asarray(classes, np.int64)
    return [_terciles(areas[of == c]) for c in range(1, n_classes + 1)]


def _over_all(areas: npt.NDArray[np.int64]) -> tuple[int, ...]:
    found = _terciles(areas)
    if found is None:
        msg = (
            f"the areas of {areas.size} instances are too few or too alike to divide them in "
            "terciles; give the areas that divide them, such as 1024,9216"
        )
        raise InputError(msg)
    return found


def _terciles(areas: npt.NDArray[np.int64]) -> tuple[int, ...] | None:
    """Return the two edges between the thirds of the areas; None if a third would be empty."""
    ordered = np.sort(areas)
    ends = [int(ordered[-(-k * ordered.size // 3) - 1]) for k in (1, 2)] if ordered.size else []
    if not ends or not ends[0] < ends[1] < ordered[-1]:
        return None
    return ends[0] + 1, ends[1] + 1
