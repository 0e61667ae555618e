"""MCTformer: a transformer with one token per class, whose attention gives the maps.

Xu et al., "Multi-class Token Transformer for Weakly Supervised Semantic Segmentation" (CVPR 2022),
version 2. The network is in :mod:`sbdata_baselines.stages.tokens`. The attention of the class
tokens is multiplied by the patches' maps and refined by the patches' attention; PSA follows. The
``paper`` preset uses the constants of xulianuwa/MCTformer, before its successor replaced it there.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from sbdata.benchmark.stage import StageContext
from sbdata_baselines.methods.mctformer import TokenMapSettings, TokenSettings
from sbdata_baselines.settings import (
    ActivationSettings,
)
from sbdata_baselines.stages.activation import summed_maps
from sbdata_baselines.stages.distortion import Distorted
from sbdata_baselines.stages.maps import ClassMaps, minmax_normalised, write_maps
from sbdata_baselines.stages.photos import weak_views
from sbdata_baselines.stages.tokens import TokenNetwork, build_network, token_loss
from sbdata_baselines.stages.training import load_network, new_network, train_network


def train_tokens(task: StageContext, settings: TokenSettings) -> None:
    """Train the network on the photos and their labels; write ``model.pt``."""
    model = new_network(task, settings, _network)
    distortion = settings.distortion
    alter = None if distortion is None else Distorted(settings.views.crop, distortion)
    train_network(
        task,
        settings,
        model,
        [weak_views(task.weak, settings.views, task.seed, alter=alter)],
        lambda images, labels: token_loss(model(images), labels),
        undecayed=model.places,
    )


def token_maps(task: StageContext, settings: TokenMapSettings, tokens: Path) -> None:
    """Write ``<image_id>.npz`` for each photo: the maps of its classes, stretched to [0, 1]."""
    model = load_network(task, tokens, TokenSettings, _network)

    def maps_of(images: Tensor) -> Tensor:
        return model.maps(images, settings.last_layers, settings.refine)

    for row, summed in summed_maps(
        task, ActivationSettings(settings.scales, settings.flip), maps_of
    ):
        # Products of attention are small, so a small constant keeps the divisor from 0.
        maps = minmax_normalised(summed[[c - 1 for c in row.classes]], eps=1e-8)
        write_maps(task.folder, row.image_id, ClassMaps(row.classes, maps, normalisation="minmax"))


def _network(settings: TokenSettings, n_classes: int) -> TokenNetwork:
    return build_network(settings.transformer, n_classes, settings.views.crop)
