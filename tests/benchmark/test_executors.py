"""Executors: order, resources, faults; and the same results by all of them."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from sbdata.benchmark.executors import local, ray, run_tasks, slurm
from sbdata.benchmark.executors.as_ready import levels_of
from sbdata.benchmark.executors.slurm import SlurmOptions, slurm_options
from sbdata.benchmark.run import run_bench
from sbdata.errors import InputError
from tests.benchmark.conftest import without_times
from tests.benchmark.task_examples import DIAMOND, be_preempted, die_at, fail_at, note_times
from tests.waiting import wait_until


def spans(folder: Path) -> dict[str, tuple[float, float, str]]:
    found = {}
    for path in folder.iterdir():
        began, ended, device, _ = path.read_text().split()
        found[path.name] = (float(began), float(ended), device)
    return found


@pytest.mark.parametrize("processes", [1, 2])
def test_tasks_wait_for_those_they_build_on(tmp_path: Path, processes: int) -> None:
    ended: list[str] = []
    run_tasks(
        DIAMOND,
        partial(note_times, tmp_path, 0.1),
        processes=processes,
        device="cpu",
        finished=lambda task, seconds: ended.append(task.name),
    )
    assert (ended[0], set(ended[1:3]), ended[3]) == ("a", {"b", "c"}, "d")
    at = spans(tmp_path)
    for task in DIAMOND:
        assert all(at[before][1] <= at[task.name][0] for before in task.needs)
    assert {device for _, _, device in at.values()} == {"cpu"}


def test_tasks_share_gpus_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_gpus", lambda device: ["cuda:0"])
    run_tasks(DIAMOND, partial(note_times, tmp_path, 0.2), processes=3)
    at = spans(tmp_path)
    assert [at[name][2] for name in "abcd"] == ["cpu", "cuda:0", "cuda:0", "cpu"]
    first, second = sorted((at["b"], at["c"]))
    assert first[1] <= second[0]


@pytest.mark.parametrize("processes", [1, 2])
def test_nothing_begins_after_a_fault(tmp_path: Path, processes: int) -> None:
    with pytest.raises(InputError, match="b cannot be done"):
        run_tasks(DIAMOND, partial(fail_at, "b", tmp_path), processes=processes, device="cpu")
    assert not (tmp_path / "d").exists()


SLEEPERS = """
import os, sys, time
from pathlib import Path
from sbdata.benchmark.executors import run_tasks
from sbdata.benchmark.tasks import Task

def sleep(task, device, on_progress=None):
    (Path(sys.argv[1]) / f"{task.name}.part").write_text(str(os.getpid()))
    os.replace(Path(sys.argv[1]) / f"{task.name}.part", Path(sys.argv[1]) / task.name)
    time.sleep(600)

if __name__ == "__main__":
    tasks = (Task("a", "stage", "a", {}), Task("b", "stage", "b", {}))
    run_tasks(tasks, sleep, processes=2, device="cpu")
"""


def test_workers_end_when_the_bench_is_killed(tmp_path: Path) -> None:
    script, pids = tmp_path / "script.py", tmp_path / "pids"
    script.write_text(SLEEPERS)
    pids.mkdir()
    with subprocess.Popen([sys.executable, str(script), str(pids)]) as process:
        wait_until(lambda: {"a", "b"} <= {path.name for path in pids.iterdir()})
        workers = [int(path.read_text()) for path in pids.iterdir()]
        process.send_signal(signal.SIGKILL)
    wait_until(lambda: not any(_runs(pid) for pid in workers))


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.is_file() or ") Z " not in status.read_text()


def test_faults_of_the_call_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="no executor called 'pbs'"):
        run_tasks(DIAMOND, partial(note_times, tmp_path, 0), executor="pbs")
    with pytest.raises(InputError, match="a process of the bench died"):
        run_tasks(DIAMOND, partial(die_at, "b"), processes=2, device="cpu")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="with torchrun, all processes share each training"):
        run_tasks(DIAMOND, partial(note_times, tmp_path, 0), processes=2)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("device", ["cuda", "cuda:3", "mps", "meta", "tpu9"])
def test_a_device_that_is_not_there_is_refused(tmp_path: Path, device: str, processes: int) -> None:
    """Before anything runs, and in place of the CPU, which nobody asked for."""
    if device == "mps" and torch.backends.mps.is_available():
        pytest.skip("a GPU of Apple's is here")
    with pytest.raises(InputError, match=f"--device {device}: (PyTorch finds|no such device)"):
        run_tasks(DIAMOND, partial(note_times, tmp_path, 0.0), processes=processes, device=device)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_a_bench_on_cuda_does_not_run_on_the_cpu(plan, tmp_path) -> None:
    work, results = tmp_path / "work", tmp_path / "results"
    with pytest.raises(InputError, match="--device cuda: PyTorch finds no CUDA device"):
        run_bench(plan(), work, results, device="cuda", processes=2)
    assert not results.exists()


@pytest.mark.parametrize("module", [ray, slurm])
def test_a_missing_package_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, module: Any
) -> None:
    def absent(name: str) -> Any:
        raise ImportError(name)

    name = module.__name__.rpartition(".")[2]
    monkeypatch.setattr(module, "import_module", absent)
    with pytest.raises(InputError, match=rf"pip install 'sbdata\[{name}\]'"):
        run_tasks(DIAMOND, partial(note_times, tmp_path, 0), executor=name)


# --- Slurm, by submitit's executor on this machine ------------------------------------------------


def on_this_machine(tmp_path: Path, **parameters: int) -> dict[str, Any]:
    pytest.importorskip("submitit", reason="pip install 'sbdata[slurm]'")
    options = SlurmOptions("local", parameters={"time": 30, **parameters})
    return {"executor": "slurm", "slurm": options, "logs": tmp_path / "logs", "device": "cpu"}


def test_jobs_wait_for_those_they_build_on(tmp_path: Path) -> None:
    notes, ended = tmp_path / "notes", []
    notes.mkdir()
    run_tasks(
        DIAMOND[:2],
        partial(note_times, notes, 0.1),
        finished=lambda task, pause: ended.append((task.name, pause)),
        **on_this_machine(tmp_path),
    )
    assert ended == [("a", 0.1), ("b", 0.1)]
    at = spans(notes)
    assert at["a"][1] <= at["b"][0]
    assert {device for _, _, device in at.values()} == {"cpu"}
    assert (tmp_path / "logs").stat().st_mode & 0o077 == 0


def test_a_preempted_job_continues(tmp_path: Path) -> None:
    returned: list[int] = []
    run_tasks(
        DIAMOND[:1],
        partial(be_preempted, tmp_path),
        finished=lambda task, done: returned.append(done),
        **on_this_machine(tmp_path),
    )
    assert returned == [1]
    assert (tmp_path / "a").read_text() == "2"


def test_faults_of_jobs_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a cannot be done"):
        run_tasks(DIAMOND, partial(fail_at, "a", tmp_path), **on_this_machine(tmp_path))
    assert not (tmp_path / "b").exists()
    with pytest.raises(InputError, match=r"a: its job \d+ failed; see .*_log.err"):
        run_tasks(DIAMOND, partial(note_times, tmp_path / "absent", 0), **on_this_machine(tmp_path))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((), "needs the time limit of a job in minutes: --slurm time=120"),
        (("time=90", "nodes=2"), "'nodes=2': must be NAME=VALUE with one of the names account,"),
        (("time=90", "partition="), "'partition=': must be NAME=VALUE"),
        (("time=2:00:00",), "'time=2:00:00': must be a whole number of minutes"),
        (("time=0",), "needs the time limit"),
        (("time=90", "time=91"), "time is given twice"),
        (("time=90", "cluster=k8s"), "must be one of slurm, local"),
    ],
)
def test_parameters_of_jobs_are_checked(given: tuple[str, ...], said: str) -> None:
    with pytest.raises(InputError, match=said):
        slurm_options(given)


def test_parameters_reach_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Partition and time for all, GPUs only for tasks that use them; a script for Slurm says so."""
    submitit = pytest.importorskip("submitit")
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, does in (
        ("srun", ""),
        ("sbatch", f'cat "$1" >> {tmp_path}/scripts; echo Submitted batch job 7'),
        ("scancel", ""),
        ("sacct", "echo 'JobID|State'; echo '7|FAILED'"),
    ):
        (commands / name).write_text(f"#!/bin/sh\n{does}\n")
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    monkeypatch.setattr(submitit.SlurmJob, "_results_timeout_s", 0)
    options = slurm_options(["time=90", "partition=long", "gpus_per_node=1"])
    for task, gpus in (DIAMOND[0], 0), (DIAMOND[1], 1):
        (tmp_path / "scripts").unlink(missing_ok=True)
        with pytest.raises(InputError, match="its job 7 failed"):
            run_tasks(
                [task], partial(note_times, tmp_path, 0), executor="slurm", slurm=options,
                logs=tmp_path / "logs",
            )  # fmt: skip
        script = (tmp_path / "scripts").read_text()
        assert "#SBATCH --partition=long" in script
        assert "#SBATCH --time=90" in script
        assert ("#SBATCH --gpus-per-node=1" in script) == bool(gpus)
    with pytest.raises(InputError, match="--device cpu does not go with GPUs"):
        run_tasks(
            DIAMOND, partial(note_times, tmp_path, 0), executor="slurm", slurm=options, device="cpu"
        )


@pytest.mark.skipif(shutil.which("srun") is not None, reason="Slurm is here")
def test_slurm_must_be_here(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    with pytest.raises(InputError, match="srun was not found; run it on a login node"):
        run_tasks(
            DIAMOND, partial(note_times, tmp_path, 0), executor="slurm", logs=tmp_path / "logs"
        )


def test_levels_respect_needs() -> None:
    assert levels_of(DIAMOND) == {"a": 0, "b": 1, "c": 1, "d": 2}
    assert levels_of(DIAMOND[1:]) == {"b": 0, "c": 0, "d": 1}


# --- the same results -----------------------------------------------------------------------------


@pytest.fixture
def ray_of_two(third_party: Path) -> Iterator[Any]:
    """Start a Ray cluster of two workers on this machine."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed; pip install 'sbdata[ray]'")
    import ray

    repository = Path(__file__).parent.parent.parent
    path = os.pathsep.join((str(repository), os.environ["PYTHONPATH"]))
    ray.init(
        num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=10**8,
        runtime_env={"env_vars": {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}},
    )  # fmt: skip
    yield ray
    ray.shutdown()


@pytest.mark.slow
def test_two_processes_and_ray_give_what_one_gives(plan, ray_of_two, tmp_path) -> None:
    asked = plan(methods=("stripes", "full"), strategies=("ce", "sb-ewc"))
    found = {}
    for name, options in {
        "one": {},
        "two": {"processes": 2},
        "ray": {"executor": "ray"},
    }.items():
        files = list(
            run_bench(
                asked,
                tmp_path / name,
                tmp_path / name / "results",
                device="cpu",
                threads=1,
                **options,
            )
        )
        folder = files[0].parent
        assert len(files) == 4
        found[name] = {path.name: without_times(path) for path in sorted(folder.iterdir())}
        assert len(found[name]) == 6
    assert found["two"] == found["one"]
    assert found["ray"] == found["one"]


@pytest.mark.slow
def test_slurm_gives_what_one_process_gives(plan, tmp_path) -> None:
    pytest.importorskip("submitit")
    found = {}
    for name, options in {
        "local": {},
        "slurm": {"executor": "slurm", "slurm": ("time=30", "cluster=local")},
    }.items():
        (file,) = run_bench(
            plan(methods=("full",), strategies=("ce",)), tmp_path / name,
            tmp_path / name / "results", device="cpu", threads=1, **options,
        )  # fmt: skip
        found[name] = without_times(file)
    assert found["slurm"] == found["local"]


def test_faults_pass_through_ray_as_they_are(ray_of_two, tmp_path) -> None:
    with pytest.raises(InputError, match="b cannot be done"):
        run_tasks(DIAMOND, partial(fail_at, "b", tmp_path), executor="ray", device="cpu")
    assert not (tmp_path / "d").exists()
    with pytest.raises(InputError, match="the Ray cluster has no GPU"):
        run_tasks(DIAMOND, partial(fail_at, "b", tmp_path), executor="ray", device="cuda")
