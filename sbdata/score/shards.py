"""Score a large set in shards, one call for each, and merge them to the result of a single call.

Shard K of N has the images at places ``[(K - 1) * n // N, K * n // N)`` of the sorted ids. Its file
has their counts and rows, and all that must be equal in the others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sbdata.errors import InputError
from sbdata.fingerprints import code_fingerprint, digest_of
from sbdata.metrics import Accumulator
from sbdata.metrics.image import METRIC
from sbdata.metrics.tables import ScoreTables
from sbdata.parallel import Progress
from sbdata.quoting import quoted
from sbdata.score.ground_truth import GroundTruth
from sbdata.score.inputs import PredictionIndex
from sbdata.score.result import ScoreResult
from sbdata.score.run import Part, ScoreOptions, ScoreTask, gather, score_images
from sbdata.score.tables_file import read_parts, write_parts
from sbdata.storage import sha256_of

_NAME = re.compile(r"(?P<name>.+)\.shard-(?P<number>\d+)-of-(?P<total>\d+)\.npz")


def parse_shard(text: str) -> tuple[int, int]:
    """Return K and N of a shard written as ``K/N``.

    Raises:
        InputError: If it is not, or K does not lie in 1..N.

    >>> parse_shard("2/8")
    (2, 8)
    """
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    number, total = map(int, found.groups()) if found else (0, 0)
    if not 1 <= number <= total:
        msg = f"--shard takes K/N with K in 1..N, such as 2/8, not {quoted(text)}"
        raise InputError(msg)
    return number, total


def write_shard(
    out: Path,
    name: str,
    shard: tuple[int, int],
    task: ScoreTask,
    options: ScoreOptions,
    call: Mapping[str, Any],
    *,
    workers: int = 1,
    progress: Progress | None = None,
) -> Path:
    """Score one shard and write its file ``<out>/<name>.shard-K-of-N.npz``; return it.

    Args:
        out: Folder of the shards.
        name: Name of the result.
        shard: K and N.
        task: What to score.
        options: Options of the whole score.
        call: Plain values by which the merge opens the same truth.
        workers: Number of processes.
        progress: Callback, called with (images done, total images).

    Raises:
        ProblemsError: As for :func:`~sbdata.score.run.score_images`.
        InputError: If the truth cannot be read, or has fewer images than there are shards.
    """
    (number, total), images = shard, len(task.truth.image_ids)
    if total > images:
        msg = f"--shard: {total} shards for {images} images; choose at most {images}"
        raise InputError(msg)
    places = range((number - 1) * images // total, number * images // total)
    part = _joined(task, score_images(task, places, workers, progress))
    head = {
        "name": name,
        "call": dict(call),
        "must": _must_be_equal(task, options),
        "shard": shard,
        **{key: getattr(part, key) for key in ("digests", "truth_digests", *_COUNTS)},
    }
    path = out / f"{name}.shard-{number}-of-{total}.npz"
    write_parts(path, head, [scores.tables() for scores in part.scores])
    return path


def find_shards(places: Sequence[Path]) -> tuple[dict[str, Any], list[Path]]:
    """Return the call that the shards in some folders record, and their files, in order.

    Args:
        places: Folders that have shards, or files of shards.

    Raises:
        InputError: If there are none, those of several results, one twice, or one is missing.
    """
    files: dict[int, Path] = {}
    kinds = set()
    for place in places:
        listed = sorted(place.iterdir()) if place.is_dir() else [place]
        for file in listed:
            if not (found := _NAME.fullmatch(file.name)):
                continue
            number, total = int(found["number"]), int(found["total"])
            if not 1 <= number <= total:
                continue
            kinds.add((found["name"], total))
            if len(kinds) > 1:
                (one, of_one), (other, of_other) = sorted(kinds)
                msg = (
                    f"{place}: shards of several results ({quoted(one)} in {of_one} and "
                    f"{quoted(other)} in {of_other}); give a folder with the shards of one result"
                )
                raise InputError(msg)
            if number in files:
                msg = f"{file}: shard {number} is also in {files[number]}; leave one of them out"
                raise InputError(msg)
            files[number] = file
    if not kinds:
        where = ", ".join(map(str, places))
        msg = f"{where}: no shard in it; write shards by `sbdata score PRED --shard K/N --out DIR`"
        raise InputError(msg)
    ((name, total),) = kinds
    lacking = [k for k in range(1, total + 1) if k not in files]
    if lacking:
        shown = ", ".join(map(str, lacking[:8])) + (", ..." if len(lacking) > 8 else "")
        msg = f"{name}: of {total} shards, {shown} missing; score them by --shard K/{total}"
        raise InputError(msg)
    paths = [files[k] for k in sorted(files)]
    return _read(paths[0])[0], paths


def _read(path: Path) -> tuple[dict[str, Any], list[ScoreTables]]:
    head, tables = read_parts(path)
    if head.keys() != _HEAD or len(head["digests"]) != len(tables):
        msg = f"{path}: not a shard of this version of sbdata; score the shard again"
        raise InputError(msg)
    return head, tables


def merge_shards(task: ScoreTask, options: ScoreOptions, paths: Sequence[Path]) -> ScoreResult:
    """Return the result that one call gives, from the files of all its shards.

    Args:
        task: What was scored, opened again.
        options: Options of the score.
        paths: Files of the shards, in order.

    Raises:
        InputError: If a file is damaged, or its shard was scored with other options, against
            another truth, from other predictions or by another version of the code; or if a file of
            predictions or of the truth changed since.
    """
    expected = _must_be_equal(task, options)
    parts, name = [], ""
    images = task.truth.image_ids
    for number, path in enumerate(paths, 1):
        head, tables = _read(path)
        differing = [what for what, value in expected.items() if head["must"].get(what) != value]
        if differing:
            msg = (
                f"{path}: made with other {differing[0]} than this merge, which follows the first "
                "shard; score the shard again, or leave it out"
            )
            raise InputError(msg)
        begin, end = ((k * len(images)) // len(paths) for k in (number - 1, number))
        if any(found.image_ids != images[begin:end] for found in tables):
            msg = f"{path}: not the images of shard {number} of {len(paths)}; score the shard again"
            raise InputError(msg)
        name = head["name"]
        parts.append(
            Part(
                scores=[Accumulator.of_tables(found) for found in tables],
                digests=[[(i, digest) for i, digest in pairs] for pairs in head["digests"]],
                truth_digests=[(i, digest) for i, digest in head["truth_digests"]],
                **{key: head[key] for key in _COUNTS},
            )
        )
    for k, listing in enumerate(task.listings):
        if listing.read_map is None or listing.file_of is not None:
            # The hash of a JSON file of results must be equal anyway.
            _check_unchanged(listing, [pair for part in parts for pair in part.digests[k]])
    _check_truth_unchanged(task.truth, [pair for part in parts for pair in part.truth_digests])
    return gather(task, parts, options, name)


def _check_unchanged(listing: PredictionIndex, digests: Sequence[tuple[str, str]]) -> None:
    """Refuse shards of which some were scored before, and some after, a prediction was changed."""
    for image_id, digest in digests:
        file = listing.path(image_id)
        try:
            same = file is not None and sha256_of(file) == digest
        except OSError:
            same = False
        if not same:
            msg = (
                f"{listing.folder}: {listing.name(image_id)} changed since its shard was scored; "
                "score all shards again"
            )
            raise InputError(msg)


def _check_truth_unchanged(truth: GroundTruth, digests: Sequence[tuple[str, str]]) -> None:
    """Refuse shards of which some were scored before, and some after, the truth was changed.

    A truth with a logical hash has no digests of its images: its hash must be equal anyway.
    """
    for image_id, digest in digests:
        if truth.load(image_id).digest != digest:
            msg = (
                f"{truth.path}: the truth of {image_id} changed since its shard was scored; score "
                "all shards again"
            )
            raise InputError(msg)


_COUNTS = ("unassigned", "void_in_one", "truth_by_colour", "by_colour")
_HEAD = {"name", "call", "must", "shard", "digests", "truth_digests", *_COUNTS}


def _joined(task: ScoreTask, parts: Sequence[Part]) -> Part:
    folders = range(len(task.listings))
    scores = [Accumulator(len(task.truth.taxonomy), task.metric) for _ in folders]
    for part in parts:
        for whole, own in zip(scores, part.scores, strict=True):
            whole.merge(own)
    return Part(
        scores=scores,
        digests=[[pair for part in parts for pair in part.digests[k]] for k in folders],
        truth_digests=[pair for part in parts for pair in part.truth_digests],
        unassigned=[n for part in parts for n in part.unassigned],
        void_in_one=[n for part in parts for n in part.void_in_one],
        truth_by_colour=sum(part.truth_by_colour for part in parts),
        by_colour=[sum(part.by_colour[k] for part in parts) for k in folders],
    )


def _must_be_equal(task: ScoreTask, options: ScoreOptions) -> dict[str, str]:
    """Return hashes of what all shards of a result must have in common, by its name."""
    truth, palette = task.truth, task.contract.palette
    found = {
        "options": [asdict(options), palette and palette.digest],
        "code of sbdata": [METRIC, code_fingerprint("sbdata.score.run")],
        "truth": [
            truth.kind,
            truth.name,
            truth.logical_hash,
            truth.image_ids,
            list(truth.taxonomy.classes),
        ],
        "predictions": [
            [str(listing.folder.resolve()), sorted(listing.found), listing.identity]
            for listing in task.listings
        ],
    }
    return {name: digest_of(values) for name, values in found.items()}
