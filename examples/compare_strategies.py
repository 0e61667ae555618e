"""Train a segmenter under several strategies and seeds, score each, write one table as JSON.

    python examples/compare_strategies.py data/shapes-train data/shapes-b --seeds 3 --threads 1 \
        --result results/strategies-shapes.json

The masks are the training set's ground truth, so that only the loss differs. The rows of the table
are those of ``examples/losses.yaml`` or of the file of ``--rows``: strategies, perhaps with other
settings. Pairs of rows are compared for each seed, first minus second, with the same bootstrap
weights of the images for both.

An interrupted run resumes. To divide the work, start the command several times with --only SEED or
--row NAME: each call trains and predicts its part, and a last call without them writes the table.
"""

from __future__ import annotations

import json
import re
import shutil
import statistics
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import torch

from sbdata.benchmark.cache import locked
from sbdata.benchmark.steps.prediction import predict_set
from sbdata.cli import run
from sbdata.cli.progress import showing_progress
from sbdata.completion import MARKER
from sbdata.errors import InputError
from sbdata.file_hashes import FileHashes
from sbdata.score.run import ScoreOptions, score_folder
from sbdata.score.truth import truth_from_set
from sbdata.sets import open_set
from sbdata.settings import from_plain
from sbdata.storage import new_folder, remove_leftovers, write_text
from sbdata.text_files import read_text
from sbdata.train.devices import init_distributed
from sbdata.train.preset import load_preset
from sbdata.train.registry import FIRST_PHASE
from sbdata.train.samples import check_images, images_of_set
from sbdata.train.strategies import needs_first_phase, run_strategy
from sbdata.yaml_files import parse_yaml

FIGURES = ("miou", "ia.class_mean",
           *(f"{ia}.{mean}" for mean in ("class_mean", "instance_mean")
             for ia in ("ia_objects", "ia_small", "ia_medium", "ia_large")))  # fmt: skip

_FOLDER = click.Path(path_type=Path)


@dataclass(frozen=True)
class Row:
    """A row of the table: a strategy, and its changes of the preset, as ``key=value``."""

    strategy: str
    changes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """Rows to train by name, and the pairs of rows to compare, first minus second."""

    rows: Mapping[str, Row]
    pairs: tuple[tuple[str, ...], ...]


FREE = ("size_balance.", "ewc.")
"""Settings on which the shared first phase of a strategy does not depend."""


@click.command()
@click.argument("training", type=_FOLDER)
@click.argument("scored", type=_FOLDER, nargs=-1, required=True)
@click.option("--preset", default="smoke", show_default=True)
@click.option("--option", "overrides", multiple=True, metavar="KEY=VALUE")
@click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True)
@click.option(
    "--only", type=int, multiple=True, help="Seeds to train and predict, without a table."
)
@click.option(
    "--rows",
    "rows_file",
    type=_FOLDER,
    default=Path(__file__).with_name("losses.yaml"),
    help="YAML file with the rows and the pairs to compare [examples/losses.yaml].",
)
@click.option(
    "--row", "only_rows", multiple=True, help="Rows to train and predict, without a table."
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
    rows_file: Path,
    only_rows: tuple[str, ...],
    threads: int,
    device: str,
    runs: Path,
    result: Path,
) -> None:
    """Train on TRAINING and score on every set SCORED."""
    torch.set_num_threads(threads)
    settings, place = load_preset(preset, overrides), init_distributed(device)
    compared = from_plain(
        Comparison, parse_yaml(read_text(rows_file), str(rows_file)), str(rows_file)
    )
    unknown = {*only_rows, *(name for pair in compared.pairs for name in pair)} - {*compared.rows}
    if unknown:
        raise InputError(f"{rows_file} has no row {min(unknown)!r}; rows: "
                         f"{', '.join(compared.rows)}")  # fmt: skip
    if len({root.name for root in scored}) < len(scored):
        raise InputError("two scored sets have the same folder name; rename one")
    hashes = FileHashes()
    images = images_of_set(training, hashes=hashes)
    check_images(images)
    abouts: dict[tuple[int, str], dict[str, Any]] = {}
    with showing_progress() as progress:
        for seed in only or range(seeds):
            for name in only_rows or compared.rows:
                row, folder = compared.rows[name], _folder(runs, seed, name, compared)
                _copy_first_phase(row, runs / f"seed-{seed}", folder.parent)
                own = load_preset(preset, (*overrides, *row.changes))
                # Rows of one seed may share their first phase: the second call waits for it.
                shared = needs_first_phase(row.strategy, folder.parent)
                with locked(folder), locked(folder.parent / FIRST_PHASE, when=shared):
                    abouts[seed, name] = run_strategy(
                        row.strategy,
                        images,
                        own,
                        folder.parent,
                        place,
                        seed=seed,
                        progress=lambda stage, *of, s=seed, n=name: progress(
                            f"{s} {n} ({stage})", *of
                        ),
                    )
                for root in scored:
                    opened = open_set(root)
                    predict_set(
                        folder,
                        opened,
                        folder / root.name,
                        own.inference,
                        place,
                        hashes,
                        lambda *of, s=seed, n=name: progress(f"{s} {n} (predict)", *of),
                    )
        if only or only_rows:
            return
        tables = {root.name: _table(root, runs, seeds, compared, progress) for root in scored}
    first, *_ = abouts.values()
    values = {
        "command": " ".join(["python", *sys.argv]),
        "synthetic": images.synthetic,
        "seeds": list(range(seeds)),
        "rows": {name: asdict(row) for name, row in compared.rows.items()},
        "preset": settings.as_dict(),
        "training": {"images": len(images), **images.source, "masks": images.masks_digest},
        "initialisation": first["initialisation"],
        "pretrained": first["pretrained"],
        "environment": first["environment"],
        "seconds": {
            f"seed {seed}, {name}": round(about["seconds"], 1)
            for (seed, name), about in abouts.items()
        },
        "ewc_stability": {
            name: about["ewc_stability"]
            for (seed, name), about in abouts.items()
            if seed == 0 and "ewc_stability" in about
        },
        "sets": tables,
    }
    write_text(result, json.dumps(values, indent=2) + "\n")
    for name, table in tables.items():
        _print(name, table)


def _folder(runs: Path, seed: int, name: str, compared: Comparison) -> Path:
    """Return the folder in which a row is trained; rows without changes share their first phase."""
    row = compared.rows[name]
    root = runs / re.sub(r"\W+", "-", name) if row.changes else runs
    return root / f"seed-{seed}" / row.strategy


def _copy_first_phase(row: Row, shared: Path, out: Path) -> None:
    """Begin with the first phase of the rows without changes, if it cannot differ.

    Training compares it with its own settings, and refuses one that differs.
    """
    same = all(change.startswith(FREE) for change in row.changes)
    if same and (shared / FIRST_PHASE / MARKER).is_file() and not (out / FIRST_PHASE).exists():
        remove_leftovers(out, FIRST_PHASE)  # of a killed process
        with new_folder(out / FIRST_PHASE) as prepared:
            shutil.copytree(shared / FIRST_PHASE, prepared)


def _table(
    root: Path, runs: Path, seeds: int, compared: Comparison, progress: Any
) -> dict[str, Any]:
    """Score all rows of all seeds on one set, and compare the pairs."""
    truth = truth_from_set(root)
    figures: dict[str, list[dict[str, Any]]] = {name: [] for name in compared.rows}
    differences: dict[str, list[dict[str, Any]]] = {f"{a} - {b}": [] for a, b in compared.pairs}
    for seed in range(seeds):
        folders = {name: _folder(runs, seed, name, compared) / root.name for name in compared.rows}
        for name, folder in folders.items():
            against = [second for first, second in compared.pairs if first == name]
            found = score_folder(
                folder,
                truth,
                ScoreOptions(),
                against=[folders[second] for second in against],
                progress=lambda done, total, s=seed, n=name: progress(  # type: ignore[misc]
                    f"score {s} {n}", done, total
                ),
            )
            figures[name].append(found.summary.headline())
            for second, other in zip(against, found.compared, strict=True):
                differences[f"{name} - {second}"].append({
                    figure: None if d is None else asdict(d)
                    for figure, d in other.differences.items() if figure in FIGURES
                })  # fmt: skip
    return {
        "logical_hash": open_set(root).logical_hash,
        "metric": found.summary.metric,
        "n_instances": {n: f.n_instances for n, f in found.summary.ia.items()},
        "n_classes": {n: f.n_classes for n, f in found.summary.ia.items()},
        "rows": {
            name: {
                figure: _spread([row[figure] for row in rows]) for figure in FIGURES
            }
            for name, rows in figures.items()
        },
        "differences": differences,
    }  # fmt: skip


def _spread(values: list[float | None]) -> dict[str, Any]:
    """Return the values of all seeds with their mean and sample standard deviation."""
    known = [value for value in values if value is not None]
    return {
        "mean": statistics.fmean(known) if known else None,
        "std": statistics.stdev(known) if len(known) > 1 else None,
        "values": values,
    }


def _print(name: str, table: dict[str, Any]) -> None:
    click.echo(f"\n{name}, n = {table['n_instances']}")
    click.echo("| row | " + " | ".join(FIGURES) + " |")
    click.echo("| --- |" + " ---: |" * len(FIGURES))
    for label, row in table["rows"].items():
        cells = [_as_mean(row[figure]) for figure in FIGURES]
        click.echo(f"| {label} | " + " | ".join(cells) + " |")
    click.echo("\n| difference, seed | " + " | ".join(FIGURES) + " |")
    click.echo("| --- |" + " ---: |" * len(FIGURES))
    for label, seeds in table["differences"].items():
        for seed, found in enumerate(seeds):
            cells = [_as_text(found.get(figure)) for figure in FIGURES]
            click.echo(f"| {label}, {seed} | " + " | ".join(cells) + " |")


def _as_mean(spread: dict[str, Any]) -> str:
    if spread["mean"] is None:
        return "–"
    return f"{spread['mean']:.3f}" + ("" if spread["std"] is None else f" ± {spread['std']:.3f}")


def _as_text(difference: dict[str, Any] | None) -> str:
    if difference is None:
        return "–"
    interval = difference["interval"]
    reach = "" if interval is None else f" ({interval['low']:+.3f} to {interval['high']:+.3f})"
    return f"{difference['value']:+.3f}{reach}"


if __name__ == "__main__":
    run(main)
