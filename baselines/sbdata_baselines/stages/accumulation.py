"""Accumulation: the largest value that a photo's maps had while the classifier was trained.

Jiang et al., "Integral Object Mining via Online Attention Accumulation" (OAA, ICCV 2019): during
training, a classifier's attention shifts between the parts of an object, so the maximum over the
epochs covers more of it. A second network learns from the accumulated maps as soft targets, pixel
by pixel (the integral model). Details that the paper leaves open follow the code of NS-ROM (Yao et
al., CVPR 2021). The maps are a buffer of the model and so part of its checkpoints: a killed
training continues with the same maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn import functional

from sbdata.train.augment import View
from sbdata.train.resize import resized
from sbdata.train.views import Arrays, Shuffled, Views
from sbdata.weak_labels.weak_set import WeakImage, WeakSet
from sbdata_baselines.settings import SquareViewSettings
from sbdata_baselines.stages.maps import ClassMaps
from sbdata_baselines.stages.photos import one_hot

_LEVELS = 255
_TINY = 1e-5

# --- what is seen ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Visit:
    """A photo in an epoch.

    Attributes:
        row: Photo and its labels.
        number: Number of the photo in the training set, from 0.
        epoch: Number of the epoch, from 0.
    """

    row: WeakImage
    number: int
    epoch: int

    @property
    def photo(self) -> Path:
        """Return the photo's file."""
        return self.row.photo


@dataclass(frozen=True)
class Visits:
    """The visits of a run: each photo once an epoch, in an order drawn anew for every epoch.

    Attributes:
        rows: Photos.
        seed: Seed of the order.
    """

    rows: tuple[WeakImage, ...]
    seed: int

    def __call__(self, position: int) -> Visit:
        """Return the visit at a position of the run."""
        number = Shuffled(range(len(self.rows)), self.seed)(position)  # type: ignore[type-var]
        return Visit(self.rows[number], number, position // len(self.rows))


@dataclass(frozen=True)
class VisitTarget:
    """Target of a view of a visit.

    Attributes:
        n_classes: Number of classes, without background.
    """

    n_classes: int

    def __call__(self, visit: Visit, view: View) -> Arrays:
        """Return labels ``(C,)`` float32 of 0 and 1, the photo's number and the epoch's."""
        labels = one_hot(visit.row.classes, self.n_classes)
        return labels, np.array(visit.number), np.array(visit.epoch)


def visits_of(weak: WeakSet, settings: SquareViewSettings, seed: int) -> Views[Visit]:
    """Return all views of one run, each with labels, the photo's number and the epoch's."""
    return Views(Visits(weak.rows, seed), settings, VisitTarget(len(weak.taxonomy)), seed)


# --- accumulation ---------------------------------------------------------------------------------


class Accumulator(nn.Module):
    """The accumulated maps of all photos.

    Args:
        counts: Number of classes of each photo.
        size: Height and width of a map.

    Attributes:
        kept: ``(M, h, w)`` uint8, the maps of the first photo's classes first.
    """

    kept: Tensor
    starts: Tensor

    def __init__(self, counts: Sequence[int], size: tuple[int, int]) -> None:
        super().__init__()
        starts = [0, *accumulate(counts)]
        self.register_buffer("kept", torch.zeros((starts[-1], *size), dtype=torch.uint8))
        self.register_buffer("starts", torch.tensor(starts), persistent=False)

    def keep(
        self,
        activations: Tensor,
        labels: Tensor,
        numbers: Tensor,
        epochs: Tensor,
        *,
        first: int,
        last: int,
        least: float,
    ) -> None:
        """Accumulate the maps of a batch.

        From epoch ``first`` on, the map of a present class counts if its probability is at least
        ``least``. In epoch ``last``, the maps of classes that have none yet count as well.

        Args:
            activations: Activations, ``(N, C, h, w)``; positive parts are divided by their maxima.
            labels: Labels, ``(N, C)`` of 0 and 1.
            numbers: Numbers of the photos, ``(N,)``.
            epochs: Numbers of the epochs, ``(N,)``.
            first: First epoch that counts.
            last: Last epoch.
            least: Smallest probability that counts.
        """
        activations = activations.detach()
        ranks = labels.long().cumsum(dim=1) - 1
        probabilities = activations.float().mean(dim=(2, 3)).sigmoid()
        for n, c in labels.nonzero().tolist():
            slot = int(self.starts[numbers[n]] + ranks[n, c])
            epoch = int(epochs[n])
            sure = epoch >= first and float(probabilities[n, c]) >= least
            if not sure and (epoch < last or bool(self.kept[slot].any())):
                continue
            positive = activations[n, c].float().relu()
            levels = _LEVELS * positive / positive.max().clamp(min=_TINY)
            self.kept[slot] = torch.maximum(self.kept[slot], levels.round().to(torch.uint8))
        if distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(self.kept, distributed.ReduceOp.MAX)

    def maps_of(self, number: int, classes: tuple[int, ...]) -> ClassMaps:
        """Return the accumulated maps of a photo.

        Args:
            number: Number of the photo.
            classes: Classes of the photo.
        """
        start = int(self.starts[number])
        levels = self.kept[start : start + len(classes)].cpu().numpy()
        return ClassMaps(classes, levels.astype(np.float32) / np.float32(_LEVELS))


def integral_loss(activations: Tensor, levels: Tensor) -> Tensor:
    """Return the loss of the integral model, which learns soft targets and, elsewhere, absence.

    It is the mean of ``-t log sigmoid(z)`` over all ``t > 0`` plus the mean of ``softplus(z)`` over
    the rest.

    Args:
        activations: Activations z, ``(N, C, h, w)``; resized bilinearly to the targets if they
            differ in size.
        levels: Targets, uint8 ``(N, C, H, W)``; 255 for t = 1.
    """
    activations = resized(activations, levels.shape[-2:])
    targets = levels.to(activations.dtype) / _LEVELS
    seen = targets > 0
    positive = -(targets * functional.logsigmoid(activations)).sum() / seen.sum().clamp(min=1)
    absent = (functional.softplus(activations) * ~seen).sum() / (~seen).sum().clamp(min=1)
    return positive + absent
