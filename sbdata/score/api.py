"""Scoring from Python: ``sbdata.score`` and ``sbdata.compare``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from sbdata.metrics.bootstrap import RESAMPLES
from sbdata.score.result import Comparison, ScoreResult
from sbdata.score.run import ScoreOptions, score_folder
from sbdata.score.truth import truth_from_set
from sbdata.sets import EvaluationSet
from sbdata.sizes import AskedBins

StrPath = str | os.PathLike[str]


def score(
    preds: StrPath,
    target_set: StrPath | EvaluationSet,
    *,
    against: StrPath | Sequence[StrPath] = (),
    bins: AskedBins | None = None,
    fp_attribution: str = "overlap",
    rounding: str = "floor",
    predicted_void: bool = False,
    decode_palette: bool = False,
    palette: StrPath | None = None,
    coco_ids: StrPath | None = None,
    allow_missing: bool = False,
    boundary: bool = False,
    resamples: int = RESAMPLES,
    seed: int = 0,
    workers: int = 1,
) -> ScoreResult:
    """Score predicted masks by object size.

    Args:
        preds: Folder of ``<image_id>.png`` or ``<image_id>.npy``, class numbers 0..C in ``(H, W)``;
            or a JSON file of COCO's, of results with run-length codes or of panoptic segments.
        target_set: Set to compare with: its folder, or what :func:`sbdata.open_set` returned.
        against: Further predictions, one or several; ``preds`` is compared with each.
        bins: Size bins; or ``"terciles"`` of the areas of all true instances, or those within each
            class, ``"terciles-by-class"``. Those of the set by default.
        fp_attribution: How the instances that a region meets share its false pixels: ``overlap``,
            ``area``, ``equal`` or ``all``.
        rounding: ``floor`` rounds each instance's part down to whole pixels; ``exact`` does not.
        predicted_void: Whether 255 may be predicted; it is read as background.
        decode_palette: Whether RGB masks are decoded by VOC's colours.
        palette: What colours or numbers stand for: ``voc``, ``cityscapes-trainids``,
            ``cityscapes-labelids`` or a file of lines ``name: r g b`` or ``name: n``.
        coco_ids: COCO-format file that tells the image and category ids of a JSON file.
        allow_missing: Whether a missing prediction counts as background.
        boundary: Whether Boundary IoU is measured too; it takes several times as long.
        resamples: Number of bootstrap draws; 0 gives no intervals.
        seed: Seed of the bootstrap.
        workers: Number of processes; the result does not depend on it.

    Returns:
        The values with 95 % intervals (``.summary``, ``.intervals``), tables (``.to_pandas()``),
        figures (``.plot()``) and a report (``.to_html()``).

    Raises:
        InputError: If the set cannot be read, or a prediction is missing, damaged, of another size
            or holds a class that the set lacks. The message lists all of them.
    """
    root = target_set.root if isinstance(target_set, EvaluationSet) else Path(target_set)
    options = ScoreOptions(
        fp_attribution=fp_attribution,
        rounding=rounding,
        predicted_void=predicted_void,
        decode_palette=decode_palette,
        palette=None if palette is None else os.fspath(palette),
        coco_ids=None if coco_ids is None else os.fspath(coco_ids),
        allow_missing=allow_missing,
        boundary=boundary,
        resamples=resamples,
        seed=seed,
        bins=bins,
    )
    several = [against] if isinstance(against, str | os.PathLike) else against
    folders = [Path(folder) for folder in several]
    truth = truth_from_set(root)
    return score_folder(Path(preds), truth, options, against=folders, workers=workers)


def compare(
    preds_a: StrPath, preds_b: StrPath, target_set: StrPath | EvaluationSet, *, seed: int = 0
) -> Comparison:
    """Compare two folders of predicted masks by object size.

    Args:
        preds_a: Folder A, as in :func:`sbdata.score`.
        preds_b: Folder B.
        target_set: Set to compare with: its folder, or what :func:`sbdata.open_set` returned.
        seed: Seed of the bootstrap.

    Returns:
        The differences A minus B with 95 % intervals of the paired bootstrap over images, and the
        instances that differ most.

    Raises:
        InputError: As for :func:`sbdata.score`.
    """
    return score(preds_a, target_set, against=[preds_b], seed=seed).compared[0]
