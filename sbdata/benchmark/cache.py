"""Cache: folders of finished tasks by their ids, and data that tasks of one process share.

Folders below the cache's root:

    weak/<set>-<hash>/                        linked photos: the only files that a method can access
    stages/<stage>-<id>/                      output of a method's stage
    pseudo/<method>-<id>/                     quality of the pseudo-masks
    train/<method>-<key>/<strategy>/          trained segmenters; the key covers all but the
                                              strategy, because strategies share ``first-phase``
    predict/<method>-<strategy>-<set>-<id>/   masks of an evaluation set
    score/<method>-<strategy>-<set>-<id>/     values and tables of those masks
    jobs/                                     logs of Slurm's jobs, and their pickled calls
    hashes.json                               content of photos, with their sizes and times
    durations.jsonl                           durations of tasks
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from filelock import FileLock

from sbdata.benchmark.markers import STAGE_MARKER
from sbdata.benchmark.tasks import Input, Kind, Task
from sbdata.completion import HIDDEN_MARKER, MARKER
from sbdata.errors import InputError
from sbdata.file_hashes import FileHashes
from sbdata.sets import EvaluationSet, open_set
from sbdata.settings import from_plain
from sbdata.weak_labels.sources import WeakSources
from sbdata.weak_labels.weak_set import WeakSet

_MARKERS: dict[Kind, str] = {"stage": STAGE_MARKER, "predict": HIDDEN_MARKER}

HASHES = "hashes.json"
JOBS = "jobs"


@dataclass(frozen=True)
class Cache:
    """Folder in which results of tasks are kept.

    Attributes:
        root: Path of the folder.
        verify: True to hash all files of finished tasks, not only those whose size or time changed.
    """

    root: Path
    verify: bool = False

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without opened data; another process opens it again."""
        return {"root": self.root, "verify": self.verify}

    def folder(self, task: Task | Input) -> Path:
        """Return the folder of a task's result."""
        return self.root / task.folder

    def is_done(self, task: Task) -> bool:
        """Return True if a task's result is stored; False for tasks that write a result file."""
        name = _MARKERS.get(task.kind, MARKER)
        return bool(task.folder) and (self.folder(task) / name).is_file()

    @cached_property
    def hashes(self) -> FileHashes:
        """Known hashes of photos and masks."""
        return FileHashes(self.root / HASHES, verify=self.verify)

    @cached_property
    def _opened(self) -> dict[tuple[Any, ...], Any]:
        return {}

    def open_set(self, root: str, logical_hash: str) -> EvaluationSet:
        """Open the dataset that a task names; once per process.

        Raises:
            InputError: if it is not the dataset for which the task was planned.
        """
        key = ("set", root, logical_hash)
        if key not in self._opened:
            opened = open_set(Path(root))
            if opened.logical_hash != logical_hash:
                msg = f"{root}: the set was changed while the bench ran; run it again"
                raise InputError(msg)
            self._opened[key] = opened
        found: EvaluationSet = self._opened[key]
        return found

    def weak_set(self, task: Task) -> WeakSet:
        """Return the weak labels that a task's stage may see; they are linked once per process.

        Raises:
            InputError: if photos or labels are not those for which the task was planned.
        """
        key = ("weak", task.params["weak"])
        if key not in self._opened:
            about = task.context
            opened = self.open_set(about["training"], about["training_hash"])
            sources = from_plain(WeakSources, about["sources"], "task")
            folder = self.root / "weak" / f"{opened.name}-{opened.logical_hash[:12]}"
            with locked(folder):
                weak = sources.read(opened, folder, self.hashes)
            if weak.digest != task.params["weak"]:
                msg = f"{opened.root}: weak labels were changed while the bench ran; run it again"
                raise InputError(msg)
            self._opened[key] = weak
        found: WeakSet = self._opened[key]
        return found


@contextmanager
def locked(path: Path, *, when: bool = True) -> Iterator[None]:
    """Lock the making of a file or folder; the lock of a killed process is released."""
    if not when:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        yield
