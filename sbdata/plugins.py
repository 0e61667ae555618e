"""Registries of plugins by name: sources, losses, strategies and baselines.

A package adds a plugin by an entry point in the group of its kind; a script adds one by the
``register_...`` function of its kind. Names are listed without importing anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from sbdata.errors import InputError
from sbdata.quoting import quoted

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """A read-only mapping of names to plugins of one kind.

    Its order is: the package's own plugins, then those that scripts registered, then entry points
    by name.

    Args:
        group: Entry-point group, such as ``sbdata.losses``.
        what: Kind of the plugins in error messages, such as ``loss``.
        own: The package's own plugins by name.
        check: Function that returns why an object is not a plugin of this kind, or an empty text.
    """

    def __init__(
        self,
        group: str,
        what: str,
        own: Mapping[str, T] | None = None,
        check: Callable[[T], str] = lambda thing: "",
    ) -> None:
        self.group, self._what, self._check = group, what, check
        self._things = dict(own or {})

    def register(self, name: str, thing: T) -> None:
        """Add a plugin in this process.

        Raises:
            InputError: If the name is taken, or the plugin is of the wrong kind.
        """
        if name in self:
            msg = f"a {self._what} called {quoted(name)} already exists; choose another name"
            raise InputError(msg)
        if problem := self._check(thing):
            msg = f"{self._what} {quoted(name)}: {problem}"
            raise InputError(msg)
        self._things[name] = thing
        module = getattr(thing, "__module__", None) or type(thing).__module__
        _registered[self.group, name] = str(module)

    def unregister(self, name: str) -> None:
        """Remove a plugin that :meth:`register` added, if there is one of this name."""
        if _registered.pop((self.group, name), None) is not None:
            del self._things[name]

    def find(self, name: str) -> T:
        """Return the plugin of a name.

        Raises:
            InputError: If there is none (the message lists the names), or its package cannot be
                imported or provides something else.
        """
        if name in self._things:
            return self._things[name]
        entry = _entries(self.group).get(name)
        if entry is None:
            known = ", ".join(self) or "none is installed"
            msg = f"no {self._what} called {quoted(name)}; choose from {known}"
            raise InputError(msg)
        try:
            thing: T = entry.load()
        except (ImportError, AttributeError) as error:
            msg = f"{self._what} {quoted(name)}: {entry.value} cannot be imported ({error})"
            raise InputError(msg) from error
        if problem := self._check(thing):
            msg = f"{self._what} {quoted(name)}: {entry.value} {problem}"
            raise InputError(msg)
        return thing

    def __getitem__(self, name: str) -> T:
        if name not in self:
            raise KeyError(name)
        return self.find(name)

    def __contains__(self, name: object) -> bool:
        return name in self._things or name in _entries(self.group)

    def __iter__(self) -> Iterator[str]:
        entries = _entries(self.group)
        return iter(dict.fromkeys([*self._things, *sorted(entries)]))

    def __len__(self) -> int:
        return len({*self._things, *_entries(self.group)})


@lru_cache(maxsize=8)
def _entries(group: str) -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=group)}


_registered: dict[tuple[str, str], str] = {}
"""Module of each registered plugin, by group and name."""


def modules_of_others(group: str, names: Iterable[str]) -> tuple[str, ...]:
    """Return the modules of plugins that are not sbdata's own, without importing them.

    A result that depends on such a plugin depends on the source of its module.

    Args:
        group: Entry-point group.
        names: Names of plugins; sbdata's own are skipped.
    """
    entries = _entries(group)
    found = []
    for name in names:
        if (group, name) in _registered:
            found.append(_registered[group, name])
        elif name in entries:
            found.append(entries[name].module)
    return tuple(dict.fromkeys(found))


forget_entries = _entries.cache_clear
"""Look for entry points again; for packages that are installed while a process runs."""
