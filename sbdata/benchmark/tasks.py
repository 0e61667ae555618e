"""Tasks: the steps of the bench as values, which any process can run.

A task's id is the fingerprint of all that its result depends on: the kind of the step, its
parameters, the ids of the tasks whose results it reads, and the source of every module that it can
reach. Values that are only needed to run it, such as the path of a set identified by its hash, are
kept separately in ``context``: the id does not change when a set is moved.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sbdata.errors import InputError
from sbdata.fingerprints import fingerprint
from sbdata.settings import as_plain, from_plain

Kind = Literal["stage", "pseudo", "train", "predict", "score", "result", "compare"]
"""Kind of a task: a stage of a method, the score of its pseudo-masks, the training of a segmenter,
the prediction of a set, its score, a result file, or the comparison of strategies."""

ProgressCallback = Callable[[str, int, int], None]
"""Called with (description, done, total) while a task runs."""


@dataclass(frozen=True)
class Input:
    """Reference to a task whose result another one reads.

    Attributes:
        id: Id of the task.
        folder: Folder of the task in the cache.
    """

    id: str
    folder: str


@dataclass(frozen=True)
class Resources:
    """Resources that a task requests.

    Attributes:
        cpus: Number of CPU cores.
        gpus: Fraction of a GPU, if there are any.
        workers: Number of data-loading workers; None to leave it to the device.
        images: Number of images that it processes.
        seconds: Estimated duration on one CPU core in seconds; 0 if unknown.
        on_cpu: Part of that duration that a GPU does not shorten.
        space: Estimated size of the result in bytes.
    """

    cpus: float = 1.0
    gpus: float = 0.0
    workers: int | None = None
    images: int = 0
    seconds: float = 0.0
    on_cpu: float = 0.0
    space: float = 0.0


@dataclass(frozen=True)
class Task:
    """One step that can run on its own once the tasks that it needs are done.

    Attributes:
        id: Fingerprint of ``kind``, ``params``, ``inputs`` and the source behind ``code``.
        kind: Kind of step.
        name: Readable title, unique within a plan.
        params: Plain values that the result depends on.
        inputs: Tasks whose results it reads, by role.
        code: Entry modules of its code.
        folder: Folder of the task in the cache; empty if it writes a result file instead.
        context: Plain values that are only needed to run it, such as paths.
        after: Ids of further tasks that must finish first, to share work with them.
        resources: Resources that it requests.
    """

    id: str
    kind: Kind
    name: str
    params: Mapping[str, Any]
    inputs: Mapping[str, Input] = field(default_factory=dict)
    code: tuple[str, ...] = ()
    folder: str = ""
    context: Mapping[str, Any] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    resources: Resources = Resources()

    @property
    def needs(self) -> tuple[str, ...]:
        """Ids of all tasks that must finish first."""
        return tuple(dict.fromkeys([*(given.id for given in self.inputs.values()), *self.after]))

    @property
    def as_input(self) -> Input:
        """Return the reference with which another task reads this one's result."""
        return Input(self.id, self.folder)

    def to_json(self) -> str:
        """Return the task as JSON text, which another machine may run."""
        return json.dumps(as_plain(self))

    @staticmethod
    def from_json(text: str) -> Task:
        """Return the task in a text written by :meth:`to_json`.

        Raises:
            InputError: if the text is not a task.
        """
        try:
            raw = json.loads(text)
        except ValueError as error:
            msg = f"not a task: {error}"
            raise InputError(msg) from error
        found = from_plain(Task, raw, "task")
        assert isinstance(found, Task)  # noqa: S101 - for the type checker
        return found

    def check(self) -> None:
        """Check that this process has the code with which the task was planned.

        Raises:
            InputError: if source was edited since, so that two versions would be mixed.
        """
        if self.id != task_id(self.kind, self.params, self.inputs, self.code):
            msg = (
                "the source of sbdata or of a method was edited while the bench ran; run the same "
                "command again"
            )
            raise InputError(msg)


def task_id(
    kind: Kind, params: Mapping[str, Any], inputs: Mapping[str, Input], code: tuple[str, ...]
) -> str:
    """Return the fingerprint of all that a task's result depends on."""
    ids = {role: given.id for role, given in inputs.items()}
    return fingerprint({"kind": kind, "params": params}, inputs=ids, code=code)
