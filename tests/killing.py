"""Commands that are killed at a chosen step: a process that runs them in forks of its own.

A step is a name below the watched folder that is opened, moved, made or removed, or a call of one
of the functions in ``COUNTED``. The process group gets SIGKILL just before the step is done, or a
while after it. As a program this is the starter: it reads an order a line, and answers each with a
line. The start of Python and the imports are no part of the work.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

REPOSITORY = Path(__file__).resolve().parent.parent
EVENTS = {"open", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink",
          "os.truncate", "os.utime", "shutil.rmtree"}  # fmt: skip
COUNTED = ("sbdata.fetch.parts:Part.append", "sbdata.fetch.archives:_copy",
           "sbdata.fetch.trees:unpack_archive")  # fmt: skip
"""Work without names: a block that came, a file that is unpacked; and where unpacking begins."""

MAIN = "sbdata.cli:main"


@dataclass(frozen=True)
class Order:
    """A command to run.

    Attributes:
        arguments: of the command line.
        root: the folder whose names are steps.
        step: at which the process group is killed; 0 for never.
        after: seconds between the step and the kill.
        temporary: folder for temporary files.
        function: that is called, as ``module:name``.
        forked: whether in a process of its own.
    """

    arguments: Sequence[str]
    root: str
    step: int = 0
    after: float = 0.0
    temporary: str | None = None
    function: str = MAIN
    forked: bool = True


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        status: of its exit, negative for the signal that ended it.
        steps: label of each, and the seconds since the start; empty if it was killed.
        seconds: until the end; 0 if it was killed.
    """

    status: int
    steps: tuple[tuple[str, float], ...] = ()
    seconds: float = 0.0

    @property
    def killed(self) -> bool:
        return self.status == -signal.SIGKILL


class Starter:
    """A process that runs commands in forks."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, order: Order) -> Ended:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(order)) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the starter ended"
        answer = json.loads(line)
        steps = tuple((label, seconds) for label, seconds in answer["steps"])
        return Ended(answer["status"], steps, answer["seconds"])


@contextmanager
def starting(said: Path, *modules: str) -> Iterator[Starter]:
    """Give a starter that has imported modules; what the commands print goes to the file ``said``.

    One thread a process: a fork has no other.
    """
    paths = [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]
    one = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "ARROW_NUM_THREADS"), "1")
    environment = {**os.environ, **one, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    with (
        said.open("w") as stderr,
        subprocess.Popen(
            [sys.executable, "-m", "tests.killing", *modules],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True,
            env=environment, cwd=REPOSITORY,
        ) as process,
    ):  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", said.read_text()
        yield Starter(process)
        assert process.stdin is not None
        process.stdin.close()


# --- in the starter -------------------------------------------------------------------------------


class _Steps:
    """Counts the steps of this process; at the one of the order it is killed."""

    def __init__(self, order: Order, answer: int) -> None:
        self._order, self._answer, self._lock = order, answer, threading.Lock()
        self._seen: set[int] = set()
        self.began = time.monotonic()
        self.found: list[tuple[str, float]] = []

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in EVENTS:
            return
        ours = any(
            isinstance(one, str | os.PathLike) and os.fspath(one).startswith(self._order.root)
            for one in arguments[:2]
        )
        # The removal of a whole folder names its entries relative to an open one.
        relative = event in ("os.remove", "os.rmdir") and arguments[-1] not in (-1, None)
        if ours or relative:
            self.step(event)

    def step(self, label: str) -> None:
        with self._lock:
            self.found.append((label, time.monotonic() - self.began))
            if len(self.found) != self._order.step:
                return
        if self._order.after:
            os.write(self._answer, b"!")  # the starter waits, and kills
        else:
            os.killpg(0, signal.SIGKILL)

    def counted(self, place: str) -> None:
        """Make each call of a function a step."""
        module, _, path = place.partition(":")
        if module not in sys.modules:
            return
        *parents, name = path.split(".")
        owner: Any = sys.modules[module]
        for parent in parents:
            owner = getattr(owner, parent)
        function = getattr(owner, name)

        def call(*arguments: Any, **options: Any) -> Any:
            self.step(place)
            return function(*arguments, **options)

        setattr(owner, name, call)


def _call(order: Order) -> int:
    """Call the function of an order; return the exit status."""
    sys.argv = ["sbdata", *order.arguments]
    module, _, name = order.function.partition(":")
    with redirect_stdout(sys.stderr):
        try:
            return int(getattr(import_module(module), name)() or 0)
        except SystemExit as ended:
            return ended.code if isinstance(ended.code, int) else int(ended.code is not None)


def _hasten() -> None:
    """Leave out what is slow for a reason of its own, and cut what comes into small blocks."""
    if "sbdata.fetch.trees" in sys.modules:
        from sbdata.fetch import connections, trees

        trees._flush = lambda: None  # of all files of the machine; may take seconds
        connections._BLOCK = 2048


def _fork(order: Order, answer: int) -> NoReturn:
    status = 70
    try:
        os.setpgid(0, 0)
        os.dup2(2, 1)
        if order.temporary:
            os.environ["TMPDIR"], tempfile.tempdir = order.temporary, None
        _hasten()
        steps = _Steps(order, answer)
        for place in COUNTED:
            steps.counted(place)
        sys.addaudithook(steps.hear)
        status = _call(order)
        said = {"steps": steps.found, "seconds": time.monotonic() - steps.began}
        os.write(answer, json.dumps(said).encode())
        sys.stderr.flush()
    finally:
        os._exit(status)


def _answer(order: Order) -> dict[str, Any]:
    if not order.forked:
        return {"status": _call(order), "steps": [], "seconds": 0.0}
    out, into = os.pipe()
    child = os.fork()
    if not child:
        os.close(out)
        _fork(order, into)
    os.close(into)
    with os.fdopen(out, "rb", buffering=0) as stream:
        said = stream.read(1)
        if said == b"!":
            time.sleep(order.after)
            os.killpg(child, signal.SIGKILL)
            said = b""
        said += stream.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return {"status": status, "steps": [], "seconds": 0.0, **(json.loads(said) if said else {})}


def serve() -> None:
    """Answer orders until there are no more."""
    for module in sys.argv[1:]:
        import_module(module)
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(_answer(Order(**json.loads(line)))), flush=True)


if __name__ == "__main__":
    serve()
