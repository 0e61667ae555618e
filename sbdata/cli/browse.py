"""``sbdata browse``: a page with the objects of a set by size, and up to two scores on them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from sbdata.cli.examples import examples
from sbdata.cli.output import say
from sbdata.cli.shell_completion import complete_set

_FOLDER = click.Path(path_type=Path)


@click.command(
    epilog=examples(
        "sbdata browse data/shapes-b --open",
        "sbdata browse data/shapes-b scores/mine scores/other --out browse/mine-other",
    )
)
@click.argument("set_folder", metavar="SET", type=_FOLDER, shell_complete=complete_set)
@click.argument("scores", metavar="[SCORES]...", type=_FOLDER, nargs=-1)
@click.option("--out", type=_FOLDER, help="Output folder [browse/NAME, NAME being the set's].")
@click.option("--open", "in_browser", is_flag=True, help="Open the page in a browser.")
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes for reading photos; the files do not depend on it.",
)
def browse(
    set_folder: Path, scores: tuple[Path, ...], out: Path | None, in_browser: bool, workers: int
) -> None:
    """Write a page that shows the objects of SET by size, with their outlines.

    SCORES are up to two result folders of `sbdata score` on the set, such as scores/NAME. The page
    then has each object's IA and outcome and, if the predictions are still there, their pixels.

    The page works offline, without a server. Up to 2,000 objects it is one file; with more, their
    pictures are in files beside it.
    """
    from sbdata.cli.progress import showing_progress
    from sbdata.errors import InputError
    from sbdata.report.browse import write_browse
    from sbdata.score.saved import read_saved_score
    from sbdata.sets import open_set
    from sbdata.storage import is_safe_stem

    opened = open_set(set_folder)
    if out is None:
        if not is_safe_stem(opened.name):
            msg = f"{set_folder}: the set's name cannot name a folder; give one by --out"
            raise InputError(msg)
        out = Path("browse") / opened.name
    found = [read_saved_score(folder) for folder in scores]
    with showing_progress() as progress:
        done = write_browse(
            opened, out, found, workers=workers, progress=partial(progress, "crops")
        )
    files = "one file" if done.files == 1 else f"{done.files:,} files"
    synthetic = " (synthetic)" if opened.manifest.meta["synthetic"] else ""
    say(
        f"{done.page}: {done.objects:,} objects of {opened.name}{synthetic}, {files}, "
        f"{done.size / 1e6:.1f} MB"
    )
    for note in done.notes:
        say(f"note: {note}")
    if in_browser:
        import webbrowser

        webbrowser.open(done.page.resolve().as_uri())
