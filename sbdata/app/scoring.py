"""Score a folder of predictions from within the app, and attach the run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sbdata.app.attached import check_comparable, noted_metric
from sbdata.app.info import field_name, info_of, set_root
from sbdata.app.run_folder import read_run
from sbdata.app.runs import attach_run, check_fields
from sbdata.app.views import arrange_sidebar, save_views
from sbdata.errors import InputError
from sbdata.parallel import Progress
from sbdata.score.inputs import ProblemsError, write_problems
from sbdata.score.run import ScoreOptions, name_of, score_folder
from sbdata.score.truth import truth_from_set
from sbdata.score.write import check_place, problems_file, write_result
from sbdata.sets import open_set

if TYPE_CHECKING:
    import fiftyone as fo


def score_and_attach(
    dataset: fo.Dataset,
    predictions: Path,
    out: Path,
    name: str = "",
    *,
    progress: Progress | None = None,
) -> tuple[str, tuple[str, ...]]:
    """Score predictions for a dataset's set as ``sbdata score`` does, and attach the run.

    The result is written to ``out/name``, without a report.

    Args:
        dataset: Dataset that holds the set.
        predictions: Folder of ``<image_id>.png``.
        out: Folder of all results.
        name: Name of the result; the name of the predictions folder by default.
        progress: Callback with (images scored, total images).

    Returns:
        The run's name, and messages for the user.

    Raises:
        InputError: If the set is no longer at the path it was loaded from, the predictions do not
            have the required format, the result cannot be written, or the attached runs were
            scored with other options. Nothing is attached then.
    """
    known = info_of(dataset)
    root = set_root(known)
    opened = open_set(root)
    name = name or name_of(predictions)
    folder = check_place(out, name, predictions)
    options = ScoreOptions()
    noted = noted_metric(options.metric.as_dict(), options.resamples, options.seed)
    others = {run: note for run, note in known["runs"].items() if run != field_name(name)}
    check_comparable(name, noted, others)  # scoring takes minutes, so check first
    check_fields(field_name(name), others, known["sizes"])
    try:
        scored = score_folder(
            predictions, truth_from_set(root), options, name=name, progress=progress
        )
    except ProblemsError as error:
        listed = problems_file(folder)
        write_problems(listed, error.problems)
        first = str(error).splitlines()[0]
        msg = f"{predictions}: {first} All of them, by file: {listed}"
        raise InputError(msg) from error
    run = read_run(write_result(scored, out))
    notes = attach_run(dataset, opened, run)
    save_views(dataset, opened)
    arrange_sidebar(dataset)
    return run.title, notes


def default_results(dataset: fo.Dataset) -> Path:
    """Return the default folder for results: beside the attached results, or beside the set."""
    known = info_of(dataset)
    for run in known["runs"].values():
        return Path(run["folder"]).parent
    return Path(known["root"]).parent / "scores"
