"""Whether gradient descent can follow the penalty of elastic weight consolidation.

Along a weight whose second derivative is ``h``, gradient descent at learning rate ``r`` with
momentum ``m`` converges if ``r h < 2 (1 + m)`` and diverges beyond (for instance Goh, "Why momentum
really works", Distill 2017). The penalty alone gives ``h = 2 λ F``. Rates only fall after the
switch, so what holds there holds until the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from sbdata.losses import ElasticWeightConsolidation


@dataclass(frozen=True)
class Stability:
    """The penalty's largest curvature against the limit of gradient descent.

    Attributes:
        group: of parameters with the largest product.
        product: its learning rate times the largest curvature of the penalty in it.
        limit: below which the product must lie.
    """

    group: str
    product: float
    limit: float

    @property
    def holds(self) -> bool:
        """Tell whether gradient descent can follow the penalty."""
        return self.product < self.limit

    @property
    def warning(self) -> str | None:
        """Return one sentence if the limit is passed."""
        if self.holds:
            return None
        return (
            f"EWC may diverge: learning rate times curvature of the penalty is {self.product:.2f} "
            f"for the {self.group}, and the limit for this momentum is {self.limit:.2f}; lower "
            "ewc.strength or optimisation.lr"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a result."""
        return {
            "group": self.group,
            "rate_times_curvature": self.product,
            "limit": self.limit,
            "warning": self.warning,
        }


def stability_of(
    penalty: ElasticWeightConsolidation,
    model: nn.Module,
    groups: Iterable[Mapping[str, Any]],
    rate: float,
    momentum: float,
) -> Stability:
    """Compare the penalty with the limit, group by group, and return the worst.

    Args:
        penalty: at the switch.
        model: that it is of.
        groups: as ``segmenter.parameter_groups`` gives them.
        rate: learning rate of the backbone at the switch.
        momentum: of the optimiser.
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    products = {
        group["name"]: rate
        * group["lr_mult"]
        * penalty.curvature(names[id(parameter)] for parameter in group["params"])
        for group in groups
    }
    worst = max(products, key=lambda name: products[name])
    return Stability(worst, products[worst], 2 * (1 + momentum))
