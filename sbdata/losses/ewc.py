"""Elastic weight consolidation: continue training, but keep important weights near the old ones.

Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks" (PNAS 2017), eq. 3,
without the factor of one half, as in Mun et al. (WACV 2024).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sbdata.errors import InputError
from sbdata.losses.parameters import bare, check_match, check_values, trainable_of


@dataclass(frozen=True, eq=False)
class ElasticWeightConsolidation:
    """Quadratic penalty for changing important weights: strength · Σ F (θ - θ*)².

    The fields are plain values: ``torch.save(ewc.as_dict(), path)`` writes a file that
    ``torch.load(path, weights_only=True)`` reads, and ``ElasticWeightConsolidation(**loaded)``
    restores the object.

    Attributes:
        fisher: Fisher information, float32 tensors by parameter name, not negative; see
            :func:`scaled_fisher`.
        anchor: Weights θ* by the same names.
        strength: Factor λ of the paper, at least 0.

    Raises:
        InputError: If names or shapes of ``fisher`` and ``anchor`` do not match, or the strength or
            a value of the Fisher is negative or not finite.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> _ = nn.init.constant_(model.weight, 1.0)
    >>> ewc = ElasticWeightConsolidation.at(model, {"weight": torch.tensor([[3.0]])}, strength=2.0)
    >>> _ = nn.init.constant_(model.weight, 5.0)
    >>> ewc.penalty(model).item()  # 2 * 3 * (5 - 1)²
    96.0
    """

    fisher: dict[str, Tensor]
    anchor: dict[str, Tensor]
    strength: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.strength) and self.strength >= 0):
            msg = f"the strength of EWC must be finite and at least 0, not {self.strength}"
            raise InputError(msg)
        check_match(self.anchor, self.fisher, "the anchor")
        check_match(self.fisher, self.anchor, "the Fisher")
        check_values(self.fisher)

    @classmethod
    def at(
        cls, model: nn.Module, fisher: Mapping[str, Tensor], strength: float
    ) -> ElasticWeightConsolidation:
        """Create a penalty anchored at the current trainable parameters of a model.

        Raises:
            InputError: If the Fisher was not estimated for exactly these parameters.
        """
        trainable = trainable_of(model)
        check_match(trainable, fisher, "the model's trainable parameters")
        check_match(fisher, trainable, "the Fisher")
        return cls(
            fisher={name: fisher[name].detach().to(p.device) for name, p in trainable.items()},
            anchor={name: p.detach().clone() for name, p in trainable.items()},
            strength=float(strength),
        )

    def penalty(self, model: nn.Module) -> Tensor:
        """Return the float32 penalty; exactly 0, with zero gradients, if no weight has changed.

        Raises:
            InputError: If the model lacks an anchored parameter, has one of another shape, or
                trains one that is not anchored.
        """
        parameters = dict(bare(model).named_parameters())
        check_match(parameters, self.fisher, "the model's parameters")
        check_match(self.fisher, trainable_of(model), "the Fisher")
        terms = []
        for name, fisher in self.fisher.items():
            parameter = parameters[name].float()
            moved = parameter - self.anchor[name].to(parameter)
            terms.append((fisher.to(parameter) * moved * moved).sum())
        return self.strength * torch.stack(terms).sum()

    def curvature(self, names: Iterable[str]) -> float:
        """Return the largest second derivative of the penalty by one of the named parameters."""
        largest = [float(self.fisher[name].max()) for name in names if self.fisher[name].numel()]
        return 2 * self.strength * max(largest, default=0.0)

    def to(self, device: torch.device | str) -> ElasticWeightConsolidation:
        """Return a copy on another device; the penalty is fastest on the model's device."""
        return ElasticWeightConsolidation(
            {name: value.to(device) for name, value in self.fisher.items()},
            {name: value.to(device) for name, value in self.anchor.items()},
            self.strength,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as a dictionary for saving."""
        return {"fisher": self.fisher, "anchor": self.anchor, "strength": self.strength}
