"""Affinity: heads and losses that learn which neighbouring cells belong to one class.

IRN (Ahn et al., CVPR 2019) learns an edge map, PSA (Ahn and Kwak, CVPR 2018) features; either
gives affinities of pairs (``walk.edge_affinities``, ``walk.feature_affinities``), which the seeds
supervise. A pair is a cell and its neighbour at an offset, so everything about pairs has the shape
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
    """What the seeds say of pairs; each is bool ``(N, offsets, h, w)``.

    Attributes:
        background: both cells are background.
        foreground: both cells are of one class.
        negative: the cells are of two classes, or one is background.
    """

    background: Tensor
    foreground: Tensor
    negative: Tensor


def pair_labels(seeds: Tensor, radius: int) -> PairLabels:
    """Label pairs by seeds; a pair with a void cell, or one outside, is in no mask.

    Args:
        seeds: integer ``(N, h, w)``: classes, 0 background, 255 void.
        radius: of ``walk.neighbours``.
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

    ``(1/2 mean_bg[-log a] + 1/2 mean_fg[-log a] + mean_neg[-log(1 - a)]) / 2``, where an empty
    mask contributes 0. The walk needs the edge map only; displacements tell instances apart.

    Args:
        affinities: ``(N, offsets, h, w)`` in [0, 1].
        labels: of the same shape.
    """
    alike = -torch.log(affinities + _EPS)
    unlike = -torch.log(1 - affinities + _EPS)
    positive = (_mean(alike, labels.background) + _mean(alike, labels.foreground)) / 2
    return (positive + _mean(unlike, labels.negative)) / 2


def psa_loss(affinities: Tensor, labels: PairLabels) -> Tensor:
    """Return PSA's loss, ``1/4 mean_bg[-log a] + 1/4 mean_fg[-log a] + 1/2 mean_neg[-log(1 - a)]``.

    IRN took over these weights, so it is :func:`boundary_loss` by another name.
    """
    return boundary_loss(affinities, labels)


class BoundaryHead(nn.Module):
    """IRN's boundary branch: an edge map from the feature maps of a frozen backbone.

    Each map goes through a 1 x 1 convolution to 32 channels and group normalisation, is resized to
    the common size and rectified; a last 1 x 1 convolution over all of them gives the edge.

    Args:
        channels: of the feature maps, in the order in which ``forward`` takes them.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.sides = nn.ModuleList(
            nn.Sequential(nn.Conv2d(count, 32, 1, bias=False), nn.GroupNorm(4, 32))
            for count in channels
        )
        self.join = nn.Conv2d(32 * len(channels), 1, 1)

    def forward(self, features: Sequence[Tensor], size: tuple[int, int] | None = None) -> Tensor:
        """Return edges in [0, 1], ``(N, h, w)``.

        Args:
            features: ``(N, C_k, h_k, w_k)``; detach them to keep the backbone as it is.
            size: h and w, those of the first map by default (stride 4 in IRN).
        """
        size = size or features[0].shape[-2:]
        sides = [
            resized(side(maps), size).relu()
            for side, maps in zip(self.sides, features, strict=True)
        ]
        return torch.sigmoid(self.join(torch.cat(sides, dim=1)))[:, 0]


class AffinityHead(nn.Module):
    """PSA's head: features whose differences tell classes apart.

    Three maps go each through a 1 x 1 convolution and ELU, are resized to one size and joined by
    another 1 x 1 convolution and ELU.

    Args:
        channels: of the feature maps, in the order in which ``forward`` takes them.
        widths: to which they are brought.
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
            features: ``(N, C_k, h_k, w_k)``.
            size: h and w, those of the first map by default (stride 8 in PSA).
        """
        size = size or features[0].shape[-2:]
        sides = [
            resized(functional.elu(side(maps)), size)
            for side, maps in zip(self.sides, features, strict=True)
        ]
        return functional.elu(self.join(torch.cat(sides, dim=1)))


def _at_neighbours(values: Tensor, radius: int, outside: float) -> Tensor:
    """Return ``(N, offsets, h, w)``: at each cell of ``(N, h, w)`` the values of its neighbours."""
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
