"""Hand-made results, of which every mean and difference is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from sbdata.benchmark.leaderboard import Board, Row, read_boards
from sbdata.benchmark.paired_differences import PairedDifference
from sbdata.benchmark.records import (
    Pair,
    PairedDifferences,
    Protocol,
    ResultRecord,
    ScoredSet,
    Training,
    Value,
    write_differences,
    write_result,
)
from sbdata.metrics.outcomes import OUTCOMES

SIZES = ("ia", "ia_small", "ia_medium", "ia_large")


def figures(miou: float, small: float | None = 0.25) -> dict[str, Value]:
    """Figures of which all but mIoU and IA_small are the same everywhere."""
    found = {"miou": miou, "ia.class_mean": 0.5, "ia.instance_mean": 0.375}
    for size, value in (("small", small), ("medium", 0.5), ("large", 0.75)):
        found[f"ia_{size}.class_mean"] = value
        found[f"ia_{size}.instance_mean"] = None if value is None else value + 0.0625
    return {
        name: Value(value, None if value is None else (value - 0.125, value + 0.125))
        for name, value in found.items()
    }


def result(
    method: str,
    strategy: str,
    seed: int = 0,
    miou: float = 0.5,
    small: float | None = 0.25,
    *,
    scored: str = "pets-b",
    training: str = "pets-train",
    training_hash: str = "t0",
    supervision: tuple[str, ...] = ("image_labels",),
    control: bool = False,
    settings: Mapping[str, Any] | None = None,
    preset: Mapping[str, Any] | None = None,
    protocol: Mapping[str, Any] | None = None,
    synthetic: bool = False,
    code: str = "c0",
    labels: str = "manifest",
    saliency: str | None = None,
    variant: str = "",
    true_masks: bool = False,
    pseudo: Mapping[str, Any] | None = None,
    weak: str = "w0",
    baseline: str = "b0",
    outcomes: Mapping[str, Mapping[str, int]] | None = None,
) -> ResultRecord:
    own = {
        "scales": (1.0,), "flip": False, "refine": "none", "split": "val",
        "initialisation": "random", "set_hash": "h0", **(protocol or {}),
    }  # fmt: skip
    found = ScoredSet(
        logical_hash=own["set_hash"],
        split=own["split"],
        metric="ia_iou.v2",
        n_images=100,
        n_instances={"ia": 60, "ia_small": 10, "ia_medium": 20, "ia_large": 30},
        n_classes={"ia": 3, "ia_small": 2, "ia_medium": 3, "ia_large": 3},
        figures=figures(miou, small),
        protocol=Protocol(**own),
        predictions="p",
        outcomes=outcomes or {},
    )
    return ResultRecord(
        method=method,
        paper="",
        supervision=supervision,
        control=control,
        strategy=strategy,
        seed=seed,
        synthetic=synthetic,
        preset="smoke",
        method_settings=settings or {"seeds": {"foreground": 0.3}},
        training_preset={"optimisation": {"steps": 600, "checkpoint_every": 50}, **(preset or {})},
        training=Training(
            training, training_hash, 40, None if true_masks else weak, labels, saliency
        ),
        initialisation=own["initialisation"],
        pretrained=False,
        code={"sbdata": code, "baseline": baseline},
        environment={"python": "3.11"},
        seconds={"train": 12.5 + seed},
        pseudo=pseudo,
        sets={scored: found},
        variant=variant,
    )


def outcomes(**by_size: Sequence[int]) -> dict[str, dict[str, int]]:
    """Numbers of instances in the order of ``OUTCOMES``; they are the counts of :func:`result`."""
    counts = {"small": (10,), "medium": (20,), "large": (30,), **by_size}
    return {
        size: dict(zip_longest(OUTCOMES, numbers, fillvalue=0)) for size, numbers in counts.items()
    }


def pseudo(
    small: float | None = 0.25,
    *,
    seeds_kept: int = 6,
    masks_kept: int = 4,
    n_small: int = 8,
    **changes: Any,
) -> dict[str, Any]:
    """Figures of pseudo-masks as a result holds them; ``kept`` are small instances of 8."""
    shown = {name: {"value": f.value, "interval": None} for name, f in figures(0.5, small).items()}
    lost = [
        {
            "stage": stage,
            "small": {"n": n_small, "kept": kept},
            "medium": {"n": 16, "kept": 16},
            "large": {"n": 0, "kept": 0},
        }
        for stage, kept in (("seeds", seeds_kept), ("masks", masks_kept))
    ]
    return {
        "metric": "ia_iou.v2",
        "n_images": 40,
        "n_instances": {"ia": 24, "ia_small": n_small, "ia_medium": 16, "ia_large": 0},
        "n_classes": {"ia": 3, "ia_small": 2, "ia_medium": 3, "ia_large": 0},
        "figures": shown,
        "ignored_excluded": {"excluded_pixels": 0.5},
        "lost_threshold": "under 50 %",
        "lost": lost,
        "losses": [],
        **changes,
    }


def pair(first: ResultRecord, second: ResultRecord, reach: float = 0.0625) -> Pair:
    """First minus second on their one set, with intervals of that reach to either side."""
    ((name, one),) = first.sets.items()
    other = second.sets[name]
    found: dict[str, dict[str, Any] | None] = {}
    for figure, at in one.figures.items():
        mine, theirs = at.value, other.figures[figure].value
        if mine is None or theirs is None:
            found[figure] = None
            continue
        gap = mine - theirs
        found[figure] = {
            "value": gap, "interval": [gap - reach, gap + reach], "sign_change": 0.25,
        }  # fmt: skip
    return Pair(name, first.strategy, second.strategy, found, one.logical_hash)


def write(root: Path, results: Sequence[ResultRecord], *, compared: bool = True) -> Path:
    """Write results, and differences of every sb-ewc from the ce of its seed."""
    for one in results:
        write_result(root, one)
    for second in results:
        others = [
            r for r in results
            if (r.method, r.seed) == (second.method, second.seed) and r.strategy == "ce"
        ]  # fmt: skip
        if compared and second.strategy == "sb-ewc" and others:
            pairs = tuple(pair(second, other) for other in others)
            found = PairedDifferences(
                second.method, second.seed, "key", pairs, second.shared_identity
            )
            write_differences(root, found)
    return root


def the_board(root: Path) -> Board:
    (board,) = read_boards([root])
    return board


def row(board: Board, method: str, strategy: str, mark: str = "") -> Row:
    (found,) = (r for r in board.rows if (r.method, r.strategy, r.mark) == (method, strategy, mark))
    return found


def contrast(board: Board, method: str, subtrahend: str) -> PairedDifference:
    (found,) = (
        c for c in board.contrasts
        if (c.method, c.minuend, c.subtrahend) == (method, "sb-ewc", subtrahend)
    )  # fmt: skip
    return found
