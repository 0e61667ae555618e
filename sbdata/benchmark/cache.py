"""The cache: folders of finished tasks, by their ids, and what tasks of one process share.

Folders below the cache's root:

    weak/<set>-<hash>/                        photos, linked: all that a method can reach
    stages/<stage>-<id>/                      what a stage of a method wrote
    pseudo/<method>-<id>/                     how good the pseudo-masks are
    train/<method>-<key>/<strategy>/          trained segmenters; the key stands for all but the
                                              strategy, since strategies share ``first-phase``
    predict/<method>-<strategy>-<set>-<id>/   masks of an evaluation set
    score/<method>-<strategy>-<set>-<id>/     values and tables of those masks
    hashes.json                               content of photos, with their sizes and times
    durations.jsonl                           how long tasks took
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


@dataclass(frozen=True)
class Cache:
    """The folder in which results of tasks are kept.

    Attributes:
        root: the folder.
        verify: whether all files of what is done are hashed, not only those whose size or time
            changed.
    """

    root: Path
    verify: bool = False

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what was opened; another process opens it again."""
        return {"root": self.root, "verify": self.verify}

    def folder(self, task: Task | Input) -> Path:
        """Return the folder of a task's result."""
        return self.root / task.folder

    def is_done(self, task: Task) -> bool:
        """Tell whether a task's result is here; a result's file is always written again."""
        name = _MARKERS.get(task.kind, MARKER)
        return bool(task.folder) and (self.folder(task) / name).is_file()

    @cached_property
    def hashes(self) -> FileHashes:
        """Return what is known of the content of photos and masks."""
        return FileHashes(self.root / HASHES, verify=self.verify)

    @cached_property
    def _opened(self) -> dict[tuple[Any, ...], Any]:
        return {}

    def open_set(self, root: str, logical_hash: str) -> EvaluationSet:
        """Open the set that a task names; once in a process.

        Raises:
            InputError: if it is another set than the task was planned with.
        """
        key = ("set", root, logical_hash)
        if key not in self._opened:
            opened = open_set(Path(root))
            if opened.logical_hash != logical_hash:
                msg = f"{root}: is another set now than the bench began with; run it again"
                raise InputError(msg)
            self._opened[key] = opened
        found: EvaluationSet = self._opened[key]
        return found

    def weak_set(self, task: Task) -> WeakSet:
        """Return the weak labels that the stage of a task may see; linked once in a process.

        Raises:
            InputError: if photos or labels are others than the task was planned with.
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
    """Let one process at a time make a file or folder; a killed one's lock is free again."""
    if not when:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        yield
