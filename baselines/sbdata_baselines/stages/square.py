"""Square: views and maps of photos that are resized to a square, regardless of their shape."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from sbdata.train.augment import View
from sbdata.train.resize import resized
from sbdata.train.views import Arrays, Shuffled, Views
from sbdata.weak_labels.weak_set import WeakImage, WeakSet
from sbdata_baselines.settings import SquareViewSettings
from sbdata_baselines.stages.cam import MapsOf
from sbdata_baselines.stages.maps import ClassMaps, FloatMap, max_normalised, read_maps
from sbdata_baselines.stages.photos import LabelTarget


def square_views(weak: WeakSet, settings: SquareViewSettings, seed: int) -> Views[WeakImage]:
    """Return all views of one run, each with its photo's labels."""
    target = LabelTarget(len(weak.taxonomy))
    return Views(Shuffled(weak.rows, seed), settings, target, seed)


@dataclass(frozen=True)
class MapTarget:
    """Target of a view of a whole photo: its class maps, as levels 0..255.

    Attributes:
        n_classes: Number of classes, without background.
        maps: Folder of the maps.
        side: Side of the square to which they are resized; 0 keeps their size.
        strongest: True to keep only the strongest class of each pixel.
    """

    n_classes: int
    maps: Path
    side: int = 0
    strongest: bool = False

    def __call__(self, row: WeakImage, view: View) -> Arrays:
        """Return the maps of all classes, ``(C, h, w)`` uint8, 0 for those that are absent."""
        found = read_maps(self.maps, row.image_id)
        maps = found.maps
        if self.side:
            maps = squared(maps, self.side)
        if self.strongest:
            maps = np.where(maps == maps.max(axis=0, initial=0), maps, 0)
        levels = np.zeros((self.n_classes, *maps.shape[1:]), np.uint8)
        levels[[c - 1 for c in found.classes]] = np.rint(255 * maps)
        return (np.ascontiguousarray(levels[:, :, ::-1]) if view.flip else levels,)


def squared(maps: FloatMap, side: int) -> FloatMap:
    """Resize ``(K, H, W)`` maps in [0, 1] to squares, bilinearly."""
    resampling = Image.Resampling.BILINEAR
    stack = [np.asarray(Image.fromarray(m).resize((side, side), resampling)) for m in maps]
    return np.array(stack, np.float32).reshape(-1, side, side).clip(0, 1)


def views_with_maps(
    weak: WeakSet, settings: SquareViewSettings, seed: int, target: MapTarget
) -> Views[WeakImage]:
    """Return all views of one run, each with the maps of its photo."""
    return Views(Shuffled(weak.rows, seed), settings, target, seed)


def seen_at_sides(
    maps_of: MapsOf,
    image: npt.NDArray[np.uint8],
    sides: Sequence[int],
    device: str | torch.device = "cpu",
) -> Iterator[Tensor]:
    """Yield the positive activations, ``(C, h, w)``, of a photo resized to squares of each size.

    Args:
        maps_of: Network.
        image: Image, uint8 ``(H, W, 3)``.
        sides: Sides of the squares in pixels.
        device: Device of the images given to ``maps_of``.
    """
    photo = Image.fromarray(image)
    for side in sides:
        square = np.array(photo.resize((side, side), Image.Resampling.BILINEAR))
        with torch.no_grad():
            batch = torch.from_numpy(square).permute(2, 0, 1)[None].to(device).float() / 255
            maps: Tensor = maps_of(batch)[0].float().relu()
        yield maps


def strongest_maps(
    maps_of: MapsOf,
    image: npt.NDArray[np.uint8],
    classes: tuple[int, ...],
    sides: Sequence[int],
    device: str | torch.device = "cpu",
    *,
    normalise: bool,
) -> ClassMaps:
    """Return the largest activations of a photo's classes over several sizes of the photo.

    Args:
        maps_of: Network.
        image: Image, uint8 ``(H, W, 3)``.
        classes: Numbers of the present classes, from 1.
        sides: Sides of the squares to which the photo is resized.
        device: Device of the images given to ``maps_of``.
        normalise: True to divide the maps of each size by their maxima, False to clip them at 1.
    """
    size = (image.shape[0], image.shape[1])
    rows = [number - 1 for number in classes]
    largest = np.zeros((len(rows), *size), np.float32)
    if not rows:
        return ClassMaps(classes, largest)
    for activations in seen_at_sides(maps_of, image, sides, device):
        maps = resized(activations[None, rows], size)[0].cpu().numpy()
        maps = max_normalised(maps) if normalise else maps.clip(0, 1)
        largest = np.maximum(largest, maps)
    return ClassMaps(classes, largest)
