"""Select: choose images that fill every class x size cell evenly, by mixed-integer programming.

The number of instances in a cell should lie in the band ``[min(quota, supply), quota * (1 +
band)]``. The selection minimises, in this order, the number of instances outside the bands and the
number of images.

Images with the same counts are interchangeable, so they become one integer variable (a *pattern*).
The linear relaxation over all patterns gives a lower bound. The integer search uses the thousand
patterns of smallest reduced cost; further rounds exchange a part of the chosen images to improve
its result. Both stop by gap and count, never by time, so that the same inputs give the same images
on every machine.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import scipy
from scipy import optimize, sparse

from sbdata.errors import InputError
from sbdata.recipe import Selection
from sbdata.sizes import SizeBins
from sbdata.taxonomy import Taxonomy

Counts = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]

SOLVER = f"HiGHS of SciPy {scipy.__version__}"

_ZERO = 1e-6  # values of the solver that differ by less are equal
_ROUNDS = 40  # rounds of improvement
_FREED = (0.3, 0.4, 0.5)  # shares of the chosen images that the rounds may exchange, in turn
_ROUND_NODES = 5
_ROUND_PATTERNS = 400


@dataclass(frozen=True)
class Supply:
    """Instances that the candidate images provide for each cell.

    Attributes:
        image_ids: Ids of the candidates, sorted.
        cells: Names of the cells, ``class/size``.
        counts: Instances of each image in each cell, int64 ``(images, cells)``.
    """

    image_ids: tuple[str, ...]
    cells: tuple[str, ...]
    counts: Counts


@dataclass(frozen=True)
class CellReport:
    """Result of the selection for one cell.

    Attributes:
        cell: Name of the cell.
        supply: Number of instances in all candidates.
        lower: Lower end of the band.
        upper: Upper end of the band.
        chosen: Number of instances in the chosen images.
        shortfall: Number of instances missing below the band.
        excess: Number of instances above the band.
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
    """Chosen images and the quality of the choice.

    Attributes:
        image_ids: Ids of the chosen images, sorted.
        cells: Report of each cell.
        images: Number of chosen images.
        outside: Total number of instances outside their bands.
        outside_bound: Lower bound of ``outside`` for any choice, by the linear relaxation over all
            candidates.
        images_bound: Lower bound of ``images`` for any choice with the same ``outside``, by the
            linear relaxation over all candidates.
        gap: Relative gap ``(images - images_bound) / images``; None if ``outside`` is above its
            bound, because the number of images is then not informative.
    """

    image_ids: tuple[str, ...]
    cells: tuple[CellReport, ...]
    images: int
    outside: int
    outside_bound: int
    images_bound: int
    gap: float | None

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON-like values, without the ids but with the name of the solver used.

        Another version of the solver may choose different images that are equally good.
        """
        plain = asdict(self)
        del plain["image_ids"]
        plain["solver"] = SOLVER
        plain["cells"] = list(plain["cells"])
        plain["gap"] = None if self.gap is None else round(self.gap, 6)
        return plain


def supply_of(instances: pa.Table, taxonomy: Taxonomy, bins: SizeBins) -> Supply:
    """Count the instances of each image in each cell.

    Args:
        instances: Instances table with the columns image_id, class_name and size.
        taxonomy: Classes of the cells.
        bins: Sizes of the cells.
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
    """Return the lower and upper ends of each cell's band; upper is never below lower.

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
        supply: Supply of the candidates.
        spec: Quota, band and stopping rules of the search.
        seed: Seed that decides which of the images with equal counts are taken.
        keep: Ids of images that must be chosen, such as those already fetched.
        drop: Ids of images that must not be chosen.

    Raises:
        InputError: If there are no candidates or no quota, an id is not a candidate, or an id is in
            both ``keep`` and ``drop``.
    """
    if spec.quota < 1:
        msg = f"the quota of instances per cell must be at least 1, not {spec.quota}"
        raise InputError(msg)
    in_order = np.argsort(np.array(supply.image_ids, dtype=object), kind="stable")
    names = [supply.image_ids[i] for i in in_order]
    supply = Supply(tuple(names), supply.cells, supply.counts[in_order])
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
    taken, bounds = _solve(problem, spec, seed)

    order = _shuffled(len(alive), seed)
    order = order[np.argsort(~is_kept[order], kind="stable")]  # kept images come first
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
    outside = problem.outside(taken)
    at_bound = outside == bounds.outside
    images_bound = max(0, bounds.objective - problem.penalty * outside)
    return Chosen(
        image_ids=tuple(sorted(chosen)),
        cells=reports,
        images=len(chosen),
        outside=outside,
        outside_bound=bounds.outside,
        images_bound=images_bound,
        gap=(len(chosen) - images_bound) / max(len(chosen), 1) if at_bound else None,
    )


# --- the integer programme ------------------------------------------------------------------------


@dataclass(frozen=True)
class _Problem:
    """Integer programme: how many images of each pattern to take, from ``least`` to ``most``."""

    patterns: Counts
    least: Counts
    most: Counts
    lower: Counts
    upper: Counts

    def outside(self, taken: Counts) -> int:
        """Return the number of instances outside the bands."""
        counts = taken @ self.patterns
        short, over = np.maximum(self.lower - counts, 0), np.maximum(counts - self.upper, 0)
        return int(short.sum() + over.sum())

    @property
    def penalty(self) -> int:
        """Return the weight of one instance outside the bands, in images.

        It exceeds the number of images of any useful choice, so instances outside come first. In a
        choice without superfluous images, leaving out any image would leave some cell below its
        band. If a cell holds ``lower + s`` instances, such an image contributes more than ``s`` of
        them, so at most ``(lower + s) / (s + 1) <= lower`` images are needed by one cell.
        Therefore no choice needs more images than the sum of ``lower`` plus the kept ones.
        """
        return int(1 + self.lower.sum() + self.least.sum())

    def restricted(self, places: npt.NDArray[np.int64]) -> _Problem:
        """Return the problem over some patterns; the others are not taken."""
        return _Problem(
            self.patterns[places], self.least[places], self.most[places], self.lower, self.upper
        )


@dataclass(frozen=True)
class _Bounds:
    """Lower bounds of every choice; integers, as the figures of all choices are."""

    outside: int
    objective: int


def _solve(problem: _Problem, spec: Selection, seed: int) -> tuple[Counts, _Bounds]:
    """Return how many images of each pattern to take, and the lower bounds of every choice."""
    outside, objective, reduced, support = _relax(problem)
    slack = _ZERO * max(1.0, objective)  # error of the solver
    bounds = _Bounds(int(np.ceil(outside - _ZERO)), int(np.ceil(objective - slack)))
    n = len(problem.patterns)
    places = np.arange(n)
    if n > spec.columns:
        best = np.argsort(reduced, kind="stable")[: spec.columns]
        places = np.union1d(best, np.flatnonzero(support | (problem.least > 0)))
    small = problem.restricted(places)
    found = _search(small, "images", spec.gap, spec.nodes, max_outside=bounds.outside)
    if found is None:
        found = _search(small, "outside", 0.0, spec.nodes)
        if found is None:
            found = small.least.copy()  # the rounds below improve it
        most = small.outside(found)
        fewer = _search(small, "images", spec.gap, spec.nodes, max_outside=most)
        found = found if fewer is None else fewer
    found = _improve(small, found, bounds, spec, reduced[places], seed)
    taken: Counts = np.zeros(n, np.int64)
    taken[places] = _without_superfluous(small, found)
    return taken, bounds


def _relax(problem: _Problem) -> tuple[float, float, Values, npt.NDArray[np.bool_]]:
    """Solve the linear relaxation over all patterns.

    Returns:
        The smallest number of instances outside, the smallest objective, the reduced cost of each
        pattern, and a mask of the patterns that the solution uses.
    """
    n, cells = problem.patterns.shape
    system = sparse.csc_matrix(problem.patterns.T.astype(np.float64))
    eye = sparse.eye_array(cells)
    # columns: patterns, short, over, counted (the quantity that a band limits)
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
    return outside, float(answer.fun), np.round(reduced, 9), used > _ZERO


def _search(
    problem: _Problem,
    least: Literal["images", "outside"],
    gap: float,
    nodes: int,
    *,
    held: Counts | None = None,
    max_outside: int | None = None,
    max_images: int | None = None,
) -> Counts | None:
    """Solve an integer programme over all patterns of a problem.

    Args:
        problem: Problem whose ``least`` and ``most`` bound the variables.
        least: Quantity to minimise, images or instances outside the bands.
        gap: Relative gap at which HiGHS stops.
        nodes: Number of nodes at which HiGHS stops.
        held: Instances in each cell in addition to those chosen here.
        max_outside: Largest number of instances outside the bands.
        max_images: Largest number of images.

    Returns:
        The number of images of each pattern to take, or None if no choice was found.
    """
    n, cells = problem.patterns.shape
    eye = sparse.eye_array(cells)
    # columns: patterns, short, over
    counted = sparse.hstack([problem.patterns.T.astype(np.float64), eye, -eye]).tocsc()
    is_image = np.concatenate([np.ones(n), np.zeros(2 * cells)])
    rest = 0 if held is None else held
    rules = [optimize.LinearConstraint(counted, problem.lower - rest, problem.upper - rest)]
    slack = np.full(2 * cells, np.inf if max_outside is None else float(max_outside))
    if max_outside:  # at 0 the bounds of the slack already ensure it
        rules.append(optimize.LinearConstraint(1 - is_image, 0, max_outside))
    if max_images is not None:
        rules.append(optimize.LinearConstraint(is_image, 0, max_images))
    answer = optimize.milp(
        is_image if least == "images" else 1 - is_image,
        integrality=is_image,
        bounds=optimize.Bounds(
            np.concatenate([problem.least, np.zeros(2 * cells)]),
            np.concatenate([problem.most, slack]),
        ),
        constraints=rules,
        options={"mip_rel_gap": gap, "node_limit": nodes},
    )
    if answer.x is None:
        return None
    taken: Counts = np.rint(answer.x[:n]).astype(np.int64)
    return taken


def _improve(
    problem: _Problem,
    taken: Counts,
    bounds: _Bounds,
    spec: Selection,
    reduced: Values,
    seed: int,
) -> Counts:
    """Exchange a part of the chosen images at a time for a better choice, until near the bounds.

    The search over all patterns finds good choices slowly; over a part of them it is fast.
    """
    handy = np.argsort(reduced, kind="stable")[:_ROUND_PATTERNS]
    for turn in range(_ROUNDS):
        outside, images = problem.outside(taken), int(taken.sum())
        enough = bounds.objective - problem.penalty * outside
        if outside <= bounds.outside and images - enough <= spec.gap * images:
            break
        places = np.union1d(handy, np.flatnonzero(taken))
        part = problem.restricted(places)
        stay = 1 - _FREED[turn % len(_FREED)]
        fixed = np.maximum(_thinned(taken[places], stay, seed * _ROUNDS + turn), part.least)
        part = replace(part, least=np.zeros_like(fixed), most=part.most - fixed)
        held = fixed @ part.patterns
        if outside > bounds.outside:
            found = _search(part, "outside", 0.0, _ROUND_NODES, held=held, max_outside=outside - 1)
        else:
            spare = images - 1 - int(fixed.sum())
            found = _search(
                part, "images", 1.0, _ROUND_NODES, held=held, max_outside=outside, max_images=spare
            )
        if found is not None:
            taken = np.zeros_like(taken)
            taken[places] = fixed + found
    return taken


def _without_superfluous(problem: _Problem, taken: Counts) -> Counts:
    """Leave out images that no cell needs, those with the fewest instances first."""
    outside = problem.outside(taken)
    for place in np.argsort(problem.patterns.sum(axis=1), kind="stable").tolist():
        while taken[place] > problem.least[place]:
            fewer = taken.copy()
            fewer[place] -= 1
            if problem.outside(fewer) > outside:
                break
            taken = fewer
    return taken


# --- seeded order ---------------------------------------------------------------------------------


def _shuffled(n: int, seed: int) -> npt.NDArray[np.int64]:
    """Return the numbers below n in an order that depends only on the seed, in all versions."""
    raw = np.random.PCG64(seed).random_raw(n)  # raw output is the same in all versions of numpy
    return np.argsort(raw, kind="stable")


def _thinned(taken: Counts, share: float, seed: int) -> Counts:
    """Keep a random share of the chosen images, determined by the seed."""
    owner = np.repeat(np.arange(len(taken)), taken)
    chosen = _shuffled(len(owner), seed)[: round(len(owner) * share)]
    kept: Counts = np.bincount(owner[chosen], minlength=len(taken))
    return kept
