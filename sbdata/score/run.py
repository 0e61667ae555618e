"""Score a folder of predictions against a truth: checked, decoded and scored in one pass.

Images are scored in chunks, whose counts are integers and rows that are merged exactly. So neither
the number of worker processes nor the division into shards changes a byte of the result.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL
import pyarrow as pa

from sbdata import __version__
from sbdata.errors import InputError
from sbdata.formatting import said_edges, undivided_note
from sbdata.images import DAMAGE, open_image
from sbdata.mask_classes import check_classes
from sbdata.mask_files import PngError
from sbdata.metrics import Accumulator, MetricOptions, score_image
from sbdata.metrics.bootstrap import RESAMPLES, Bootstrap, Difference, bootstrap, compare
from sbdata.metrics.image import METRIC, ia_iou
from sbdata.metrics.summary import summarise
from sbdata.metrics.tables import ScoreTables
from sbdata.parallel import Progress, run_each
from sbdata.plurals import count
from sbdata.score.hints import background_as_class, nothing_but_void, numbers_mixed_up
from sbdata.score.inputs import (
    DECODE,
    PredictionFormat,
    PredictionIndex,
    Problem,
    ProblemsError,
    list_predictions,
)
from sbdata.score.palettes import Palette, find_palette
from sbdata.score.result import Comparison, InstanceChange, LoadImage, ScoreResult
from sbdata.score.truth import GroundTruth, GroundTruthImage
from sbdata.sizes import (
    TERCILES,
    TERCILES_BY_CLASS,
    AskedBins,
    SizeBins,
    resolve_bins,
    undivided,
)
from sbdata.taxonomy import Taxonomy

MOVED = 50  # instances that a comparison lists
_CHUNK = 32  # images that a worker takes at a time
_FEW = 256  # images that one process scores before others have started


@dataclass(frozen=True)
class ScoreOptions:
    """Options for scoring a folder.

    Attributes:
        fp_attribution: Rule by which instances share the false pixels of a region; see
            :class:`MetricOptions`.
        rounding: Rounding of these shares, ``floor`` or ``exact``.
        predicted_void: True if 255 may be predicted; it is read as background.
        decode_palette: True to decode RGB predictions with VOC's palette.
        allow_missing: True to treat missing predictions as background.
        resamples: Number of bootstrap resamples; 0 disables confidence intervals.
        seed: Seed of the bootstrap.
        bins: Size bins to use instead of the truth's own; ``"terciles"`` for those of the areas of
            all true instances, ``"terciles-by-class"`` for those within each class.
        colour_remedy: Remedy to suggest for colours that are not decoded.
        palette: What colours or numbers in predictions stand for: a name or a file, see
            :func:`~sbdata.score.palettes.find_palette`.
        coco_ids: COCO-format file that tells the ids of images and categories in JSON predictions.
        boundary: True to measure Boundary IoU too.
    """

    fp_attribution: str = "overlap"
    rounding: str = "floor"
    predicted_void: bool = False
    decode_palette: bool = False
    allow_missing: bool = False
    resamples: int = RESAMPLES
    seed: int = 0
    bins: AskedBins | None = None
    colour_remedy: str = DECODE
    palette: str | None = None
    coco_ids: str | None = None
    boundary: bool = False

    @property
    def metric(self) -> MetricOptions:
        """Return the metric options among these."""
        return MetricOptions(self.fp_attribution, self.rounding, self.predicted_void, self.boundary)


_DEFAULTS = ScoreOptions()


def score_folder(
    predictions: Path,
    truth: GroundTruth,
    options: ScoreOptions = _DEFAULTS,
    *,
    against: Sequence[Path] = (),
    name: str | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> ScoreResult:
    """Check a folder of predictions, score it, and compare it with other folders.

    Args:
        predictions: Folder of ``<image_id>.png`` or ``.npy``, or a JSON file of COCO's.
        truth: Ground truth to compare with.
        options: Options of the prediction format, the metric and the bootstrap.
        against: Further folders; the first folder is compared with each by the paired bootstrap.
        name: Name of the result; by default that of the folder.
        workers: Number of processes; the result does not depend on it. A few hundred images are
            scored by one.
        progress: Callback, called with (images done, total images).

    Raises:
        ProblemsError: If any folder has problems; all are listed.
        InputError: If a folder does not exist, or the truth cannot be read.
    """
    task = task_of(predictions, truth, options, against)
    every = range(len(truth.image_ids))
    return gather(task, score_images(task, every, workers, progress), options, name)


def task_of(
    predictions: Path, truth: GroundTruth, options: ScoreOptions, against: Sequence[Path]
) -> ScoreTask:
    """Compare the names in the folders with the truth; the arguments are :func:`score_folder`'s."""
    listings = [list_places(place, truth, options) for place in (predictions, *against)]
    contract = _contract(truth, options)
    decoded = contract.decode_palette or contract.palette is not None
    if decoded and all(listing.read_map is not None for listing in listings):
        msg = (
            f"{predictions}: a JSON file, whose classes are those of its categories, but "
            f"{'--decode-palette' if contract.decode_palette else '--palette'} decodes PNGs and "
            "arrays; leave it out"
        )
        raise InputError(msg)
    return ScoreTask(truth, contract, options.metric, tuple(listings))


def _contract(truth: GroundTruth, options: ScoreOptions) -> PredictionFormat:
    if options.palette is not None and options.decode_palette:
        msg = "--decode-palette and --palette exclude each other; --palette voc reads VOC's colours"
        raise InputError(msg)
    return PredictionFormat(
        truth.taxonomy,
        options.predicted_void,
        options.decode_palette,
        options.allow_missing,
        options.colour_remedy,
        None if options.palette is None else find_palette(options.palette, truth.taxonomy),
        truth.has_background,
    )


def list_places(place: Path, truth: GroundTruth, options: ScoreOptions) -> PredictionIndex:
    """Compare the names in a folder of predictions, or in a JSON file, with the truth."""
    if place.suffix.lower() == ".json" and place.is_file():
        from sbdata.score.json_predictions import list_json

        return list_json(
            place,
            truth.image_ids,
            truth.taxonomy,
            ids_file=None if options.coco_ids is None else Path(options.coco_ids),
            truth_file=truth.path if truth.kind in ("coco", "panoptic") else None,
            allow_missing=options.allow_missing,
            left_out=truth.left_out,
        )
    check_classes(place, truth.taxonomy)
    return list_predictions(
        place,
        truth.image_ids,
        allow_missing=options.allow_missing,
        left_out=truth.left_out,
        arrays=True,
    )


def score_images(
    task: ScoreTask, places: range, workers: int = 1, progress: Progress | None = None
) -> list[Part]:
    """Check and score some images.

    Args:
        task: What to score.
        places: Places of the images in the truth.
        workers: Number of processes.
        progress: Callback, called with (images done, total images).

    Raises:
        ProblemsError: If the folders have problems: those of all names and of these images.
        InputError: If the truth cannot be read.
    """
    parts = run_each(
        partial(_score_chunk, task),
        [places[first : first + _CHUNK] for first in range(0, len(places), _CHUNK)],
        workers=workers if len(places) > _FEW else 1,
        processes=True,
        fork=True,
        progress=_in_images(progress, len(places)),
    )
    problems = [*task.problems, *(problem for part in parts for problem in part.problems)]
    if problems:
        raise ProblemsError(problems)
    return parts


def name_of(folder: Path) -> str:
    """Return the default name of a folder's result."""
    resolved = folder.resolve()
    return resolved.stem if resolved.suffix.lower() == ".json" else resolved.name


def loader_of(
    scored: ScoreResult,
    truth: GroundTruth,
    options: ScoreOptions = _DEFAULTS,
    listing: PredictionIndex | None = None,
) -> LoadImage:
    """Return the function by which a report loads what it shows of an image.

    Args:
        scored: Result of the score.
        truth: Ground truth of the score.
        options: Options of the score.
        listing: Names of the scored predictions, if they are at hand.
    """
    found = listing or list_places(scored.predictions, truth, options)
    return partial(_load_image, found, truth, _contract(truth, options))


def _load_image(
    listing: PredictionIndex, truth: GroundTruth, contract: PredictionFormat, image_id: str
) -> tuple[Any, Any, Any, Any]:
    loaded = truth.load(image_id).truth
    if image_id not in listing.found:
        prediction = np.zeros(loaded.class_map.shape, np.uint8)
    else:
        try:
            prediction = listing.read(image_id, truth.sizes[image_id], contract).values
        except PngError as error:
            msg = f"{error.path}: {error.detail}; the file changed after scoring; score it again"
            raise InputError(msg) from error
    photo = _photo(truth.photos.get(image_id), truth.sizes[image_id])
    return photo, loaded.class_map, loaded.instance_map, prediction


def _photo(path: Path | None, size: tuple[int, int]) -> npt.NDArray[np.uint8] | None:
    """Return a photo's pixels; None if it is absent, unreadable or of another size."""
    if path is None:
        return None
    try:
        with open_image(path) as image:
            return np.asarray(image.convert("RGB")) if image.size == size else None
    except DAMAGE:
        return None


# --- one chunk of images --------------------------------------------------------------------------


@dataclass(frozen=True)
class ScoreTask:
    """Settings that all chunks share."""

    truth: GroundTruth
    contract: PredictionFormat
    metric: MetricOptions
    listings: tuple[PredictionIndex, ...]

    @property
    def problems(self) -> list[Problem]:
        """Return the problems with the names in the folders."""
        return [problem for listing in self.listings for problem in listing.problems]


@dataclass
class Part:
    """Result of some images; the lists of scores, digests and colours have one entry per folder.

    Attributes:
        scores: Scores of the images.
        digests: Ids of images with the SHA-256 of their predictions.
        truth_digests: Ids of images with the SHA-256 of the files of their truth.
        unassigned: Pixels of each image that have a class but no instance.
        void_in_one: Pixels of each image that are void in only one of its masks.
        truth_by_colour: Number of images whose truth was decoded by colour.
        by_colour: Number of predictions that were decoded by colour.
        problems: Problems of the predictions.
    """

    scores: list[Accumulator]
    digests: list[list[tuple[str, str]]]
    truth_digests: list[tuple[str, str]] = field(default_factory=list)
    unassigned: list[int] = field(default_factory=list)
    void_in_one: list[int] = field(default_factory=list)
    truth_by_colour: int = 0
    by_colour: list[int] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def _score_chunk(task: ScoreTask, places: range) -> Part:
    truth, folders = task.truth, len(task.listings)
    classes, check_only = len(truth.taxonomy), bool(task.problems)
    part = Part(
        [Accumulator(classes, task.metric) for _ in range(folders)],
        [[] for _ in range(folders)],
        by_colour=[0] * folders,
    )
    start, stop = places.start, places.stop
    loaders = truth.loaders(start, stop)
    for image_id, load in zip(truth.image_ids[start:stop], loaders, strict=True):
        predictions = [_read(task, k, image_id, part) for k in range(folders)]
        if check_only or part.problems:
            continue  # only problems will be reported
        loaded = load()
        part.unassigned.append(loaded.unassigned)
        part.void_in_one.append(loaded.void_in_one)
        part.truth_by_colour += loaded.by_colour
        if loaded.digest:
            part.truth_digests.append((image_id, loaded.digest))
        for scores, prediction in zip(part.scores, predictions, strict=True):
            assert prediction is not None  # noqa: S101 - or there were problems
            scores.update(image_id, _score(image_id, prediction, loaded, classes, task.metric))
    return part


def _read(task: ScoreTask, k: int, image_id: str, part: Part) -> npt.NDArray[np.uint8] | None:
    """Read folder k's prediction; its problems are added to the part's problems."""
    listing, size = task.listings[k], task.truth.sizes[image_id]
    if image_id not in listing.found:
        return np.zeros((size[1], size[0]), np.uint8)
    try:
        found = listing.read(image_id, size, task.contract)
    except PngError as error:
        problem = Problem(Path(error.path).name, error.kind, error.detail, str(listing.folder))
        part.problems.append(problem)
        return None
    part.digests[k].append((image_id, found.digest))
    part.by_colour[k] += found.by_colour
    return found.values


def _score(
    image_id: str,
    prediction: npt.NDArray[np.uint8],
    loaded: GroundTruthImage,
    classes: int,
    metric: MetricOptions,
) -> Any:
    try:
        return score_image(prediction, loaded.truth, classes, metric)
    except InputError as error:  # the prediction was checked, so the error is in the truth
        msg = f"image {image_id}: unusable ground truth: {error}"
        raise InputError(msg) from error


def _in_images(progress: Progress | None, images: int) -> Progress | None:
    if progress is None:
        return None

    def of_chunks(done: int, total: int) -> None:
        progress(min(done * _CHUNK, images), images)

    return of_chunks


# --- all images -----------------------------------------------------------------------------------


def gather(
    task: ScoreTask, parts: Sequence[Part], options: ScoreOptions, name: str | None = None
) -> ScoreResult:
    """Return the result of all images from that of their parts, in any order."""
    name = name or name_of(task.listings[0].folder)
    truth = task.truth
    tables = [_merged(task, parts, k) for k in range(len(task.listings))]
    true = tables[0].instances
    bins = resolve_bins(
        options.bins or truth.bins, true["area"], true["class_id"], len(truth.taxonomy)
    )
    summaries = [summarise(found, bins) for found in tables]
    labels = _labels(name, [listing.folder for listing in task.listings[1:]])
    drawn = [
        bootstrap(found, bins, resamples=options.resamples, seed=options.seed)
        if options.resamples
        else None
        for found in tables
    ]
    headline = summaries[0].headline()
    return ScoreResult(
        name=name,
        predictions=task.listings[0].folder,
        truth_name=truth.name,
        synthetic=truth.synthetic,
        taxonomy=truth.taxonomy,
        bins=bins,
        options=options.metric,
        summary=summaries[0],
        intervals=drawn[0].intervals() if drawn[0] else dict.fromkeys(headline),
        tables=tables[0],
        compared=tuple(
            Comparison(
                name=labels[k],
                figures=summaries[k].headline(),
                differences=_differences(headline, summaries[k].headline(), drawn[0], drawn[k]),
                moved=_most_moved(tables[0], tables[k], truth.taxonomy, bins),
            )
            for k in range(1, len(tables))
        ),
        notes=_notes(task, parts, options, labels, tables, bins),
        provenance=_provenance(task, parts, options, labels),
        photo_paths=truth.photos,
        image_sizes=truth.sizes,
        missing=task.listings[0].missing,
    )


def _merged(task: ScoreTask, parts: Sequence[Part], k: int) -> ScoreTables:
    whole = Accumulator(len(task.truth.taxonomy), task.metric)
    for part in parts:
        whole.merge(part.scores[k])
    return whole.tables()


def _labels(name: str, others: Sequence[Path]) -> list[str]:
    """Return a label of each folder: its last part, or the full path if that is not unique."""
    short = [name, *(name_of(folder) for folder in others)]
    full = [name, *(str(folder) for folder in others)]
    return [s if short.count(s) == 1 or not k else full[k] for k, s in enumerate(short)]


def _differences(
    first: Mapping[str, float | None],
    second: Mapping[str, float | None],
    first_drawn: Bootstrap | None,
    second_drawn: Bootstrap | None,
) -> dict[str, Difference | None]:
    """Return first minus second, with intervals if there was a bootstrap."""
    if first_drawn is not None and second_drawn is not None:
        return compare(first_drawn, second_drawn)
    found: dict[str, Difference | None] = {}
    for figure, value in first.items():
        other = second[figure]
        if value is None or other is None:
            found[figure] = None
        else:
            found[figure] = Difference(value - other, None, None)
    return found


def _most_moved(
    first: ScoreTables, second: ScoreTables, taxonomy: Taxonomy, bins: SizeBins
) -> tuple[InstanceChange, ...]:
    """Return the instances whose IA differs most; the tables have the same rows in one order."""
    one, other = ia_iou(first.instances), ia_iou(second.instances)
    change = np.abs(one - other)
    order = np.argsort(-change, kind="stable")[:MOVED]
    rows, images, sizes = first.instances, first.instance_image, first.instance_sizes(bins)
    return tuple(
        InstanceChange(
            image_id=first.image_ids[images[k]],
            instance_id=int(rows["instance_id"][k]),
            class_name=taxonomy.name_of(int(rows["class_id"][k])),
            area=int(rows["area"][k]),
            size=bins.names[sizes[k]],
            first=float(one[k]),
            second=float(other[k]),
        )
        for k in order.tolist()
        if change[k] > 0
    )


# --- notes ----------------------------------------------------------------------------------------


def _notes(
    task: ScoreTask,
    parts: Sequence[Part],
    options: ScoreOptions,
    labels: Sequence[str],
    tables: Sequence[ScoreTables],
    bins: SizeBins,
) -> tuple[str, ...]:
    truth = task.truth
    notes = [*truth.notes, *_hints(truth, labels, [found.confusion for found in tables])]
    for listing, label in zip(task.listings, labels, strict=True):
        notes += [f"{label}: {note}" for note in listing.notes]
        if listing.missing:
            notes.append(
                f"{label}: {len(listing.missing):,} of {len(truth.image_ids):,} predictions "
                "missing, counted as background"
            )
        if listing.ignored:
            notes.append(
                f"{label}: {count(len(listing.ignored), 'prediction')} ignored, for images that "
                "the truth leaves out"
            )
    unassigned = [n for part in parts for n in part.unassigned if n]
    if unassigned:
        notes.append(
            f"{count(sum(unassigned), 'pixel')} in {count(len(unassigned), 'image')} have a class "
            "but belong to no instance; mIoU counts them, IA does not"
        )
    void_in_one = [n for part in parts for n in part.void_in_one if n]
    if void_in_one:
        notes.append(
            f"{count(sum(void_in_one), 'pixel')} in {count(len(void_in_one), 'image')} are void in "
            "only one of the class and instance masks; they count nowhere"
        )
    in_truth = sum(part.truth_by_colour for part in parts)
    if in_truth:
        notes.append(_told_by_colour("the truth", in_truth))
    if options.palette is not None:
        notes.append(f"predictions were decoded through palette {options.palette}")
    if options.decode_palette:
        notes.append("RGB predictions were decoded through VOC's palette")
    else:
        for k, label in enumerate(labels):
            decoded = sum(part.by_colour[k] for part in parts)
            if decoded:
                notes.append(_told_by_colour(label, decoded))
    if options.predicted_void:
        notes.append("predictions may hold 255, which is read as background")
    if options.bins == TERCILES:
        notes.append(
            f"sizes are the terciles of the areas of this truth's instances, divided at "
            f"{said_edges(bins)}; another truth has others"
        )
    elif options.bins == TERCILES_BY_CLASS:
        notes.append(
            "sizes are the terciles within each class of this truth; another truth has others"
        )
        true = tables[0].instances
        lacking = undivided(options.bins, true["area"], true["class_id"], len(truth.taxonomy))
        if lacking:
            notes.append(undivided_note(lacking, truth.taxonomy))
    elif options.bins is not None and bins != truth.bins:
        notes.append(
            f"sizes are divided at {said_edges(bins)} as asked, not at "
            f"{said_edges(truth.bins)} as in the set"
        )
    return tuple(notes)


def _hints(
    truth: GroundTruth, labels: Sequence[str], confusions: Sequence[npt.NDArray[np.int64]]
) -> list[str]:
    """Return the hints on the pixel counts of each folder; see :mod:`sbdata.score.hints`."""
    pixels = sum(width * height for width, height in truth.sizes.values())
    found = [nothing_but_void(confusions[0], pixels), background_as_class(truth.taxonomy.classes)]
    for label, confusion in zip(labels, confusions, strict=True):
        hint = numbers_mixed_up(confusion, truth.taxonomy.classes)
        found.append(f"{label}: {hint}" if hint and len(labels) > 1 else hint)
    return [hint for hint in found if hint]


def _told_by_colour(label: str, images: int) -> str:
    return (
        f"{label}: the masks of {count(images, 'image')} have VOC's colours under other numbers, "
        "so the colours determined the classes"
    )


def _provenance(
    task: ScoreTask, parts: Sequence[Part], options: ScoreOptions, labels: Sequence[str]
) -> dict[str, Any]:
    truth = task.truth
    if truth.logical_hash is not None:
        digest, digest_of = truth.logical_hash, "the manifest's rows (its logical hash)"
    else:
        lines = sorted(pair for part in parts for pair in part.truth_digests)
        digest = _digest(f"{found}  {image_id}" for image_id, found in lines)
        hashed = (
            "mask file, and of its segments and their classes"
            if truth.kind == "panoptic"
            else "mask file"
        )
        digest_of = f"lines '<SHA-256 of each {hashed}>  <image_id>', sorted by image_id"
    return {
        "sbdata": __version__,
        "metric": METRIC,
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "pillow": PIL.__version__,
            "pyarrow": pa.__version__,
        },
        "truth": {
            "name": truth.name,
            "kind": truth.kind,
            "path": str(truth.path),
            "images": len(truth.image_ids),
            "sha256": digest,
            "sha256_of": digest_of,
        },
        "predictions": [
            _about_predictions(listing, label, [pair for part in parts for pair in part.digests[k]])
            for k, (listing, label) in enumerate(zip(task.listings, labels, strict=True))
        ],
        "options": {
            **options.metric.as_dict(),
            "decode_palette": options.decode_palette,
            "allow_missing": options.allow_missing,
            **_about_palette(task.contract.palette),
            **({"bins": options.bins} if isinstance(options.bins, str) else {}),
        },
        "resamples": options.resamples,
        "seed": options.seed,
    }


def _about_palette(palette: Palette | None) -> dict[str, Any]:
    if palette is None:
        return {}
    return {"palette": palette.name, "palette_sha256": palette.digest}


def _about_predictions(
    listing: PredictionIndex, label: str, digests: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    form, told = "<image_id>.png", {}
    if listing.arrays:
        form = "<image_id>.png or .npy"
    if listing.read_map is not None:
        form, told = "<image_id>", {"json_and_ids_sha256": listing.identity}
    return {
        "name": label,
        "folder": str(listing.folder),
        "path": str(listing.folder.resolve()),
        "files": len(digests),
        "missing": len(listing.missing),
        "ignored": len(listing.ignored),
        "sha256": _digest(f"{found}  {listing.name(i)}" for i, found in sorted(digests)),
        "sha256_of": f"lines '<SHA-256 of the file>  {form}', sorted by image_id",
        **told,
    }


def _digest(lines: Iterable[str]) -> str:
    found = hashlib.sha256()
    for line in lines:
        found.update(f"{line}\n".encode())
    return found.hexdigest()
