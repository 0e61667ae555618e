"""Stand-ins for parts of other modules, each seen by one module or object alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

from sbdata.fetch.connections import Connections


class Substitute:
    """A module with some functions replaced, to be set in the one module that shall see it.

    Setting a function of the module itself would change it for every thread of the process.
    """

    def __init__(self, module: ModuleType, **replaced: Callable[..., Any]) -> None:
        self._module = module
        self.__dict__.update(replaced)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


class _Skipping(threading.Event):
    """An event that is not waited for: the clock is moved on instead."""

    def __init__(self, owner: SkippedPauses) -> None:
        super().__init__()
        self._owner = owner

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self._owner.pauses.append(timeout)
        self._owner.met(timeout)
        self._owner.skipped += timeout
        return self.is_set()


class SkippedPauses(Connections):
    """Connections whose pauses are noted and over at once; their clock has moved on by as much.

    Attributes:
        pauses: seconds of each.
        skipped: their sum.
        met: called with the seconds of each pause.
    """

    def __init__(
        self, met: Callable[[float], object] = lambda seconds: None, **options: Any
    ) -> None:
        super().__init__(clock=lambda: time.monotonic() + self.skipped, **options)
        self.pauses: list[float] = []
        self.skipped = 0.0
        self.met = met
        self._stopped = _Skipping(self)
