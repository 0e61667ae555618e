"""``run.json``: what a finished training says of itself."""

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

_REMEDY = "delete the folder that it lies in to train again"


@dataclass(frozen=True)
class RunRecord:
    """The content of a ``run.json``.

    Attributes:
        format: of the file.
        strategy: by which the segmenter was trained.
        seed: of the head's first weights, of order and views.
        identity: all that the run depends on, by name; see
            :meth:`~sbdata.train.strategies.run_strategy`.
        preset: of network, schedule and inference, resolved.
        total_steps: of the optimiser.
        switch_step: at which the loss changes; None if it does not.
        seconds: that the training took.
        last_loss: mean over the last logged steps.
        initialisation: where the backbone's weights came from.
        pretrained: whether those were trained weights.
        synthetic: whether the photos are generated.
        training_images: how many.
        source: where photos and masks come from.
        taxonomy: of the masks.
        environment: versions and hardware.
        ewc_stability: whether gradient descent can follow the penalty; None without EWC.
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
    """Read the record of a run; it is checked to be what :class:`RunRecord` has.

    Raises:
        InputError: naming the file, if it is missing, damaged or of another format.
    """
    raw = read_json(path, _REMEDY)
    if not isinstance(raw, dict):
        msg = f"{path}: not the record of a run; {_REMEDY}"
        raise InputError(msg)
    if raw.get("format", RUN_FORMAT) != RUN_FORMAT:
        msg = (
            f"{path}: of a run in the format {raw['format']!s:.40}, whose losses and schedule "
            f"are not those of {RUN_FORMAT}; {_REMEDY}"
        )
        raise InputError(msg)
    try:
        from_plain(RunRecord, raw, str(path))
    except InputError as error:
        msg = f"{error!s:.300}; {_REMEDY}"
        raise InputError(msg) from error
    return raw
