"""Keep the per-image scores of results of ``sbdata bench`` beside them.

    python examples/animals/keep_tables.py runs/bench results/animals/claim

``sbdata bench`` leaves them in its working folder. Differences pooled over methods and seeds need
them: ``findings.py`` reads ``RESULTS/tables/RESULT.npz``. A result and a score belong together if
they have the same hash of predicted masks and the same values: the photos of a set that was built
anew with other masks have the same predictions.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from sbdata.benchmark.entries import read_records
from sbdata.benchmark.records import read_result
from sbdata.benchmark.steps.scores import TABLES, VALUES, read_score
from sbdata.cli import run
from sbdata.errors import InputError


def main(work: Path, results: Path) -> None:
    """Copy the tables of every result in a folder that was scored in a working folder."""
    folders = [at.parent for at in sorted(work.glob(f"score/*/{VALUES}"))]
    scores = [(read_score(folder), folder / TABLES) for folder in folders]
    (results / "tables").mkdir(parents=True, exist_ok=True)
    for path in sorted({record.file for record in read_records([results])[0]}):
        sets = read_result(path).sets
        if len(sets) != 1:
            raise InputError(f"{path}: has {len(sets)} scored sets; keep tables of one set alone")
        (scored,) = sets.values()
        for own, tables in scores:
            if (own.predictions, own.figures) == (scored.predictions, scored.figures):
                shutil.copyfile(tables, results / "tables" / f"{path.stem}.npz")


@click.command()
@click.argument("work", type=click.Path(path_type=Path))
@click.argument("results", type=click.Path(path_type=Path))
def command(work: Path, results: Path) -> None:
    """Copy the tables of every result in the folder RESULTS that was scored in the folder WORK."""
    main(work, results)


if __name__ == "__main__":
    run(command)
