"""Strategies: training of a segmenter in phases under one optimiser and one schedule.

A strategy has one loss, or one before the switch and another after it. Nothing restarts at the
switch, and every strategy takes the same number of steps. ``ce``, ``sb-ft`` and ``sb-ewc`` begin
with the same phase of plain cross-entropy. It is run once: the training state at the switch is kept
in a folder that the three share, and each continues from it as from its own checkpoint.
"""

from __future__ import annotations

import json
import logging
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import torch

import sbdata
from sbdata.completion import MARKER, Problem, check_marker, describe_problems, write_marker
from sbdata.errors import InputError
from sbdata.fingerprints import code_fingerprint
from sbdata.losses import ElasticWeightConsolidation
from sbdata.losses.fisher import MovingFisher, estimate_fisher, scaled_fisher
from sbdata.losses.registry import make_loss
from sbdata.settings import as_plain
from sbdata.storage import remove_leftovers, write_text
from sbdata.train.checkpoint import (
    MODEL_FORMAT,
    load_state,
    load_tensors,
    new_segmenter,
    save_model,
    save_tensors,
)
from sbdata.train.devices import DistributedContext
from sbdata.train.fit import ProgressCallback
from sbdata.train.phase import (
    CHECKPOINT,
    LOG,
    Phase,
    fisher_batches,
    poly_schedule,
    run_phase,
    write_log,
)
from sbdata.train.precision import precision_on
from sbdata.train.preset import Preset
from sbdata.train.record import RUN_FILE, RUN_FORMAT, read_run
from sbdata.train.registry import (
    FIRST_LOSS,
    FIRST_PHASE,
    MODEL,
    Strategy,
    find_strategy,
)
from sbdata.train.samples import TrainingImages
from sbdata.train.segmenter import Segmenter, parameter_groups
from sbdata.train.stability import Stability, stability_of
from sbdata.train.weights import weights_content

FISHER_FORMAT = "sbdata.fisher.v2"
Progress = Callable[[str, int, int], None]
T = TypeVar("T")

CODE = "sbdata.train.strategies"
"""Entry module of training, for the fingerprint of its code."""

_LOG = logging.getLogger(__name__)
_SWITCH_STATE = "switch.pt"


def needs_first_phase(name: str, out: Path) -> bool:
    """Return True if a strategy must first run, or finish, the shared first phase in a folder.

    Its steps may all be done: a killed process may not have written the marker.
    """
    return find_strategy(name).shares_first_phase and not _is_shared(out)


def run_strategy(
    name: str,
    images: TrainingImages,
    preset: Preset,
    out: Path,
    place: DistributedContext,
    *,
    seed: int = 0,
    tensorboard: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train a segmenter by a strategy in ``out/<strategy>``; continue an interrupted run.

    Strategies that begin with cross-entropy share ``out/first-phase``. A finished run is not
    repeated if everything that it depends on is the same: settings, classes, the content of photos,
    masks and weights file, and the code. The precision ``auto`` is that of the device.

    Args:
        name: Name of the strategy.
        images: Images to train on, checked by ``samples.check_images``.
        preset: Network, schedule and all other settings.
        out: Output folder for one preset, seed and training set.
        place: Device and processes.
        seed: Seed of the head's initial weights, of order and views.
        tensorboard: True to write logs for TensorBoard too.
        progress: Callback, called with (phase, number of steps done, number of its last step).

    Returns:
        The content of the folder's ``run.json``.

    Raises:
        InputError: for an unknown strategy, or a folder that holds another run or altered files.
    """
    strategy = find_strategy(name)
    switch = _switch_step(strategy, preset)
    optimisation = preset.optimisation
    precision = precision_on(place.device, optimisation.precision)
    preset = replace(preset, optimisation=replace(optimisation, precision=precision))
    job = _Job(images, preset, out, place, seed, tensorboard, progress)
    identity = job.identity(strategy)
    if place.is_first:
        _tidy(out / name)
    done = _finished(out / name, identity, place)
    if done is not None:
        if place.is_first:
            _tidy(out / name, CHECKPOINT)
        return done
    torch.manual_seed(seed)
    model = job.new_model()
    begin = job.first_phase(model, switch) if switch else None
    return job.last_phase(model, strategy, switch, identity, begin)


def _switch_step(strategy: Strategy, preset: Preset) -> int:
    """Return the step at which a strategy's last phase begins; 0 if it has no first phase."""
    steps = preset.optimisation.steps
    switch = round(steps * preset.switch) if strategy.shares_first_phase else 0
    if 0 < switch < steps or len(strategy.losses) == 1:
        return switch % steps
    msg = "optimisation.steps is too small: no step is left before or after the switch; raise it"
    raise InputError(msg)


@dataclass(frozen=True)
class _Job:
    """Data that the phases of a strategy share."""

    images: TrainingImages
    preset: Preset
    out: Path
    place: DistributedContext
    seed: int
    tensorboard: bool
    progress: Progress | None

    def new_model(self) -> Segmenter:
        model = new_segmenter(self.preset.model, self.images.taxonomy)
        placed: Segmenter = model.to(self.place.device, memory_format=torch.channels_last)
        return placed

    def first_phase(self, model: Segmenter, switch: int) -> dict[str, Any]:
        """Run the shared first phase, unless it is finished; return the training state after it.

        The phase's checkpoint becomes that state by a rename, a single operation of the file
        system, so a run may be killed at any time.
        """
        folder, state = self.out / FIRST_PHASE, _switch_state(self.out)
        identity = {"name": FIRST_PHASE, "switch": self.preset.switch, **self._common_settings()}
        if self.place.is_first and not _is_shared(self.out):
            _tidy(folder)
        problems = _checked(folder)
        if not state.is_file():
            if self.place.is_first:
                (folder / MARKER).unlink(missing_ok=True)  # before any change in the folder
            run_phase(
                model,
                self.images,
                Phase(FIRST_LOSS, 0, switch, self.seed, self.preset),
                folder,
                self.place,
                identity=identity,
                fisher=MovingFisher(model),
                tensorboard=self.tensorboard,
                on_progress=self._on_progress(FIRST_PHASE),
            )
            if self.place.is_first:
                (folder / CHECKPOINT).replace(state)
            self.place.wait()
        kept = load_state(state)
        _check_same(folder, kept["identity"], identity)
        if problems and self.place.is_first:
            write_log(folder, kept["rows"])
            write_marker(folder, (_SWITCH_STATE, LOG))
        return kept

    def last_phase(
        self,
        model: Segmenter,
        strategy: Strategy,
        switch: int,
        identity: Mapping[str, Any],
        begin: Mapping[str, Any] | None,
    ) -> dict[str, Any]:
        """Run a strategy's own steps in its folder; return the content of its run.json."""
        folder, preset = self.out / strategy.name, self.preset
        steps = preset.optimisation.steps
        phase = Phase(strategy.losses[-1], switch, steps, self.seed, preset)
        consolidation = _Consolidation()
        if strategy.consolidated and begin is not None:
            _take_up(model, begin, _switch_state(self.out))
            consolidation = self._consolidation(model, folder, phase, identity, begin["fisher"])
        summary = run_phase(
            model,
            self.images,
            phase,
            folder,
            self.place,
            identity=identity,
            begin=begin,
            penalty=consolidation.penalty,
            tensorboard=self.tensorboard,
            on_progress=self._on_progress(strategy.name),
        )
        about = {
            "format": RUN_FORMAT,
            "strategy": strategy.name,
            "seed": self.seed,
            "identity": identity,
            "preset": preset.as_dict(),
            "total_steps": summary.steps,
            "switch_step": switch if len(strategy.losses) > 1 else None,
            "seconds": summary.seconds,
            "last_loss": summary.last_loss,
            **consolidation.as_dict(),
            "initialisation": model.provenance,
            "pretrained": model.pretrained,
            "synthetic": self.images.synthetic,
            "training_images": len(self.images),
            "source": dict(self.images.source),
            "taxonomy": as_plain(self.images.taxonomy),
            "environment": environment(self.place),
        }
        if self.place.is_first:
            settings, taxonomy = preset.model, self.images.taxonomy
            save_model(folder / MODEL, model, settings, taxonomy, about, summary.log)
            write_text(folder / RUN_FILE, json.dumps(about, indent=2) + "\n")
            write_marker(folder, (MODEL, RUN_FILE, LOG))
            (folder / CHECKPOINT).unlink(missing_ok=True)
        self.place.wait()
        return about

    def identity(self, strategy: Strategy) -> dict[str, Any]:
        """Return all that a strategy's weights depend on, by the names of the settings."""
        identity: dict[str, Any] = {"name": strategy.name, "losses": list(strategy.losses)}
        if len(strategy.losses) > 1:
            identity["switch"] = self.preset.switch
        identity |= self._common_settings()
        if any(make_loss(name).needs_weights for name in strategy.losses):
            identity |= _dotted("size_balance", as_plain(self.preset.size_balance))
        if others := strategy.modules_of_others:
            identity["loss_code"] = code_fingerprint(*others)
        if strategy.consolidated:
            identity |= _dotted("ewc", as_plain(self.preset.ewc))
        # Weights do not depend on it, but default predictions with the model do.
        return identity | _dotted("inference", as_plain(self.preset.inference))

    def _common_settings(self) -> dict[str, Any]:
        preset, images = self.preset.as_dict(), self.images
        del preset["optimisation"]["checkpoint_every"]
        network = self.preset.model
        preset["model"]["weights"] = weights_content(network.backbone, network.weights)
        settings: dict[str, Any] = {
            "seed": self.seed,
            "classes": list(images.taxonomy.classes),
            "photos": images.photos_digest,
            "masks": images.masks_digest,
            "synthetic": images.synthetic,
            "processes": self.place.world_size,
            "code": code_fingerprint(CODE),
        }
        for part in ("model", "augmentation", "optimisation"):
            settings |= _dotted(part, preset[part])
        return settings

    def _consolidation(
        self,
        model: Segmenter,
        folder: Path,
        phase: Phase,
        identity: Mapping[str, Any],
        moving: Mapping[str, torch.Tensor],
    ) -> _Consolidation:
        """Return a penalty that keeps a model near its current weights, as the preset says."""
        settings, optimisation = self.preset.ewc, self.preset.optimisation
        fisher = moving if settings.fisher == "moving" else self._sampled(model, folder, identity)
        scaled = scaled_fisher(fisher, settings.scale)
        penalty = ElasticWeightConsolidation.at(model, scaled, settings.strength)
        groups = parameter_groups(
            model,
            optimisation.lr,
            optimisation.weight_decay,
            head=optimisation.head,
            head_bias=optimisation.head_bias,
        )
        rate = poly_schedule(optimisation)(phase.start, optimisation.lr)
        stability = stability_of(penalty, model, groups, rate, optimisation.momentum)
        if stability.warning and self.place.is_first:
            _LOG.warning("%s: %s", folder, stability.warning)
        return _Consolidation(penalty, stability)

    def _sampled(
        self, model: Segmenter, folder: Path, identity: Mapping[str, Any]
    ) -> dict[str, torch.Tensor]:
        """Estimate the Fisher information of the current model, or read a stored estimate."""
        path = folder / "fisher.pt"
        if not path.is_file():
            self.place.wait()  # others look for the file only after the first process wrote it
            views = fisher_batches(self.images, self.preset, self.seed, self.place)
            counted = _counted(views, self._on_progress("fisher"), self.preset.ewc.images)
            model.eval()
            fisher = estimate_fisher(model, counted)
            if self.place.is_first:
                values = {"format": FISHER_FORMAT, "identity": dict(identity), "fisher": fisher}
                save_tensors(path, values)
            return fisher
        kept = load_tensors(path, FISHER_FORMAT)
        _check_same(folder, kept["identity"], identity)
        found: dict[str, torch.Tensor] = kept["fisher"]
        return found

    def _on_progress(self, stage: str) -> ProgressCallback | None:
        progress = self.progress
        if progress is None or not self.place.is_first:
            return None
        return lambda done, total: progress(stage, done, total)


@dataclass(frozen=True)
class _Consolidation:
    """Penalty, and whether gradient descent can follow it; both None without EWC."""

    penalty: ElasticWeightConsolidation | None = None
    stability: Stability | None = None

    def as_dict(self) -> dict[str, Any]:
        return {} if self.stability is None else {"ewc_stability": self.stability.as_dict()}


def _switch_state(out: Path) -> Path:
    return out / FIRST_PHASE / _SWITCH_STATE


def _is_shared(out: Path) -> bool:
    """Return True if the first phase is finished, so that strategies only read it."""
    return _switch_state(out).is_file() and (out / FIRST_PHASE / MARKER).is_file()


def _tidy(folder: Path, *needless: str) -> None:
    """Delete half-written files of a killed process, and files that are no longer needed."""
    with suppress(OSError):  # raised in a read-only folder
        remove_leftovers(folder)
        for path in (folder / name for name in needless):
            if path.is_file():
                path.unlink()


def _take_up(model: Segmenter, begin: Mapping[str, Any], path: Path) -> None:
    try:
        model.load_state_dict(begin["model"])
    except (RuntimeError, TypeError, AttributeError) as error:
        msg = f"{path}: its weights do not belong to this network; delete its folder"
        raise InputError(msg) from error


def _dotted(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{name}.{key}": value for key, value in values.items()}


def _counted(items: Iterable[T], on_progress: ProgressCallback | None, total: int) -> Iterator[T]:
    for done, item in enumerate(items, start=1):
        yield item
        if on_progress:
            on_progress(done, total)


def _finished(
    folder: Path, identity: Mapping[str, Any], place: DistributedContext
) -> dict[str, Any] | None:
    """Return the record of a finished run; None if it is not finished or a file is missing.

    A missing log is written again from the model's file, which holds its rows.
    """
    problems = _checked(folder)
    done = read_run(folder / RUN_FILE) if (folder / RUN_FILE).is_file() else None
    if done is not None:
        _check_same(folder, done["identity"], identity)
    if [p.name for p in problems] == [LOG]:
        if place.is_first:
            write_log(folder, load_tensors(folder / MODEL, MODEL_FORMAT)["log"])
            write_marker(folder, (MODEL, RUN_FILE, LOG))
        return done
    if problems and place.is_first:
        (folder / MARKER).unlink(missing_ok=True)  # before any change in the folder
    return None if problems else done


def _checked(folder: Path) -> list[Problem]:
    """Return the files listed in a folder's marker that are missing; refuse altered files."""
    problems = check_marker(folder, verify=True)
    altered = [p for p in problems if p.kind not in ("missing", "no_marker")]
    if altered:
        msg = f"{describe_problems(folder, altered)}; delete the folder to train again"
        raise InputError(msg)
    return problems


def _check_same(folder: Path, kept: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    if kept == identity:
        return
    other = sorted(str(k) for k in {*identity, *kept} if kept.get(k) != identity.get(k))
    msg = (
        f"{folder}: holds a run with another {', '.join(other)}; delete it to train again, or "
        "choose another folder (--out)"
    )
    raise InputError(msg)


def environment(place: DistributedContext) -> dict[str, Any]:
    """Return versions and hardware, for a result."""
    found = {"sbdata": sbdata.__version__, "python": platform.python_version()}
    packages = ("torch", "torchvision", "timm", "segmentation-models-pytorch", "numpy", "pillow")
    found |= {package: version(package) for package in packages}
    gpu = torch.cuda.get_device_name(place.device) if place.device.type == "cuda" else None
    return {
        "versions": found,
        "device": gpu or f"CPU ({platform.machine()})",
        "processes": place.world_size,
        "threads": torch.get_num_threads(),
    }
