"""``sbdata pseudo import``: convert published masks and activation maps to pseudo-masks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from sbdata.cli.examples import examples
from sbdata.cli.output import say
from sbdata.cli.shell_completion import complete_map_source, complete_set, complete_taxonomy
from sbdata.cli.tables import print_table
from sbdata.errors import InputError

if TYPE_CHECKING:
    from sbdata.importers.folder import Detected
    from sbdata.importers.record import Record
    from sbdata.importers.target import Target

_FOLDER = click.Path(path_type=Path)
_SCORE = click.FloatRange(0, 1)
_CONTROLS = ("no pixel", "under 50 %")


@click.command(
    "import",
    epilog=examples(
        "sbdata pseudo import maps --set data/shapes-train --source irn --dry-run",
        "sbdata pseudo import masks --list train.txt --photos JPEGImages --name mine",
    ),
)
@click.argument("folder", metavar="FOLDER", type=_FOLDER, required=False)
@click.option(
    "--set",
    "set_folder",
    type=_FOLDER,
    shell_complete=complete_set,
    help="Built set with the images of the files.",
)
@click.option(
    "--list",
    "list_file",
    type=_FOLDER,
    help="Text file of image ids, one per line, instead of a set.",
)
@click.option(
    "--photos", type=_FOLDER, help="Folder with the photos of --list, to determine their sizes."
)
@click.option(
    "--taxonomy",
    shell_complete=complete_taxonomy,
    default="voc20",
    show_default=True,
    help="Classes of the masks, with --list.",
)
@click.option(
    "--source", metavar="NAME", shell_complete=complete_map_source,
    help="Method that produced the maps; sets its defaults (see --sources).",
)  # fmt: skip
@click.option("--sources", "listing", is_flag=True, help="List the known sources, then exit.")
@click.option("--url", help="URL where the files were published [the source's repository].")
@click.option(
    "--supervision", multiple=True, metavar="KIND",
    help="Supervision of the method: image_labels, boxes, saliency; may be repeated "
    "[the source's].",
)  # fmt: skip
@click.option(
    "--background", metavar="RULE",
    help="Background rule for maps: a number, power:N, saliency, saliency:N or map "
    "[the source's].",
)  # fmt: skip
@click.option(
    "--normalise", type=click.Choice(["none", "max", "min-max"]),
    help="Normalise each map before thresholding.",
)  # fmt: skip
@click.option("--floor", type=_SCORE, help="Set class scores below this value to 0.")
@click.option(
    "--conflict",
    type=_SCORE,
    help="Mark pixels as ignored (255) if more than one class scores above this value.",
)
@click.option(
    "--doubt", type=_SCORE,
    help="Mark background pixels as ignored (255) if a class scores above this value.",
)  # fmt: skip
@click.option(
    "--salient", type=_SCORE,
    help="Mark background pixels with at least this saliency as ignored (255).",
)  # fmt: skip
@click.option(
    "--confidence", type=_SCORE,
    help="Mark pixels as ignored (255) if the best class has less than this share of all scores.",
)  # fmt: skip
@click.option(
    "--sparse", type=_SCORE, help="Ignore an image if less than this fraction is foreground."
)
@click.option(
    "--refine", type=click.Choice(["none", "pamr", "par", "crf"]), help="Refinement of the maps."
)
@click.option(
    "--saliency", type=_FOLDER, help="Folder of saliency maps (grey PNGs), for rules that use them."
)
@click.option(
    "--merge", type=click.Choice(["agree", "crf", "ret"]), default="agree", show_default=True,
    help="Rule to combine BANA's two masks; agree gives 255 where they differ.",
)  # fmt: skip
@click.option("--layout", help="File layout, if it cannot be detected.")
@click.option("--crop", is_flag=True, help="Crop masks that are larger than their image.")
@click.option("--resize", is_flag=True, help="Scale masks to the size of their image.")
@click.option(
    "--missing", type=click.Choice(["error", "ignored", "background"]), default="error",
    show_default=True, help="Treatment of images without a file.",
)  # fmt: skip
@click.option("--name", help="Name of the import [that of --source, otherwise of FOLDER].")
@click.option(
    "--work", type=_FOLDER, default=Path("runs/bench"), show_default=True,
    help="Work folder of `sbdata bench`; imports are written to its subfolder imports.",
)  # fmt: skip
@click.option("--out", type=_FOLDER, help="Folder to write the import to [WORK/imports/NAME].")
@click.option(
    "--workers", type=click.IntRange(min=1), default=1, show_default=True,
    help="Number of threads that convert files.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Show the detected type of the files, then exit.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def import_command(
    folder: Path | None,
    set_folder: Path | None,
    list_file: Path | None,
    photos: Path | None,
    taxonomy: str,
    source: str | None,
    listing: bool,
    url: str | None,
    supervision: tuple[str, ...],
    name: str | None,
    work: Path,
    out: Path | None,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Import the masks or activation maps in FOLDER as pseudo-masks.

    The type of the files is detected from their contents: .npy dictionaries of seven layouts and
    PNGs of four, with ids in any spelling. Pickles are read but never executed. The masks are
    written to NAME/masks, with import.json next to them; 'sbdata bench --method import:NAME' uses
    them for training.
    """
    if listing:
        _list_sources(as_json)
        return
    if folder is None:
        msg = "give the FOLDER with the published masks or maps; --sources lists known sources"
        raise InputError(msg)
    from functools import partial

    from sbdata.cli.progress import showing_progress
    from sbdata.importers.decoding import Fit
    from sbdata.importers.folder import Request, detect, import_masks
    from sbdata.importers.record import IMPORTS_FOLDER
    from sbdata.importers.rules import Changes
    from sbdata.machine import check_output

    change_names = ("background", "normalise", "floor", "conflict", "doubt", "salient",
                    "confidence", "sparse", "refine")  # fmt: skip
    request = Request(
        folder=folder,
        target=_target(set_folder, list_file, photos, taxonomy),
        name=name or source or folder.resolve().name,
        source=source,
        url=url,
        supervision=supervision,
        layout=options["layout"],
        changes=Changes(**{key: options[key] for key in change_names}),
        saliency=options["saliency"],
        merge=options["merge"],
        fit=Fit(options["crop"], options["resize"]),
        missing=options["missing"],
        workers=options["workers"],
    )
    if dry_run:
        _show_detected(detect(request), as_json)
        return
    place = out or work / IMPORTS_FOLDER / request.name
    check_output(place.parent)
    with showing_progress(quiet=as_json) as progress:
        record = import_masks(request, place, partial(progress, "import"))
    if as_json:
        say(json.dumps({"folder": str(place), **record.as_dict()}, indent=2))
    else:
        _show(record, place, work)


def _target(
    set_folder: Path | None, list_file: Path | None, photos: Path | None, taxonomy: str
) -> Target:
    from sbdata.importers.target import target_of_list, target_of_set
    from sbdata.taxonomy import named_taxonomy

    if (set_folder is None) == (list_file is None):
        msg = "name the images of the files: give either --set, or --list with --photos"
        raise InputError(msg)
    if set_folder is not None:
        _check_of_list(photos)
        return target_of_set(set_folder)
    assert list_file is not None  # noqa: S101 - one of the two is given
    return target_of_list(list_file, named_taxonomy(taxonomy), photos)


def _check_of_list(photos: Path | None) -> None:
    """Refuse what is said of the images of --list if they are those of a set."""
    taxonomy = click.get_current_context().get_parameter_source("taxonomy")
    if photos is not None or taxonomy is ParameterSource.COMMANDLINE:
        option = "--taxonomy" if photos is None else "--photos"
        msg = f"{option} is for --list, and does not go with --set; leave it out"
        raise InputError(msg)


def _list_sources(as_json: bool) -> None:
    from sbdata.importers.sources import SOURCES

    rows = [
        {
            "name": source.name,
            "title": source.title,
            "supervision": list(source.supervision),
            "rule": None if source.rule is None else str(source.rule),
            "why": source.why,
            "url": source.url,
        }
        for source in SOURCES.values()
    ]
    if as_json:
        say(json.dumps(rows, indent=2))
        return
    for row in rows:
        say(f"{row['name']:<14} {row['title']}; {row['rule'] or row['why']}. {row['url']}")
    say("Finished masks need no rule, whatever their source.")


def _show_detected(found: Detected, as_json: bool) -> None:
    if as_json:
        said = {
            "layout": found.layout.name,
            "decisions": list(found.decisions),
            "rule": None if found.rule is None else str(found.rule),
            "images": len(found.layout.files),
            "missing": len(found.missing),
            "extra": len(found.layout.extra),
            "warnings": list(found.warnings),
        }
        say(json.dumps(said, indent=2))
        return
    for text in found.decisions:
        say(text)
    for text in found.warnings:
        say(f"Warning: {text}")
    say(
        f"{len(found.layout.files):,} images of {found.request.target.title} have files, "
        f"{len(found.missing):,} have none; {len(found.layout.extra):,} files belong to other "
        "images. Nothing was written."
    )


def _show(record: Record, place: Path, work: Path) -> None:
    from sbdata.formatting import percent
    from sbdata.importers.record import IMPORTS_FOLDER

    for text in record.decisions:
        say(text)
    for text in record.warnings:
        say(f"Warning: {text}")
    changed = [
        (record.missing, f"have no file and are {record.missing_as}"),
        (record.extra, "further files belong to other images"),
        (record.cropped, "were cropped"),
        (record.resized, "were resized"),
    ]
    notes = "".join(f"; {n:,} {what}" for n, what in changed if n)
    shares = record.shares
    say(
        f"{record.images:,} masks{notes}. {percent(shares.ignored)} of their pixels are ignored "
        f"(255), {percent(shares.background)} background"
    )
    _show_sizes(record)
    inside = place.absolute().parent == (work / IMPORTS_FOLDER).absolute()
    call = f"import:{record.name}" if inside else f"import:{place}/"
    say(f"{place}: masks and import.json; 'sbdata bench --method {call}' trains on them")


def _show_sizes(record: Record) -> None:
    from sbdata.formatting import NOTHING, percent

    components = record.components
    rows = []
    for size, n in components.by_size.items():
        true = None if components.instances_by_size is None else components.instances_by_size[size]
        lost = {row["threshold"]: row for row in record.losses or () if row["size"] == size}
        cells = [
            f"{lost[t]['lost']:,} ({percent(lost[t]['lost'] / lost[t]['n'])})"
            if t in lost and lost[t]["n"]
            else NOTHING
            for t in _CONTROLS
        ]
        rows.append([size, f"{n:,}", NOTHING if true is None else f"{true:,}", *cells])
    header = ["size", "components", "true instances", *(f"lost: {t}" for t in _CONTROLS)]
    print_table(header, rows)
