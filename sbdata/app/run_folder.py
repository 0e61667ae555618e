"""Results of ``sbdata score`` as runs in FiftyOne: their names, and which can stand together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sbdata.app.attached import check_comparable, noted_metric
from sbdata.app.info import field_name
from sbdata.errors import InputError
from sbdata.score.saved import SavedScore, read_saved_score


@dataclass(frozen=True, eq=False)
class Run(SavedScore):
    """Result of ``sbdata score``, shown in FiftyOne."""

    @property
    def name(self) -> str:
        """Suffix of its fields in FiftyOne."""
        return field_name(self.title)

    @property
    def metric_note(self) -> dict[str, Any]:
        """Note about how the run was scored, in the form that a dataset stores."""
        provenance = self.summary["provenance"]
        return noted_metric(
            provenance["options"], int(provenance["resamples"]), int(provenance["seed"])
        )


def read_run(folder: Path) -> Run:
    """Read a result of ``sbdata score``.

    Raises:
        InputError: If the folder holds no result, or another version of the metric made it.
    """
    return Run(**vars(read_saved_score(folder)))


def check_runs(runs: Sequence[Run]) -> None:
    """Check that no two runs would have the same fields, and that all were scored in the same way.

    Raises:
        InputError: If two runs cannot be attached together; the message names them.
    """
    seen: dict[str, Run] = {}
    for run in runs:
        other = seen.setdefault(run.name, run)
        if other is not run and other.folder != run.folder:
            msg = (
                f"{other.folder} and {run.folder}: both would be called {run.name!r}; score one of "
                "them again under another --name"
            )
            raise InputError(msg)
        notes = {name: {"title": each.title, **each.metric_note} for name, each in seen.items()}
        check_comparable(run.title, run.metric_note, notes)
