"""``sbdata quickstart``: show what sbdata measures on generated images, in seconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sbdata.cli.examples import examples
from sbdata.cli.output import say
from sbdata.cli.tables import print_table

if TYPE_CHECKING:
    from sbdata.quickstart import Quickstart

_NEXT = (
    "sbdata score PREDICTIONS --voc VOCdevkit/VOC2012 --split val",
    "sbdata score PREDICTIONS --coco instances_val2017.json",
    "sbdata score PREDICTIONS --class-masks MASKS --instance-masks INSTANCES",
)


@click.command(
    epilog=examples("sbdata quickstart --open", "sbdata quickstart --out runs/quickstart --json")
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("sbdata-quickstart"),
    show_default=True,
    help="Folder to write everything to.",
)
@click.option("--open", "in_browser", is_flag=True, help="Open the report in a browser.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def quickstart(out: Path, in_browser: bool, as_json: bool) -> None:
    """Score three predictors on two dozen generated images, offline.

    Two of the predictors have nearly the same mIoU, although one of them misses every small object.
    OUT receives the set, the predictions, their scores with a report, and a figure. A second run
    writes the same files again.
    """
    from sbdata.cli.progress import showing_progress
    from sbdata.quickstart import run_quickstart

    with showing_progress(quiet=as_json) as progress:
        found = run_quickstart(out, progress)
    if as_json:
        said = {
            "synthetic": True,
            "metric": found.metric,
            "images": found.images,
            "instances": found.instances,
            "values": found.values,
            "folder": str(found.folder),
            "report": str(found.report),
            "figure": str(found.figure),
        }
        say(json.dumps(said, indent=2))
    else:
        _print(found)
    if in_browser:
        import webbrowser

        webbrowser.open(found.report.resolve().as_uri())


def _print(found: Quickstart) -> None:
    from sbdata.formatting import caption, estimate
    from sbdata.quickstart import BLURRED, KEYS, NAMES, WITHOUT_SMALL

    say(
        f"quickstart (synthetic): {found.images} generated images, {found.instances} instances, "
        f"{found.metric}"
    )
    rows = [
        [NAMES[name], *(estimate(key, value) for key, value in values.items())]
        for name, values in found.values.items()
    ]
    print_table(["predictor", *map(caption, KEYS)], rows)
    say(
        f"'{NAMES[WITHOUT_SMALL]}' and '{NAMES[BLURRED]}' have nearly the same mIoU, and only the "
        f"IA by size ({', '.join(map(caption, KEYS[2:]))}) shows which objects each of them loses."
    )
    say(f"report: {found.report}")
    say(f"figure: {found.figure}")
    say("With your own data, try:")
    for line in _NEXT:
        say(f"  {line}")
    say("  sbdata doctor")
