"""Executors: order, resources, faults; and the same results by one process, two, and Ray."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from sbdata.benchmark import executors as executors
from sbdata.benchmark.executors import run_tasks
from sbdata.benchmark.run import run_bench
from sbdata.errors import InputError
from tests.benchmark.conftest import without_times
from tests.benchmark.task_examples import DIAMOND, die_at, fail_at, note_times
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
    monkeypatch.setattr(executors, "_gpus", lambda device: ["cuda:0"])
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
    with pytest.raises(InputError, match="no executor called 'slurm'"):
        run_tasks(DIAMOND, partial(note_times, tmp_path, 0), executor="slurm")
    with pytest.raises(InputError, match="a process of the bench died"):
        run_tasks(DIAMOND, partial(die_at, "b"), processes=2, device="cpu")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="torchrun's processes share each training"):
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
    with pytest.raises(InputError, match="--device cuda: PyTorch finds no CUDA device here"):
        run_bench(plan(), work, results, device="cuda", processes=2)
    assert not results.exists()


def test_ray_is_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def absent(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(executors, "import_module", absent)
    with pytest.raises(InputError, match=r"pip install 'sbdata\[ray\]'"):
        run_tasks(DIAMOND, partial(note_times, tmp_path, 0), executor="ray")


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


def test_faults_pass_through_ray_as_they_are(ray_of_two, tmp_path) -> None:
    with pytest.raises(InputError, match="b cannot be done"):
        run_tasks(DIAMOND, partial(fail_at, "b", tmp_path), executor="ray", device="cpu")
    assert not (tmp_path / "d").exists()
    with pytest.raises(InputError, match="the Ray cluster has no GPU"):
        run_tasks(DIAMOND, partial(fail_at, "b", tmp_path), executor="ray", device="cuda")
