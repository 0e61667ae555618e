"""Boundary: IRN's edge map, learned from seeds, and the walk of the maps that it stops.

Ahn, Cho and Kwak, "Weakly Supervised Learning of Instance Segmentation with Inter-pixel Relations"
(CVPR 2019), sections 3 and 4. The maths is in :mod:`sbdata_baselines.stages.affinity` and
:mod:`sbdata_baselines.stages.walk`.

Differences from the official code: the displacement branch, which only tells instances apart, is
left out; the stem's map is read before its pooling and brought to stride 4 by interpolation.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from sbdata.benchmark.stage import StageContext
from sbdata.train.labels import nearest
from sbdata_baselines.settings import (
    BoundarySettings,
    WalkSettings,
)
from sbdata_baselines.stages.affinity import BoundaryHead, boundary_loss, pair_labels
from sbdata_baselines.stages.descent import descend, load_trained, settings_of
from sbdata_baselines.stages.maps import read_maps, write_maps
from sbdata_baselines.stages.photos import WeakViews, batches, pending, pixels_of
from sbdata_baselines.stages.pyramid import Pyramid, build_pyramid
from sbdata_baselines.stages.walk import edge_affinities, transition, walked_maps

EdgesOf = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]

_STRIDE = 4  # of the edge map, in pixels


def train_boundary(task: StageContext, settings: BoundarySettings, seeds: Path) -> None:
    """Train the boundary head on the seeds; writes ``model.pt``."""
    pyramid, head = _new_networks(task, settings)
    views = WeakViews(task.weak, settings.views, task.seed, seeds=seeds)

    def loss_of(images: Tensor, labels: Tensor, seeds: Tensor) -> Tensor:
        edges = _edges(pyramid, head, images)
        pairs = pair_labels(nearest(seeds.long(), edges.shape[-2:]), settings.radius)
        return boundary_loss(edge_affinities(edges, settings.radius), pairs)

    descend(
        task,
        settings,
        head.train(),
        pyramid,
        lambda steps: batches(views, settings.schedule.batch_size, steps, task.place.workers),
        loss_of,
    )


def walk_maps(task: StageContext, settings: WalkSettings, maps: Path, boundary: Path) -> None:
    """Write ``<image_id>.npz`` of each photo: the maps spread up to the edges."""
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
        task: whose seed and device are taken.
        folder: that :func:`train_boundary` wrote to.
        flip: take the mean with the edges of the mirrored photo.
    """
    settings = settings_of(folder, BoundarySettings)
    pyramid, head = _new_networks(task, settings)
    load_trained(head, folder)
    head.eval()

    def edges_of(photo: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        image = torch.tensor(photo).permute(2, 0, 1)[None].to(task.place.device)
        with torch.inference_mode():
            edges = _edges(pyramid, head, image)[0]
            if flip:
                edges = (edges + _edges(pyramid, head, image.flip(-1))[0].flip(-1)) / 2
            found: npt.NDArray[np.float32] = edges.cpu().numpy()
        return found

    return edges_of


def _new_networks(task: StageContext, settings: BoundarySettings) -> tuple[Pyramid, BoundaryHead]:
    torch.manual_seed(task.seed)
    pyramid = build_pyramid(settings.network)
    pyramid.requires_grad_(False)
    head = BoundaryHead(pyramid.channels)
    return pyramid.to(task.place.device).eval(), head.to(task.place.device)


def _edges(pyramid: Pyramid, head: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        features = pyramid(images)
    place = next(k for k, stride in enumerate(pyramid.strides) if stride >= _STRIDE)
    edges: Tensor = head(features, features[place].shape[-2:])
    return edges
