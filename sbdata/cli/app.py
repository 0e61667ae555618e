"""``sbdata app``: show a set, and the predictions of methods on it, in the FiftyOne app."""

from __future__ import annotations

import time
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sbdata.cli.examples import examples
from sbdata.cli.output import say
from sbdata.cli.shell_completion import complete_set
from sbdata.errors import InputError

if TYPE_CHECKING:
    from sbdata.app.dataset import LoadedDataset
    from sbdata.curate.inputs import Progress

_FOLDER = click.Path(path_type=Path)


@click.command(
    epilog=examples(
        "sbdata app data/shapes-b", "sbdata app data/shapes-b --scores scores/mine --port 5152"
    )
)
@click.argument(
    "set_folder",
    metavar="[SET]",
    type=_FOLDER,
    default=Path("data/shapes-b"),
    shell_complete=complete_set,
)
@click.option(
    "--scores",
    "scores",
    metavar="RUN",
    multiple=True,
    type=_FOLDER,
    help="Result folder of `sbdata score` on the set, such as scores/NAME; may be repeated.",
)
@click.option(
    "--export", type=_FOLDER, help="Write FiftyOne's dataset to this new folder, then exit."
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=5151,
    show_default=True,
    help="Port of the app's web server.",
)
@click.option(
    "--address",
    default="127.0.0.1",
    show_default=True,
    help="Network address that the app's web server listens on.",
)
@click.option(
    "--app-data",
    type=_FOLDER,
    default=Path("data/fiftyone"),
    show_default=True,
    help="Folder for the app's database and masks.",
)
@click.option("--fresh", is_flag=True, help="Recreate the dataset, dropping its runs and tags.")
def app(
    set_folder: Path,
    scores: tuple[Path, ...],
    export: Path | None,
    port: int,
    address: str,
    app_data: Path,
    fresh: bool,
) -> None:
    """Open the set in SET [data/shapes-b] in the FiftyOne app, until Ctrl-C.

    The set stays loaded: the next start reads only changes, and attached runs are shown again.
    FiftyOne's usage reports are turned off.
    """
    if find_spec("fiftyone") is None:
        msg = "FiftyOne is not installed; run `make app` or `pip install 'sbdata[app]'`"
        raise InputError(msg)
    from sbdata.app.database import running_database
    from sbdata.app.environment import link_plugins, prepare_environment
    from sbdata.app.serving import check_port, serving, stopping_on_signals
    from sbdata.cli.progress import showing_progress

    # Input is checked before FiftyOne is started, because its start is slow.
    if not set_folder.exists():
        msg = (
            f"{set_folder}: no such folder; give the set's new folder if it was moved, or build a "
            "set by 'sbdata dataset build'"
        )
        raise InputError(msg)
    _check_runs(set_folder, scores)
    if export is None:
        check_port(address, port)
    with ExitStack() as stack:
        stack.enter_context(stopping_on_signals())
        database = stack.enter_context(running_database(app_data / "database"))
        prepare_environment(
            database.uri, link_plugins(app_data / "plugins"), validate=not database.is_own
        )
        with showing_progress() as progress:
            loaded = _load(set_folder, scores, app_data / "masks", fresh, progress)
        if export is not None:
            from sbdata.app.export import export_dataset

            written = export_dataset(loaded.dataset, export)
            say(f"{len(loaded.dataset):,} images of {loaded.dataset.name} in {written}")
            return
        from sbdata.app.spaces import first_spaces

        stack.enter_context(serving(loaded.dataset, address, port, first_spaces()))
        say(
            f"{len(loaded.dataset):,} images of {loaded.dataset.name} at http://{address}:{port}; "
            "Ctrl-C ends it"
        )
        try:
            while True:
                time.sleep(1)
        except KeyboardInterrupt:
            say("stopping", err=True)


def _check_runs(set_folder: Path, scores: tuple[Path, ...]) -> None:
    from sbdata.app.run_folder import check_runs, read_run
    from sbdata.app.runs import check_fields
    from sbdata.manifest import check_has_masks
    from sbdata.score.saved import check_saved_bins, check_saved_score
    from sbdata.sets import open_set

    opened = open_set(set_folder.resolve())
    check_has_masks(opened.manifest, opened.root, "the app")
    runs = [read_run(folder) for folder in scores]
    check_runs(runs)
    for run in runs:
        check_saved_score(run, opened)
        check_saved_bins(run, opened)
        check_fields(run.name, [other.name for other in runs], opened.bins.names)


def _load(
    set_folder: Path, scores: tuple[Path, ...], masks: Path, fresh: bool, progress: Progress
) -> LoadedDataset:
    from sbdata.app.dataset import load_set
    from sbdata.app.run_folder import read_run
    from sbdata.app.runs import attach_run, restore_masks
    from sbdata.app.views import arrange_sidebar, save_views
    from sbdata.metrics.image import METRIC

    loaded = load_set(set_folder, masks, fresh=fresh, progress=partial(progress, "images"))
    if loaded.change == "changed":
        lost = f"; no longer attached: {', '.join(loaded.detached)}" if loaded.detached else ""
        say(f"{set_folder}: has changed since it was loaded, and was read again{lost}")
    elif loaded.change == "moved":
        say(f"{set_folder}: the set was moved here since it was loaded")
    runs = [read_run(folder) for folder in scores]
    given = {run.title for run in runs}
    notes = [
        f"{title}: no longer attached, since its scores are not all of {METRIC}; score the "
        "predictions again by 'sbdata score', and give the result by --scores"
        for title in loaded.outdated
        if title not in given
    ]
    for run in runs:
        showing = partial(progress, run.name)
        notes += attach_run(loaded.dataset, loaded.opened, run, progress=showing)
    for note in (*notes, *restore_masks(loaded.dataset, loaded.opened)):
        say(f"note: {note}")
    save_views(loaded.dataset, loaded.opened)
    arrange_sidebar(loaded.dataset)
    return loaded
