"""Keep the per-image scores of results of ``sbdata bench`` beside them.

    python examples/animals/keep_tables.py runs/bench results/animals/claim

``sbdata bench`` leaves them in its working folder. Differences pooled over methods and seeds need
them: ``findings.py`` reads ``RESULTS/tables/RESULT.npz``. A result and a score belong together if
they have the same hash of predicted masks.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from sbdata.benchmark.entries import read_records
from sbdata.benchmark.records import read_result
from sbdata.json_files import read_json

REMEDY = "run 'sbdata bench' again"


def main(work: Path, results: Path) -> None:
    """Copy the tables of every result in a folder that was scored in a working folder."""
    scores = {
        read_json(at, REMEDY)["predictions"]: at.with_name("tables.npz")
        for at in sorted(work.glob("score/*/values.json"))
    }
    (results / "tables").mkdir(parents=True, exist_ok=True)
    for path in sorted({record.file for record in read_records([results])[0]}):
        (scored,) = read_result(path).sets.values()
        if scored.predictions in scores:
            shutil.copyfile(scores[scored.predictions], results / "tables" / f"{path.stem}.npz")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
