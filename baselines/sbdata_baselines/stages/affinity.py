"""Affinity: heads and losses that learn which neighbouring cells belong to one class.

IRN (Ahn et al., CVPR 2019) learns an edge map, PSA (Ahn and Kwak, CVPR 2018) learns features. Both
give affinities of pairs (``walk.edge_affinities``, ``walk.feature_affinities``), supervised by the
seeds. A pair is a cell and its neighbour at an offset, so all tensors over pairs have the shape
``(N, offsets, h, w)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from sbdata.masks import VOID
from sbdata.train.resize import resized
from sbdata_baselines.stages.walk import neighbours

_EPS = 1e-5


class PairLabels(NamedTuple):
    """Labels of cell pairs according to the seeds, each bool ``(N, offsets, h, w)``.

    Attributes:
        background: True if both cells are background.
        foreground: True if both cells have the same foreground class.
        negative: True if the cells have different labels.
    """

    background: Tensor
    foreground: Tensor
    negative: Tensor


def pair_labels(seeds: Tensor, radius: int) -> PairLabels:
    """Label pairs by seeds; a pair with a void cell, or with one outside, is in no mask.

    Args:
        seeds: Integer classes, ``(N, h, w)``; 0 is background, 255 void.
        radius: Radius of ``walk.neighbours``, in cells.
    """
    there = _at_neighbours(seeds, radius, VOID)
    here = seeds[:, None]
    known = (here != VOID) & (there != VOID)
    same = here == there
    return PairLabels(
        background=known & same & (here == 0),
        foreground=known & same & (here != 0),
        negative=known & ~same,
    )


def boundary_loss(affinities: Tensor, labels: PairLabels) -> Tensor:
    """Return IRN's affinity loss, without its displacement terms.

    The loss is ``(1/2 mean_bg[-log a] + 1/2 mean_fg[-log a] + mean_neg[-log(1 - a)]) / 2``. An
    empty mask contributes 0. The walk needs the edge map only; displacements tell instances apart.

    Args:
        affinities: Affinities, ``(N, offsets, h, w)`` in [0, 1].
        labels: Pair labels of the same shape.
    """
    alike = -torch.log(affinities + _EPS)
    unlike = -torch.log(1 - affinities + _EPS)
    positive = (_mean(alike, labels.background) + _mean(alike, labels.foreground)) / 2
    return (positive + _mean(unlike, labels.negative)) / 2


def psa_loss(affinities: Tensor, labels: PairLabels) -> Tensor:
    """Return PSA's loss, ``1/4 mean_bg[-log a] + 1/4 mean_fg[-log a] + 1/2 mean_neg[-log(1 - a)]``.

    IRN uses the same weights, so this equals :func:`boundary_loss`.
    """
    return boundary_loss(affinities, labels)


class BoundaryHead(nn.Module):
    """IRN's boundary branch: an edge map from the feature maps of a frozen backbone.

    Each map goes through a 1 x 1 convolution to 32 channels and group normalisation, is resized to
    the common size and rectified; a last 1 x 1 convolution over all of them gives the edge.

    Args:
        channels: Numbers of channels of the feature maps, in the order of ``forward``.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.sides = nn.ModuleList(
            nn.Sequential(nn.Conv2d(count, 32, 1, bias=False), nn.GroupNorm(4, 32))
            for count in channels
        )
        self.join = nn.Conv2d(32 * len(channels), 1, 1)

    def forward(self, features: Sequence[Tensor], size: tuple[int, int] | None = None) -> Tensor:
        """Return edges in [0, 1], ``(N, h, w)``; see :meth:`logits` for the arguments."""
        return torch.sigmoid(self.logits(features, size))

    def logits(self, features: Sequence[Tensor], size: tuple[int, int] | None = None) -> Tensor:
        """Return the logits of the edges, ``(N, h, w)``.

        Args:
            features: Feature maps, ``(N, C_k, h_k, w_k)``; detach them to keep the backbone
                unchanged.
            size: Output h and w; by default those of the first map (stride 4 in IRN).
        """
        size = size or features[0].shape[-2:]
        sides = [
            resized(side(maps), size).relu()
            for side, maps in zip(self.sides, features, strict=True)
        ]
        joined: Tensor = self.join(torch.cat(sides, dim=1))
        return joined[:, 0]


class AffinityHead(nn.Module):
    """PSA's head: features whose differences tell classes apart.

    Each of three maps goes through a 1 x 1 convolution and ELU and is resized to one size; another
    1 x 1 convolution and ELU joins them.

    Args:
        channels: Numbers of channels of the feature maps, in the order of ``forward``.
        widths: Numbers of channels to which the maps are projected.
    """

    def __init__(self, channels: Sequence[int], widths: Sequence[int] = (64, 128, 256)) -> None:
        super().__init__()
        self.sides = nn.ModuleList(
            nn.Conv2d(count, width, 1, bias=False)
            for count, width in zip(channels, widths, strict=True)
        )
        self.join = nn.Conv2d(sum(widths), sum(widths), 1, bias=False)

    def forward(self, features: Sequence[Tensor], size: tuple[int, int] | None = None) -> Tensor:
        """Return features ``(N, sum of widths, h, w)`` for ``walk.feature_affinities``.

        Args:
            features: Feature maps, ``(N, C_k, h_k, w_k)``.
            size: Output h and w; by default those of the first map (stride 8 in PSA).
        """
        size = size or features[0].shape[-2:]
        sides = [
            resized(functional.elu(side(maps)), size)
            for side, maps in zip(self.sides, features, strict=True)
        ]
        return functional.elu(self.join(torch.cat(sides, dim=1)))


def _at_neighbours(values: Tensor, radius: int, outside: float) -> Tensor:
    """Return the values of the neighbours of each cell of ``(N, h, w)``, ``(N, offsets, h, w)``."""
    height, width = values.shape[-2:]
    margin = radius - 1
    padded = functional.pad(values, (margin, margin, 0, margin), value=outside)
    return torch.stack(
        [
            padded[:, dy : dy + height, margin + dx : margin + dx + width]
            for dy, dx in neighbours(radius)
        ],
        dim=1,
    )


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of the values under a mask, 0 if it is empty."""
    return (values * mask).sum() / mask.sum().clamp(min=1)
