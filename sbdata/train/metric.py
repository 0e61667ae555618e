"""``ia_iou.v1`` as a torchmetrics metric."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchmetrics import Metric

from sbdata.metrics import (
    CLASS_ROW,
    COMPONENT_ROW,
    INSTANCE_ROW,
    Accumulator,
    ImageScore,
    MetricOptions,
)
from sbdata.metrics.batches import score_batch
from sbdata.sizes import SizeBins

_ROWS = {"instances": INSTANCE_ROW, "components": COMPONENT_ROW, "classes": CLASS_ROW}


class InstanceAwareIoU(Metric):
    """Instance-aware IoU by object size, and mIoU, over a data set.

    The states are a confusion matrix that is summed and rows that are concatenated, so the figures
    are those of all processes' images together, the same to the last bit for any number of
    processes. Counting happens on the CPU.

    Args:
        n_classes: the number of foreground classes, C.
        bins: of the sizes.
        options: of the metric.
        kwargs: of ``torchmetrics.Metric``.

    >>> metric = InstanceAwareIoU(n_classes=2)
    >>> truth = torch.tensor([[[1, 1, 0, 2]]])
    >>> metric.update(torch.tensor([[[1, 1, 0, 0]]]), truth, truth)
    >>> metric.compute()["ia.class_mean"]
    tensor(0.5000, dtype=torch.float64)
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    confusion: Tensor
    instances: list[Tensor]
    components: list[Tensor]
    classes: list[Tensor]

    def __init__(
        self,
        n_classes: int,
        bins: SizeBins = SizeBins(),  # noqa: B008 - frozen
        options: MetricOptions = MetricOptions(),  # noqa: B008 - frozen
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.n_classes, self.bins, self.options = n_classes, bins, options
        side = Accumulator(n_classes, options).tables().confusion.shape
        self.add_state("confusion", torch.zeros(side, dtype=torch.int64), dist_reduce_fx="sum")
        for name in _ROWS:
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, preds: Tensor, class_maps: Tensor, instance_maps: Tensor) -> None:
        """Add a batch.

        Args:
            preds: ``(N, H, W)`` class numbers, or ``(N, C + 1, H, W)`` scores.
            class_maps: ``(N, H, W)`` true class numbers, 255 void.
            instance_maps: ``(N, H, W)`` instance numbers, 0 none, 255 void.

        Raises:
            InputError: if the shapes do not agree or a map holds an impossible value.
        """
        for score in score_batch(preds, class_maps, instance_maps, self.n_classes, self.options):
            self.confusion += torch.from_numpy(score.confusion).to(self.confusion.device)
            for name in _ROWS:
                rows = _as_matrix(getattr(score, name)).to(self.confusion.device)
                getattr(self, name).append(rows)

    def compute(self) -> dict[str, Tensor]:
        """Return the figures by the names of ``Summary.headline``; NaN where one is undefined."""
        rows = {name: _as_rows(getattr(self, name), kind) for name, kind in _ROWS.items()}
        whole = Accumulator(self.n_classes, self.options)
        whole.update("all", ImageScore(self.options, self.confusion.cpu().numpy(), **rows))
        found = whole.compute(self.bins).headline()
        values = {name: float("nan") if v is None else v for name, v in found.items()}
        return {name: torch.tensor(v, dtype=torch.float64) for name, v in values.items()}


def _as_matrix(rows: npt.NDArray[np.void]) -> Tensor:
    """Return structured rows as float64 columns, which hold every count exactly."""
    names = rows.dtype.names or ()
    columns = [rows[name].astype(np.float64) for name in names]
    return torch.from_numpy(np.stack(columns, axis=1).reshape(len(rows), len(names)))


def _as_rows(parts: list[Tensor] | Tensor, kind: np.dtype[np.void]) -> npt.NDArray[np.void]:
    """Return the rows of all processes, in an order that does not depend on who had which."""
    if isinstance(parts, list):
        parts = torch.cat(parts) if parts else torch.zeros(0, len(kind.names or ()))
    matrix = parts.cpu().numpy()
    matrix = matrix[np.lexsort(matrix.T)]
    rows: npt.NDArray[np.void] = np.empty(len(matrix), kind)
    for place, name in enumerate(kind.names or ()):
        rows[name] = matrix[:, place]
    return rows
