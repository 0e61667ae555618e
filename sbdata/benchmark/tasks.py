"""Tasks: the steps of the bench as values, which any process can run.

A task's id is the fingerprint of all that its result depends on: the kind of the step, its
parameters, the ids of the tasks whose results it reads, and the source of every module that running
it can reach. Whatever is only needed to run it, such as the path of a set that is identified by its
hash, lies apart in ``context``: the id stays when a set is moved.
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
"""A stage of a method, the score of its pseudo-masks, the training of a segmenter, the prediction
of a set, its score, a result file, or the comparison of strategies."""

ProgressCallback = Callable[[str, int, int], None]
"""Called with (what, done, in all) while a task runs."""


@dataclass(frozen=True)
class Input:
    """A task whose result another one reads.

    Attributes:
        id: its id.
        folder: its folder in the cache.
    """

    id: str
    folder: str


@dataclass(frozen=True)
class Resources:
    """What a task asks for.

    Attributes:
        cpus: number of CPU cores.
        gpus: share of a GPU, if there are any.
        workers: number of processes that cut training views.
        images: number of images that it goes through.
        seconds: estimated duration on one CPU core; 0 if nothing is known.
    """

    cpus: float = 1.0
    gpus: float = 0.0
    workers: int = 0
    images: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Task:
    """One step that runs by itself once the tasks that it needs are done.

    Attributes:
        id: fingerprint of ``kind``, ``params``, ``inputs`` and the source behind ``code``.
        kind: kind of step.
        name: a title for people; it tells the task from a plan's other ones.
        params: plain values that the result depends on.
        inputs: tasks whose results it reads, by role.
        code: modules in which its code begins.
        folder: its folder in the cache; empty if it writes a result file instead.
        context: plain values that only running it needs, such as paths.
        after: ids of further tasks that have to end first, to share work with them.
        resources: what it asks for.
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
        """Return the ids of all tasks that have to end first."""
        return tuple(dict.fromkeys([*(given.id for given in self.inputs.values()), *self.after]))

    @property
    def as_input(self) -> Input:
        """Return what another task needs to know to read this one's result."""
        return Input(self.id, self.folder)

    def to_json(self) -> str:
        """Return the task as JSON text, which another machine may run."""
        return json.dumps(as_plain(self))

    @staticmethod
    def from_json(text: str) -> Task:
        """Return the task of a text that :meth:`to_json` gave.

        Raises:
            InputError: if it is none.
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
        """Make sure that this process has the code that the task was planned with.

        Raises:
            InputError: if source was edited in between, so that two versions would be mixed.
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
