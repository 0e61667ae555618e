"""Compare kinds of predictions, each of several seeds, by pooled differences.

    python examples/animals/compare_folders.py data/animals-b --folder "scale 1:0=A" --folder "scale 1:1=B" \
        --folder "scale 2:0=C" --folder "scale 2:1=D" --result results/animals/scale.json

Every ``--folder KIND:SEED=FOLDER`` has the masks of one kind and seed; the first kind is the control.
The file has values and their differences from the control, with intervals over seeds and images
(10,000 draws, see :mod:`sbdata.benchmark.pooled`), corrected for the number of comparisons.
"""  # noqa: E501 - the command in one line

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from sbdata.benchmark.pooled import Run, pooled_differences
from sbdata.cli import run
from sbdata.cli.pairs import read_pairs
from sbdata.errors import InputError
from sbdata.metrics.bootstrap import Bootstrap, bootstrap
from sbdata.score.run import ScoreOptions, score_folder
from sbdata.score.truth import truth_from_set
from sbdata.storage import write_text

VALUES = ("miou", *(f"ia{size}.class_mean" for size in ("", "_small", "_medium", "_large")))

_FOLDER = click.Path(path_type=Path)


@click.command()
@click.argument("scored", type=_FOLDER)
@click.option("--folder", "folders", multiple=True, required=True, metavar="KIND:SEED=FOLDER")
@click.option("--method", default="full", show_default=True, help="Method of all predictions.")
@click.option("--result", type=_FOLDER, required=True)
def main(scored: Path, folders: tuple[str, ...], method: str, result: Path) -> None:
    """Score every folder on the set SCORED."""
    truth = truth_from_set(scored)
    runs: dict[Run, Bootstrap] = {}
    for name, folder in read_pairs("--folder", folders).items():
        kind, colon, seed = name.rpartition(":")
        if not colon or not seed.isdecimal():
            raise InputError(f"--folder takes KIND:SEED=FOLDER, not {name!r}")
        found = score_folder(Path(folder), truth, ScoreOptions(resamples=0))
        runs[method, kind, int(seed)] = bootstrap(found.tables, found.bins, resamples=10_000)
    control, *kinds = dict.fromkeys(kind for _, kind, _ in runs)
    report = {
        "set": truth.name,
        "logical_hash": truth.logical_hash,
        "metric": found.summary.metric,
        "n_instances": {key: figure.n_instances for key, figure in found.summary.ia.items()},
        "values": {
            kind: {
                value: [run.observed[value] for (_, of, _), run in runs.items() if of == kind]
                for value in VALUES
            }
            for kind in (control, *kinds)
        },
        "differences": [
            asdict(each) for each in pooled_differences(runs, kinds, VALUES, control=control)
        ],
    }
    write_text(result, json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    run(main)
