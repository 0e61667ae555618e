"""Training strategies by name, defined by their losses. This module does not need PyTorch.

:mod:`sbdata.train.strategies` runs them.
"""

from __future__ import annotations

from dataclasses import dataclass

from sbdata.errors import InputError
from sbdata.plugins import Registry, modules_of_others

FIRST_PHASE = "first-phase"
"""Folder and name of the cross-entropy phase before the switch, which strategies share."""

FIRST_LOSS = "ce"
MODEL = "model.pt"
"""File name of a trained segmenter."""


@dataclass(frozen=True)
class Strategy:
    """Training strategy of a segmenter.

    Attributes:
        name: Name of the strategy.
        losses: One loss, or two: before and after the switch. The first of two is ``ce``.
        summary: One-line description.
        consolidated: True if EWC penalises changes of the weights after the switch.

    Raises:
        InputError: for other losses, or EWC without a switch.
    """

    name: str
    losses: tuple[str, ...]
    summary: str
    consolidated: bool = False

    def __post_init__(self) -> None:
        two = len(self.losses) == 2 and self.losses[0] == FIRST_LOSS
        if not (two or (len(self.losses) == 1 and not self.consolidated)):
            msg = (
                f"strategy {self.name!r}: give one loss without EWC, or two, the first of which is "
                f"{FIRST_LOSS!r}, not {', '.join(self.losses) or 'none'}"
            )
            raise InputError(msg)

    @property
    def modules_of_others(self) -> tuple[str, ...]:
        """Return the modules of this strategy's losses that are not sbdata's own."""
        return modules_of_others("sbdata.losses", self.losses)

    @property
    def shares_first_phase(self) -> bool:
        """Return True if it begins with the phase that ``ce``, ``sb-ft`` and ``sb-ewc`` share."""
        return self.losses[0] == FIRST_LOSS


_OWN = (
    Strategy("ce", ("ce",), "plain cross-entropy, the control of all others"),
    Strategy("sb", ("sb",), "size-balanced cross-entropy, sb_ce.v2"),
    Strategy("sb-ft", ("ce", "sb"), "cross-entropy, then sb_ce.v2 (what the released code trains)"),
    Strategy("sb-ewc", ("ce", "sb"), "sb-ft with EWC (what the paper describes)", True),
    Strategy("focal", ("focal",), "focal loss"),
    Strategy("dice", ("dice",), "Dice loss"),
    Strategy("lovasz", ("lovasz",), "Lovász-softmax loss"),
    Strategy("balanced-ce", ("balanced-ce",), "mean of the CE over background and foreground"),
)

STRATEGIES: Registry[Strategy] = Registry(
    "sbdata.strategies",
    "strategy",
    {strategy.name: strategy for strategy in _OWN},
    lambda thing: "" if isinstance(thing, Strategy) else "is not a Strategy",
)
"""Strategies by name."""

find_strategy = STRATEGIES.find


def register_strategy(strategy: Strategy) -> None:
    """Add a strategy in this process.

    Raises:
        InputError: If its name is taken.
    """
    STRATEGIES.register(strategy.name, strategy)
