"""Check that gradient descent can follow the penalty of elastic weight consolidation.

Along a weight with second derivative ``h``, gradient descent with learning rate ``r`` and momentum
``m`` converges if ``r h < 2 (1 + m)`` and diverges beyond (for instance Goh, "Why momentum really
works", Distill 2017). The penalty alone gives ``h = 2 λ F``. Learning rates only fall after the
switch, so a condition that holds there holds until the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from sbdata.losses import ElasticWeightConsolidation


@dataclass(frozen=True)
class Stability:
    """Largest curvature of the penalty, compared with the limit of gradient descent.

    Attributes:
        group: Parameter group with the largest product.
        product: Learning rate of the group times the largest curvature of the penalty in it.
        limit: Bound below which the product must lie.
    """

    group: str
    product: float
    limit: float

    @property
    def holds(self) -> bool:
        """Return True if gradient descent can follow the penalty."""
        return self.product < self.limit

    @property
    def warning(self) -> str | None:
        """Return a warning sentence if the limit is exceeded, else None."""
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
    """Compare the penalty with the limit in each parameter group; return the worst group.

    Args:
        penalty: Penalty at the switch.
        model: Model that the penalty applies to.
        groups: Parameter groups from ``segmenter.parameter_groups``.
        rate: Learning rate of the backbone at the switch.
        momentum: Momentum of the optimiser.
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
