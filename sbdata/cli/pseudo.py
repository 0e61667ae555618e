"""``sbdata pseudo``: score and import pseudo-masks, before a segmenter is trained on them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sbdata.cli.examples import examples
from sbdata.cli.output import say
from sbdata.cli.pseudo_import import import_command
from sbdata.cli.shell_completion import complete_set
from sbdata.cli.tables import print_table
from sbdata.errors import InputError

if TYPE_CHECKING:
    from sbdata.score.pseudo_masks import PseudoScore
    from sbdata.sets import EvaluationSet

_FOLDER = click.Path(path_type=Path)
_OBJECTS = 20  # on a page


@click.group(
    epilog=examples(
        "sbdata pseudo import maps --set data/shapes-train --source irn",
        "sbdata pseudo score runs/bench/imports/irn/masks --set data/shapes-train",
    )
)
def pseudo() -> None:
    """Pseudo-masks: score them by object size, and import published ones."""


pseudo.add_command(import_command)


@pseudo.command(
    "score",
    epilog=examples(
        "sbdata pseudo score pseudo-masks --set data/shapes-train",
        "sbdata pseudo score pseudo-masks --set data/shapes-train --stage seeds=work/seeds",
        "sbdata pseudo score pseudo-masks --set data/shapes-train --stage seeds=work/seeds "
        "--after segmenter=predictions/train --page stages.html",
    ),
)
@click.argument("masks", metavar="MASKS", type=_FOLDER)
@click.option(
    "--set",
    "set_folder",
    type=_FOLDER,
    shell_complete=complete_set,
    required=True,
    help="Built set that the masks were made for.",
)
@click.option(
    "--stage",
    "stages",
    multiple=True,
    metavar="NAME=FOLDER",
    help="Class masks of an earlier stage of the method, such as seeds=DIR; may be repeated, in "
    "the order of the stages.",
)
@click.option(
    "--after",
    multiple=True,
    metavar="NAME=FOLDER",
    help="Class masks of a stage after MASKS, such as segmenter=DIR: what a segmenter predicts for "
    "the photos that it was trained on; may be repeated, in the order of the stages.",
)
@click.option(
    "--labels",
    type=_FOLDER,
    help="Image-level labels that the method learned from, as the first stage: a file or folder as "
    "for 'sbdata bench --labels'.",
)
@click.option(
    "--page",
    metavar="FILE.html",
    type=_FOLDER,
    help="Page to write, with photos and each stage's masks of the small objects that tell most "
    "about where objects are lost.",
)
@click.option(
    "--objects",
    type=click.IntRange(min=1),
    help="Number of objects on the --page [20].",
)
@click.option(
    "--resamples",
    type=click.IntRange(min=0),
    default=1000,
    show_default=True,
    help="Number of bootstrap resamples; 0 disables confidence intervals.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Bootstrap seed."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def score(
    masks: Path,
    set_folder: Path,
    stages: tuple[str, ...],
    after: tuple[str, ...],
    labels: Path | None,
    page: Path | None,
    objects: int | None,
    resamples: int,
    seed: int,
    as_json: bool,
) -> None:
    """Score the pseudo-masks in MASKS by object size, and count the instances each stage loses.

    MASKS, and the folder of every --stage and --after, must contain <image_id>.png for each image
    of the set: class numbers, 0 for background, 255 for pixels that training ignores.
    'sbdata bench --stages' names the folders of a bench.
    """
    from functools import partial

    named = [_stage("--stage", text) for text in stages]
    later = [_stage("--after", text) for text in after]
    if objects is not None and page is None:
        msg = "--objects is the number of objects on a page; add --page FILE.html"
        raise InputError(msg)
    # Before Arrow is imported: its own allocator keeps the memory that reading a large set takes.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    from sbdata.cli.progress import showing_progress
    from sbdata.score.pseudo_masks import MASKS, pseudo_as_dict, score_pseudo
    from sbdata.sets import open_set

    opened = open_set(set_folder)
    if page is not None:
        from sbdata.report.stages_page import check_page

        check_page(page, opened)
    with showing_progress(quiet=as_json) as progress:
        found = score_pseudo(
            masks,
            opened,
            named,
            later,
            labels=None if labels is None else _labels(labels, opened),
            resamples=resamples,
            seed=seed,
            progress=partial(progress, "score"),
        )
    n_shown = 0
    if page is not None:
        from sbdata.report.stages_page import write_stages_page

        folders = {**dict(named), MASKS: masks, **dict(later)}
        n_shown = write_stages_page(found, opened, folders, page, objects or _OBJECTS)
    if as_json:
        written = {} if page is None else {"page": str(page)}
        say(json.dumps({**pseudo_as_dict(found), **written}, indent=2))
        return
    _print(found)
    if page is not None:
        say(f"{page}: {n_shown:,} {opened.bins.names[0]} objects by stage")


def _stage(option: str, text: str) -> tuple[str, Path]:
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        msg = f"{option} takes NAME=FOLDER, such as seeds=work/seeds, not {text!r}"
        raise InputError(msg)
    return name, Path(folder)


def _labels(labels: Path, opened: EvaluationSet) -> dict[str, tuple[int, ...]]:
    from sbdata.weak_labels.sources import WeakSources

    weak = WeakSources(labels=str(labels)).read(opened, None)
    return {row.image_id: row.classes for row in weak.rows}


def _print(found: PseudoScore) -> None:
    scored = found.as_background
    say(
        f"{scored.name} on {scored.truth_name}{' (synthetic)' if scored.synthetic else ''}: "
        f"{scored.summary.n_images:,} pseudo-masks, {scored.summary.ia['ia'].n_instances:,} "
        f"instances, {scored.summary.metric}"
    )
    _print_figures(found)
    _print_losses(found)
    for note in scored.notes:
        say(f"note: {note}")


def _print_figures(found: PseudoScore) -> None:
    from sbdata.formatting import NOTHING, caption, estimate, percent, span

    scored, excluded = found.as_background, found.excluded

    def shown(key: str, value: float | None) -> list[str]:
        return [estimate(key, value), span(scored.intervals[key], key)]

    rows = [
        [caption("miou"), *shown("miou", scored.summary.miou), NOTHING, NOTHING,
         estimate("miou", excluded.figures["miou"]), NOTHING, NOTHING],
    ]  # fmt: skip
    rows += [
        [
            caption(key),
            *shown(f"{key}.class_mean", ia.class_mean),
            estimate(key, ia.instance_mean),
            f"{ia.n_instances:,} / {ia.n_classes}",
            estimate(key, excluded.figures[f"{key}.class_mean"]),
            estimate(key, excluded.figures[f"{key}.instance_mean"]),
            f"{excluded.n_instances[key]:,} / {excluded.n_classes[key]}",
        ]
        for key, ia in scored.summary.ia.items()
    ]
    header = [
        "",
        "255 background:\nclass mean",
        "\n95 %",
        "\ninstance mean",
        "\ninstances / classes",
        "255 left out:\nclass mean",
        "\ninstance mean",
        "\ninstances / classes",
    ]
    print_table(header, rows)
    say(
        f"255 left out: {percent(excluded.excluded_pixels)} of the pixels; an instance keeps the "
        "size of its whole area."
    )


def _print_losses(found: PseudoScore) -> None:
    from sbdata.formatting import NOTHING, percent

    rows = []
    for row in found.losses.to_pylist():
        n, lost = row["n"], row["lost"]
        whither = [row[f"to_{place}"] for place in ("ignored", "background", "other")]
        rows.append(
            [
                f"{row['stage']}: {row['size']}",
                row["threshold"],
                f"{n:,}",
                f"{lost:,}",
                percent(lost / n) if n else NOTHING,
                f"{row['newly_lost']:,}",
                f"{row['regained']:,}",
                *(f"{count:,}" for count in whither),
            ]
        )
    header = ["stage: size", "lost if", "instances", "lost", "share", "newly lost",
              "regained", "to ignored", "to background", "to another class"]  # fmt: skip
    print_table(header, rows)
    say(
        "lost: no pixel of the instance, or less than that share of them, has its class. to: the "
        "value of most of its other pixels. newly lost, regained: compared with the stage before."
    )
