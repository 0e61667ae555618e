"""Labels: the stages that turn maps into seeds and into a method's final pseudo-masks.

The maths is in :mod:`sbdata_baselines.stages.seeds` and :mod:`sbdata_baselines.stages.masks`.
"""

from __future__ import annotations

from pathlib import Path

from sbdata.benchmark.stage import StageContext
from sbdata.errors import InputError
from sbdata_baselines.settings import AlphaSeedSettings, MaskSettings, SeedSettings
from sbdata_baselines.stages.maps import read_maps
from sbdata_baselines.stages.masks import refined_mask, write_pseudo_mask
from sbdata_baselines.stages.photos import pending, pixels_of
from sbdata_baselines.stages.refinement import refiner_of
from sbdata_baselines.stages.seeds import alpha_seeds, confident_seeds


def seed_labels(task: StageContext, settings: SeedSettings, maps: Path) -> None:
    """Write IRN's seeds of each photo as ``<image_id>.png``: class, 0 background, 255 uncertain."""
    refine = refiner_of(settings.refine, task.place.device)
    for row in pending(task, ".png"):
        found = read_maps(maps, row.image_id)
        seeds = confident_seeds(
            found,
            pixels_of(row),
            settings.foreground,
            settings.background,
            refine,
            settings.certainty,
        )
        write_pseudo_mask(task.folder, row.image_id, seeds)


def alpha_seed_labels(task: StageContext, settings: AlphaSeedSettings, maps: Path) -> None:
    """Write PSA's seeds of each photo as ``<image_id>.png``: class, 0 background, 255 uncertain."""
    refine = refiner_of(settings.refine, task.place.device)
    for row in pending(task, ".png"):
        found = read_maps(maps, row.image_id)
        seeds = alpha_seeds(found, pixels_of(row), settings.low, settings.high, refine)
        write_pseudo_mask(task.folder, row.image_id, seeds)


def pseudo_masks(task: StageContext, settings: MaskSettings, maps: Path) -> None:
    """Write the pseudo-mask ``<image_id>.png`` of each photo.

    Raises:
        InputError: if the background has neither a score nor a map.
    """
    refine = refiner_of(settings.refine, task.place.device)
    for row in pending(task, ".png"):
        found = read_maps(maps, row.image_id)
        background = found.background if settings.background is None else settings.background
        if background is None:
            msg = f"{maps}: the maps have no background; set masks.background to a score"
            raise InputError(msg)
        mask = refined_mask(found, pixels_of(row), refine, background)
        write_pseudo_mask(task.folder, row.image_id, mask)
