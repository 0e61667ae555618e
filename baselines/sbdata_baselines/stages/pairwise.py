"""Pairwise: PSA's features, learned from seeds, and the random walk along their similarity.

Ahn and Kwak, "Learning Pixel-level Semantic Affinity with Image-level Supervision for Weakly
Supervised Semantic Segmentation" (CVPR 2018), with SEAM's constants. The maths is in
:mod:`sbdata_baselines.stages.affinity` and :mod:`sbdata_baselines.stages.walk`.

Differences from the official code: the last three depths of any timm backbone replace those of
ResNet-38, and the last two share a stride; the walk's result is divided by its largest value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from sbdata.benchmark.stage import StageContext
from sbdata.train.resize import nearest
from sbdata_baselines.settings import PairwiseSettings, PairwiseWalkSettings
from sbdata_baselines.stages.affinity import AffinityHead, pair_labels, psa_loss
from sbdata_baselines.stages.maps import read_maps, write_maps
from sbdata_baselines.stages.photos import pending, pixels_of, weak_views
from sbdata_baselines.stages.pyramid import Pyramid, build_pyramid
from sbdata_baselines.stages.seeds import alpha_background
from sbdata_baselines.stages.training import load_network, new_network, settings_of, train_network
from sbdata_baselines.stages.walk import (
    feature_affinities,
    neighbours,
    transition_from_affinities,
    walked_maps,
)

AffinitiesOf = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]


class AffinityNetwork(nn.Module):
    """Backbone with PSA's head on its last three depths.

    Args:
        pyramid: Backbone.
        widths: Numbers of channels of the head.
    """

    def __init__(self, pyramid: Pyramid, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.pyramid = pyramid
        self.head = AffinityHead(pyramid.channels[-3:], widths)

    def forward(self, images: Tensor) -> Tensor:
        """Return features for ``walk.feature_affinities``, at the stride of the finest depth."""
        features: Tensor = self.head(self.pyramid(images)[-3:])
        return features


def train_pairwise(task: StageContext, settings: PairwiseSettings, seeds: Path) -> None:
    """Train the affinity network on the seeds; write ``model.pt``."""
    model = new_network(task, settings, _network)
    views = weak_views(task.weak, settings.views, task.seed, seeds=seeds)

    def step_loss(images: Tensor, labels: Tensor, seeds: Tensor) -> Tensor:
        features = model(images)
        pairs = pair_labels(nearest(seeds.long(), features.shape[-2:]), settings.radius)
        return psa_loss(feature_affinities(features, settings.radius), pairs)

    train_network(task, settings, model, [views], step_loss, backbone=model.pyramid)


def walk_pairwise(
    task: StageContext, settings: PairwiseWalkSettings, maps: Path, pairwise: Path
) -> None:
    """Write ``<image_id>.npz`` for each photo: the maps and their background after the walk."""
    radius = settings_of(pairwise, PairwiseSettings).radius
    model = load_network(task, pairwise, PairwiseSettings, _network)
    offsets = neighbours(radius)
    for row in pending(task, ".npz"):
        found = read_maps(maps, row.image_id)
        image = torch.tensor(pixels_of(row)).permute(2, 0, 1)[None].to(task.place.device)
        with torch.inference_mode():
            affinities = feature_affinities(model(image), radius)[0].cpu().numpy()
        grid = (affinities.shape[1], affinities.shape[2])
        links = transition_from_affinities(affinities, offsets, grid, settings.beta)
        background = alpha_background(found, settings.background_power)
        walked = walked_maps(replace(found, background=background), links, grid, settings.steps)
        write_maps(task.folder, row.image_id, walked)


def _network(settings: PairwiseSettings, n_classes: int) -> AffinityNetwork:
    return AffinityNetwork(build_pyramid(settings.network), settings.widths)
