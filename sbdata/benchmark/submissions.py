"""Checks of submitted results before they are added to a leaderboard.

A file is read as the leaderboard reads it. Then its name, its sets and the arithmetic between its
values are checked. Whether a method really has these values is not checked: that would need its
masks.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sbdata.benchmark.entries import read_records
from sbdata.benchmark.leaderboard import read_boards
from sbdata.benchmark.records import (
    DIFFERENCES_FORMAT,
    FORMAT,
    PairedDifferences,
    ResultRecord,
    ScoredSet,
    Value,
    differences_file,
    read_differences,
    read_result,
    result_file,
)
from sbdata.errors import InputError
from sbdata.json_files import read_json
from sbdata.manifest import IMAGES_FILE, Manifest, read_manifest
from sbdata.metrics.image import METRIC
from sbdata.metrics.registry import METRICS, metric_of, sizes_in
from sbdata.quoting import quoted
from sbdata.storage import is_safe_stem

MAX_BYTES = 1 << 20
"""Largest size of a submitted file, in bytes; one of ``sbdata bench`` has about 20,000."""

_HASH = re.compile(r"[0-9a-f]{64}")
_NAMED = re.compile(r".*(\.seed\d+\.|-differences\.).*\.json")
_SHARES = re.compile(r"miou|pixel_accuracy|ia(_\w+)?\.\w+|region_precision\w*")
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Submission:
    """Findings of a check.

    Attributes:
        results: Number of results that were read.
        differences: Number of files of paired differences that were read.
        skipped: JSON files of other formats, which no leaderboard reads.
        problems: One sentence for each problem, with the file's name.
    """

    results: int
    differences: int
    skipped: tuple[Path, ...]
    problems: tuple[str, ...]


def known_sets(folder: Path) -> dict[str, Manifest]:
    """Read the manifests in the subfolders of a folder, by their logical hashes.

    Raises:
        InputError: If a manifest is invalid, or there is none.
    """
    manifests = [read_manifest(path.parent) for path in sorted(folder.glob(f"*/{IMAGES_FILE}"))]
    if not manifests:
        msg = f"{folder}: no subfolder has a manifest ({IMAGES_FILE}); give a folder of sets"
        raise InputError(msg)
    return {manifest.logical_hash: manifest for manifest in manifests}


def check_submission(
    paths: Sequence[Path], known: Mapping[str, Manifest] | None = None
) -> Submission:
    """Check result files, and the files of differences beside them.

    Args:
        paths: Files, or folders that are searched for JSON files. Links are never followed.
        known: Sets that results may be scored on, by logical hash; None allows any.
    """
    problems: list[str] = []
    skipped: list[Path] = []
    read = {FORMAT: 0, DIFFERENCES_FORMAT: 0}
    for path in sorted({file for given in paths for file in _files(given)}):
        try:
            format_ = _format_of(path)
            if format_ == FORMAT:
                result = read_result(path)
                found = list(_of_result(path, result, known))
            elif format_ == DIFFERENCES_FORMAT:
                found = list(_of_differences(path, read_differences(path)))
            else:
                skipped.append(path)
                continue
        except InputError as error:
            problems.append(str(error))
            continue
        read[format_] += 1
        problems += [f"{path}: {text}" for text in found]
    if not problems:
        try:
            read_boards(paths)
        except InputError as error:
            problems.append(str(error))
    return Submission(read[FORMAT], read[DIFFERENCES_FORMAT], tuple(skipped), tuple(problems))


# --- files ----------------------------------------------------------------------------------------


def _files(given: Path) -> Iterator[Path]:
    """Yield JSON files and links; a folder behind a link is not entered."""
    if not given.is_dir() or given.is_symlink():
        yield given
        return
    for folder, folders, names in os.walk(given):
        for name in (*folders, *names):
            path = Path(folder, name)
            if path.is_symlink() or (name in names and path.suffix == ".json"):
                yield path


def _format_of(path: Path) -> str:
    """Return the format of a JSON file, or an empty string for one that is not a result.

    Raises:
        InputError: If it is a link, too large, unreadable, or named like a result without being
            one.
    """
    if path.is_symlink():
        msg = f"{path}: a link; submit the file itself"
        raise InputError(msg)
    if path.is_file() and path.stat().st_size > MAX_BYTES:
        msg = f"{path}: larger than {MAX_BYTES:,} bytes, which no result of 'sbdata bench' is"
        raise InputError(msg)
    raw = read_json(path, "submit the file that 'sbdata bench' wrote")
    format_ = raw.get("format") if isinstance(raw, dict) else None
    if format_ in (FORMAT, DIFFERENCES_FORMAT):
        return str(format_)
    if _NAMED.fullmatch(path.name) or str(format_).startswith(("sbdata.result", "sbdata.diff")):
        msg = (
            f"{path}: has the format {quoted(format_)}, not {FORMAT} or {DIFFERENCES_FORMAT}; "
            "submit the file that this version's 'sbdata bench' wrote"
        )
        raise InputError(msg)
    return ""


# --- contents -------------------------------------------------------------------------------------


def _of_result(
    path: Path, result: ResultRecord, known: Mapping[str, Manifest] | None
) -> Iterator[str]:
    yield from _of_names(result.method, result.strategy, result.training.set, *result.sets)
    wanted = result_file(path.parent, result).name
    if path.name != wanted:
        yield f"its content belongs to the file name {quoted(wanted, 200)}; give it this name"
    if result.seed < 0 or result.training.images < 1:
        yield "seed and number of training images must be at least 0 and 1"
    if not _HASH.fullmatch(result.training.logical_hash):
        yield "the logical hash of the training set is not a SHA-256 of 64 hexadecimal digits"
    if not result.sets:
        yield "has no scored set; run 'sbdata bench' again with --set"
        return
    for name, scored in result.sets.items():
        texts = [*_of_set(scored)]
        if known is not None:
            texts += _of_known(name, scored, result, known)
        yield from (f"set {quoted(name)}: {text}" for text in texts)
    for record in read_records([path])[0][:1]:
        pseudo = record.pseudo
        if pseudo is not None:
            figures = {key: Value(value) for key, value in pseudo.figures.items()}
            counts = pseudo.n_images, pseudo.n_instances, pseudo.n_classes
            yield from (f"pseudo-masks: {t}" for t in _of_values(pseudo.metric, *counts, figures))


def _of_names(*names: str) -> Iterator[str]:
    for name in names:
        if not is_safe_stem(name):
            yield f"the name {quoted(name)} is no plain name; use letters, digits, - and _"


def _of_set(scored: ScoredSet) -> Iterator[str]:
    if not _HASH.fullmatch(scored.logical_hash):
        yield "its logical hash is not a SHA-256 of 64 hexadecimal digits"
    if scored.split != scored.protocol.split:
        yield "names two different splits"
    counts = scored.n_images, scored.n_instances, scored.n_classes
    yield from _of_values(scored.metric, *counts, scored.figures)


def _of_known(
    name: str, scored: ScoredSet, result: ResultRecord, known: Mapping[str, Manifest]
) -> Iterator[str]:
    """Compare a scored set with the manifest of its logical hash."""
    manifest = known.get(scored.logical_hash)
    if manifest is None:
        names = ", ".join(sorted(one.name for one in known.values()))
        yield f"logical hash {quoted(scored.logical_hash)} is of no known set ({names})"
        return
    sizes = manifest.instances["size"].to_pylist()
    own = {f"ia_{size}": sizes.count(size) for size in manifest.bins.names}
    splits = ", ".join(sorted(manifest.images["split"].unique().to_pylist()))
    for what, given, wanted in (
        ("name", name, manifest.name),
        ("split", scored.split, splits),
        ("number of images", scored.n_images, len(manifest.images)),
        ("number of instances by size", dict(scored.n_instances),
         {"ia": len(sizes), "ia_objects": len(sizes), **own}),
    ):  # fmt: skip
        if given != wanted:
            yield f"{what} is {quoted(given, 200)}, but {wanted!r} in the known set of its hash"
    if manifest.meta["synthetic"] and not result.synthetic:
        yield "the known set is synthetic, and the result does not say so"


def _of_values(
    metric: str,
    n_images: int,
    n_instances: Mapping[str, int],
    n_classes: Mapping[str, int],
    figures: Mapping[str, Value],
) -> Iterator[str]:
    """Check the range of each value, and the arithmetic between counts and values."""
    if metric != METRIC:
        yield f"the metric is {quoted(metric)}, and this version of sbdata knows {METRIC}"
        return
    for key, at in figures.items():
        ends = at.interval or ()
        numbers = [n for n in (at.value, *ends) if n is not None]
        if metric_of(key)[0].key not in METRICS:
            yield f"{quoted(key)} is not a value of {METRIC}"
        elif _SHARES.fullmatch(key) and not all(0 <= n <= 1 for n in numbers):
            yield f"{key} or its interval is not between 0 and 1"
        if list(ends) != sorted(ends):
            yield f"the ends of the interval of {key} are in the wrong order"
    sizes = [f"ia_{size}" for size in sizes_in(n_instances)]
    means = [f"{name}.{mean}" for name in n_instances for mean in ("class_mean", "instance_mean")]
    lacking = {"miou", *means} - set(figures) | {"ia", "ia_objects"} - set(n_instances)
    if lacking or set(n_classes) != set(n_instances) or not sizes:
        yield f"lacks {', '.join(sorted(lacking)) or 'numbers of instances or classes'}"
        return

    def total(name: str, mean: str) -> float:
        numbers = n_instances if mean == "instance_mean" else n_classes
        return (figures[f"{name}.{mean}"].value or 0.0) * numbers[name]

    n, background = n_instances["ia"], n_classes["ia"] - n_classes["ia_objects"]
    whole, objects = (total(name, "instance_mean") for name in ("ia", "ia_objects"))
    of_background = total("ia", "class_mean") - total("ia_objects", "class_mean")
    defined = all(
        (figures[key].value is not None) == (numbers[key.partition(".")[0]] > 0)
        for key in means
        for numbers in [n_instances if key.endswith("instance_mean") else n_classes]
    )
    near = partial(math.isclose, whole, abs_tol=_TOLERANCE * max(1, n))
    rules = (
        (n_images > 0 <= min(*n_instances.values(), *n_classes.values()),
         "a number of images, instances or classes is too small"),
        (n == n_instances["ia_objects"] == sum(n_instances[size] for size in sizes),
         "the numbers of instances by size do not add up to that of all"),
        (all(n_classes[k] <= n_instances[k] for k in n_instances if k != "ia"),
         "there are more classes than instances of a size"),
        (background in (0, 1), "the classes of ia must be those of ia_objects, and background"),
        (defined, "an IA must be null if it is of no instance or class, and only then"),
        (near(objects), "the instance means of ia and ia_objects differ"),
        (near(sum(total(size, "instance_mean") for size in sizes)),
         "the instance mean of ia is not that of the sizes, weighted by their instances"),
        (-_TOLERANCE <= of_background <= background + _TOLERANCE,
         "no IA of background between 0 and 1 gives the class means of ia and ia_objects"),
    )  # fmt: skip
    yield from (text for holds, text in rules if not holds)


def _of_differences(path: Path, found: PairedDifferences) -> Iterator[str]:
    strategies = {name for pair in found.pairs for name in (pair.first, pair.second)}
    yield from _of_names(found.method, *sorted(strategies), *(pair.set for pair in found.pairs))
    wanted = differences_file(path.parent, found).name
    if path.name != wanted:
        yield f"its content belongs to the file name {quoted(wanted, 200)}; give it this name"
