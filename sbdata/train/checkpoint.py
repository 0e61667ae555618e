"""Checkpoints, which hold all that an interrupted training needs to continue; trained models."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from sbdata.errors import InputError
from sbdata.settings import as_plain
from sbdata.storage import writing
from sbdata.taxonomy import Taxonomy
from sbdata.train.model_header import check_model_file
from sbdata.train.preset import ModelSettings
from sbdata.train.pretrained import become_caffe
from sbdata.train.segmenter import Segmenter, build_segmenter

MODEL_FORMAT = "sbdata.segmenter.v1"
CHECKPOINT_FORMAT = "sbdata.checkpoint.v3"
_AGAIN = "delete it to start over"
_TRAINED = "give a folder that 'sbdata train' wrote, or its model.pt"


def save_tensors(path: Path, values: Mapping[str, Any]) -> None:
    """Write tensors and plain values atomically; safe if a process is killed at any time.

    Raises:
        OSError: if the file cannot be written; the message names it.
    """
    try:
        with writing(path) as temporary, temporary.open("wb") as stream:
            torch.save(dict(values), stream)
    except (RuntimeError, OSError) as error:
        cause = _cause_on_disk(error)
        if cause is None or cause.filename is not None:
            raise
        raise OSError(cause.errno, cause.strerror, str(path)) from error


def _cause_on_disk(error: BaseException) -> OSError | None:
    """Return the disk error behind a failed write, which PyTorch's writer hides with its own."""
    at: BaseException | None = error
    while at is not None and not isinstance(at, OSError):
        at = at.__cause__ or at.__context__
    return at


def load_tensors(path: Path, expected: str, *, remedy: str = "") -> dict[str, Any]:
    """Read a file that :func:`save_tensors` wrote; nothing in the file is executed.

    Args:
        path: Path of the file.
        expected: Expected value of its ``format``.
        remedy: Remedy for another file, for the message; by default to delete it.

    Raises:
        InputError: if the file is missing, damaged or of another format.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings about the contents of a damaged file
            values: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        msg = f"{path}: no such file" + (f"; {remedy}" if remedy else "")
        raise InputError(msg) from error
    except Exception as error:  # damaged and hostile files raise all kinds of errors
        msg = f"{path}: not a readable weights file; {remedy or _AGAIN}"
        raise InputError(msg) from error
    found = values.get("format") if isinstance(values, dict) else None
    if found != expected:
        said = f" but {found}" if isinstance(found, str) else ""
        msg = f"{path}: not a file of the kind {expected}{said}; {remedy or _AGAIN}"
        raise InputError(msg)
    return dict(values)


@dataclass(frozen=True)
class Checkpoint:
    """File of a training's state between two steps, with the identity of the training.

    Attributes:
        path: Path of the file; the finished training leaves it there.
        identity: Plain values that identify this training; the state of another training is
            refused.
        begin: Content of the previous phase's checkpoint, if any.
    """

    path: Path
    identity: Mapping[str, Any] = field(default_factory=dict)
    begin: Mapping[str, Any] | None = None

    def load(self) -> Mapping[str, Any] | None:
        """Return the state to continue from: the file's, or else that of the previous phase.

        Raises:
            InputError: if the file is damaged or of another training; the message names it.
        """
        if not self.path.is_file():
            return self.begin
        kept = load_state(self.path)
        if kept["identity"] != self.identity:
            other = [k for k in self.identity if kept["identity"].get(k) != self.identity[k]]
            msg = (
                f"{self.path}: belongs to a run with another {', '.join(other) or 'setting'}; "
                "delete it to start over, or choose another folder (--out)"
            )
            raise InputError(msg)
        return kept

    def save(self, values: Mapping[str, Any]) -> None:
        """Write a state to the checkpoint."""
        about = {"format": CHECKPOINT_FORMAT, "identity": dict(self.identity)}
        save_tensors(self.path, {**about, **values})


def load_state(path: Path) -> dict[str, Any]:
    """Read the state of a training between two steps.

    Raises:
        InputError: if the file is missing or damaged, or holds something else; the message names
            it.
    """
    values = load_tensors(path, CHECKPOINT_FORMAT)
    wrong = [name for name, kind in _STATE.items() if not isinstance(values.get(name), kind)]
    if wrong:
        msg = f"{path}: the checkpoint has no usable {wrong[0]!r}; delete it to start over"
        raise InputError(msg)
    return values


_STATE: Mapping[str, type | tuple[type, ...]] = {
    "identity": dict,
    "step": int,
    "model": dict,
    "optimizer": dict,
    "scaler": dict,
    "fisher": dict,
    "rng": list,
    "cuda_rng": list,
    "rows": list,
    "seconds": (int, float),
}
"""Names and types of a checkpoint's values."""


def save_model(
    path: Path,
    model: Segmenter,
    settings: ModelSettings,
    taxonomy: Taxonomy,
    about: Any,
    log: Sequence[Sequence[float]] = (),
) -> None:
    """Write a trained segmenter with everything needed to use it.

    Args:
        path: Path of the file.
        model: Segmenter.
        settings: Settings with which it was built.
        taxonomy: Taxonomy of its classes.
        about: Plain values that describe its training.
        log: Rows of the training log.
    """
    save_tensors(
        path,
        {
            "format": MODEL_FORMAT,
            "model": model.state_dict(),
            "settings": as_plain(settings),
            "taxonomy": {"name": taxonomy.name, "classes": list(taxonomy.classes)},
            "provenance": model.provenance,
            "pretrained": model.pretrained,
            "caffe": model.caffe,
            "about": about,
            "log": [list(row) for row in log],
        },
    )


def load_model(path: Path, taxonomy: Taxonomy | None = None) -> tuple[Segmenter, Taxonomy]:
    """Read a trained segmenter.

    Args:
        path: Path of a ``model.pt``, or of its folder.
        taxonomy: Taxonomy that its classes must match, if any.

    Returns:
        The segmenter on the CPU in evaluation mode, and its taxonomy.

    Raises:
        InputError: if the file is missing, damaged or of other classes, or has weights that are not
            finite.
    """
    path = path / "model.pt" if path.is_dir() else path
    values = load_tensors(path, MODEL_FORMAT, remedy=_TRAINED)
    settings, own = check_model_file(values, path)
    _check_finite(values["model"], path)
    if taxonomy is not None and taxonomy.classes != own.classes:
        msg = (
            f"{path}: trained on {len(own)} classes ({own.name}), but {taxonomy.name} has "
            f"{len(taxonomy)}; use a model and a set of the same classes"
        )
        raise InputError(msg)
    model = new_segmenter(settings, own, weights="none")
    if values["caffe"]:
        become_caffe(model.backbone)
        model.caffe = True
    try:
        model.load_state_dict(values["model"])
    except RuntimeError as error:
        msg = f"{path}: not a usable model, its weights belong to another network; give another"
        raise InputError(msg) from error
    model.provenance, model.pretrained = values["provenance"], values["pretrained"]
    return model.eval(), own


def _check_finite(state: Mapping[str, Any], path: Path) -> None:
    for name, value in state.items():
        if torch.is_tensor(value) and value.is_floating_point() and not value.isfinite().all():
            msg = (
                f"{path}: the weights {name} hold numbers that are not finite; train the model "
                "again, with a lower optimisation.lr if its loss diverged"
            )
            raise InputError(msg)


def about_model(path: Path) -> Any:
    """Return a model file's description of its training."""
    path = path / "model.pt" if path.is_dir() else path
    return load_tensors(path, MODEL_FORMAT, remedy=_TRAINED).get("about")


def new_segmenter(
    settings: ModelSettings, taxonomy: Taxonomy, weights: str | None = None
) -> Segmenter:
    """Build an untrained segmenter; its head is initialised with torch's global generator."""
    return build_segmenter(
        settings.backbone,
        n_classes=len(taxonomy),
        weights=settings.weights if weights is None else weights,
        output_stride=settings.output_stride,
        rates=settings.rates,
        scales=settings.scales,
    )
