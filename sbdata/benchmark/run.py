"""The bench: from image-level labels to scored, comparable results.

Every step keeps what it made under a fingerprint of its settings, inputs and code, says so by a
marker that is written last and lists the step's files, and is passed over if these are as they were
then: one that was lost is made again, one that was altered is refused. So a bench that was killed
goes on where it was, two benches at once share their work (a lock a step sees to it), and a further
strategy, set or seed costs just what is new. :mod:`sbdata.benchmark.workspace` says where things
lie.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from sbdata.benchmark.assemble import result_files
from sbdata.benchmark.eta import Eta, Watcher
from sbdata.benchmark.executors import run_tasks
from sbdata.benchmark.graph import BenchmarkConfig, PlanRow, describe_plan
from sbdata.benchmark.run_task import run_task
from sbdata.benchmark.workspace import HASHES, Workspace, locked
from sbdata.storage import remove_leftovers


def run_bench(
    plan: BenchmarkConfig,
    work: Path,
    results: Path,
    *,
    device: str = "auto",
    workers: int = 0,
    executor: str = "local",
    processes: int = 1,
    threads: int | None = None,
    watcher: Watcher | None = None,
    verify: bool = False,
) -> list[Path]:
    """Run all that a plan asks and write one result a method, strategy and seed.

    What is there already is not done again; a call that was stopped in any way goes on.

    Args:
        plan: what is asked.
        work: folder of all that is kept between calls.
        results: folder of the result files.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        workers: processes that cut training views.
        executor: ``local`` or ``ray``.
        processes: of the local executor.
        threads: of PyTorch in each process.
        watcher: is told how far it is.
        verify: hash all files of what is there, not only those whose size or time changed.

    Returns:
        The result files, in the plan's order of methods, strategies and seeds.

    Raises:
        InputError: for an unusable plan or set, a file that was altered after its step, or if a job
            says so.
    """
    bench = Workspace(plan.absolute(), work.absolute(), results.absolute(), workers, verify=verify)
    jobs = bench.jobs
    for opened in (bench.training, *bench.sets.values()):
        bench.photos(opened)
    with locked(bench.work / HASHES):
        remove_leftovers(bench.work, HASHES)
        bench.hashes.save()  # so that the processes of the executor need not read the photos again
    clock = Eta(jobs, bench.is_done, watcher)
    run_tasks(
        jobs,
        partial(run_task, bench),
        executor=executor,
        processes=processes,
        threads=threads,
        device=device,
        told=clock.told,
        finished=clock.finished,
    )
    return result_files(bench)


def plan_bench(plan: BenchmarkConfig, work: Path) -> tuple[PlanRow, ...]:
    """Say what :func:`run_bench` would do; nothing is computed or written.

    Raises:
        InputError: for an unusable plan or set.
    """
    bench = Workspace(plan.absolute(), work.absolute(), work.absolute(), dry=True)
    return describe_plan(bench.jobs, bench.is_done)
