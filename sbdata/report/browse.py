"""Write the page of a set's objects: read photos and predictions, cut crops, write the folder."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import orjson

from sbdata.drawn_rows import drawn_rows
from sbdata.errors import InputError
from sbdata.machine import check_output, writing_to
from sbdata.manifest import check_has_masks
from sbdata.parallel import Progress, run_each
from sbdata.quoting import quoted
from sbdata.report.browse_page import (
    LETTERS,
    PER_FILE,
    BrowsePage,
    browsed_objects,
    crops_file,
    crops_script,
)
from sbdata.report.crops import PATHS_BEFORE, CropTask, CutImages, Predictions, cut_images
from sbdata.score.inputs import PredictionFormat
from sbdata.score.saved import SavedScore, check_saved_score
from sbdata.sets import EvaluationSet
from sbdata.storage import alone, replacing, restore_folder, write_bytes, write_text

PAGE_FILE = "index.html"
MOST_IN_PAGE = 2_000
"""Number of objects up to which the crops lie in the page itself, so that it is one file."""

_CHUNK = 16  # images that a worker takes at a time
_OURS = re.compile(r"crops-\d{4,}\.js")
_MARK = b'<meta name="generator" content="sbdata browse">'
_MARK_WITHIN = 4096  # leading bytes of a page that contain the mark
_SAME = ("fp_attribution", "rounding")  # the options that change the values of an object


@dataclass(frozen=True)
class BrowseResult:
    """Page that was written.

    Attributes:
        page: Path of the page.
        objects: Number of objects.
        files: Number of files.
        size: Their total size in bytes.
        notes: Sentences on the scores, which the page shows, too.
    """

    page: Path
    objects: int
    files: int
    size: int
    notes: tuple[str, ...]


def write_browse(
    opened: EvaluationSet,
    out: Path,
    scores: Sequence[SavedScore] = (),
    *,
    most_in_page: int = MOST_IN_PAGE,
    workers: int = 1,
    progress: Progress | None = None,
) -> BrowseResult:
    """Write a folder with a page that shows the objects of a set, and up to two scores on it.

    Args:
        opened: Set with masks.
        out: Folder to write; absent, empty, or an earlier one, which is replaced.
        scores: Scores on the set; the page also shows the first minus the second.
        most_in_page: Number of objects up to which the page is one file.
        workers: Number of processes that read photos; the files do not depend on it.
        progress: Callback, called with (images done, total images).

    Raises:
        InputError: If the set has no masks or no objects, a photo cannot be read, a score is of
            another set, there are more than two scores or they were scored in different ways, or
            ``out`` holds other files.
    """
    check_has_masks(opened.manifest, opened.root, "browsing")
    if not opened.manifest.instances.num_rows:
        msg = f"{opened.root}: the set has no objects; there is nothing to show"
        raise InputError(msg)
    _check_scores(opened, scores)
    _check_place(out)
    objects = browsed_objects(opened, scores)
    with writing_to(out), alone(out), replacing(out) as prepared:
        spool = prepared / "spool"
        spool.mkdir()
        task = CropTask(opened.root, tuple(_predictions(opened, s) for s in scores), spool)
        cut = _cut(task, opened, workers, progress)
        problems = [_problem(scores[k], task.predictions[k], cut, k) for k in range(len(scores))]
        notes = _notes(opened, scores, problems)
        altered = [k for k, problem in enumerate(problems) if problem and task.predictions[k]]
        lists = _crop_lists(cut, objects.rows.tolist(), altered)
        crops = None
        if objects.rows.size <= most_in_page:
            crops = list(lists)
        else:
            for number, found in enumerate(lists):
                write_bytes(prepared / crops_file(number), crops_script(number, found))
        page = BrowsePage(opened, scores, [not problem for problem in problems], notes)
        write_text(prepared / PAGE_FILE, page.html(objects, crops))
        shutil.rmtree(spool)
    sizes = [file.stat().st_size for file in out.iterdir()]
    return BrowseResult(out / PAGE_FILE, objects.rows.size, len(sizes), sum(sizes), notes)


def _check_scores(opened: EvaluationSet, scores: Sequence[SavedScore]) -> None:
    if len(scores) > len(LETTERS):
        msg = f"{len(scores)} scores; a page shows at most {len(LETTERS)}, give one or two"
        raise InputError(msg)
    for score in scores:
        check_saved_score(score, opened)
        for name in _SAME:
            one, other = scores[0].options[name], score.options[name]
            if one != other:
                msg = (
                    f"{scores[0].folder} was scored with {name} {one}, and {score.folder} with "
                    f"{other}; score one of them again"
                )
                raise InputError(msg)


# --- crops ----------------------------------------------------------------------------------------


def _predictions(opened: EvaluationSet, score: SavedScore) -> Predictions | None:
    """Return the predictions of a score; None if they cannot be shown."""
    if score.predictions is None or score.without_masks:
        return None
    contract = PredictionFormat(
        opened.taxonomy,
        predicted_void=bool(score.options.get("predicted_void")),
        decode_palette=bool(score.options.get("decode_palette")),
    )
    columns = (score.images[name].to_pylist() for name in ("image_id", "missing"))
    missing = frozenset(image_id for image_id, gone in zip(*columns, strict=True) if gone)
    return Predictions(score.predictions, contract, missing)


def _cut(
    task: CropTask, opened: EvaluationSet, workers: int, progress: Progress | None
) -> list[CutImages]:
    rows, total = list(drawn_rows(opened.manifest)), len(opened)
    chunks = [rows[first : first + _CHUNK] for first in range(0, total, _CHUNK)]

    def in_images(done: int, _: int) -> None:
        if progress is not None:
            progress(min(done * _CHUNK, total), total)

    return run_each(
        partial(cut_images, task),
        list(enumerate(chunks)),
        workers=workers,
        processes=True,
        fork=True,
        progress=in_images,
    )


def _crop_lists(
    cut: Sequence[CutImages], rows: Sequence[int], altered: Sequence[int]
) -> Iterator[bytes]:
    """Yield the crops of each ``PER_FILE`` objects as JSON, without pixels of altered folders."""
    places = [
        (part.file, start, end)
        for part in cut
        for start, end in zip((0, *part.ends), part.ends, strict=False)
    ]
    for first in range(0, len(rows), PER_FILE):
        lines = []
        for row in rows[first : first + PER_FILE]:
            file, start, end = places[row]
            with file.open("rb") as stream:
                stream.seek(start)
                line = stream.read(end - start)
            if altered:
                values = orjson.loads(line)
                for k in altered:
                    values[PATHS_BEFORE + k] = None
                line = orjson.dumps(values)
            lines.append(line)
        yield b"[%s]" % b",\n".join(lines)


def _problem(
    score: SavedScore, predictions: Predictions | None, cut: Sequence[CutImages], k: int
) -> str:
    """Return why the predicted pixels of the k-th score are not shown; empty if they are."""
    if predictions is None:
        return score.without_masks
    problem = next((part.problems[k] for part in cut if part.problems[k]), "")
    if problem:
        return f"the predictions in {predictions.folder} are not those that were scored ({problem})"
    digest = hashlib.sha256("".join(part.digests[k] for part in cut).encode()).hexdigest()
    if digest != score.predictions_hash:
        return f"the predictions in {predictions.folder} are not those that were scored"
    return ""


def _notes(
    opened: EvaluationSet, scores: Sequence[SavedScore], problems: Sequence[str]
) -> tuple[str, ...]:
    notes = []
    for letter, score, problem in zip(LETTERS, scores, problems, strict=False):
        notes += [f"{letter}: {note}" for note in score.summary.get("notes", ())]
        if problem:
            notes.append(f"{letter}: shown without its pixels, for {problem}")
    return tuple(notes)


# --- the folder -----------------------------------------------------------------------------------


def _check_place(out: Path) -> None:
    """Check that a folder holds nothing but an earlier page, before any work is done for it.

    Raises:
        InputError: If it holds anything else, or cannot be written.
    """
    if out.name in ("", ".."):
        msg = f"{out}: cannot be replaced as a whole; name a folder by --out, such as browse/mine"
        raise InputError(msg)
    with writing_to(out):
        restore_folder(out)
        if out.is_symlink() or (out.exists() and not out.is_dir()):
            msg = f"{out}: not a folder; give another one by --out"
            raise InputError(msg)
        entries = sorted(out.iterdir()) if out.exists() else []
        strange = [e.name for e in entries if not (e.name == PAGE_FILE or _OURS.fullmatch(e.name))]
        if not strange and entries and not _is_page(out / PAGE_FILE):
            strange = [entries[0].name]
    if strange:
        msg = (
            f"{out}: holds {quoted(strange[0])}, which 'sbdata browse' did not write and which "
            "would be lost; give another folder by --out"
        )
        raise InputError(msg)
    check_output(out.parent)


def _is_page(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return _MARK in stream.read(_MARK_WITHIN)
