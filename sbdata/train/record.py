"""``run.json``: the record of a finished training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sbdata.errors import InputError
from sbdata.json_files import read_json
from sbdata.settings import from_plain

RUN_FILE = "run.json"
RUN_FORMAT = "sbdata.run.v2"

_REMEDY = "delete its folder to train again"


@dataclass(frozen=True)
class RunRecord:
    """Content of a ``run.json``.

    Attributes:
        format: Format of the file.
        strategy: Name of the training strategy.
        seed: Seed of the head's initial weights, of order and views.
        identity: All that the run depends on, by name; see
            :meth:`~sbdata.train.strategies.run_strategy`.
        preset: Resolved preset of network, schedule and inference.
        total_steps: Number of optimiser steps.
        switch_step: Step at which the loss changes; None if it does not.
        seconds: Training time in seconds.
        last_loss: Mean loss over the last logged steps.
        initialisation: Source of the backbone's weights.
        pretrained: True if those weights were pretrained.
        synthetic: True if the photos are generated.
        training_images: Number of training images.
        source: Source of photos and masks.
        taxonomy: Taxonomy of the masks.
        environment: Versions and hardware.
        ewc_stability: Whether gradient descent can follow the penalty; None without EWC.
    """

    format: str
    strategy: str
    seed: int
    identity: Mapping[str, Any]
    preset: Mapping[str, Any]
    total_steps: int
    switch_step: int | None
    seconds: float
    last_loss: float
    initialisation: str
    pretrained: bool
    synthetic: bool
    training_images: int
    source: Mapping[str, Any]
    taxonomy: Mapping[str, Any]
    environment: Mapping[str, Any]
    ewc_stability: Mapping[str, Any] | None = None


def read_run(path: Path) -> dict[str, Any]:
    """Read the record of a run and check its fields against :class:`RunRecord`.

    Raises:
        InputError: if the file is missing, damaged or of another format; the message names it.
    """
    raw = read_json(path, _REMEDY)
    if not isinstance(raw, dict):
        msg = f"{path}: not the record of a run; {_REMEDY}"
        raise InputError(msg)
    if raw.get("format", RUN_FORMAT) != RUN_FORMAT:
        msg = (
            f"{path}: has the format {raw['format']!s:.40}, whose losses and schedule differ from "
            f"{RUN_FORMAT}; {_REMEDY}"
        )
        raise InputError(msg)
    try:
        from_plain(RunRecord, raw, str(path))
    except InputError as error:
        msg = f"{error!s:.300}; {_REMEDY}"
        raise InputError(msg) from error
    return raw
