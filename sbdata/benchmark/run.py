"""The bench: from image-level labels to scored, comparable results.

Every task stores its output under its id. It writes a marker last, which lists the task's files. A
finished task is skipped if its files are unchanged; a missing file is made again, and an altered
one is refused. So a bench that was killed continues where it was, two benches at once share their
work (each task has a lock), and a further strategy, set or seed costs only what is new.
:mod:`sbdata.benchmark.cache` lists the folders.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sbdata.benchmark.cache import HASHES, JOBS, Cache, locked
from sbdata.benchmark.config import BenchmarkConfig
from sbdata.benchmark.durations import Estimate, estimate_durations
from sbdata.benchmark.eta import Eta, Watcher
from sbdata.benchmark.graph import plan_tasks
from sbdata.benchmark.records import ResultRecord
from sbdata.benchmark.tasks import Task
from sbdata.benchmark.unbuilt import LATER, UnbuiltSet
from sbdata.errors import InputError
from sbdata.fingerprints import digest_of
from sbdata.layout import IMAGES_FOLDER
from sbdata.sets import check_files
from sbdata.storage import remove_leftovers

SHORT = 8
"""Number of digits of an id that tables show."""


def run_bench(
    config: BenchmarkConfig | Sequence[BenchmarkConfig],
    work: Path,
    results: Path,
    *,
    device: str = "auto",
    workers: int | None = None,
    executor: str = "local",
    slurm: Sequence[str] = (),
    processes: int = 1,
    threads: int | None = None,
    watcher: Watcher | None = None,
    verify: bool = False,
    only: str | None = None,
) -> Mapping[Path, ResultRecord]:
    """Run the bench and write one result for each method, strategy and seed.

    Existing results are not computed again; an interrupted call continues.

    Args:
        config: Configuration of the bench; or several, whose tasks run together.
        work: Folder of the cache, which is kept between calls.
        results: Folder of the result files.
        device: Device name: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        workers: Number of data-loading workers; by default as in ``init_distributed``.
        executor: Executor: ``local``, ``slurm`` or ``ray``.
        slurm: Parameters of Slurm's jobs, ``NAME=VALUE``.
        processes: Number of processes of the local executor.
        threads: PyTorch threads per process.
        watcher: Callback that receives the progress.
        verify: True to hash all existing files, not only those whose size or time changed.
        only: Beginning of the id of the only task to run.

    Returns:
        The results that were run, by their files, in the order of methods, strategies and seeds.

    Raises:
        InputError: for an unusable plan or set, a file that was altered after its task, or an error
            of a task.
    """
    from sbdata.benchmark.executors import run_tasks
    from sbdata.benchmark.executors.slurm import slurm_options
    from sbdata.benchmark.run_task import run_task
    from sbdata.train.pretrained import check_name

    if slurm and executor != "slurm":
        msg = "--slurm is only for --executor slurm; give both or neither"
        raise InputError(msg)
    options = slurm_options(slurm) if executor == "slurm" else None
    cache = Cache(work.absolute(), verify)
    calls = _calls(config)
    planned = _planned(calls, cache, results, workers)
    tasks = planned if only is None else (find_task(planned, only, cache),)
    for call in calls:
        check_name(call.segmenter_preset().model.backbone)
    _check_photos(tasks, cache)
    clock = Eta(tasks, cache.is_done, watcher, partial(estimate_durations, cache.root))
    written: list[tuple[Path, ResultRecord]] = []

    def finished(task: Task, returned: tuple[Path, ResultRecord] | None) -> None:
        clock.finished(task)
        if returned is not None:
            written.append(returned)

    run_tasks(
        tasks,
        partial(run_task, cache=cache),
        executor=executor,
        slurm=options,
        logs=cache.root / JOBS,
        processes=processes,
        threads=threads,
        device=device,
        on_progress=clock.told,
        finished=finished,
    )
    methods = list(dict.fromkeys(task.context["about"]["method"] for task in tasks))
    strategies = list(dict.fromkeys(name for call in calls for name in call.strategies))
    written.sort(
        key=lambda w: (methods.index(w[1].method), strategies.index(w[1].strategy), w[1].seed)
    )
    return dict(written)


def _calls(config: BenchmarkConfig | Sequence[BenchmarkConfig]) -> Sequence[BenchmarkConfig]:
    return (config,) if isinstance(config, BenchmarkConfig) else config


def _planned(
    calls: Sequence[BenchmarkConfig],
    cache: Cache,
    results: Path,
    workers: int | None,
    unbuilt: Mapping[Path, UnbuiltSet] | None = None,
) -> tuple[Task, ...]:
    """Return the tasks of some calls, each once and after the tasks that it needs."""
    found: dict[str, Task] = {}
    for call in calls:
        tasks = plan_tasks(call, cache, results.absolute(), workers=workers, unbuilt=unbuilt)
        for task in tasks:
            found.setdefault(task.id, task)
    _check_set_names(found.values())
    return tuple(found.values())


def _check_set_names(tasks: Iterable[Task]) -> None:
    """Check that no result is of two sets of one name, of which only the last would be kept.

    Raises:
        InputError: if two calls score the same training on different sets of one name.
    """
    hashes: dict[tuple[str, str], str] = {}
    for task in tasks:
        if task.kind != "result":
            continue
        record = digest_of(task.params["record"])
        for name, about in task.params["sets"].items():
            own = about["logical_hash"]
            if own == LATER:
                continue
            other = hashes.setdefault((record, name), own)
            if own != other:
                msg = (
                    f"{task.name}: two scored sets are called {name}, with the logical hashes "
                    f"{other[:12]} and {own[:12]}, and a result holds one set of a name; build one "
                    "of them under another name"
                )
                raise InputError(msg)


def _check_photos(tasks: Sequence[Task], cache: Cache) -> None:
    """Check that photos match the sets' checksums, before they are used for training."""
    roots = {}
    for task in tasks:
        about = task.context
        if "training_hash" in about:
            roots[about["training"]] = about["training_hash"]
        if task.kind == "predict":
            roots[about["set"]] = task.params["set"]
    for root, logical_hash in roots.items():
        check_files(cache.open_set(root, logical_hash), [IMAGES_FOLDER], cache.hashes)
    with locked(cache.root / HASHES):
        remove_leftovers(cache.root, HASHES)
        cache.hashes.save()  # so that the executor's processes need not read the photos again


def find_task(tasks: Sequence[Task], beginning: str, cache: Cache) -> Task:
    """Return the only task whose id has a given beginning, if all its inputs are done.

    Raises:
        InputError: if no id or several ids begin like this, or an input is missing; the message
            then names the task to run first.
    """
    found = [task for task in tasks if task.id.startswith(beginning)]
    if len(found) != 1 or not beginning:
        which = "no task's id begins" if not found else f"the ids of {len(found)} tasks begin"
        msg = f"--only {beginning}: {which} like this; --dry-run lists the ids of this call's tasks"
        raise InputError(msg)
    (task,) = found
    by_id = {each.id: each for each in tasks}
    for first in _missing(task, by_id, cache):
        msg = (
            f"--only {beginning}: {task.name} needs {first.name}, which is not done; run that "
            f"first, by --only {first.id[:SHORT]}"
        )
        raise InputError(msg)
    return task


def _missing(task: Task, by_id: dict[str, Task], cache: Cache) -> list[Task]:
    """Return the missing inputs of a task, beginning with those that can run now."""
    lacking = [
        by_id[given.id] for given in task.inputs.values() if not cache.is_done(by_id[given.id])
    ]
    return [*(_missing(lacking[0], by_id, cache) if lacking else []), *lacking]


@dataclass(frozen=True)
class PlanRow:
    """Row of a dry run's table: one task.

    Attributes:
        task: Task.
        done: True if its result exists already.
        estimate: Estimated duration from its start.
    """

    task: Task
    done: bool
    estimate: Estimate

    @property
    def seconds(self) -> float:
        """Estimated remaining time in seconds."""
        return 0.0 if self.done else self.estimate.seconds


def plan_bench(
    config: BenchmarkConfig | Sequence[BenchmarkConfig],
    work: Path,
    results: Path | None = None,
    *,
    workers: int | None = None,
    unbuilt: Mapping[Path, UnbuiltSet] | None = None,
) -> tuple[PlanRow, ...]:
    """Return what :func:`run_bench` would do; nothing is computed or written.

    Args:
        config: Configuration of the bench; or several, whose tasks run together.
        work: Folder of the cache.
        results: Folder of the result files.
        workers: Number of data-loading workers; by default as in ``init_distributed``.
        unbuilt: Stand-ins for sets that are not built; see :func:`plan_tasks`.

    Raises:
        InputError: for an unusable plan or set.
    """
    cache = Cache(work.absolute())
    tasks = _planned(_calls(config), cache, results or work, workers, unbuilt)
    estimates = estimate_durations(cache.root, tasks)
    return tuple(PlanRow(task, cache.is_done(task), estimates[task.id]) for task in tasks)
