"""Measure training on one GPU: speed by precision, values against the CPU's, all methods.

    python benchmarks/gpu.py --out results/gpu.json
    python benchmarks/gpu.py --part steps --out results/gpu.json
    python benchmarks/gpu.py --device cpu --quick --out gpu-quick.json

Nothing is downloaded: images are generated and weights random. Parts:

- ``steps``: the preset wacv24 on batches that lie on the device: seconds a step in float32 and
  bfloat16, with ce and sb, without input, optimiser's schedule, log and checkpoints.
- ``loop``: the same through the whole training loop with data workers: images a second, and the
  card's utilisation meanwhile.
- ``smoke``: the smoke bench on the CPU and on the device, both in float32: loss of the first step,
  weights and values.
- ``stages``: the first stage of every method that may use a GPU, with the stages that it needs.

Each part runs in a process of its own with its share of ``--minutes``. If a part fails or takes too
long, the JSON has its error and its measurements so far, and the next part runs. Without
``--part``, parts that the file holds without an error are not measured again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from sbdata.benchmark.tasks import Task
from sbdata.errors import InputError
from sbdata.losses.registry import make_loss
from sbdata.masks import write_index_png
from sbdata.settings import as_plain
from sbdata.storage import write_text
from sbdata.taxonomy import VOC20
from sbdata.train.checkpoint import new_segmenter
from sbdata.train.devices import DistributedContext, find_device, init_distributed
from sbdata.train.phase import Phase, run_phase
from sbdata.train.precision import networks_in
from sbdata.train.preset import Precision, Preset, load_preset
from sbdata.train.samples import TrainingImages, images_of_folders, views_of
from sbdata.train.segmenter import labels_by_size, output_sizes, parameter_groups, segmenter_loss
from sbdata.train.views import batches, in_steps

FORMAT = "sbdata.gpu-benchmark.v1"
SHARES = {"steps": 0.15, "loop": 0.25, "smoke": 0.3, "stages": 0.3}
PRECISIONS: tuple[Precision, ...] = ("32", "bf16")
Found = Iterator[tuple[str, Any]]


@dataclass(frozen=True)
class Job:
    """Settings of a part: what it measures and where it may write."""

    device: str
    quick: bool
    folder: Path


def wacv24(quick: bool, precision: Precision, steps: int) -> Preset:
    """Return the preset with random weights; ``quick`` takes a small network and crop."""
    tiny = [
        "model.backbone=mobilenetv3_small_050",
        "augmentation.crop=64",
        "optimisation.batch_size=2",
    ]
    tiny = tiny if quick else []
    changes = ["model.weights=none", f"optimisation.steps={steps}", *tiny]
    return load_preset("wacv24", [*changes, f"optimisation.precision='{precision}'"])


def pictures(root: Path, count: int) -> TrainingImages:
    """Write VOC-sized noisy JPEG photos with rectangles of some classes."""
    rng = np.random.default_rng(0)
    (root / "photos").mkdir()
    for number in range(count):
        mask = np.zeros((375, 500), np.uint8)
        photo = np.kron(rng.integers(0, 255, (75, 100, 3)), np.ones((5, 5, 1))).astype(np.uint8)
        for _ in range(4):
            y, x, h, w = rng.integers(0, 280, 2).tolist() + rng.integers(10, 200, 2).tolist()
            mask[y : y + h, x : x + w] = rng.integers(1, 21)
            photo[y : y + h, x : x + w] //= 2
        Image.fromarray(photo).save(root / "photos" / f"{number:03}.jpg", quality=90)
        write_index_png(root / "masks" / f"{number:03}.png", mask)
    return images_of_folders(root / "photos", root / "masks", VOC20)


def waited(device: torch.device) -> float:
    """Return the time after waiting for the device to finish."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


# --- parts ----------------------------------------------------------------------------------------


def steps(job: Job) -> Found:
    """Measure steps on batches that lie on the device; losses take turns."""
    device, rounds, each = find_device(job.device), 1 if job.quick else 6, 1 if job.quick else 5
    images = pictures(job.folder, 2 if job.quick else 20)
    seconds: dict[str, float] = {}
    for precision in PRECISIONS:
        preset = wacv24(job.quick, precision, 1000)
        takes = {loss: stepper(images, preset, loss, device) for loss in ("ce", "sb")}
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        taken: dict[str, list[float]] = {loss: [] for loss in takes}
        for turn in range(rounds + 1):
            for loss, take in takes.items():
                began = waited(device)
                for _ in range(each):
                    take()
                if turn:  # the first warms up
                    taken[loss].append((waited(device) - began) / each)
        for loss, times in taken.items():
            seconds[f"{loss} {precision}"] = statistics.median(times)
            yield (
                f"{loss} {precision}",
                {
                    "seconds_per_step": round(seconds[f"{loss} {precision}"], 5),
                    "images_per_second": round(
                        preset.optimisation.batch_size / seconds[f"{loss} {precision}"], 2
                    ),
                },
            )
        yield (
            f"sb over ce, {precision}",
            round(seconds[f"sb {precision}"] / seconds[f"ce {precision}"], 4),
        )
        if device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(device) / 2**30
            yield f"peak memory of both, {precision}, GiB", round(peak, 2)
    for loss in ("ce", "sb"):
        ratio = seconds[f"{loss} 32"] / seconds[f"{loss} bf16"]
        yield f"bf16 is so many times as fast, {loss}", round(ratio, 3)


def stepper(
    images: TrainingImages, preset: Preset, name: str, device: torch.device
) -> Callable[[], None]:
    """Return a function that takes one optimiser step with all accumulated parts."""
    settings = preset.optimisation
    torch.manual_seed(0)
    model = new_segmenter(preset.model, images.taxonomy).train()
    model.to(device, memory_format=torch.channels_last)
    groups = parameter_groups(model, settings.lr, settings.weight_decay)
    optimiser = torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum)
    loss = make_loss(name)
    sizes = output_sizes(model, preset.augmentation.crop)
    balance = preset.size_balance if loss.needs_weights else None
    views = views_of(images, preset.augmentation, 0, balance=balance, sizes=sizes)
    share = settings.batch_size // settings.accumulate
    parts = [
        tuple(tensor.to(device) for tensor in part)
        for part in batches([views], in_steps(range(settings.accumulate), share))
    ]

    def take() -> None:
        optimiser.zero_grad(set_to_none=True)
        for pixels, *labels in parts:
            with networks_in(settings.precision, device):
                value = segmenter_loss(model, pixels, labels_by_size(labels), loss)
            (value / len(parts)).backward()
        optimiser.step()

    return take


def loop(job: Job) -> Found:
    """Measure the training loop with its data workers."""
    place = init_distributed(job.device)
    images = pictures(job.folder, 2 if job.quick else 60)
    first, last = (1, 3) if job.quick else (15, 75)
    yield "workers", place.workers
    for precision in PRECISIONS:
        for loss in ("ce", "sb") if not job.quick else ("sb",):
            preset = wacv24(job.quick, precision, last)
            # checkpoints are not part of it: the only one is written after the last step
            rest = replace(preset.optimisation, checkpoint_every=last + 1)
            times: dict[int, float] = {}

            def note(done: int, total: int, times: dict[int, float] = times) -> None:
                if done in (first, last - 1):
                    times[done] = waited(place.device)

            torch.manual_seed(0)
            model = new_segmenter(preset.model, images.taxonomy)
            model.to(place.device, memory_format=torch.channels_last)
            with utilisation(place.device) as seen:
                run_phase(
                    model,
                    images,
                    Phase(loss, 0, last, 0, replace(preset, optimisation=rest)),
                    job.folder / f"{loss}-{precision}",
                    place,
                    identity={},
                    on_progress=note,
                )
            taken = (times[last - 1] - times[first]) / (last - 1 - first)
            yield (
                f"{loss} {precision}",
                {
                    "seconds_per_step": round(taken, 5),
                    "images_per_second": round(preset.optimisation.batch_size / taken, 2),
                    "utilisation": seen.summary(),
                },
            )


@dataclass
class Utilisation:
    """Per cent of the time in which the card computed, sampled; or why it is unknown."""

    samples: list[int] = field(default_factory=list)
    unavailable: str = ""

    def summary(self) -> dict[str, Any]:
        if self.unavailable or not self.samples:
            return {"unavailable": self.unavailable or "no sample was taken"}
        busy = self.samples[len(self.samples) // 4 :]  # the first quarter is the start
        return {
            "median": statistics.median(busy),
            "least": min(busy),
            "most": max(busy),
            "samples": len(busy),
        }


@contextmanager
def utilisation(device: torch.device) -> Iterator[Utilisation]:
    """Sample the card's utilisation twice a second while the context lasts."""
    found, stop = Utilisation(), threading.Event()

    def sample() -> None:
        try:
            while not stop.wait(0.5):
                found.samples.append(_utilisation(device))
        except Exception as error:  # drivers raise all kinds
            found.unavailable = f"{type(error).__name__}: {error!s:.200}"

    if device.type != "cuda":
        found.unavailable = f"the device is {device}"
        yield found
        return
    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join()


def _utilisation(device: torch.device) -> int:
    try:
        return int(torch.cuda.utilization(device))
    except (ModuleNotFoundError, RuntimeError):  # it needs a package that PyTorch does not install
        query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        done = subprocess.run(query, capture_output=True, text=True, check=True, timeout=10)
        return int(done.stdout.split()[device.index or 0])


def smoke(job: Job) -> Found:
    """Compare the smoke bench on the device with the same on the CPU, both in float32.

    Convolutions of float32 take TensorFloat-32 on recent cards, PyTorch's default, and hundreds of
    steps enlarge a difference in the last bits; so the first step is compared as well.
    """
    images = pictures(job.folder, 8)
    preset = load_preset("smoke", ["model.weights=none", "optimisation.precision='32'"])
    if job.quick:
        preset = replace(preset, augmentation=replace(preset.augmentation, crop=64))
    losses: dict[str, float] = {}
    for where in ("cpu", job.device):
        place = DistributedContext(find_device(where))
        torch.manual_seed(0)
        model = new_segmenter(preset.model, images.taxonomy)
        model.to(place.device, memory_format=torch.channels_last)
        one = replace(preset, optimisation=replace(preset.optimisation, steps=1))
        folder = job.folder / f"first-step-{len(losses)}"
        done = run_phase(model, images, Phase("sb", 0, 1, 0, one), folder, place, identity={})
        losses[f"{len(losses)}: {where}"] = done.last_loss
    on_cpu, on_device = losses.values()
    yield "loss of the first step", losses
    yield "relative difference of that loss", abs(on_device - on_cpu) / on_cpu
    few = ["--set", "sources.0.options={seed: 0, pool: 60, train: 24}"]
    _sbdata(job, "dataset", "build", "shapes-b", *few, "--set", "select.quota=4")
    _sbdata(job, "dataset", "build", "shapes-train", *few)
    network = ["model.weights=none", "optimisation.precision='32'"]
    if job.quick:
        network += ["model.backbone=mobilenetv3_small_050", "augmentation.crop=64"]
    network += [f"optimisation.steps={4 if job.quick else 60}"]
    options = [word for change in network for word in ("--option", change)]
    methods = ["full"] if job.quick else ["full", "labels-only"]
    named = [word for name in methods for word in ("--method", name)]
    figures = {}
    for number, where in enumerate(("cpu", job.device)):
        began = time.perf_counter()
        results = job.folder / f"results-{number}"
        places = ("--work", job.folder / f"work-{number}", "--results", results)
        chosen = ("--strategy", "ce", "--strategy", "sb-ewc", "--device", where)
        _sbdata(job, "bench", *named, *chosen, *options, *places)
        yield f"seconds of the bench, {number}: {where}", round(time.perf_counter() - began, 1)
        figures[number] = _figures(results)
    yield "figures on the CPU", figures[0]
    yield "device minus CPU", {name: figures[1][name] - figures[0][name] for name in figures[0]}
    yield "largest difference", max(abs(figures[1][n] - figures[0][n]) for n in figures[0])


def _figures(results: Path) -> dict[str, float]:
    found = {}
    for path in sorted(results.glob("*seed*.json")):
        read = json.loads(path.read_text())
        for name, scored in read.get("sets", {}).items():
            for figure, at in scored["figures"].items():
                if at["value"] is not None:
                    found[f"{read['method']} {read['strategy']} {name} {figure}"] = at["value"]
    return found


def _sbdata(job: Job, *arguments: object) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sbdata", *map(str, arguments)],
        cwd=job.folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path[1:]))},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"sbdata {' '.join(map(str, arguments))}: {done.stderr[-1500:]}")


def stages(job: Job) -> Found:
    """Run a stage of every method that may use a GPU, and the stages that it needs.

    It is the method's first stage that no earlier method has run, since methods share stages.
    """
    from sbdata.benchmark.baseline import BASELINES
    from sbdata.benchmark.cache import Cache
    from sbdata.benchmark.config import BenchmarkConfig
    from sbdata.benchmark.graph import plan_tasks
    from sbdata.benchmark.run_task import run_task

    few = ["--set", "sources.0.options={seed: 0, pool: 40, train: 12}"]
    _sbdata(job, "dataset", "build", "shapes-b", *few, "--set", "select.quota=4")
    _sbdata(job, "dataset", "build", "shapes-train", *few)
    cache, data, failed = Cache(job.folder / "work"), job.folder / "data", []
    for method in sorted(BASELINES):
        began = time.perf_counter()
        try:
            config = BenchmarkConfig(
                (method,),
                ("ce",),
                data / "shapes-train",
                (data / "shapes-b",),
                method_overrides=_shortened(method) if job.quick else (),
            )
            planned = plan_tasks(config, cache, job.folder / "results")
            tasks = {task.id: task for task in planned if task.kind == "stage"}
            left = [t for t in tasks.values() if t.resources.gpus and not cache.is_done(t)]
            ran = []
            for task in _with_inputs(left[0], tasks) if left else ():
                if not cache.is_done(task):
                    run_task(task, cache, job.device)
                    ran.append(task.name)
            said: dict[str, Any] = {"ran": ran}
        except Exception as error:  # one method must not keep the others from being measured
            said = {"error": f"{type(error).__name__}: {error!s:.500}"}
            failed.append(method)
        yield method, {**said, "seconds": round(time.perf_counter() - began, 2)}
    if failed:
        raise RuntimeError(f"failed: {', '.join(failed)}")


def _with_inputs(task: Task, tasks: dict[str, Task]) -> Iterator[Task]:
    for given in task.inputs.values():
        yield from _with_inputs(tasks[given.id], tasks)
    yield task


def _shortened(method: str) -> tuple[str, ...]:
    """Return changes of a method's settings with which every stage learns for one epoch."""
    from sbdata.benchmark.baseline import find_baseline

    def found(values: Any, above: str) -> Iterator[str]:
        for key, value in values.items() if isinstance(values, dict) else ():
            if key == "epochs":
                yield f"{above}epochs=1"
            yield from found(value, f"{above}{key}.")

    return tuple(found(as_plain(find_baseline(method).resolved("smoke")), f"{method}:"))


PARTS: dict[str, Callable[[Job], Found]] = {
    "steps": steps, "loop": loop, "smoke": smoke, "stages": stages,
}  # fmt: skip


# --- the script -----------------------------------------------------------------------------------


def environment(device: str) -> dict[str, Any]:
    found = find_device(device)
    packages = ("torch", "torchvision", "timm", "lightning-fabric", "numpy", "pillow")
    said: dict[str, Any] = {
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
        "device": str(found),
        "cores": len(os.sched_getaffinity(0)),
    }
    if found.type == "cuda":
        about = torch.cuda.get_device_properties(found)
        said |= {
            "card": about.name,
            "capability": f"{about.major}.{about.minor}",
            "memory_gib": round(about.total_memory / 2**30, 1),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
        }
    return said


def measure(part: str, device: str, quick: bool, notes: Path) -> None:
    """Measure a part in this process; each value is noted in a file as soon as it is known."""
    with tempfile.TemporaryDirectory() as folder, notes.open("a") as stream:
        for name, value in PARTS[part](Job(device, quick, Path(folder))):
            stream.write(json.dumps([name, value]) + "\n")
            stream.flush()
            print(f"{part}: {name}: {json.dumps(value)}", flush=True)


def measured(part: str, device: str, quick: bool, seconds: float) -> dict[str, Any]:
    """Measure a part in a process of its own; return its values, and its error if it failed."""
    with tempfile.TemporaryDirectory() as folder:
        notes = Path(folder) / "notes"
        notes.touch()
        began, error = time.perf_counter(), None
        command = [sys.executable, __file__, "--part", part, "--device", device]
        process = subprocess.Popen(
            [*command, *(["--quick"] if quick else []), "--notes", notes],
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # so that its data workers end with it
        )
        try:
            _, complaint = process.communicate(timeout=seconds)
            if process.returncode:
                error = complaint.strip()[-2000:] or f"exit status {process.returncode}"
        except subprocess.TimeoutExpired:
            error = f"took longer than its share of the time, {seconds:.0f} seconds"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
        found = dict(json.loads(line) for line in notes.read_text().splitlines())
    return {
        "seconds": round(time.perf_counter() - began, 1),
        "error": error,
        "values": found,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--part", choices=PARTS, action="append", help="only this part")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu [cuda]")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--minutes", type=float, default=8.0, help="time of all parts [8]")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"), help="JSON file [gpu.json]")
    parser.add_argument("--notes", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.notes:
        measure(options.part[0], options.device, options.quick, options.notes)
        return
    try:
        about = environment(options.device)
    except InputError as error:
        raise SystemExit(str(error)) from error
    whole: dict[str, Any] = {
        "format": FORMAT,
        "command": " ".join(["python", "benchmarks/gpu.py", *sys.argv[1:]]),
        "quick": options.quick,
        "synthetic": True,
        "environment": about,
        "parts": {},
    }
    if options.out.is_file():
        kept = json.loads(options.out.read_text())
        same = ("format", "quick", "environment")
        if any(kept.get(key) != whole[key] for key in same):
            raise SystemExit(f"{options.out}: of another machine or size; choose another --out")
        whole["parts"] = kept["parts"]
    done = {name for name, part in whole["parts"].items() if part["error"] is None}
    failed = False
    for part in options.part or [name for name in PARTS if name not in done]:
        found = measured(part, options.device, options.quick, 60 * options.minutes * SHARES[part])
        whole["parts"][part] = found
        failed = failed or found["error"] is not None
        write_text(options.out, json.dumps(whole, indent=2) + "\n")
        print(f"{part}: {found['error'] or 'done'} ({found['seconds']} s)", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
