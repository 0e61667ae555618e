"""Annealing: AdamW along half a cosine, as vision transformers are trained.

Loshchilov and Hutter, "Decoupled Weight Decay Regularization" (ICLR 2019), with the warm-up of DeiT
(Touvron et al., ICML 2021). The training loop is that of :mod:`sbdata_baselines.stages.descent`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from sbdata.benchmark.stage import StageContext
from sbdata_baselines.settings import AdamW
from sbdata_baselines.stages.descent import Scheduled, learn
from sbdata_baselines.stages.photos import Batch


class Annealed(Scheduled, Protocol):
    """The settings of a stage that learns in this way."""

    @property
    def optimiser(self) -> AdamW:
        """Return the optimiser."""


def anneal(
    task: StageContext,
    settings: Annealed,
    model: nn.Module,
    undecayed: Iterable[Tensor],
    feed: Callable[[range], Iterable[Batch]],
    loss_of: Callable[..., Tensor],
) -> None:
    """Train a model in place and write it to ``model.pt`` of the task's folder.

    Args:
        task: whose folder holds the checkpoint. ``torch.manual_seed`` of its seed is called by
            whoever builds the model.
        settings: a frozen dataclass, kept beside the weights.
        model: on its device, in training mode; its parameters that require gradients are trained.
        undecayed: parameters without weight decay, beside those of one dimension.
        feed: gives the batches of the steps that are left.
        loss_of: called with the tensors of a batch, on the device.

    Raises:
        InputError: if the loss or the weights are no numbers any more.
    """
    schedule = settings.schedule
    adamw = _adamw(settings.optimiser, model, undecayed)

    def set_rates(step: int, steps: int) -> None:
        rate = settings.optimiser.rate(step / steps * schedule.epochs, schedule.epochs)
        for group in adamw.param_groups:
            group["lr"] = rate

    learn(task, settings, model, adamw, set_rates, feed, loss_of)


def _adamw(settings: AdamW, model: nn.Module, undecayed: Iterable[Tensor]) -> torch.optim.AdamW:
    free = {id(parameter) for parameter in undecayed}
    trained = [p for p in model.parameters() if p.requires_grad]
    decays = [p.ndim > 1 and id(p) not in free for p in trained]
    groups: list[dict[str, Any]] = [
        {
            "params": [p for p, d in zip(trained, decays, strict=True) if d == decayed],
            "weight_decay": settings.weight_decay if decayed else 0.0,
        }
        for decayed in (True, False)
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=settings.lr)
