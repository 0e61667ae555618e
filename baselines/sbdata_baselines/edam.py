"""EDAM: class masks that must contain what a pair of photos has in common.

Wu et al., "Embedded Discriminative Attention Mechanism for Weakly Supervised Semantic Segmentation"
(CVPR 2021). A layer of the network gives each pixel a unit vector over the classes. Its components,
the class masks, are multiplied with the features, class by class. For each class, a transformer
reads these products for two photos and predicts which of them contain the class. The masks and a
saliency map give the pseudo-masks. The ``paper`` preset uses the constants of allenwu97/EDAM.
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
    """Network that predicts, for each pair of photos and each class, which photos have the class.

    Args:
        pyramid: Backbone.
        n_classes: Number of classes C, without background.
        settings: Transformer settings.
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
        """Return the class masks, ``(N, C + 1, h, w)``, background first; squares sum to 1."""
        return self._masks_of(self.pyramid(images)[-1])

    def forward(self, images: Tensor, asked: Tensor) -> Tensor:
        """Return the class logits of both photos of each pair, ``(M, 2)``.

        Args:
            images: Images, ``(2 P, 3, H, W)``: all first photos, then their partners.
            asked: Pair and class indices, ``(M, 2)``, counted from 0.
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
        """Return the new layers that are trained at the backbone's learning rate."""
        parts = [self.pyramid, self.blocks, self.photo, self.kind]
        return nn.ModuleList(part for part in parts if part is not None)

    def _masks_of(self, features: Tensor) -> Tensor:
        return functional.normalize(self.masks(features), dim=1).abs()

    def _read(self, tokens: Tensor, kind: Tensor) -> Tensor:
        """Pass tokens through the transformer of their class."""
        if self.kind is not None:
            read: Tensor = self.blocks[0](tokens)
            return read
        out = torch.empty_like(tokens)
        for number in kind.unique().tolist():
            chosen = kind == number
            out[chosen] = self.blocks[number](tokens[chosen])
        return out


def positions(count: int, width: int) -> Tensor:
    """Return sine and cosine position encodings of cells, ``(count, width)``.

    Vaswani et al., "Attention Is All You Need" (NeurIPS 2017), section 3.5; cells are numbered row
    by row. Even columns hold sines, odd columns cosines.

    Args:
        count: Number of cells.
        width: Width of a token; even.
    """
    rates = 10_000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = torch.arange(count, dtype=torch.float64)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1).float()


def asked_classes(labels: Tensor, negatives: int | None) -> Tensor:
    """Choose the classes to predict for each pair: all that either photo has, and some others.

    The others are drawn with torch's global CPU generator, whose state a resumed run restores.

    Args:
        labels: Image labels, ``(2 P, C)`` of 0 and 1: all first photos, then their partners.
        negatives: Number of other classes; None for all.

    Returns:
        Pair and class indices, int64 ``(M, 2)``, counted from 0, sorted.
    """
    present = labels.unflatten(0, (2, -1)).amax(dim=0).cpu() > 0
    if negatives is None:
        return torch.ones_like(present).nonzero().to(labels.device)
    lots = torch.rand(present.shape).masked_fill(present, -1)
    ranks = lots.argsort(dim=1, stable=True).argsort(dim=1)
    chosen = ranks < present.sum(dim=1, keepdim=True) + negatives
    return chosen.nonzero().to(labels.device)


def pair_loss(logits: Tensor, labels: Tensor, asked: Tensor) -> Tensor:
    """Return the mean binary cross entropy over both photos of all chosen pairs and classes.

    Args:
        logits: Logits, ``(M, 2)``.
        labels: Image labels, ``(2 P, C)`` of 0 and 1: all first photos, then their partners.
        asked: Pair and class indices from :func:`asked_classes`, ``(M, 2)``.
    """
    pair, kind = asked.unbind(dim=1)
    return functional.binary_cross_entropy_with_logits(logits, _by_half(labels)[pair, :, kind])


def _by_half(values: Tensor) -> Tensor:
    """Reshape ``(2 P, ...)``, all first photos before their partners, to ``(P, 2, ...)``."""
    return values.unflatten(0, (2, -1)).transpose(0, 1)


# --- pseudo-masks ---------------------------------------------------------------------------------


def salient_mask(
    maps: ClassMaps, salience: FloatMap, theta: float, lowest: float, highest: float
) -> LabelMap:
    """Assign salient pixels their strongest class and all others background.

    A class whose value at a pixel is below ``lowest`` is not assigned there. A class whose value is
    above ``highest`` is assigned even if the pixel is not salient.

    Args:
        maps: Maps of the present classes, with maximum 1.
        salience: Saliency map, ``(H, W)`` in [0, 1].
        theta: Saliency up to which a pixel is background.
        lowest: Threshold alpha.
        highest: Threshold beta.

    Returns:
        Mask, uint8 ``(H, W)``.
    """
    scores = np.where(maps.maps < lowest, np.float32(0), maps.maps)
    # Background wins ties, so on salient pixels a score of 0 is enough to beat an excluded class.
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
    """Train the network on pairs of photos and their labels; write ``model.pt``."""
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
    """Write ``<image_id>.npz`` for each photo: its class masks, each with maximum 1."""
    model = load_network(task, attention, AttentionSettings, _network)
    write_class_maps(task, settings, lambda images: model.class_masks(images)[:, 1:])


def _network(settings: AttentionSettings, n_classes: int) -> PairedAttention:
    return PairedAttention(build_pyramid(settings.network), n_classes, settings)
