"""Quality of pseudo-masks by object size, and the stage at which small objects are lost.

A pseudo-mask may contain 255 for pixels that the method does not assign. The masks are therefore
scored twice. With 255 read as background, the score includes what an object loses because training
never sees those pixels. With those pixels excluded, it measures how correct the rest is.
:func:`instance_outcomes` reports what the pixels of each true instance became; all other figures on
losses are a group-by on that table.

The truth is used only for scoring. Nothing here passes it to a method.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sbdata.errors import InputError
from sbdata.file_hashes import FileHashes
from sbdata.file_names import stored
from sbdata.layout import OBJECTS_FOLDER
from sbdata.manifest import check_has_masks
from sbdata.mask_classes import check_classes
from sbdata.mask_files import CONVERT, PngError
from sbdata.masks import VOID
from sbdata.metrics import ImageTruth
from sbdata.metrics.bootstrap import RESAMPLES
from sbdata.metrics.image import ia_iou
from sbdata.parallel import Progress
from sbdata.score.inputs import (
    PredictionFormat,
    PredictionIndex,
    Problem,
    ProblemsError,
    list_predictions,
    read_prediction,
)
from sbdata.score.result import ScoreResult
from sbdata.score.run import ScoreOptions, score_folder
from sbdata.score.truth import GroundTruth, GroundTruthImage, Loader, truth_from_set
from sbdata.score.write import summary_as_dict
from sbdata.sets import EvaluationSet, check_files
from sbdata.sizes import SizeBins

LABELS = "labels"
"""Name of the stage of the image labels, which precedes all masks."""

MASKS = "masks"
"""Name of the stage whose folder is the pseudo-masks themselves."""

THRESHOLDS: Mapping[str, float] = {"no pixel": 0.0, "under 25 %": 0.25, "under 50 %": 0.5}
"""Thresholds of lost instances, as the share of an instance's pixels that carry its class.

With a threshold of 0, an instance is lost if it has not a single such pixel; with any other
threshold, if it has less than that share.
"""

_SHARES = ("share_own_class", "share_ignored", "share_background", "share_other")
_FATES = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("instance_id", pa.int32(), nullable=False),
        pa.field("class_id", pa.int16(), nullable=False),
        pa.field("class_name", pa.string(), nullable=False),
        pa.field("size", pa.string(), nullable=False),
        pa.field("area", pa.int32(), nullable=False),
        *(pa.field(name, pa.float64(), nullable=False) for name in _SHARES),
    ]
)
_LOSSES = pa.schema(
    [
        pa.field("stage", pa.string(), nullable=False),
        pa.field("size", pa.string(), nullable=False),
        pa.field("threshold", pa.string(), nullable=False),
        pa.field("n", pa.int32(), nullable=False),
        pa.field("lost", pa.int32(), nullable=False),
        pa.field("newly_lost", pa.int32(), nullable=False),
        pa.field("regained", pa.int32(), nullable=False),
        pa.field("to_ignored", pa.int32(), nullable=False),
        pa.field("to_background", pa.int32(), nullable=False),
        pa.field("to_other", pa.int32(), nullable=False),
    ]
)


# --- outcome of each instance ---------------------------------------------------------------------


def instance_outcomes(masks: Path, opened: EvaluationSet) -> pa.Table:
    """Return the values that the pixels of each true instance have in a folder of masks.

    Args:
        masks: Folder of ``<image_id>.png`` with 0 background, 1..C classes, 255 ignored.
        opened: Set with the instances; their pixels are those of its instance masks, void excluded.

    Returns:
        One row per instance, in the manifest's order: image_id, instance_id, class_id, class_name,
        size, area (pixels), and the shares of its area that carry its own class, 255, background
        and another class, which add up to 1.

    Raises:
        ProblemsError: If masks are invalid; the problems are listed file by file.
        InputError: If the folder does not exist, or an instance's pixels differ from the manifest.
    """
    contract = PredictionFormat(opened.taxonomy, predicted_void=True, colour_remedy=CONVERT)
    check_classes(masks, opened.taxonomy)
    listing = list_predictions(masks, opened.image_ids)
    problems: list[Problem] = list(listing.problems)
    counts = []
    for image_id in opened:
        values = _read(listing, image_id, opened.size_of(image_id), contract, problems)
        if values is not None and not problems:
            counts.append(_counts_of_image(opened, image_id, values))
    if problems:
        raise ProblemsError(problems)
    areas = opened.manifest.instances["area"].to_numpy()
    return _fates_of(opened, np.concatenate(counts, axis=0) / areas[:, None])


def label_outcomes(labels: Mapping[str, Collection[int]], opened: EvaluationSet) -> pa.Table:
    """Return which true instances have their class among their image's labels.

    Args:
        labels: Class numbers in each image of the set, by its id.
        opened: Set with the instances.

    Returns:
        The table of :func:`instance_outcomes`: all pixels of an instance have its class if the
        image is labelled with it, and are background otherwise.
    """
    rows = opened.manifest.instances
    pairs = zip(rows["image_id"].to_pylist(), rows["class_id"].to_pylist(), strict=True)
    has = np.array([class_id in labels[image_id] for image_id, class_id in pairs], np.float64)
    none = np.zeros_like(has)
    return _fates_of(opened, np.stack([has, none, 1 - has, none], axis=1))


def _fates_of(opened: EvaluationSet, shares: npt.NDArray[np.float64]) -> pa.Table:
    """Return the table of all instances and their shares ``(n, 4)``, ordered as _SHARES."""
    rows = opened.manifest.instances
    columns = {name: rows[name] for name in _FATES.names[:6]}
    columns |= {name: pa.array(shares[:, k]) for k, name in enumerate(_SHARES)}
    return pa.table([columns[field.name].cast(field.type) for field in _FATES], schema=_FATES)


def _read(
    listing: PredictionIndex,
    image_id: str,
    size: tuple[int, int],
    contract: PredictionFormat,
    problems: list[Problem],
) -> npt.NDArray[np.uint8] | None:
    """Read the mask of an image of ``size`` (height, width); a problem is added to the list."""
    path = listing.path(image_id)
    if path is None:  # already listed as a problem
        return None
    try:
        return read_prediction(path, (size[1], size[0]), contract)[0]
    except PngError as error:
        problems.append(Problem(path.name, error.kind, error.detail, str(listing.folder)))
        return None


def _counts_of_image(
    opened: EvaluationSet, image_id: str, values: npt.NDArray[np.uint8]
) -> npt.NDArray[np.int64]:
    """Return ``(n, 4)``: pixels of each instance by the value they carry, ordered as _SHARES."""
    rows = opened.instances_of(image_id)
    ids = rows["instance_id"].to_numpy().astype(np.int64)
    classes = rows["class_id"].to_numpy().astype(np.int64)
    pairs = opened.instance_map(image_id).astype(np.uint16) << 8 | values
    joint = np.bincount(pairs.ravel(), minlength=1 << 16).reshape(256, 256)
    total = joint[ids].sum(axis=1)
    wrong = np.flatnonzero(total != rows["area"].to_numpy())
    if wrong.size:
        msg = (
            f"{opened.root}: instance {ids[wrong[0]]} of image {image_id} has {total[wrong[0]]} "
            f"pixels in its mask and another area in the manifest; run 'sbdata dataset verify'"
        )
        raise InputError(msg)
    own, ignored, background = joint[ids, classes], joint[ids, VOID], joint[ids, 0]
    return np.stack([own, ignored, background, total - own - ignored - background], axis=1)


def losses_by_stage(fates: Sequence[tuple[str, pa.Table]], bins: SizeBins) -> pa.Table:
    """Count the instances that are lost, by stage, size and threshold.

    Args:
        fates: Name of each stage and its :func:`instance_outcomes`, in the order in which the
            method runs the stages; all of the same set.
        bins: Size bins of the set; sizes without instances are listed, too.

    Returns:
        One row per stage, size and threshold: ``n`` instances; the number ``lost`` at this stage;
        how many of those the previous stage still had (``newly_lost``; all for the first stage);
        how many the previous stage had lost and this one has again (``regained``); and, of the
        lost, the number whose pixels without their class went mostly ``to_ignored``,
        ``to_background`` or ``to_other`` (a tie counts for the first of them).

    Raises:
        InputError: If two stages do not have the same instances.
    """
    rows: list[tuple[Any, ...]] = []
    before: dict[str, npt.NDArray[np.bool_]] = {}
    for stage, table in fates:
        if not all(table[c].equals(fates[0][1][c]) for c in ("image_id", "instance_id", "area")):
            msg = f"stage {stage} has other instances than {fates[0][0]}; give stages of one set"
            raise InputError(msg)
        size = pc.index_in(table["size"], pa.array(bins.names)).to_numpy()
        shares = np.stack([table[name].to_numpy() for name in _SHARES], axis=1)
        whither = shares[:, 1:].argmax(axis=1) if len(shares) else np.empty(0, np.int64)
        for threshold in THRESHOLDS:
            lost = lost_instances(shares[:, 0], threshold)
            former = before.get(threshold, np.zeros_like(lost))
            before[threshold] = lost
            columns = [
                np.bincount(size[chosen], minlength=len(bins.names)).tolist()
                for chosen in (
                    slice(None),
                    lost,
                    lost & ~former,
                    former & ~lost,
                    *(lost & (whither == k) for k in range(3)),
                )
            ]
            rows += [
                (stage, name, threshold, *counts)
                for name, counts in zip(bins.names, zip(*columns, strict=True), strict=True)
            ]
    rows.sort(key=lambda row: ([s for s, _ in fates].index(row[0]), bins.names.index(row[1])))
    by_column = zip(*rows, strict=True) if rows else ([] for _ in _LOSSES)
    arrays = [pa.array(list(c), f.type) for c, f in zip(by_column, _LOSSES, strict=True)]
    return pa.table(arrays, schema=_LOSSES)


def lost_instances(own: npt.NDArray[np.float64], threshold: str) -> npt.NDArray[np.bool_]:
    """Return which instances are lost by a threshold, as bool of the shape of their shares.

    Args:
        own: Share of each instance's pixels that carry its class.
        threshold: Name of one of ``THRESHOLDS``.
    """
    share = THRESHOLDS[threshold]
    return own < share if share else own == 0


# --- scores ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ExcludedFigures:
    """Figures over the pixels that the masks do not exclude.

    Attributes:
        figures: Figures by the names of ``Summary.headline``: mIoU, and IA by size. An instance
            keeps the size of its whole area, even if only a part of it remains.
        n_instances: Number of instances with a pixel left, by ``ia``, ``ia_small`` ...
        n_classes: Number of classes among those instances.
        excluded_pixels: Share of all pixels outside true void that the masks exclude.
    """

    figures: Mapping[str, float | None]
    n_instances: Mapping[str, int]
    n_classes: Mapping[str, int]
    excluded_pixels: float


@dataclass(frozen=True)
class PseudoScore:
    """Scores of pseudo-masks against the truth of the set they were made for.

    Attributes:
        as_background: All figures with 255 read as background.
        excluded: Figures with the pixels of 255 excluded.
        fates: Name of each stage and its :func:`instance_outcomes`, in order: the image labels
            (``LABELS``) if they were given, those before the pseudo-masks, the pseudo-masks
            (``MASKS``), and those after them.
        losses: Result of :func:`losses_by_stage` for those stages.
    """

    as_background: ScoreResult
    excluded: ExcludedFigures
    fates: tuple[tuple[str, pa.Table], ...]
    losses: pa.Table


def score_pseudo(
    masks: Path,
    opened: EvaluationSet,
    stages: Sequence[tuple[str, Path]] = (),
    after: Sequence[tuple[str, Path]] = (),
    *,
    labels: Mapping[str, Collection[int]] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    progress: Progress | None = None,
    hashes: FileHashes | None = None,
) -> PseudoScore:
    """Score pseudo-masks by object size, and find the stage at which instances are lost.

    Args:
        masks: Folder of ``<image_id>.png``; 255 is ignored.
        opened: Set that the masks were made for.
        stages: Name and folder of each earlier stage of the method, in order: seeds, refined seeds.
        after: Name and folder of each later stage, in order: a segmenter's masks of the photos that
            it was trained on.
        labels: Class numbers in each image that the method learned from; they are the first stage,
            ``LABELS``. None leaves it out: with the set's own labels, nothing is lost there.
        resamples: Number of bootstrap resamples; 0 disables confidence intervals.
        seed: Seed of the bootstrap.
        progress: Callback, called with (images done, total) while the masks are scored.
        hashes: Known hashes of the set's files.

    Raises:
        ProblemsError: If any folder has problems; they are listed.
        InputError: If two stages have the same name, a folder does not exist, or an instance mask
            of the set is not the file that the set was built with.
    """
    folders = (*stages, (MASKS, masks), *after)
    names = [*([LABELS] if labels is not None else []), *(name for name, _ in folders)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        msg = f"two stages are called {twice!r}; give each its own name ({MASKS!r} are the masks)"
        raise InputError(msg)
    check_has_masks(opened.manifest, opened.root, "scoring pseudo-masks")
    check_files(opened, [OBJECTS_FOLDER], hashes)
    truth = truth_from_set(opened.root)
    options = ScoreOptions(
        predicted_void=True, resamples=resamples, seed=seed, colour_remedy=CONVERT
    )
    scored = score_folder(masks, truth, options, progress=progress)
    fates = tuple((name, instance_outcomes(folder, opened)) for name, folder in folders)
    if labels is not None:
        fates = ((LABELS, label_outcomes(labels, opened)), *fates)
    excluded = _score_excluded(masks, truth, scored, dict(fates)[MASKS])
    return PseudoScore(scored, excluded, fates, losses_by_stage(fates, opened.bins))


def _score_excluded(
    masks: Path, truth: GroundTruth, scored: ScoreResult, fates: pa.Table
) -> ExcludedFigures:
    """Score once more, with the truth set to void at every pixel where a mask is 255.

    The sizes come from the fates, because the remaining part of an instance may be of a smaller
    size.
    """
    void = replace(truth, loaders=partial(_loaders_without_ignored, truth, masks), notes=())
    rescored = score_folder(masks, void, ScoreOptions(predicted_void=True, resamples=0))
    tables = rescored.tables
    whole = zip(fates["image_id"].to_pylist(), fates["instance_id"].to_pylist(), strict=True)
    size_of = dict(zip(whole, fates["size"].to_pylist(), strict=True))
    rows = tables.instances
    images = [tables.image_ids[i] for i in tables.instance_image.tolist()]
    sizes = [size_of[pair] for pair in zip(images, rows["instance_id"].tolist(), strict=True)]
    figures, n_instances, n_classes = _means_by_size(
        rows["class_id"].astype(np.int64), ia_iou(rows), np.asarray(sizes, str), scored.bins
    )
    for name in ("ia", "ia_objects"):
        whole_ia = rescored.summary.ia[name]
        figures |= {
            f"{name}.class_mean": whole_ia.class_mean,
            f"{name}.instance_mean": whole_ia.instance_mean,
        }
        n_instances[name], n_classes[name] = whole_ia.n_instances, whole_ia.n_classes
    counted = int(tables.classes["true_pixels"].sum(dtype=np.int64))
    of = int(scored.tables.classes["true_pixels"].sum(dtype=np.int64))
    return ExcludedFigures(
        {"miou": rescored.summary.miou, **figures},
        n_instances,
        n_classes,
        1 - counted / of if of else 0.0,
    )


def _loaders_without_ignored(
    truth: GroundTruth, masks: Path, start: int, stop: int
) -> list[Loader]:
    pairs = zip(truth.image_ids[start:stop], truth.loaders(start, stop), strict=True)
    contract = PredictionFormat(truth.taxonomy, predicted_void=True)
    return [
        partial(_load_without_ignored, load, stored(masks, f"{image_id}.png"), contract)
        for image_id, load in pairs
    ]


def _load_without_ignored(load: Loader, mask: Path, contract: PredictionFormat) -> GroundTruthImage:
    """Return the truth of an image, made void wherever its mask is 255, and the instances left."""
    loaded = load()
    truth = loaded.truth
    height, width = truth.class_map.shape
    ignored = read_prediction(mask, (width, height), contract)[0] == VOID
    classes = np.where(ignored, np.uint8(VOID), truth.class_map)
    objects = np.where(ignored, np.uint8(VOID), truth.instance_map)
    pixels = np.bincount(objects[classes != VOID], minlength=256)
    left = pixels[truth.instance_ids] > 0
    return replace(
        loaded,
        truth=ImageTruth(classes, objects, truth.instance_ids[left], truth.class_ids[left]),
    )


def _means_by_size(
    classes: npt.NDArray[np.int64],
    values: npt.NDArray[np.float64],
    sizes: npt.NDArray[np.str_],
    bins: SizeBins,
) -> tuple[dict[str, float | None], dict[str, int], dict[str, int]]:
    figures: dict[str, float | None] = {}
    n_instances, n_classes = {}, {}
    for size in bins.names:
        chosen = sizes == size
        n = np.bincount(classes[chosen])
        total = np.bincount(classes[chosen], values[chosen])
        present = n > 0
        key = f"ia_{size}"
        some = bool(present.any())
        figures[f"{key}.class_mean"] = float((total[present] / n[present]).mean()) if some else None
        figures[f"{key}.instance_mean"] = float(total.sum() / n.sum()) if some else None
        n_instances[key], n_classes[key] = int(n.sum()), int(present.sum())
    return figures, n_instances, n_classes


def pseudo_as_dict(score: PseudoScore) -> dict[str, Any]:
    """Return all of a score except the rows of single instances, as plain values."""
    scored, excluded = score.as_background, score.excluded
    return {
        "format": "sbdata.pseudo.v2",
        "masks": scored.name,
        "set": scored.truth_name,
        "synthetic": scored.synthetic,
        "ignored_as_background": summary_as_dict(scored),
        "ignored_excluded": {
            "figures": dict(excluded.figures),
            "n_instances": dict(excluded.n_instances),
            "n_classes": dict(excluded.n_classes),
            "excluded_pixels": excluded.excluded_pixels,
        },
        "thresholds": dict(THRESHOLDS),
        "losses": score.losses.to_pylist(),
    }
