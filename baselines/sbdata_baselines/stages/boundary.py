"""Boundary: IRN's edge map, learned from seeds, and the random walk that stops at its edges.

Ahn, Cho and Kwak, "Weakly Supervised Learning of Instance Segmentation with Inter-pixel Relations"
(CVPR 2019), sections 3 and 4. The maths is in :mod:`sbdata_baselines.stages.affinity` and
:mod:`sbdata_baselines.stages.walk`.

Differences from the official code: the displacement branch, which only tells instances apart, is
omitted; the stem's map is taken before its pooling and interpolated to stride 4.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from sbdata.benchmark.stage import StageContext
from sbdata.train.resize import nearest
from sbdata_baselines.settings import BoundarySettings, WalkSettings
from sbdata_baselines.stages.affinity import BoundaryHead, boundary_loss, pair_labels
from sbdata_baselines.stages.maps import read_maps, write_maps
from sbdata_baselines.stages.photos import pending, pixels_of, weak_views
from sbdata_baselines.stages.pyramid import build_pyramid
from sbdata_baselines.stages.training import load_trained, new_network, settings_of, train_network
from sbdata_baselines.stages.walk import edge_affinities, transition, walked_maps

EdgesOf = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]

_STRIDE = 4  # stride of the edge map, in pixels


class EdgeNetwork(nn.Module):
    """Frozen backbone with a boundary head on its maps.

    Args:
        settings: Backbone settings.
        n_classes: Number of classes; the edges do not depend on it.
    """

    def __init__(self, settings: BoundarySettings, n_classes: int) -> None:
        super().__init__()
        self.pyramid = build_pyramid(settings.network).requires_grad_(False).eval()
        self.head = BoundaryHead(self.pyramid.channels)

    def forward(self, images: Tensor) -> Tensor:
        """Return edges in [0, 1], ``(N, h, w)``, at stride 4 or the next available stride."""
        return torch.sigmoid(self.logits(images))

    def logits(self, images: Tensor) -> Tensor:
        """Return the logits of the edges, ``(N, h, w)``."""
        with torch.no_grad():
            features = self.pyramid(images)
        place = next(k for k, stride in enumerate(self.pyramid.strides) if stride >= _STRIDE)
        return self.head.logits(features, features[place].shape[-2:])


def train_boundary(task: StageContext, settings: BoundarySettings, seeds: Path) -> None:
    """Train the boundary head on the seeds; write ``model.pt``."""
    network = new_network(task, settings, EdgeNetwork)
    views = weak_views(task.weak, settings.views, task.seed, seeds=seeds)

    def step_loss(images: Tensor, labels: Tensor, seeds: Tensor) -> Tensor:
        edges: Tensor = network(images)
        pairs = pair_labels(nearest(seeds.long(), edges.shape[-2:]), settings.radius)
        return boundary_loss(edge_affinities(edges, settings.radius), pairs)

    train_network(task, settings, network.head, [views], step_loss, backbone=network.pyramid)


def walk_maps(task: StageContext, settings: WalkSettings, maps: Path, boundary: Path) -> None:
    """Write ``<image_id>.npz`` for each photo: the maps spread up to the edges."""
    edges_of = load_boundary(task, boundary, settings.flip)
    for row in pending(task, ".npz"):
        found = read_maps(maps, row.image_id)
        if found.classes:
            edges = edges_of(pixels_of(row))
            found = walked_maps(
                found,
                transition(edges, settings.radius, settings.beta),
                (edges.shape[0], edges.shape[1]),
                settings.steps,
                damping=1 - edges,
                power=settings.power,
            )
        write_maps(task.folder, row.image_id, found)


def load_boundary(task: StageContext, folder: Path, flip: bool = True) -> EdgesOf:
    """Return the function from a photo to its edge map.

    Args:
        task: Context that provides seed and device.
        folder: Folder that :func:`train_boundary` wrote.
        flip: True to average with the mirrored photo, before the sigmoid, as IRN's code does
            (``net/resnet50_irn.py``, ``EdgeDisplacement``).
    """
    settings = settings_of(folder, BoundarySettings)
    network = new_network(task, settings, EdgeNetwork)
    load_trained(network.head, folder)
    network.eval()

    def edges_of(photo: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        image = torch.tensor(photo).permute(2, 0, 1)[None].to(task.place.device)
        with torch.inference_mode():
            logits = network.logits(image)[0]
            if flip:
                logits = (logits + network.logits(image.flip(-1))[0].flip(-1)) / 2
            found: npt.NDArray[np.float32] = logits.sigmoid().cpu().numpy()
        return found

    return edges_of
