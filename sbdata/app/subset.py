"""Make a new evaluation set from some images of a set: a manifest with a recipe beside it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

from sbdata.curate.statistics import counts_as_text
from sbdata.errors import InputError
from sbdata.manifest import Manifest, make_manifest, rows_of, write_manifest
from sbdata.recipe import recipe_from_dict
from sbdata.storage import is_safe_stem, new_folder, write_text

RECIPE_FILE = "recipe.yaml"
COUNTS_FILE = "counts.txt"
_COMMENT = """\
# The manifest in this folder lists the images that were chosen in the app. Build the set by
#     sbdata dataset build {folder}
# This recipe alone would select every candidate of its sources instead.
"""


def subset_manifest(manifest: Manifest, image_ids: Collection[str], name: str) -> Manifest:
    """Return the manifest of some of a set's images, each with all of its objects.

    An image keeps all its objects: an object that is left out would become background, and a
    prediction that finds it would count as wrong.

    Args:
        manifest: Manifest of the set.
        image_ids: Ids of the images to keep.
        name: Name of the new set.

    Raises:
        InputError: If no image is kept, the name is not a valid folder name or is that of the set,
            or the set was not built by a recipe.
    """
    chosen = sorted(set(image_ids))
    if not chosen:
        msg = "the view shows no image; change it to show the images of the new set"
        raise InputError(msg)
    if not is_safe_stem(name) or name == manifest.name:
        msg = (
            f"{name!r} is not a valid name of the new set; give a plain name other than "
            f"{manifest.name}"
        )
        raise InputError(msg)
    if "recipe" not in manifest.meta:
        msg = f"{manifest.name}: its manifest has no recipe; build it by 'sbdata dataset build'"
        raise InputError(msg)
    images = rows_of(manifest.images, chosen)
    if images.num_rows != len(chosen):
        gone = sorted(set(chosen) - set(images["image_id"].to_pylist()))
        msg = f"{gone[0]}: not an image of {manifest.name}; load the set again by 'sbdata app'"
        raise InputError(msg)
    kept = {k: v for k, v in manifest.meta.items() if k not in ("name", "version", "logical_hash")}
    kept = {k: v for k, v in kept.items() if k not in ("taxonomy", "bins", "asked_bins")}
    before = manifest.images.num_rows
    return make_manifest(
        name,
        images,
        rows_of(manifest.instances, chosen),
        manifest.taxonomy,
        manifest.bins,
        {
            **kept,
            "recipe": _recipe(manifest, len(chosen), name),
            "candidates": {"scanned": before, "kept": len(chosen)},
            "rejected": {"not chosen in the app": before - len(chosen)},
            "selection": None,
            "chosen_from": {"name": manifest.name, "logical_hash": manifest.logical_hash},
        },
    )


def _recipe(manifest: Manifest, images: int, name: str) -> dict[str, Any]:
    """Return the set's recipe under a new name and without its selection."""
    former = dict(manifest.meta["recipe"])
    description = (
        f"{images:,} of the {manifest.images.num_rows:,} images of {manifest.name} "
        f"({manifest.logical_hash[:12]}), chosen in the app. {former.get('description') or ''}"
    ).strip()
    changed = {"name": name, "version": f"{name}.v1", "description": description, "select": None}
    return recipe_from_dict({**former, **changed}, name).as_dict()


def write_subset(manifest: Manifest, image_ids: Collection[str], name: str, out: Path) -> Path:
    """Write the manifest of some of a set's images, its recipe and a text of its counts.

    Args:
        manifest: Manifest of the set.
        image_ids: Ids of the images to keep.
        name: Name of the new set.
        out: Folder in which the folder ``name`` is created.

    Returns:
        The path of the new folder.

    Raises:
        InputError: If :func:`subset_manifest` raises it, the folder exists already, or it cannot be
            written.
    """
    found = subset_manifest(manifest, image_ids, name)
    folder = out / name
    if folder.exists():
        msg = f"{folder}: already exists; give another name"
        raise InputError(msg)
    try:
        with new_folder(folder) as prepared:
            prepared.mkdir()
            write_manifest(found, prepared)
            recipe = yaml.safe_dump(found.meta["recipe"], sort_keys=False, allow_unicode=True)
            write_text(prepared / RECIPE_FILE, _COMMENT.format(folder=folder) + recipe)
            write_text(prepared / COUNTS_FILE, counts_as_text(found))
    except OSError as error:
        msg = f"{folder}: cannot be written ({error.strerror}); choose another folder"
        raise InputError(msg) from error
    return folder
