"""Ground truth from a dataset's label maps: Cityscapes, ADE20K."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from sbdata.mask_files import VOID, PngError, read_header
from sbdata.metrics import truth_from_maps
from sbdata.recipe import SourceSpec
from sbdata.score import ground_truth
from sbdata.score.ground_truth import GroundTruth, GroundTruthImage, Loader
from sbdata.sizes import SizeBins
from sbdata.sources.label_maps import LabelMapFormat, LabelMapSource, open_label_maps


def truth_from_label_maps(
    dataset: LabelMapFormat, root: Path, split: str, *, bins: SizeBins
) -> GroundTruth:
    """Return the truth of one split of a dataset of label maps.

    Pixels of a class outside every object have the class but no instance.

    Args:
        dataset: The dataset.
        root: Its folder.
        split: Name of the split.
        bins: Size bins.

    Raises:
        InputError: If the split is missing, or a mask is not what the dataset publishes.
    """
    source = open_label_maps(SourceSpec(dataset.name, (split,)), split, root, dataset)
    sizes, photos = {}, {}
    for image_id, (mask, photo) in source.files.items():
        try:
            header = read_header(source.root / mask)
        except PngError as error:
            raise ground_truth.bad_truth(source.root / mask, error.detail) from error
        sizes[image_id] = (header.width, header.height)
        if (source.root / photo).is_file():
            photos[image_id] = source.root / photo
    ids, classes = tuple(sizes), dataset.taxonomy
    return GroundTruth(
        name=f"{dataset.name}-{split}",
        kind=dataset.name,
        path=root,
        taxonomy=classes,
        bins=bins,
        synthetic=False,
        image_ids=ids,
        sizes=sizes,
        loaders=partial(_loaders, source, ids),
        notes=(
            *ground_truth.stuff_notes(dataset.stuff, len(classes)),
            *ground_truth.case_notes(ids),
        ),
        photos=photos,
        has_background=dataset.has_background,
    )


def _loaders(source: LabelMapSource, ids: tuple[str, ...], start: int, stop: int) -> list[Loader]:
    return [partial(_load, source, image_id) for image_id in ids[start:stop]]


def _load(source: LabelMapSource, image_id: str) -> GroundTruthImage:
    try:
        classes, instances, digest = source.load(image_id)
    except PngError as error:
        raise ground_truth.bad_truth(Path(error.path), error.detail) from error
    unassigned = np.count_nonzero((instances == 0) & (classes > 0) & (classes != VOID))
    return GroundTruthImage(truth_from_maps(classes, instances), digest, int(unassigned))
