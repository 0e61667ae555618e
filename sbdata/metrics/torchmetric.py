"""``ia_iou.v2`` as a torchmetrics metric."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchmetrics import Metric

from sbdata.metrics.accumulator import Accumulator
from sbdata.metrics.batches import score_batch
from sbdata.metrics.image import CLASS_ROW, INSTANCE_ROW, REGION_ROW, ImageScore, MetricOptions
from sbdata.sizes import SizeBins

_ROWS = {"instances": INSTANCE_ROW, "regions": REGION_ROW, "classes": CLASS_ROW}


class InstanceAwareIoU(Metric):
    """Instance-aware IoU by object size, and mIoU, over a data set.

    The states are a confusion matrix that is summed and rows that are concatenated, so the values
    are those of all processes' images together, the same to the last bit for any number of
    processes. Counting happens on the CPU.

    Args:
        num_classes: Number of foreground classes, C; background is class 0 beside them.
        bins: Size bins.
        options: Metric options.
        kwargs: Options of ``torchmetrics.Metric``.

    >>> metric = InstanceAwareIoU(num_classes=2)
    >>> target = torch.tensor([[[1, 1, 0, 2]]])
    >>> metric.update(preds=torch.tensor([[[1, 1, 0, 0]]]), target=target, instances=target)
    >>> metric.compute()["ia_objects.class_mean"]
    tensor(0.5000, dtype=torch.float64)
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    confusion: Tensor
    instances: list[Tensor]
    regions: list[Tensor]
    classes: list[Tensor]

    def __init__(
        self,
        num_classes: int,
        bins: SizeBins = SizeBins(),  # noqa: B008 - frozen
        options: MetricOptions = MetricOptions(),  # noqa: B008 - frozen
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_classes, self.bins, self.options = num_classes, bins, options
        side = Accumulator(num_classes, options).tables().confusion.shape
        self.add_state("confusion", torch.zeros(side, dtype=torch.int64), dist_reduce_fx="sum")
        for name in _ROWS:
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, preds: Tensor, target: Tensor, instances: Tensor) -> None:
        """Add a batch; a refused batch changes nothing.

        Args:
            preds: ``(N, H, W)`` class numbers, or ``(N, C + 1, H, W)`` scores of which the largest
                wins.
            target: ``(N, H, W)`` true class numbers, 255 void.
            instances: ``(N, H, W)`` instance numbers, 0 none, 255 void.

        Raises:
            InputError: If the shapes do not match, a score is NaN, or a map holds an impossible
                value.
        """
        for score in list(score_batch(preds, target, instances, self.num_classes, self.options)):
            self.confusion += torch.from_numpy(score.confusion).to(self.confusion.device)
            for name in _ROWS:
                rows = _as_matrix(getattr(score, name), score.pixels).to(self.confusion.device)
                getattr(self, name).append(rows)

    def compute(self) -> dict[str, Tensor]:
        """Return the values by the names of ``Summary.headline``; NaN for an undefined one."""
        found = {name: _as_rows(getattr(self, name), kind) for name, kind in _ROWS.items()}
        whole = Accumulator(self.num_classes, self.options)
        confusion = self.confusion.cpu().numpy()
        # Rows do not say their image, but the pixels of it, which is all that sizes can depend on.
        of_all = np.unique(np.concatenate([of for _, of in found.values()])).tolist()
        groups = of_all if self.bins.relative else []
        for pixels in groups or [0]:
            rows = {name: r[of == pixels] if groups else r for name, (r, of) in found.items()}
            whole.update(
                f"{pixels:012}", ImageScore(self.options, confusion, **rows, pixels=pixels)
            )
            confusion = np.zeros_like(confusion)  # that of all images is counted once
        values = whole.compute(self.bins).flat(undefined=float("nan"))
        return {name: torch.tensor(v, dtype=torch.float64) for name, v in values.items()}


def _as_matrix(rows: npt.NDArray[np.void], pixels: int) -> Tensor:
    """Return structured rows as int64 columns after their pixels, with fractions as their bits.

    float64 is avoided because some devices do not have it.
    """
    names = rows.dtype.names or ()
    columns = [
        rows[name].view(np.int64) if rows.dtype[name].kind == "f" else rows[name].astype(np.int64)
        for name in names
    ]
    return torch.from_numpy(np.stack([np.full(len(rows), pixels, np.int64), *columns], axis=1))


def _as_rows(
    parts: list[Tensor] | Tensor, kind: np.dtype[np.void]
) -> tuple[npt.NDArray[np.void], npt.NDArray[np.int64]]:
    """Return the rows of all processes, in an order that does not depend on their distribution.

    Returns:
        The rows, and the pixels of each row's image.
    """
    if isinstance(parts, list):
        none = torch.zeros(0, len(kind.names or ()) + 1, dtype=torch.int64)
        parts = torch.cat(parts) if parts else none
    matrix = parts.cpu().numpy()
    matrix = matrix[np.lexsort(matrix.T)]
    rows: npt.NDArray[np.void] = np.empty(len(matrix), kind)
    for place, name in enumerate(kind.names or (), start=1):
        column = np.ascontiguousarray(matrix[:, place])
        rows[name] = column.view(np.float64) if kind[name].kind == "f" else column
    return rows, matrix[:, 0]
