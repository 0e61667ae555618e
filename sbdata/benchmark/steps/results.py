"""Results: one record from the outputs of a method's, strategy's and seed's tasks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sbdata.benchmark.markers import STAGE_MARKER
from sbdata.benchmark.records import ResultRecord
from sbdata.benchmark.steps.pseudo_masks import read_pseudo_figures
from sbdata.benchmark.steps.scores import read_score
from sbdata.completion import HIDDEN_MARKER, read_marker
from sbdata.settings import as_plain, from_plain
from sbdata.train.record import RUN_FILE, read_run


def record_of(planned: Mapping[str, Any], train: Path) -> ResultRecord:
    """Return a record without scores, from the planned values and the training's record.

    The precision is that of the training: a plan's ``auto`` depends on the device.

    Args:
        planned: Plain values of the record's fields that were known before any task ran.
        train: Folder of the trained segmenter.
    """
    about = read_run(train / RUN_FILE)
    preset = planned["training_preset"]
    precision = {"precision": about["preset"]["optimisation"]["precision"]}
    found = from_plain(
        ResultRecord,
        {
            **planned,
            "training_preset": {**preset, "optimisation": {**preset["optimisation"], **precision}},
            "synthetic": about["synthetic"],
            "initialisation": about["initialisation"],
            "pretrained": about["pretrained"],
            "environment": about["environment"],
            "seconds": {"train": float(about["seconds"])},
            "pseudo": None,
            "sets": {},
        },
        "result",
    )
    assert isinstance(found, ResultRecord)  # noqa: S101 - for the type checker
    return found


def result_of(
    planned: Mapping[str, Any], sets: Mapping[str, Mapping[str, Any]], folders: Mapping[str, Path]
) -> ResultRecord:
    """Return the record of a method, strategy and seed.

    Args:
        planned: Plain values of the record's fields that were known before any task ran.
        sets: Logical hash, split, and whether it is synthetic, of each evaluation set by name.
        folders: Folders of its input tasks by role: ``stage NAME``, ``pseudo``, ``train``,
            ``predict SET``, ``score SET``.
    """
    plain = as_plain(record_of(planned, folders["train"]))
    stages = {
        role.removeprefix("stage "): _seconds(folder, STAGE_MARKER)
        for role, folder in folders.items()
        if role.startswith("stage ")
    }
    predict = sum(_seconds(folders[f"predict {name}"], HIDDEN_MARKER) for name in sets)
    inference = plain["training_preset"]["inference"]
    protocol = {name: inference[name] for name in ("scales", "flip", "refine")}
    plain |= {
        "seconds": {**stages, **plain["seconds"], "predict": predict},
        "synthetic": plain["synthetic"] or any(about["synthetic"] for about in sets.values()),
        "pseudo": read_pseudo_figures(folders["pseudo"]) if "pseudo" in folders else None,
        "sets": {
            name: {
                **as_plain(read_score(folders[f"score {name}"])),
                "logical_hash": about["logical_hash"],
                "split": about["split"],
                "protocol": {
                    **protocol,
                    "split": about["split"],
                    "initialisation": plain["initialisation"],
                    "set_hash": about["logical_hash"],
                },
            }
            for name, about in sets.items()
        },
    }
    found = from_plain(ResultRecord, plain, "result")
    assert isinstance(found, ResultRecord)  # noqa: S101 - for the type checker
    return found


def _seconds(folder: Path, marker: str) -> float:
    """Return the duration of a task in seconds, when it ran."""
    found = read_marker(folder, name=marker)
    return 0.0 if found is None else float(found.extra.get("seconds", 0.0))
