"""MCTformer: a transformer with a token for each class, whose attention is the maps.

Xu et al., "Multi-class Token Transformer for Weakly Supervised Semantic Segmentation" (CVPR 2022),
version 2: the network of :mod:`sbdata_baselines.stages.tokens`; its class tokens' attention times
its patches' maps, refined by its patches' attention; then PSA. Constants of the ``paper`` preset
are those of xulianuwa/MCTformer before its successor replaced it there.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from sbdata.benchmark.stage import StageContext
from sbdata_baselines.methods.mctformer import TokenMapSettings, TokenSettings
from sbdata_baselines.stages.annealing import anneal
from sbdata_baselines.stages.cam import multi_scale_maps
from sbdata_baselines.stages.descent import load_trained, settings_of
from sbdata_baselines.stages.distortion import Distorted
from sbdata_baselines.stages.maps import ClassMaps, minmax_normalised, write_maps
from sbdata_baselines.stages.photos import WeakViews, batches, pending, pixels_of
from sbdata_baselines.stages.tokens import TokenNetwork, build_network, token_loss


def train_tokens(task: StageContext, settings: TokenSettings) -> None:
    """Train the network on the photos and their labels; writes ``model.pt``."""
    model = _new_network(task, settings).to(task.place.device)
    distortion = settings.distortion
    alter = None if distortion is None else Distorted(settings.views.crop, distortion)
    views = WeakViews(task.weak, settings.views, task.seed, alter=alter)

    def loss_of(images: Tensor, labels: Tensor) -> Tensor:
        return token_loss(model(images), labels)

    anneal(
        task,
        settings,
        model.train(),
        model.places,
        lambda steps: batches(views, settings.schedule.batch_size, steps, task.place.workers),
        loss_of,
    )


def token_maps(task: StageContext, settings: TokenMapSettings, tokens: Path) -> None:
    """Write ``<image_id>.npz`` of each photo: the maps of its classes, stretched."""
    model = _new_network(task, settings_of(tokens, TokenSettings))
    load_trained(model, tokens)
    model.to(task.place.device).eval()

    def maps_of(images: Tensor) -> Tensor:
        return model.maps(images, settings.last_layers, settings.refine)

    for row in pending(task, ".npz"):
        summed = multi_scale_maps(
            maps_of, pixels_of(row), settings.scales, settings.flip, device=task.place.device
        )
        # Products of attention are small numbers, so a small one keeps the divisor from 0.
        maps = minmax_normalised(summed[[c - 1 for c in row.classes]], eps=1e-8)
        write_maps(task.folder, row.image_id, ClassMaps(row.classes, maps, normalisation="minmax"))


def _new_network(task: StageContext, settings: TokenSettings) -> TokenNetwork:
    torch.manual_seed(task.seed)
    return build_network(settings.transformer, len(task.weak.taxonomy), settings.views.crop)
