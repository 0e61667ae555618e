"""Pseudo-masks by object size: how good they are, and at which stage the small objects die.

A pseudo-mask may hold 255 where the method leaves a pixel to nobody. The masks are therefore scored
twice: with 255 read as background, which is what an object loses that training never sees, and with
those pixels left out, which is how right the rest is. :func:`instance_outcomes` says of each true
instance what became of its pixels; everything else about losses is a group-by on that table.

The truth is read for scoring alone. Nothing here hands it to a method.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from sbdata.mask_files import CONVERT, PngError
from sbdata.masks import VOID
from sbdata.metrics import RESAMPLES, ImageTruth, ia_iou
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

__all__ = [
    "LAST",
    "THRESHOLDS",
    "ExcludedFigures",
    "PseudoScore",
    "instance_outcomes",
    "losses_by_stage",
    "pseudo_as_dict",
    "score_pseudo",
]

LAST = "masks"
"""How the stage is called whose folder is the pseudo-masks themselves."""

THRESHOLDS: Mapping[str, float] = {"no pixel": 0.0, "under 25 %": 0.25, "under 50 %": 0.5}
"""When an instance counts as lost, by the share of its pixels that carry its class.

A threshold of 0 means not a single pixel, any other one less than that share.
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


# --- what became of each instance -----------------------------------------------------------------


def instance_outcomes(masks: Path, opened: EvaluationSet) -> pa.Table:
    """Return what the pixels of each true instance carry in a folder of masks.

    Args:
        masks: a folder of ``<image_id>.png`` with 0 background, 1..C classes, 255 ignored.
        opened: the set whose instances are asked for; their pixels are those of its instance
            masks, void excluded.

    Returns:
        One row an instance, in the manifest's order: image_id, instance_id, class_id, class_name,
        size, area (pixels), and the shares of its area that carry its own class, 255, background
        and another class, which add up to 1.

    Raises:
        ProblemsError: listing what is wrong with the masks, file by file.
        InputError: if the folder is none, or an instance's pixels are not what the manifest says.
    """
    contract = PredictionFormat(opened.taxonomy, predicted_void=True, colour_remedy=CONVERT)
    listing = list_predictions(masks, opened.image_ids)
    problems: list[Problem] = list(listing.problems)
    counts = []
    for image_id in opened:
        values = _read(listing, image_id, opened.size_of(image_id), contract, problems)
        if values is not None and not problems:
            counts.append(_counts_of_image(opened, image_id, values))
    if problems:
        raise ProblemsError(problems)
    rows = opened.manifest.instances
    shares = np.concatenate(counts, axis=0) / rows["area"].to_numpy()[:, None]
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
    """Read the mask of an image of ``size`` (height, width); a problem goes to the list."""
    path = listing.path(image_id)
    if path is None:  # is a problem already
        return None
    try:
        return read_prediction(path, (size[1], size[0]), contract)[0]
    except PngError as error:
        problems.append(Problem(path.name, error.kind, error.detail, str(listing.folder)))
        return None


def _counts_of_image(
    opened: EvaluationSet, image_id: str, values: npt.NDArray[np.uint8]
) -> npt.NDArray[np.int64]:
    """Return ``(n, 4)``: pixels of each instance by what they carry, in the order of _SHARES."""
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
    """Count, stage by stage and size by size, the instances that are lost.

    Args:
        fates: of each stage its name and what :func:`instance_outcomes` gave, in the order in which
            the method runs them; all of one set.
        bins: of the set, whose sizes are listed even where no instance has them.

    Returns:
        One row a stage, size and threshold: ``n`` instances, how many are ``lost`` by this stage,
        how many of those the stage before still had (``newly_lost``; for the first stage all),
        how many it had lost that are there again (``regained``), and of the lost, how many have
        most of their pixels that do not carry their class ``to_ignored``, ``to_background`` or
        ``to_other`` (a tie counts for the first of them).

    Raises:
        InputError: if two stages are not about the same instances.
    """
    rows: list[tuple[Any, ...]] = []
    before: dict[str, npt.NDArray[np.bool_]] = {}
    for stage, table in fates:
        if not all(table[c].equals(fates[0][1][c]) for c in ("image_id", "instance_id", "area")):
            msg = f"stage {stage} is about other instances than {fates[0][0]}; give one set's"
            raise InputError(msg)
        size = pc.index_in(table["size"], pa.array(bins.names)).to_numpy()
        shares = np.stack([table[name].to_numpy() for name in _SHARES], axis=1)
        whither = shares[:, 1:].argmax(axis=1) if len(shares) else np.empty(0, np.int64)
        for threshold, share in THRESHOLDS.items():
            lost = _lost(shares[:, 0], share)
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


def _lost(own: npt.NDArray[np.float64], share: float) -> npt.NDArray[np.bool_]:
    """Tell which instances are lost: no pixel for a share of 0, else less than the share."""
    return own < share if share else own == 0


# --- scores ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ExcludedFigures:
    """Figures over the pixels that the masks do not leave out.

    Attributes:
        figures: by the names of ``Summary.headline``: mIoU, and IA by size. An instance keeps the
            size of its whole area, whatever is left of it.
        n_instances: by ``ia``, ``ia_small`` ...: instances with a pixel left.
        n_classes: classes among those.
        excluded_pixels: the share of all pixels outside true void that the masks leave out.
    """

    figures: Mapping[str, float | None]
    n_instances: Mapping[str, int]
    n_classes: Mapping[str, int]
    excluded_pixels: float


@dataclass(frozen=True)
class PseudoScore:
    """Pseudo-masks, scored against the truth of the set they were made for.

    Attributes:
        as_background: every figure with 255 read as background.
        excluded: with the pixels of 255 left out instead.
        fates: name of each stage and its :func:`instance_outcomes`; the last one is the masks.
        losses: :func:`losses_by_stage` of those.
    """

    as_background: ScoreResult
    excluded: ExcludedFigures
    fates: tuple[tuple[str, pa.Table], ...]
    losses: pa.Table


def score_pseudo(
    masks: Path,
    opened: EvaluationSet,
    stages: Sequence[tuple[str, Path]] = (),
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    progress: Progress | None = None,
    hashes: FileHashes | None = None,
) -> PseudoScore:
    """Score pseudo-masks by object size, and say at which stage instances are lost.

    Args:
        masks: a folder of ``<image_id>.png``; 255 is ignored.
        opened: the set the masks were made for.
        stages: names and folders of what the method had before, in order: seeds, refined seeds.
        resamples: of the bootstrap; 0 gives no intervals.
        seed: of the bootstrap.
        progress: called with (images done, in all) while the masks are scored.
        hashes: what is known of the content of the set's files.

    Raises:
        ProblemsError: listing what is wrong with any of the folders.
        InputError: if two stages have one name, a folder is none, or an instance mask of the set is
            not the file that it was built with.
    """
    names = [name for name, _ in stages] + [LAST]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        msg = f"two stages are called {twice!r}; give each its own name ({LAST!r} are the masks)"
        raise InputError(msg)
    check_files(opened, [OBJECTS_FOLDER], hashes)
    truth = truth_from_set(opened.root)
    options = ScoreOptions(
        predicted_void=True, resamples=resamples, seed=seed, colour_remedy=CONVERT
    )
    scored = score_folder(masks, truth, options, progress=progress)
    folders = (*stages, (LAST, masks))
    fates = tuple((name, instance_outcomes(folder, opened)) for name, folder in folders)
    excluded = _score_excluded(masks, truth, scored, fates[-1][1])
    return PseudoScore(scored, excluded, fates, losses_by_stage(fates, opened.bins))


def _score_excluded(
    masks: Path, truth: GroundTruth, scored: ScoreResult, fates: pa.Table
) -> ExcludedFigures:
    """Score once more with the true classes void wherever a mask is 255.

    The sizes come from the fates, because what is left of an instance may be of a smaller size.
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
    """Return the truth of an image with void where its mask is 255, and the instances left."""
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
    """Return all of a score but the rows of single instances, as plain values."""
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
