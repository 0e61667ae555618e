"""The FiftyOne dataset zoo builds and loads a set of sbdata from the repository's URL.

``fiftyone.zoo.load_zoo_dataset(URL)`` finds the ``fiftyone.yml`` beside this file, copies this
folder into its own, and calls the two functions below. sbdata itself must be installed. This module
is not at the repository's root, because an ``__init__.py`` there would shadow the package.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import fiftyone as fo

_SET, _MASKS = "set", "masks"  # beside this file's copy in the zoo's folder


def download_and_prepare(
    dataset_dir: str,
    recipe: str = "shapes-b",
    source_roots: Mapping[str, str] | None = None,
    workers: int = 1,
) -> tuple[None, int, list[str]]:
    """Build the set, as ``sbdata dataset build`` does.

    Args:
        dataset_dir: folder of the zoo for this dataset.
        recipe: name of a bundled recipe, or path of a YAML file.
        source_roots: folders of the published datasets that the recipe draws from, by their names.
        workers: parallel processes and downloads; the result does not depend on them.

    Returns:
        None (this module loads the dataset), the number of images, and the classes.

    Raises:
        ImportError: if sbdata is not installed.
    """
    try:
        from sbdata.curate.build import build_set
        from sbdata.curate.inputs import Inputs
        from sbdata.recipe import load_recipe
    except ImportError as error:
        msg = "sbdata, which builds this dataset, is not installed; install it from the repository"
        raise ImportError(msg) from error
    roots = {name: Path(root) for name, root in (source_roots or {}).items()}
    inputs = Inputs(roots=roots, workers=workers)
    built = build_set(load_recipe(recipe), Path(dataset_dir) / _SET, inputs)
    return None, built.manifest.images.num_rows, list(built.manifest.taxonomy.classes)


def load_dataset(dataset: fo.Dataset, dataset_dir: str) -> None:
    """Put the built set into FiftyOne's dataset.

    Args:
        dataset: an empty dataset.
        dataset_dir: folder of the zoo for this dataset.
    """
    from sbdata.app.dataset import fill_dataset
    from sbdata.app.views import arrange_sidebar, save_views
    from sbdata.sets import open_set

    folder = Path(dataset_dir).resolve()
    opened = open_set(folder / _SET)
    fill_dataset(dataset, opened, folder / _MASKS)
    save_views(dataset, opened)
    arrange_sidebar(dataset)
