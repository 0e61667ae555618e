"""``sbdata train``: train a segmenter on pseudo-masks, with one strategy or several."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sbdata.cli.examples import examples
from sbdata.cli.output import say
from sbdata.cli.shell_completion import (
    complete_set,
    complete_strategy,
    complete_taxonomy,
    complete_train_preset,
)
from sbdata.cli.tables import print_table
from sbdata.errors import InputError
from sbdata.limits import MAX_SEED

if TYPE_CHECKING:
    from sbdata.train.samples import TrainingImages

_FOLDER = click.Path(path_type=Path)


@click.command(
    epilog=examples(
        "sbdata train --set data/shapes-train --strategy ce --strategy sb-ewc",
        "sbdata train --images photos --masks pseudo-masks --preset photos --seed 0 --seed 1",
    )
)
@click.option(
    "--set",
    "set_folder",
    type=_FOLDER,
    shell_complete=complete_set,
    help="Built set with photos and masks.",
)
@click.option("--images", type=_FOLDER, help="Folder of photos, instead of a set.")
@click.option(
    "--masks",
    type=_FOLDER,
    help="Folder of masks <image_id>.png; 255 is void [the set's ground truth].",
)
@click.option(
    "--taxonomy",
    shell_complete=complete_taxonomy,
    help="Classes of --masks, with --images: a taxonomy or a file of class names [voc20].",
)
@click.option(
    "--ids", type=_FOLDER, help="Text file of the image ids to use, one per line, with --images."
)
@click.option(
    "--strategy",
    "strategies",
    multiple=True,
    shell_complete=complete_strategy,
    metavar="NAME",
    help="Training strategy, see --list; may be repeated [ce].",
)
@click.option(
    "--preset",
    default="smoke",
    show_default=True,
    shell_complete=complete_train_preset,
    help="Training preset: a name or a YAML file.",
)
@click.option(
    "--option",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a key of the preset; may be repeated.",
)
@click.option("--weights", help="Weights of the backbone: auto, none or a file [the preset's].")
@click.option(
    "--out",
    type=_FOLDER,
    default=Path("runs/train"),
    show_default=True,
    help="Folder to write the runs to.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, MAX_SEED),
    multiple=True,
    help="Training seed; its runs are written to OUT/seed-N; may be repeated [0].",
)
@click.option(
    "--device", default="auto", show_default=True, help="Device: auto, cpu, cuda or cuda:N."
)
@click.option(
    "--workers", type=click.IntRange(min=0),
    help="Number of data-loading workers; the result does not depend on it [0 on a CPU; on a GPU "
    "its share of the cores, at most 8].",
)  # fmt: skip
@click.option("--threads", type=click.IntRange(min=1), help="Number of PyTorch threads on the CPU.")
@click.option("--tensorboard", is_flag=True, help="Also write logs for TensorBoard.")
@click.option("--list", "listing", is_flag=True, help="List presets and strategies, then exit.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def train(
    set_folder: Path | None,
    images: Path | None,
    masks: Path | None,
    taxonomy: str | None,
    ids: Path | None,
    strategies: tuple[str, ...],
    preset: str,
    overrides: tuple[str, ...],
    weights: str | None,
    out: Path,
    seed: tuple[int, ...],
    device: str,
    workers: int | None,
    threads: int | None,
    tensorboard: bool,
    listing: bool,
    as_json: bool,
) -> None:
    """Train a segmenter on masks, with one strategy or several.

    Each run is written to OUT/seed-N/STRATEGY: model.pt, run.json and log.csv. An interrupted run
    resumes from its checkpoint; finished runs are not repeated. A run that another process is
    training is refused. Under torchrun, every process takes its share of each batch.
    """
    if listing:
        _list(as_json)
        return
    if threads:
        import torch

        torch.set_num_threads(threads)
    from sbdata.cli.progress import showing_progress
    from sbdata.machine import check_output
    from sbdata.train.devices import init_distributed
    from sbdata.train.lock import locked_run
    from sbdata.train.preset import load_preset
    from sbdata.train.registry import find_strategy
    from sbdata.train.samples import check_images
    from sbdata.train.strategies import run_strategy

    extra = (f"model.weights={weights}",) if weights else ()
    settings = load_preset(preset, (*overrides, *extra))
    names = strategies or ("ce",)
    for name in names:
        find_strategy(name)
    found = _opened(set_folder, images, masks, taxonomy, ids)
    check_output(out)
    place = init_distributed(device, workers)
    runs = []
    with showing_progress(quiet=as_json or not place.is_first) as progress:
        notes = check_images(found, lambda done, total: progress("check", done, total))
        for note in notes if place.is_first else ():
            say(f"note: {note}", err=True)
        for number in seed or (0,):
            for name in names:
                folder = out / f"seed-{number}"
                with locked_run(name, folder, place):
                    about = run_strategy(
                        name,
                        found,
                        settings,
                        folder,
                        place,
                        seed=number,
                        tensorboard=tensorboard,
                        progress=lambda stage, *of, n=number: progress(f"seed {n} {stage}", *of),
                    )
                runs.append({**about, "folder": str(folder / name)})
    if not place.is_first:
        return
    if as_json:
        say(json.dumps(runs, indent=2))
        return
    _say_start(runs[0])
    rows = [
        [
            r["strategy"],
            str(r["seed"]),
            f"{r['total_steps']:,}",
            f"{r['seconds']:.0f} s",
            f"{r['last_loss']:.4f}",
            r["folder"],
        ]
        for r in runs
    ]
    print_table(["strategy", "seed", "steps", "time", "last loss", "folder"], rows)


def _say_start(about: dict[str, Any]) -> None:
    kind = " (synthetic)" if about["synthetic"] else ""
    say(f"{about['training_images']:,} images{kind}; backbone: {about['initialisation']}")
    if not about["pretrained"]:
        say(
            "WARNING: the backbone started from random numbers; results say so and are not "
            "comparable with those of pretrained backbones",
            bold=True,
            err=True,
        )


def _opened(
    set_folder: Path | None,
    images: Path | None,
    masks: Path | None,
    taxonomy: str | None,
    ids: Path | None,
) -> TrainingImages:
    from sbdata.taxonomy import named_taxonomy
    from sbdata.text_files import read_lines
    from sbdata.train.samples import images_of_folders, images_of_set

    if (set_folder is None) == (images is None):
        msg = "give the training images: --set SET, or --images DIR with --masks DIR"
        raise InputError(msg)
    if set_folder is not None:
        for option, value in (("--taxonomy", taxonomy), ("--ids", ids)):
            if value is not None:
                msg = f"{option} does not go with --set; leave it out"
                raise InputError(msg)
        return images_of_set(set_folder, masks)
    if images is None or masks is None:
        msg = "--images needs --masks, the folder of their masks"
        raise InputError(msg)
    chosen = None
    if ids is not None:
        if not ids.is_file():
            msg = f"{ids}: no such file; --ids takes a text file with one image id per line"
            raise InputError(msg)
        lines = (line.strip() for line in read_lines(ids, "image ids"))
        chosen = [line for line in lines if line]
    return images_of_folders(images, masks, named_taxonomy(taxonomy or "voc20"), chosen)


def _list(as_json: bool) -> None:
    from sbdata.train.preset import bundled_presets
    from sbdata.train.registry import STRATEGIES

    if as_json:
        said = {
            "presets": bundled_presets(),
            "strategies": {s.name: s.summary for s in STRATEGIES.values()},
        }
        say(json.dumps(said, indent=2))
        return
    say(f"presets: {', '.join(bundled_presets())}")
    rows = [[s.name, s.summary] for s in STRATEGIES.values()]
    print_table(["strategy", ""], rows)
