"""Checkpoints: all that a training needs to go on as if it had not stopped; finished models."""

from __future__ import annotations

import pickle
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


def save_tensors(path: Path, values: Mapping[str, Any]) -> None:
    """Write tensors and plain values atomically; any process may be killed at any time."""
    with writing(path) as temporary:
        torch.save(dict(values), temporary)


def load_tensors(path: Path, expected: str) -> dict[str, Any]:
    """Read what :func:`save_tensors` wrote; nothing in the file is executed.

    Args:
        path: of the file.
        expected: its ``format``.

    Raises:
        InputError: for a file that is missing, damaged or something else.
    """
    try:
        values: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        msg = f"{path}: no such file"
        raise InputError(msg) from error
    except (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        msg = f"{path}: not a readable weights file; delete it to begin again, or give another"
        raise InputError(msg) from error
    found = values.get("format") if isinstance(values, dict) else None
    if found != expected:
        said = f" but {found}" if isinstance(found, str) else ""
        msg = f"{path}: not a file of the kind {expected}{said}; give another, or delete it"
        raise InputError(msg)
    return dict(values)


@dataclass(frozen=True)
class Checkpoint:
    """The file that keeps a training between two steps, and whose training it is.

    Attributes:
        path: path of the file; the finished training leaves it there.
        identity: plain values that tell this training from others; the state of another is refused.
        begin: content of the checkpoint that the phase before this one left, if any.
    """

    path: Path
    identity: Mapping[str, Any] = field(default_factory=dict)
    begin: Mapping[str, Any] | None = None

    def load(self) -> Mapping[str, Any] | None:
        """Return the state to go on from: the file's, or else that of the phase before.

        Raises:
            InputError: naming the file, if it is damaged or of another training.
        """
        if not self.path.is_file():
            return self.begin
        kept = load_state(self.path)
        if kept["identity"] != self.identity:
            other = [k for k in self.identity if kept["identity"].get(k) != self.identity[k]]
            msg = (
                f"{self.path}: of a run with another {', '.join(other) or 'setting'}; delete it "
                "to begin again, or choose another folder (--out)"
            )
            raise InputError(msg)
        return kept

    def save(self, values: Mapping[str, Any]) -> None:
        """Write a state."""
        about = {"format": CHECKPOINT_FORMAT, "identity": dict(self.identity)}
        save_tensors(self.path, {**about, **values})


def load_state(path: Path) -> dict[str, Any]:
    """Read the state of a training between two steps.

    Raises:
        InputError: naming the file, if it is missing or damaged, or holds something else.
    """
    values = load_tensors(path, CHECKPOINT_FORMAT)
    wrong = [name for name, kind in _STATE.items() if not isinstance(values.get(name), kind)]
    if wrong:
        msg = f"{path}: a checkpoint without a usable {wrong[0]!r}; delete it to begin again"
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
"""What a checkpoint holds, and of which types."""


def save_model(
    path: Path,
    model: Segmenter,
    settings: ModelSettings,
    taxonomy: Taxonomy,
    about: Any,
    log: Sequence[Sequence[float]] = (),
) -> None:
    """Write a trained segmenter with all that is needed to use it.

    Args:
        path: of the file.
        model: the segmenter.
        settings: it was built with.
        taxonomy: of its classes.
        about: plain values that tell how it was trained.
        log: rows of the training's log.
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
        path: a ``model.pt``, or the folder that holds it.
        taxonomy: that its classes must be, if any.

    Returns:
        The segmenter on the CPU in evaluation mode, and its classes.

    Raises:
        InputError: for a file that is missing, damaged or of other classes, or has weights that
            are not finite.
    """
    path = path / "model.pt" if path.is_dir() else path
    values = load_tensors(path, MODEL_FORMAT)
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
        msg = f"{path}: not a usable model, its weights are of another network; give another"
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
    """Return what a model file tells about its training."""
    return load_tensors(path / "model.pt" if path.is_dir() else path, MODEL_FORMAT).get("about")


def new_segmenter(
    settings: ModelSettings, taxonomy: Taxonomy, weights: str | None = None
) -> Segmenter:
    """Build an untrained segmenter; its head is drawn by torch's global generator."""
    return build_segmenter(
        settings.backbone,
        n_classes=len(taxonomy),
        weights=settings.weights if weights is None else weights,
        output_stride=settings.output_stride,
        rates=settings.rates,
        scales=settings.scales,
    )
