"""EDAM: class masks that must carry what a pair of photos has in common.

Wu et al., "Embedded Discriminative Attention Mechanism for Weakly Supervised Semantic Segmentation"
(CVPR 2021): a layer of the network gives each pixel a unit vector over the classes; its parts, the
class masks, are multiplied with the features, class by class. For each class a transformer reads
these products of two photos and tells in which of them the class is. The masks, together with a
saliency map, are the pseudo-masks. Constants of the ``paper`` preset are those of allenwu97/EDAM.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sbdata.benchmark.stage import StageContext
from sbdata.masks import LabelMap
from sbdata_baselines.methods.edam import AttentionSettings, SalientMaskSettings
from sbdata_baselines.settings import (
    ActivationSettings,
)
from sbdata_baselines.stages.activation import write_class_maps
from sbdata_baselines.stages.maps import ClassMaps, FloatMap, read_maps
from sbdata_baselines.stages.masks import write_pseudo_mask
from sbdata_baselines.stages.pairs import pair_views
from sbdata_baselines.stages.photos import pending, pixels_of
from sbdata_baselines.stages.pyramid import Pyramid, build_pyramid
from sbdata_baselines.stages.refinement import refiner_of
from sbdata_baselines.stages.saliency_maps import read_salience
from sbdata_baselines.stages.seeds import alpha_background, argmax_mask, score_stack
from sbdata_baselines.stages.training import load_network, new_network, train_network

# --- the network ----------------------------------------------------------------------------------


class PairedAttention(nn.Module):
    """A network that tells, pair by pair and class by class, in which photo the class is.

    Args:
        pyramid: the backbone.
        n_classes: C, without background.
        settings: of the transformer.
    """

    def __init__(self, pyramid: Pyramid, n_classes: int, settings: AttentionSettings) -> None:
        super().__init__()
        width, channels = settings.width, pyramid.channels[-1]
        self.pyramid = pyramid
        self.masks = nn.Conv2d(channels, n_classes + 1, 3, padding=1, bias=False)
        self.reduce = nn.Conv2d(channels, width, 1, bias=False)
        self.photo = nn.Embedding(2, width)
        self.kind = nn.Embedding(n_classes, width) if settings.shared else None
        self.dropout = nn.Dropout(settings.dropout)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width,
                settings.heads,
                settings.expansion * width,
                settings.dropout,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(1 if settings.shared else n_classes)
        )
        self.score = nn.Linear(width, n_classes, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1 and not name.startswith("pyramid."):
                nn.init.xavier_uniform_(parameter)

    def class_masks(self, images: Tensor) -> Tensor:
        """Return the class masks ``(N, C + 1, h, w)``, background first; their squares sum to 1."""
        return self._masks_of(self.pyramid(images)[-1])

    def forward(self, images: Tensor, asked: Tensor) -> Tensor:
        """Return the logits of classes in the two photos of pairs, ``(M, 2)``.

        Args:
            images: ``(2 P, 3, H, W)``, all first photos, then their partners.
            asked: ``(M, 2)`` numbers of a pair and of a class, counted from 0.
        """
        pair, kind = asked.unbind(dim=1)
        features = self.pyramid(images)[-1]
        masks = _by_half(self._masks_of(features)[:, 1:])[pair, :, kind]  # (M, 2, h, w)
        tokens = _by_half(self.reduce(features))[pair] * masks[:, :, None]
        tokens = tokens.flatten(3).transpose(2, 3)  # (M, 2, h w, D)
        tokens = tokens + positions(*tokens.shape[2:]).to(tokens) + self.photo.weight[:, None]
        if self.kind is not None:
            tokens = tokens + self.kind(kind)[:, None, None]
        read = self._read(self.dropout(tokens).flatten(1, 2), kind)
        pooled = read.unflatten(1, (2, -1)).mean(dim=2)  # (M, 2, D)
        logits: Tensor = (pooled * self.score.weight[kind][:, None]).sum(dim=2)
        return logits

    def attending(self) -> nn.Module:
        """Return the parts that learn at the backbone's rate, with it."""
        parts = [self.pyramid, self.blocks, self.photo, self.kind]
        return nn.ModuleList(part for part in parts if part is not None)

    def _masks_of(self, features: Tensor) -> Tensor:
        return functional.normalize(self.masks(features), dim=1).abs()

    def _read(self, tokens: Tensor, kind: Tensor) -> Tensor:
        """Put tokens through the transformer of their class."""
        if self.kind is not None:
            read: Tensor = self.blocks[0](tokens)
            return read
        out = torch.empty_like(tokens)
        for number in kind.unique().tolist():
            chosen = kind == number
            out[chosen] = self.blocks[number](tokens[chosen])
        return out


def positions(count: int, width: int) -> Tensor:
    """Return the sines and cosines that tell cells apart, ``(count, width)``.

    Vaswani et al., "Attention Is All You Need" (NeurIPS 2017), section 3.5, over the cells row by
    row. Even columns hold sines, odd ones cosines.

    Args:
        count: of cells.
        width: of a token, even.
    """
    rates = 10_000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = torch.arange(count, dtype=torch.float64)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1).float()


def asked_classes(labels: Tensor, negatives: int | None) -> Tensor:
    """Choose the classes that pairs are asked about: all that either photo has, and some others.

    Those are drawn by torch's global generator on the CPU, which a resumed run takes up again.

    Args:
        labels: ``(2 P, C)`` of 0 and 1, all first photos, then their partners.
        negatives: how many others; None for all.

    Returns:
        int64 ``(M, 2)`` numbers of a pair and of a class, counted from 0, sorted.
    """
    present = labels.unflatten(0, (2, -1)).amax(dim=0).cpu() > 0
    if negatives is None:
        return torch.ones_like(present).nonzero().to(labels.device)
    lots = torch.rand(present.shape).masked_fill(present, -1)
    ranks = lots.argsort(dim=1, stable=True).argsort(dim=1)
    chosen = ranks < present.sum(dim=1, keepdim=True) + negatives
    return chosen.nonzero().to(labels.device)


def pair_loss(logits: Tensor, labels: Tensor, asked: Tensor) -> Tensor:
    """Return the mean binary cross entropy of both photos of all pairs that were asked about.

    Args:
        logits: ``(M, 2)``.
        labels: ``(2 P, C)`` of 0 and 1.
        asked: ``(M, 2)`` of :func:`asked_classes`.
    """
    pair, kind = asked.unbind(dim=1)
    return functional.binary_cross_entropy_with_logits(logits, _by_half(labels)[pair, :, kind])


def _by_half(values: Tensor) -> Tensor:
    """Turn ``(2 P, ...)``, all first photos before their partners, into ``(P, 2, ...)``."""
    return values.unflatten(0, (2, -1)).transpose(0, 1)


# --- pseudo-masks ---------------------------------------------------------------------------------


def salient_mask(
    maps: ClassMaps, salience: FloatMap, theta: float, lowest: float, highest: float
) -> LabelMap:
    """Give salient pixels their strongest class, and others background.

    A class whose value is below ``lowest`` is not given to a pixel, one above ``highest`` is given
    to it even if it is not salient.

    Args:
        maps: of the present classes, maxima 1.
        salience: ``(H, W)`` in [0, 1].
        theta: of salience, up to which a pixel is background.
        lowest: alpha.
        highest: beta.

    Returns:
        uint8 ``(H, W)``.
    """
    scores = np.where(maps.maps < lowest, np.float32(0), maps.maps)
    # Background wins a tie, so on salient ground 0 is enough for it against a class that is out.
    background = np.where(salience <= theta, np.float32(highest), np.float32(0))
    return argmax_mask(ClassMaps(maps.classes, scores), background)


def salient_pseudo_masks(
    task: StageContext, settings: SalientMaskSettings, maps: Path, saliency: Path
) -> None:
    """Write the pseudo-mask ``<image_id>.png`` of each photo."""
    refine = refiner_of(settings.refine, task.place.device)
    for row in pending(task, ".png"):
        found = read_maps(maps, row.image_id)
        if refine is not None:
            stack = score_stack(found, alpha_background(found, 1.0))
            fitted = refine(pixels_of(row), stack / stack.sum(axis=0))
            found = ClassMaps(found.classes, fitted[1:].clip(0, 1).astype(np.float32))
        mask = salient_mask(
            found,
            read_salience(saliency, row.image_id),
            settings.theta,
            settings.lowest,
            settings.highest,
        )
        write_pseudo_mask(task.folder, row.image_id, mask)


# --- stages ---------------------------------------------------------------------------------------


def train_attention(task: StageContext, settings: AttentionSettings) -> None:
    """Train the network on pairs of photos and their labels; writes ``model.pt``."""
    model = new_network(task, settings, _network)

    def step_loss(images: Tensor, labels: Tensor) -> Tensor:
        asked = asked_classes(labels, settings.negatives)
        return pair_loss(model(images, asked), labels, asked)

    train_network(
        task,
        settings,
        model,
        pair_views(task.weak, settings.views, task.seed),
        step_loss,
        backbone=model.attending(),
        batch_size=settings.schedule.batch_size // 2,
    )


def attention_maps(task: StageContext, settings: ActivationSettings, attention: Path) -> None:
    """Write ``<image_id>.npz`` of each photo: its classes' masks, each with maximum 1."""
    model = load_network(task, attention, AttentionSettings, _network)
    write_class_maps(task, settings, lambda images: model.class_masks(images)[:, 1:])


def _network(settings: AttentionSettings, n_classes: int) -> PairedAttention:
    return PairedAttention(build_pyramid(settings.network), n_classes, settings)
