from __future__ import annotations

import math

import pytest

from sbdata.curate.balance import balance_of

Counts = dict[str, dict[str, int]]


def table(rows: list[list[int]], sizes: tuple[str, ...] = ("small", "large")) -> Counts:
    return {f"class {i}": dict(zip(sizes, row, strict=True)) for i, row in enumerate(rows)}


def test_equal_cells_are_perfectly_balanced() -> None:
    balance = balance_of(table([[7, 7], [7, 7]]))
    assert (balance.max_over_min, balance.normalised_entropy, balance.empty_cells) == (1.0, 1.0, 0)
    assert balance.shares == {"small": 0.5, "large": 0.5}


def test_figures_worked_out_by_hand() -> None:
    balance = balance_of(table([[1, 2], [3, 2]]))
    assert balance.max_over_min == 3.0
    entropy = -(1 / 8 * math.log(1 / 8) + 2 * 2 / 8 * math.log(2 / 8) + 3 / 8 * math.log(3 / 8))
    assert balance.normalised_entropy == pytest.approx(entropy / math.log(4), abs=1e-9)
    assert balance.shares == {"small": 0.5, "large": 0.5}


def test_empty_cells_are_said_and_not_divided_by() -> None:
    balance = balance_of(table([[8, 0], [0, 0]]))
    assert (balance.max_over_min, balance.empty_cells) == (None, 3)
    assert balance.normalised_entropy == 0.0
    nothing = balance_of(table([[0, 0]]))
    assert (nothing.instances, nothing.normalised_entropy, nothing.shares) == (0, None, {})
    assert balance_of(table([[5]], ("small",))).normalised_entropy == 1.0
