"""Building sets from Python: ``sbdata.build_set``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from sbdata.curate import build
from sbdata.curate.inputs import Inputs
from sbdata.recipe import Recipe, load_recipe
from sbdata.sets import EvaluationSet, open_set

StrPath = str | os.PathLike[str]


def build_set(
    recipe: str | Recipe,
    out: StrPath,
    *,
    source_roots: Mapping[str, StrPath] | None = None,
    overrides: Sequence[str] = (),
    workers: int = 1,
) -> EvaluationSet:
    """Build an evaluation or training set from a recipe, and open it.

    A set that was already built from the same recipe and sources is opened as it is.

    Args:
        recipe: Name of a bundled recipe, path of a YAML file, or a recipe.
        out: Folder of the set.
        source_roots: Folder of each published dataset by the source's name.
        overrides: Changes of the recipe, such as ``select.quota=20``; not for a :class:`Recipe`.
        workers: Number of parallel processes and downloads; the set does not depend on it.

    Raises:
        InputError: If the recipe or a source cannot be read, nothing can be chosen, or ``out``
            holds something else.
    """
    resolved = recipe if isinstance(recipe, Recipe) else load_recipe(recipe, overrides)
    roots = {name: Path(root) for name, root in (source_roots or {}).items()}
    inputs = Inputs(roots=roots, workers=workers)
    folder = Path(out)
    if build.built_already(folder, resolved, inputs) is None:
        build.build_set(resolved, folder, inputs)
    return open_set(folder)
