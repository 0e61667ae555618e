"""Strategies: which losses train a segmenter, in phases under one optimiser and one schedule.

A strategy has one loss, or one up to the switch and another from there on; nothing restarts, and
every strategy takes the same number of steps. ``ce``, ``sb-ft`` and ``sb-ewc`` begin with the same
steps of plain cross-entropy. These are done once: the state of the training at the switch is kept
in a folder that the three share, and each goes on from it as from a checkpoint of its own.
"""

from __future__ import annotations

import json
import logging
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
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
"""The module in which a training begins, for the fingerprint of its code."""

_LOG = logging.getLogger(__name__)
_SWITCH_STATE = "switch.pt"


def needs_first_phase(name: str, out: Path) -> bool:
    """Tell whether a strategy has to do the shared first phase in a folder before its own steps.

    It has to finish it, too, where the process that did the steps was killed before the marker.
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
    """Train a segmenter by a strategy into ``out/<strategy>``, going on where a former call was.

    Strategies that begin with cross-entropy share ``out/first-phase``. What is finished is not done
    again, if all that it depends on is the same: settings, classes, the content of photos, masks
    and weights file, and the code.

    Args:
        name: of the strategy.
        images: to train on, checked by ``samples.check_images``.
        preset: network, schedule and all other settings.
        out: a folder of one preset, seed and training set.
        place: device and processes.
        seed: of the head's first weights, of order and views.
        tensorboard: write logs for TensorBoard, too.
        progress: called with (phase, number of steps done, number of its last step).

    Returns:
        What ``run.json`` in the folder says.

    Raises:
        InputError: for an unknown strategy, or a folder that holds another run, or one whose files
            were altered.
    """
    strategy = find_strategy(name)
    switch = _switch_step(strategy, preset)
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
    msg = "optimisation.steps leaves no step before or after the switch; raise it"
    raise InputError(msg)


@dataclass(frozen=True)
class _Job:
    """What the phases of a strategy have in common."""

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
        """Do the shared steps, unless they are done; return the state of the training after them.

        The checkpoint that the phase leaves becomes that state by its name alone, in one operation
        of the file system, so a run may be killed at any time.
        """
        folder, state = self.out / FIRST_PHASE, _switch_state(self.out)
        identity = {"name": FIRST_PHASE, "switch": self.preset.switch, **self._common_settings()}
        if self.place.is_first and not _is_shared(self.out):
            _tidy(folder)
        problems = _checked(folder)
        if not state.is_file():
            if self.place.is_first:
                (folder / MARKER).unlink(missing_ok=True)  # before anything in the folder changes
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
        """Do a strategy's own steps into its folder; return what its run.json says."""
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
        """Return what a strategy's weights depend on, by the names of the settings."""
        identity: dict[str, Any] = {"name": strategy.name, "losses": list(strategy.losses)}
        if len(strategy.losses) > 1:
            identity["switch"] = self.preset.switch
        identity |= self._common_settings()
        if "sb" in strategy.losses:
            identity |= _dotted("size_balance", as_plain(self.preset.size_balance))
        if others := strategy.modules_of_others:
            identity["loss_code"] = code_fingerprint(*others)
        if strategy.consolidated:
            identity |= _dotted("ewc", as_plain(self.preset.ewc))
        # No weight depends on it, but predictions made with the model by default do.
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
        """Hold a model where it is now, as the preset says."""
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
        """Estimate the Fisher information of the model as it is now, or read it again."""
        path = folder / "fisher.pt"
        if not path.is_file():
            self.place.wait()  # no process may look for the file while the first one writes it
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
    """A penalty and whether gradient descent can follow it; both None without EWC."""

    penalty: ElasticWeightConsolidation | None = None
    stability: Stability | None = None

    def as_dict(self) -> dict[str, Any]:
        return {} if self.stability is None else {"ewc_stability": self.stability.as_dict()}


def _switch_state(out: Path) -> Path:
    return out / FIRST_PHASE / _SWITCH_STATE


def _is_shared(out: Path) -> bool:
    """Tell whether the first phase is finished, so that strategies only read it."""
    return _switch_state(out).is_file() and (out / FIRST_PHASE / MARKER).is_file()


def _tidy(folder: Path, *needless: str) -> None:
    """Delete what a killed process left half-written in a folder, and files of no more use."""
    with suppress(OSError):  # of a folder that can only be read
        remove_leftovers(folder)
        for path in (folder / name for name in needless):
            if path.is_file():
                path.unlink()


def _take_up(model: Segmenter, begin: Mapping[str, Any], path: Path) -> None:
    try:
        model.load_state_dict(begin["model"])
    except (RuntimeError, TypeError, AttributeError) as error:
        msg = f"{path}: its weights are not those of this network; delete the folder it lies in"
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
    """Return what a finished run says, or None if there is none yet, or a file of it was lost.

    A log that was lost is written again from the model's file, which has its rows.
    """
    problems = _checked(folder)
    if not (folder / RUN_FILE).is_file():
        return None
    done = read_run(folder / RUN_FILE)
    _check_same(folder, done["identity"], identity)
    if [p.name for p in problems] == [LOG]:
        if place.is_first:
            write_log(folder, load_tensors(folder / MODEL, MODEL_FORMAT)["log"])
            write_marker(folder, (MODEL, RUN_FILE, LOG))
        return done
    if problems and place.is_first:
        (folder / MARKER).unlink(missing_ok=True)  # before anything in the folder changes
    return None if problems else done


def _checked(folder: Path) -> list[Problem]:
    """Return what a folder lacks of what its marker lists; one of altered files is refused."""
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
