"""Strategies: which losses train a segmenter, in one phase or two, for equally many steps.

Spec: ``ce``, ``sb`` and the other losses take all steps in one descent. ``ce-ft``, ``sb-ft`` and
``sb-ewc`` share a first phase with plain cross-entropy and go on from its weights, with a fresh
schedule, by plain cross-entropy (what the restart alone gives), by the size-balanced loss, or by
the size-balanced loss held by elastic weight consolidation (the paper's).
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import sbdata
from sbdata.errors import InputError
from sbdata.losses import ElasticWeightConsolidation, estimate_fisher
from sbdata.settings import as_plain
from sbdata.storage import write_text
from sbdata.train.checkpoint import (
    load_model,
    load_tensors,
    new_segmenter,
    save_model,
    save_tensors,
)
from sbdata.train.devices import Place
from sbdata.train.loop import Phase, fisher_batches, run_phase
from sbdata.train.preset import Preset
from sbdata.train.samples import TrainingImages
from sbdata.train.segmenter import Segmenter

FIRST_PHASE = "ce-first"
FISHER_FORMAT = "sbdata.fisher.v1"
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Strategy:
    """How a segmenter is trained.

    Attributes:
        name: of the strategy.
        loss: of the only phase, or of the second one.
        two_phases: whether a phase of plain cross-entropy comes first.
        consolidated: whether EWC holds the second phase.
        summary: one line on what it is.
    """

    name: str
    loss: str
    summary: str
    two_phases: bool = False
    consolidated: bool = False


STRATEGIES: dict[str, Strategy] = {
    strategy.name: strategy
    for strategy in (
        Strategy("ce", "ce", "plain cross-entropy"),
        Strategy("sb", "sb", "size-balanced cross-entropy, sb_ce.v1"),
        Strategy("ce-ft", "ce", "cross-entropy, restarted: the control of sb-ewc", True),
        Strategy("sb-ft", "sb", "cross-entropy, then sb_ce.v1 without EWC", True),
        Strategy("sb-ewc", "sb", "cross-entropy, then sb_ce.v1 with EWC (the paper's)", True, True),
        Strategy("focal", "focal", "focal loss"),
        Strategy("dice", "dice", "Dice loss"),
        Strategy("lovasz", "lovasz", "Lovász-softmax loss"),
        Strategy("balanced-ce", "balanced-ce", "mean of background's and foreground's CE"),
    )
}


def find_strategy(name: str) -> Strategy:
    """Return a strategy by name.

    Raises:
        InputError: listing the names.
    """
    if name not in STRATEGIES:
        msg = f"no strategy called {name!r}; choose from {', '.join(STRATEGIES)}"
        raise InputError(msg)
    return STRATEGIES[name]


def run_strategy(
    name: str,
    images: TrainingImages,
    preset: Preset,
    out: Path,
    place: Place,
    *,
    seed: int = 0,
    tensorboard: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train a segmenter by a strategy into ``out/<strategy>``, going on where a former call was.

    Strategies of two phases share ``out/ce-first``. What is finished, of the same settings, is not
    done again.

    Args:
        name: of the strategy.
        images: to train on, checked by ``samples.check_images``.
        preset: network, schedule and all other settings.
        out: a folder of one preset, seed and training set.
        place: device and processes.
        seed: of the head's first weights, of order and views.
        tensorboard: write logs for TensorBoard, too.
        progress: called with (phase, steps done, steps in all).

    Returns:
        What ``run.json`` in the folder says.

    Raises:
        InputError: for an unknown strategy, or a folder that holds another run.
    """
    strategy = find_strategy(name)
    job = _Job(images, preset, out, place, seed, tensorboard, progress)
    if not strategy.two_phases:
        return job.phase(name, strategy.loss, preset.optimisation.steps)
    second = max(1, round(preset.optimisation.steps * preset.fine_tuning.share))
    first = preset.optimisation.steps - second
    if first < 1:
        msg = "optimisation.steps leaves no step for the first phase; raise it"
        raise InputError(msg)
    job.phase(FIRST_PHASE, "ce", first)
    return job.phase(
        name, strategy.loss, second, after=FIRST_PHASE, consolidated=strategy.consolidated
    )


@dataclass(frozen=True)
class _Job:
    """What the phases of a strategy have in common."""

    images: TrainingImages
    preset: Preset
    out: Path
    place: Place
    seed: int
    tensorboard: bool
    progress: Progress | None

    def phase(
        self,
        name: str,
        loss: str,
        steps: int,
        *,
        after: str | None = None,
        consolidated: bool = False,
    ) -> dict[str, Any]:
        """Run one phase into its folder, unless it is there; return what its run.json says."""
        folder = self.out / name
        former = None if after is None else _read_run(self.out / after)
        lr = self.preset.optimisation.lr * (self.preset.fine_tuning.lr_scale if after else 1)
        identity = {
            "name": name,
            "loss": loss,
            "steps": steps,
            "lr": lr,
            "after": former and former["identity"],
            "seed": self.seed,
            "images": self.images.digest,
            "processes": self.place.processes,
            **self._settings_that_matter(loss, consolidated),
        }
        done = _finished(folder, identity)
        if done is not None:
            return done
        torch.manual_seed(self.seed)
        model = self._start(after)
        phase = Phase(
            loss=loss,
            steps=steps,
            lr=lr,
            seed=self.seed,
            stream=1 if after else 0,
            augmentation=self.preset.augmentation,
            optimisation=self.preset.optimisation,
            balance=self.preset.size_balance,
        )
        penalty = self._penalty(model, folder, phase, identity) if consolidated else None
        descent = run_phase(
            model,
            self.images,
            phase,
            folder,
            self.place,
            identity=identity,
            penalty=penalty,
            tensorboard=self.tensorboard,
            progress=self._told(name),
        )
        about = {
            "format": "sbdata.run.v1",
            "strategy": name,
            "seed": self.seed,
            "identity": identity,
            "preset": self.preset.as_dict(),
            "total_steps": steps + (former["total_steps"] if former else 0),
            "seconds": descent.seconds,
            "last_loss": descent.last_loss,
            "initialisation": model.provenance,
            "pretrained": model.pretrained,
            "synthetic": self.images.synthetic,
            "training_images": len(self.images),
            "source": dict(self.images.source),
            "taxonomy": as_plain(self.images.taxonomy),
            "environment": environment(self.place),
        }
        if self.place.is_first:
            settings, taxonomy = self.preset.model, self.images.taxonomy
            save_model(folder / "model.pt", model, settings, taxonomy, about)
            write_text(folder / "run.json", json.dumps(about, indent=2) + "\n")
            (folder / "checkpoint.pt").unlink(missing_ok=True)
        self.place.wait()
        return about

    def _settings_that_matter(self, loss: str, consolidated: bool) -> dict[str, Any]:
        """Return the part of the preset that this phase's weights depend on."""
        preset = self.preset.as_dict()
        optimisation = dict(preset["optimisation"])
        for other in ("steps", "lr", "checkpoint_every"):
            del optimisation[other]
        matter = {k: preset[k] for k in ("model", "augmentation")} | {"optimisation": optimisation}
        if loss == "sb":
            matter["size_balance"] = preset["size_balance"]
        if consolidated:
            matter["ewc"] = preset["ewc"]
        return matter

    def _start(self, after: str | None) -> Segmenter:
        if after is None:
            model = new_segmenter(self.preset.model, self.images.taxonomy)
        else:
            model, _ = load_model(self.out / after)
        placed: Segmenter = model.to(self.place.device, memory_format=torch.channels_last)
        return placed

    def _penalty(
        self, model: Segmenter, folder: Path, phase: Phase, identity: Mapping[str, Any]
    ) -> ElasticWeightConsolidation:
        """Estimate the Fisher information where the first phase ended, or read it again."""
        settings, path = self.preset.ewc, folder / "fisher.pt"
        if path.is_file():
            kept = load_tensors(path, FISHER_FORMAT)
            if kept["identity"] != identity:
                msg = f"{path}: of another run; choose another --out, or delete it"
                raise InputError(msg)
            fisher = kept["fisher"]
        else:
            self.place.wait()  # no process may look for the file while the first one writes it
            views = fisher_batches(self.images, phase, settings.images, self.place)
            told = _counted(views, self._told("fisher"), settings.images)
            model.eval()
            fisher = estimate_fisher(model, told, per=settings.per, seed=self.seed)
            if self.place.is_first:
                values = {"format": FISHER_FORMAT, "identity": identity, "fisher": fisher}
                save_tensors(path, values)
        return ElasticWeightConsolidation.at(model, fisher, settings.strength)

    def _told(self, stage: str) -> Callable[[int, int], None] | None:
        progress = self.progress
        if progress is None or not self.place.is_first:
            return None
        return lambda done, total: progress(stage, done, total)


def _counted(items: Any, told: Callable[[int, int], None] | None, total: int) -> Any:
    for done, item in enumerate(items, start=1):
        yield item
        if told:
            told(done, total)


def _read_run(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    return found


def _finished(folder: Path, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what a finished run says, or None where there is none yet."""
    if not (folder / "run.json").is_file():
        return None
    done = _read_run(folder)
    if done["identity"] == identity:
        return done
    other = sorted(k for k in identity if done["identity"].get(k) != identity[k])
    msg = (
        f"{folder}: holds a run with another {', '.join(other) or 'setting'}; choose another "
        "--out, or delete it"
    )
    raise InputError(msg)


def environment(place: Place) -> dict[str, Any]:
    """Return versions and hardware, for a result."""
    found = {"sbdata": sbdata.__version__, "python": platform.python_version()}
    packages = ("torch", "torchvision", "timm", "segmentation-models-pytorch", "numpy", "pillow")
    found |= {package: version(package) for package in packages}
    gpu = torch.cuda.get_device_name(place.device) if place.device.type == "cuda" else None
    return {
        "versions": found,
        "device": gpu or f"CPU ({platform.machine()})",
        "processes": place.processes,
        "threads": torch.get_num_threads(),
    }
