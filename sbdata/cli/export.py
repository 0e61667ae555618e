"""``sbdata dataset export``: a set in the formats of other tools."""

from __future__ import annotations

import json
from pathlib import Path

import click

from sbdata.cli.examples import examples
from sbdata.cli.output import say
from sbdata.cli.shell_completion import complete_set
from sbdata.errors import InputError
from sbdata.machine import usable_cores
from sbdata.printable import printable
from sbdata.quoting import quoted
from sbdata.storage import is_safe_stem

FORMATS = ("coco", "hf", "yolo", "cvat")

_USED_BY = {
    "coco": "annotations/instances_SPLIT.json, for pycocotools and the tools that read COCO",
    "hf": 'Parquet and a card, for datasets.load_dataset("{folder}")',
    "yolo": "data.yaml, for Ultralytics' semantic segmentation",
    "cvat": '"Segmentation mask 1.1", for CVAT and Datumaro',
}


@click.command(
    epilog=examples(
        "sbdata dataset export data/shapes-b --to coco",
        "sbdata dataset export data/shapes-b --to hf --out exports/shapes-b --push ORG/shapes-b",
    )
)
@click.argument("path", metavar="SET", type=click.Path(path_type=Path), shell_complete=complete_set)
@click.option("--to", "form", type=click.Choice(FORMATS), required=True, help="Format.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder to write [exports/NAME-FORMAT]."
)
@click.option(
    "--push",
    metavar="ORG/NAME",
    help="With --to hf: upload to this dataset of the Hugging Face Hub (extra hf).",
)
@click.option(
    "--benchmark",
    is_flag=True,
    help="With --to hf: write eval.yaml, which makes the dataset a benchmark of the Hub.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=usable_cores,
    show_default="one per core",
    help="Number of threads; the result does not depend on it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def export(
    path: Path,
    form: str,
    out: Path | None,
    push: str | None,
    benchmark: bool,
    workers: int,
    as_json: bool,
) -> None:
    """Write the set in SET in another tool's format.

    coco: instances JSON with run-length codes. hf: Parquet and a dataset card. yolo: Ultralytics'
    semantic segmentation. cvat: CVAT's "Segmentation mask 1.1". An unchanged export to the same
    format is replaced; a folder that holds anything else is left alone. With --push, photos are
    uploaded only if the terms of all allow it, the manifest alone otherwise; a repository that
    does not exist is created as a private one.
    """
    from functools import partial

    from sbdata.cli.progress import showing_progress
    from sbdata.export.export_set import export_set
    from sbdata.export.push import check_repository, open_hub, push_export
    from sbdata.sets import open_set

    hub = None
    if push is not None:
        if form != "hf":
            msg = "--push uploads an export to hf; add --to hf"
            raise InputError(msg)
        check_repository(push)
        hub = open_hub()
    opened = open_set(path)
    if out is None and not is_safe_stem(opened.name):
        msg = f"{path}: its name {quoted(opened.name)} names no folder; give one by --out"
        raise InputError(msg)
    folder = out or Path("exports") / f"{opened.name}-{form}"
    with showing_progress(quiet=as_json) as progress:
        found = export_set(
            opened,
            form,
            folder,
            workers=workers,
            progress=partial(progress, "export"),
            benchmark=benchmark,
        )
    pushed = None
    if push is not None:
        pushed = push_export(opened, folder, push, hub, benchmark=benchmark)
    notes = [*found, *([pushed.note] if pushed and pushed.note else [])]
    synthetic = opened.manifest.meta["synthetic"]
    instances = opened.manifest.instances.num_rows
    if as_json:
        said = {
            "export": str(folder),
            "format": form,
            "set": str(path),
            "name": opened.name,
            "synthetic": synthetic,
            "images": len(opened),
            "instances": instances,
            "logical_hash": opened.logical_hash,
            "notes": notes,
            "pushed": pushed and {"repository": pushed.repository, "url": pushed.url,
                                  "photos": not pushed.note},
        }  # fmt: skip
        say(json.dumps(said, indent=2))
        return
    name = f"{opened.name}{' (synthetic)' if synthetic else ''}"
    say(f"{folder}: {len(opened):,} images and {instances:,} instances of {name}")
    say(f"  {_USED_BY[form].format(folder=folder)}")
    for note in notes:
        say(f"note: {printable(note)}")
    if pushed is not None:
        say(f"uploaded to {pushed.url}")
