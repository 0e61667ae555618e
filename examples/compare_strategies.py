"""Train a segmenter under several strategies and seeds, score each, write one table as JSON.

    python examples/compare_strategies.py data/shapes-train data/shapes-b --seeds 3 --threads 2 \
        --result results/strategies-shapes.json

The masks are the training set's ground truth: what is compared is the loss, nothing else. A run
that was stopped goes on; --only SEED trains one seed, so that several processes can share the work.
"""

from __future__ import annotations

import json
import statistics
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import torch

from sbdata.cli.progress import showing_progress
from sbdata.score.run import ScoreOptions, score_folder
from sbdata.score.truth import truth_from_set
from sbdata.sets import open_set
from sbdata.storage import write_text
from sbdata.train.checkpoint import load_model
from sbdata.train.devices import take_place
from sbdata.train.predict import predict_folder
from sbdata.train.preset import load_preset
from sbdata.train.refine import make_refiner
from sbdata.train.samples import check_images, images_of_set
from sbdata.train.strategies import environment, run_strategy

STRATEGIES = ("ce", "ce-ft", "sb", "sb-ft", "sb-ewc")
CONTROL = "ce-ft"
FIGURES = ("miou", *(f"{ia}.{mean}" for mean in ("class_mean", "instance_mean")
                     for ia in ("ia", "ia_small", "ia_medium", "ia_large")))  # fmt: skip

_FOLDER = click.Path(path_type=Path)


@click.command()
@click.argument("training", type=_FOLDER)
@click.argument("scored", type=_FOLDER, nargs=-1, required=True)
@click.option("--preset", default="smoke", show_default=True)
@click.option("--option", "overrides", multiple=True, metavar="KEY=VALUE")
@click.option("--seeds", default=1, show_default=True)
@click.option(
    "--only", type=int, multiple=True, help="Seeds to train and predict, without a table."
)
@click.option("--threads", default=1, show_default=True)
@click.option("--device", default="auto", show_default=True)
@click.option("--runs", type=_FOLDER, default=Path("runs/compare"), show_default=True)
@click.option("--result", type=_FOLDER, required=True)
def main(
    training: Path,
    scored: tuple[Path, ...],
    preset: str,
    overrides: tuple[str, ...],
    seeds: int,
    only: tuple[int, ...],
    threads: int,
    device: str,
    runs: Path,
    result: Path,
) -> None:
    """Train on TRAINING and score on every set SCORED."""
    torch.set_num_threads(threads)
    settings, place = load_preset(preset, overrides), take_place(device)
    images = images_of_set(training)
    check_images(images)
    abouts: dict[tuple[int, str], dict[str, Any]] = {}
    refiner = make_refiner(settings.inference.refine)
    with showing_progress() as progress:
        for seed in only or range(seeds):
            for name in STRATEGIES:
                out = runs / f"seed-{seed}"
                abouts[seed, name] = run_strategy(
                    name,
                    images,
                    settings,
                    out,
                    place,
                    seed=seed,
                    progress=lambda stage, *of, s=seed: progress(f"{s} {stage}", *of),
                )
                for root in scored:
                    opened = open_set(root)
                    model, _ = load_model(out / name, opened.taxonomy)
                    predict_folder(
                        model.to(place.device),
                        [(i, opened.image_path(i)) for i in opened],
                        out / name / root.name,
                        scales=settings.inference.scales,
                        flip=settings.inference.flip,
                        refine=refiner,
                        refined_by=settings.inference.refine,
                        device=place.device,
                    )
        if only:
            return
        tables = {root.name: _table(root, runs, seeds, progress) for root in scored}
    first = abouts[0, STRATEGIES[0]]
    values = {
        "command": " ".join(["python", *sys.argv]),
        "synthetic": images.synthetic,
        "seeds": list(range(seeds)),
        "preset": settings.as_dict(),
        "training": {"images": len(images), **images.source, "masks": images.masks_digest},
        "initialisation": first["initialisation"],
        "pretrained": first["pretrained"],
        "environment": environment(place),
        "seconds": {
            f"seed {seed}, {name}": round(about["seconds"], 1)
            for (seed, name), about in abouts.items()
        },
        "sets": tables,
    }
    write_text(result, json.dumps(values, indent=2) + "\n")
    for name, table in tables.items():
        _print(name, table)


def _table(root: Path, runs: Path, seeds: int, progress: Any) -> dict[str, Any]:
    """Score all strategies of all seeds on one set, each compared with the control by pairs."""
    truth = truth_from_set(root)
    others = [name for name in STRATEGIES if name != CONTROL]
    figures: dict[str, list[dict[str, Any]]] = {name: [] for name in STRATEGIES}
    differences: dict[str, list[dict[str, Any]]] = {name: [] for name in others}
    for seed in range(seeds):
        folders = {name: runs / f"seed-{seed}" / name / root.name for name in STRATEGIES}
        found = score_folder(
            folders[CONTROL],
            truth,
            ScoreOptions(),
            against=[folders[name] for name in others],
            progress=lambda done, total, s=seed: progress(f"score {s}", done, total),  # type: ignore[misc]
        )
        figures[CONTROL].append(found.summary.headline())
        for name, other in zip(others, found.compared, strict=True):
            figures[name].append(dict(other.figures))
            differences[name].append({
                figure: None if d is None else asdict(d)
                for figure, d in other.differences.items() if figure in FIGURES
            })  # fmt: skip
    return {
        "logical_hash": open_set(root).logical_hash,
        "metric": found.summary.metric,
        "n_instances": {n: f.n_instances for n, f in found.summary.ia.items()},
        "n_classes": {n: f.n_classes for n, f in found.summary.ia.items()},
        "strategies": {
            name: {
                figure: _spread([row[figure] for row in rows]) for figure in FIGURES
            }
            for name, rows in figures.items()
        },
        f"minus_{CONTROL}": differences,
    }  # fmt: skip


def _spread(values: list[float]) -> dict[str, Any]:
    """Return the values of all seeds with their mean and sample standard deviation."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "std": deviation, "values": values}


def _print(name: str, table: dict[str, Any]) -> None:
    click.echo(f"\n{name}, n = {table['n_instances']}")
    click.echo("| strategy | " + " | ".join(FIGURES) + " |")
    click.echo("| --- |" + " ---: |" * len(FIGURES))
    for strategy, row in table["strategies"].items():
        cells = [
            f"{c['mean']:.3f}" + ("" if c["std"] is None else f" ± {c['std']:.3f}")
            for c in (row[figure] for figure in FIGURES)
        ]
        click.echo(f"| {strategy} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
