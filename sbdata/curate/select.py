"""Select: the images that fill every class x size cell evenly, by mixed-integer programming.

A cell wants a number of instances in the band ``[min(quota, supply), quota * (1 + band)]``.
Minimised are, in this order, the instances outside the bands and the number of images.

Images with the same counts are interchangeable, so they become one integer variable (a *pattern*).
The linear relaxation over all patterns gives a lower bound. A few thousand patterns of smallest
reduced cost carry the integer search; it stops by gap and node count, never by time, so that the
same inputs give the same images on every machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy import optimize, sparse

from sbdata.errors import InputError
from sbdata.recipe import Selection
from sbdata.sizes import SizeBins
from sbdata.taxonomy import Taxonomy

Counts = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]

_ZERO = 1e-6  # values of the solver that differ by less are equal
_ROUNDS = 24  # of improvement
_FREED = 0.5  # share of the chosen images that a round may exchange
_ROUND_NODES = 5
_ROUND_PATTERNS = 700


@dataclass(frozen=True)
class Supply:
    """What the candidates hold.

    Attributes:
        image_ids: sorted.
        cells: names, ``class/size``.
        counts: int64 ``(images, cells)``, instances of each image in each cell.
    """

    image_ids: tuple[str, ...]
    cells: tuple[str, ...]
    counts: Counts


@dataclass(frozen=True)
class CellReport:
    """How full one cell became.

    Attributes:
        cell: its name.
        supply: instances in all candidates.
        lower: of the band.
        upper: of the band.
        chosen: instances in the chosen images.
        shortfall: how many are missing below the band.
        excess: how many are above it.
    """

    cell: str
    supply: int
    lower: int
    upper: int
    chosen: int
    shortfall: int
    excess: int


@dataclass(frozen=True)
class Chosen:
    """The chosen images and how good the choice is.

    Attributes:
        image_ids: sorted.
        cells: one report a cell.
        images: how many.
        outside: instances outside their bands, in all.
        bound: lower bound on ``images`` at that number of instances outside, from the linear
            relaxation; None if that number itself could not be proved smallest.
        gap: ``(images - bound) / images``, or None likewise.
    """

    image_ids: tuple[str, ...]
    cells: tuple[CellReport, ...]
    images: int
    outside: int
    bound: float | None
    gap: float | None

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON-like values, without the ids."""
        plain = asdict(self)
        del plain["image_ids"]
        plain["cells"] = list(plain["cells"])
        for key in ("bound", "gap"):
            plain[key] = None if plain[key] is None else round(plain[key], 6)
        return plain


def supply_of(instances: pa.Table, taxonomy: Taxonomy, bins: SizeBins) -> Supply:
    """Count the instances of each image in each cell.

    Args:
        instances: with the columns image_id, class_name and size.
        taxonomy: whose classes make the cells.
        bins: whose sizes make the cells.
    """
    cells = tuple(f"{name}/{size}" for name in taxonomy.classes for size in bins.names)
    grouped = instances.group_by(["image_id", "class_name", "size"]).aggregate([([], "count_all")])
    kinds = zip(grouped["class_name"].to_pylist(), grouped["size"].to_pylist(), strict=True)
    names = [f"{kind}/{size}" for kind, size in kinds]
    image_ids = sorted(set(grouped["image_id"].to_pylist()))
    row = {image_id: place for place, image_id in enumerate(image_ids)}
    column = {name: place for place, name in enumerate(cells)}
    counts: Counts = np.zeros((len(image_ids), len(cells)), np.int64)
    rows = [row[image_id] for image_id in grouped["image_id"].to_pylist()]
    counts[rows, [column[name] for name in names]] = grouped["count_all"].to_numpy()
    return Supply(tuple(image_ids), cells, counts)


def bands(supply: Counts, spec: Selection) -> tuple[Counts, Counts]:
    """Return each cell's lower and upper end; the upper one is never below the lower.

    >>> [end.tolist() for end in bands(np.array([500, 7]), Selection(quota=60, band=0.05))]
    [[60, 7], [63, 63]]
    """
    lower = np.minimum(spec.quota, supply)
    upper = np.maximum(lower, int(np.floor(spec.quota * (1 + spec.band) + _ZERO)))
    return lower, upper


def select_images(
    supply: Supply,
    spec: Selection,
    *,
    seed: int,
    keep: Iterable[str] = (),
    drop: Iterable[str] = (),
) -> Chosen:
    """Choose images that fill every cell evenly.

    Args:
        supply: of the candidates.
        spec: quota, band and where the search stops.
        seed: decides which of the images with equal counts are taken.
        keep: images that must be chosen, such as those already fetched.
        drop: images that must not.

    Raises:
        InputError: without candidates, for ids that are not candidates, or for an id to keep and
            drop.
    """
    kept, dropped = set(keep), set(drop)
    strangers = sorted((kept | dropped) - set(supply.image_ids))
    if strangers or kept & dropped:
        msg = f"cannot keep or drop {(strangers or sorted(kept & dropped))[0]}: not a candidate"
        raise InputError(msg)
    alive = [i for i, name in enumerate(supply.image_ids) if name not in dropped]
    alive = [i for i in alive if supply.counts[i].any() or supply.image_ids[i] in kept]
    if not alive:
        msg = "no candidate image has an instance of the set's classes; check recipe and sources"
        raise InputError(msg)
    patterns, pattern_of = np.unique(supply.counts[alive], axis=0, return_inverse=True)
    pattern_of = pattern_of.reshape(-1)
    most = np.bincount(pattern_of, minlength=len(patterns))
    is_kept = np.array([supply.image_ids[i] in kept for i in alive])
    least = np.bincount(pattern_of[is_kept], minlength=len(patterns))
    total = supply.counts[alive].sum(axis=0)
    lower, upper = bands(total, spec)
    problem = _Problem(patterns, least, most, lower, upper)
    taken, bound = _solve(problem, spec, seed)

    order = _shuffled(len(alive), seed)
    order = order[np.argsort(~is_kept[order], kind="stable")]  # the kept ones stand in front
    left = taken.copy()
    chosen = []
    for place in order.tolist():
        if left[pattern_of[place]]:
            left[pattern_of[place]] -= 1
            chosen.append(supply.image_ids[alive[place]])
    counts = taken @ patterns
    reports = tuple(
        CellReport(name, *(int(v) for v in values))
        for name, *values in zip(
            supply.cells, total, lower, upper, counts,
            np.maximum(lower - counts, 0), np.maximum(counts - upper, 0), strict=True,
        )
    )  # fmt: skip
    images = len(chosen)
    return Chosen(
        image_ids=tuple(sorted(chosen)),
        cells=reports,
        images=images,
        outside=problem.outside(taken),
        bound=bound,
        gap=None if bound is None else max(images - bound, 0.0) / max(images, 1),
    )


# --- the programme --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Problem:
    """How many images of each pattern to take: between ``least`` and ``most``."""

    patterns: Counts
    least: Counts
    most: Counts
    lower: Counts
    upper: Counts

    def outside(self, taken: Counts) -> int:
        """Return how many instances lie outside the bands."""
        counts = taken @ self.patterns
        short, over = np.maximum(self.lower - counts, 0), np.maximum(counts - self.upper, 0)
        return int(short.sum() + over.sum())

    @property
    def penalty(self) -> int:
        """Return the price of one instance outside, in images, that makes the order strict.

        In a choice without superfluous images, leaving any image out would leave some cell below
        its band. Where a cell holds ``lower + s`` instances, such an image brings more than ``s``
        of them, so at most ``(lower + s) / (s + 1) <= lower`` images are needed by one cell. No
        choice therefore needs more images than the sum of ``lower``, and the kept ones.
        """
        return int(1 + self.lower.sum() + self.least.sum())

    def restricted(self, places: npt.NDArray[np.int64]) -> _Problem:
        """Return the problem over some patterns, the others not being taken."""
        return _Problem(
            self.patterns[places], self.least[places], self.most[places], self.lower, self.upper
        )


def _solve(problem: _Problem, spec: Selection, seed: int) -> tuple[Counts, float | None]:
    """Return how many images of each pattern to take, and the bound on their number."""
    outside, bound, reduced, support = _relax(problem)
    n = len(problem.patterns)
    places = np.arange(n)
    if n > spec.columns:
        best = np.argsort(reduced, kind="stable")[: spec.columns]
        places = np.union1d(best, np.flatnonzero(support | (problem.least > 0)))
    small = problem.restricted(places)
    found = None
    if outside <= _ZERO:  # no cell need be off its band, as far as the relaxation knows
        found = _search(small, spec, hard=True)
    if found is None:
        found = _search(small, spec, hard=False)
    if found is None:
        msg = "the search found no choice within its nodes; raise select.nodes by --set"
        raise InputError(msg)
    if small.outside(found) == 0:
        found = _improve(small, found, np.ceil(bound - _ZERO), spec, reduced[places], seed)
    taken: Counts = np.zeros(n, np.int64)
    taken[places] = found
    proved = problem.outside(taken) <= outside + _ZERO
    return taken, float(bound) if proved else None


def _relax(problem: _Problem) -> tuple[float, float, Values, npt.NDArray[np.bool_]]:
    """Solve the linear relaxation over all patterns.

    Returns:
        The smallest instances outside, the smallest number of images at that, the reduced cost of
        each pattern, and which patterns the solution uses.
    """
    n, cells = problem.patterns.shape
    system = sparse.csc_matrix(problem.patterns.T.astype(np.float64))
    eye = sparse.eye_array(cells)
    # columns: patterns, short, over, counted (what a band is asked of)
    equal = sparse.hstack([system, eye, -eye, -eye]).tocsc()
    cost = np.concatenate([np.ones(n), np.full(2 * cells, float(problem.penalty)), np.zeros(cells)])
    low = np.concatenate([problem.least, np.zeros(2 * cells), problem.lower])
    high = np.concatenate([problem.most, np.full(2 * cells, np.inf), problem.upper])
    answer = optimize.linprog(
        cost, A_eq=equal, b_eq=np.zeros(cells), bounds=np.column_stack([low, high]), method="highs"
    )
    if answer.x is None:
        msg = f"the linear relaxation could not be solved ({answer.message})"
        raise InputError(msg)
    used, outside = answer.x[:n], float(answer.x[n : n + 2 * cells].sum())
    reduced = (answer.lower.marginals + answer.upper.marginals)[:n]
    return outside, float(used.sum()), np.round(reduced, 9), used > _ZERO


def _search(problem: _Problem, spec: Selection, *, hard: bool) -> Counts | None:
    """Solve the integer programme; ``hard`` allows no instance outside the bands."""
    n, cells = problem.patterns.shape
    system = sparse.csc_matrix(problem.patterns.T.astype(np.float64))
    cost, low, high = np.ones(n), problem.least, problem.most.astype(np.float64)
    if not hard:
        system = sparse.hstack([system, sparse.eye_array(cells), -sparse.eye_array(cells)]).tocsc()
        cost = np.concatenate([cost, np.full(2 * cells, float(problem.penalty))])
        low = np.concatenate([low, np.zeros(2 * cells)])
        high = np.concatenate([high, np.full(2 * cells, np.inf)])
    bounds = optimize.LinearConstraint(system, problem.lower, problem.upper)
    return _milp(cost, low, high, [bounds], n, gap=spec.gap, nodes=spec.nodes)


def _improve(
    problem: _Problem, taken: Counts, bound: float, spec: Selection, reduced: Values, seed: int
) -> Counts:
    """Exchange half of the chosen images at a time for one image fewer, until near the bound.

    The search over all patterns is slow to find good choices; over a part of them it is quick.
    """
    n = len(taken)
    handy = np.argsort(reduced, kind="stable")[:_ROUND_PATTERNS]
    for turn in range(_ROUNDS):
        images = int(taken.sum())
        if images - bound <= max(spec.gap * images, 0):
            break
        places = np.union1d(handy, np.flatnonzero(taken))
        part = problem.restricted(places)
        system = sparse.csc_matrix(part.patterns.T.astype(np.float64))
        mine = taken[places]
        fixed = np.maximum(_thinned(mine, seed * _ROUNDS + turn), part.least)
        held = fixed @ part.patterns
        rules = [
            optimize.LinearConstraint(system, part.lower - held, part.upper - held),
            optimize.LinearConstraint(np.ones((1, len(places))), 0, images - 1 - fixed.sum()),
        ]
        room = (part.most - fixed).astype(np.float64)
        found = _milp(
            np.ones(len(places)), np.zeros(len(places)), room, rules, len(places),
            gap=1.0, nodes=_ROUND_NODES,
        )  # fmt: skip
        if found is not None:
            taken = np.zeros(n, np.int64)
            taken[places] = fixed + found
    return taken


def _milp(
    cost: Values,
    low: npt.NDArray[Any],
    high: Values,
    rules: Sequence[optimize.LinearConstraint],
    integers: int,
    *,
    gap: float,
    nodes: int,
) -> Counts | None:
    """Return the first ``integers`` variables of HiGHS' answer, or None if it has none."""
    kinds = np.zeros(len(cost))
    kinds[:integers] = 1
    answer = optimize.milp(
        cost,
        integrality=kinds,
        bounds=optimize.Bounds(low, high),
        constraints=list(rules),
        options={"mip_rel_gap": gap, "node_limit": nodes},
    )
    if answer.x is None:
        return None
    values: Counts = np.rint(answer.x[:integers]).astype(np.int64)
    return values


# --- seeded order ---------------------------------------------------------------------------------


def _shuffled(n: int, seed: int) -> npt.NDArray[np.int64]:
    """Return the numbers below n in an order that depends on the seed alone, for all versions."""
    raw = np.random.PCG64(seed).random_raw(n)  # raw output never changes between versions of numpy
    return np.argsort(raw, kind="stable")


def _thinned(taken: Counts, seed: int) -> Counts:
    """Keep a seeded share ``1 - _FREED`` of the images taken."""
    owner = np.repeat(np.arange(len(taken)), taken)
    chosen = _shuffled(len(owner), seed)[: round(len(owner) * (1 - _FREED))]
    kept: Counts = np.bincount(owner[chosen], minlength=len(taken))
    return kept
