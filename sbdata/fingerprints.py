"""Fingerprints: hashes that identify the results of tasks, so that each is computed only once.

A fingerprint covers everything that a task's result depends on: its settings, the content of its
inputs, and the source of every module that it can import. These modules are found without importing
them: the imports of the task's own modules, those inside functions included, are followed through
``sbdata`` and through the packages of these modules. A module that the task cannot reach, such as a
page of the report, does not count, and neither does an import for type checkers alone.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

OWN_PACKAGE = "sbdata"
_SCRIPTS = ("__main__", "__mp_main__")  # the second one in a spawned process
_DIGITS = 16


def fingerprint(
    settings: Any, *, inputs: Mapping[str, Any] | None = None, code: Iterable[str] = ()
) -> str:
    """Return the fingerprint of a task, 16 hex digits.

    Args:
        settings: Plain values; the order of keys does not matter.
        inputs: Content hashes and fingerprints of the task's inputs, by any names.
        code: Names of the modules in which the task starts; see :func:`code_fingerprint`.
    """
    parts = {"settings": settings, "inputs": inputs or {}, "code": code_fingerprint(*code)}
    return hash_of(parts)


def hash_of(values: Any) -> str:
    """Return a hash of plain values, 16 hex digits; the order of keys does not matter."""
    return digest_of(values)[:_DIGITS]


def digest_of(values: Any) -> str:
    """Return the hex SHA-256 of plain values; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def content_of(digests: Mapping[str, str]) -> str:
    """Return the hex SHA-256 over names and content hashes, in the order of the names."""
    lines = "".join(f"{name} {digest}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def files_named_in(settings: Any, above: str = "") -> Iterator[tuple[str, Path]]:
    """Yield the files that plain settings name, such as a file of weights.

    Yields:
        The dotted key of each text that is the path of a file, and the path.
    """
    if isinstance(settings, Mapping):
        for name, value in settings.items():
            yield from files_named_in(value, f"{above}{name}.")
    elif isinstance(settings, list | tuple):
        for place, value in enumerate(settings):
            yield from files_named_in(value, f"{above}{place}.")
    elif isinstance(settings, str) and 0 < len(settings.encode(errors="replace")) <= 4096:
        try:
            found = Path(settings).is_file()
        except (OSError, ValueError):  # a text that cannot be a path
            return
        if found:
            yield above.removesuffix("."), Path(settings)


@cache  # a process keeps its first fingerprints, even if files are edited meanwhile
def code_fingerprint(*modules: str) -> str:
    """Return a hash of the source of all modules that some modules can import, 16 hex digits.

    Args:
        modules: Module names, such as ``sbdata.train.strategies``. Their imports are followed
            through ``sbdata`` and their own packages; imports of other packages do not count.
    """
    return installed_sources(modules).fingerprint(*modules)


def installed_sources(modules: Iterable[str]) -> SourceTree:
    """Return the installed source of ``sbdata`` and of the packages of some modules.

    No module is imported.
    """
    tops = {OWN_PACKAGE, *(name.partition(".")[0] for name in modules)}
    return SourceTree({top: _places_of(top) for top in sorted(tops)})


def _places_of(top: str) -> tuple[Path, ...]:
    """Return the folders of a package, or the file of a module; empty if there is no source."""
    if top in _SCRIPTS:
        script = getattr(sys.modules.get(top), "__file__", None)
        return (Path(script),) if script else ()
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):  # a module created in code, without a spec
        spec = None
    if spec is None:
        return ()
    if spec.submodule_search_locations is not None:
        return tuple(map(Path, spec.submodule_search_locations))
    return (Path(spec.origin),) if spec.has_location and spec.origin else ()


@dataclass(frozen=True)
class SourceTree:
    """The source files of some packages.

    Attributes:
        places: Folders of each package, or the file of a single module, by name.
    """

    places: Mapping[str, tuple[Path, ...]]
    _files: dict[str, Path | None] = field(default_factory=dict, compare=False, repr=False)

    def fingerprint(self, *modules: str) -> str:
        """Return a hash of the source of all modules that some modules can import."""
        found = self.reached(*modules)
        return hash_of([[name, _sha256(source)] for name, source in sorted(found.items())])

    def reached(self, *modules: str) -> dict[str, bytes]:
        """Return the source of each module that some modules can import, including themselves.

        A module includes its parent packages, which are imported before it. A module without
        source, such as a built-in one, counts only by its name.
        """
        found = dict.fromkeys(modules, b"")
        waiting = [part for name in modules for part in _with_parents(name)]
        seen = set(waiting)
        while waiting:
            name = waiting.pop()
            file = self.file_of(name)
            if file is None:
                continue
            found[name] = file.read_bytes()
            if file.suffix != ".py":
                continue
            package = name if file.name == "__init__.py" else name.rpartition(".")[0]
            for imported in _imports_of(found[name], package):
                new = [part for part in _with_parents(imported) if part not in seen]
                seen.update(new)
                waiting += new
        return found

    def file_of(self, name: str) -> Path | None:
        """Return the file of a module; None if it is in another package or has no file."""
        if name not in self._files:
            self._files[name] = self._find(name)
        return self._files[name]

    def _find(self, name: str) -> Path | None:
        top, *rest = name.split(".")
        for place in self.places.get(top, ()):
            if place.is_file():
                return None if rest else place
            path = place.joinpath(*rest)
            if (path / "__init__.py").is_file():
                return path / "__init__.py"
            if not rest:
                continue
            if (path.parent / f"{rest[-1]}.py").is_file():
                return path.parent / f"{rest[-1]}.py"
            compiled = sorted(path.parent.glob(f"{rest[-1]}.*.so")) if path.parent.is_dir() else []
            if compiled:
                return compiled[0]
        return None


def _with_parents(name: str) -> list[str]:
    """Return the names of a module's parent packages and of the module.

    >>> _with_parents("a.b.c")
    ['a', 'a.b', 'a.b.c']
    """
    parts = name.split(".")
    return [".".join(parts[: length + 1]) for length in range(len(parts))]


def _sha256(source: bytes) -> str:
    return hashlib.sha256(source).hexdigest()


# --- what a module imports ------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def _imports_of(source: bytes, package: str) -> tuple[str, ...]:
    """Return the names imported anywhere in a module that may be modules.

    Args:
        source: Source of the module.
        package: Package of the module, or the module itself if it is a package.
    """
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return ()  # such a module cannot run either
    found = _Imports(package)
    found.visit(tree)
    return tuple(dict.fromkeys(found.names))


class _Imports(ast.NodeVisitor):
    """Collects the names in import statements and in calls of ``import_module`` with a string."""

    def __init__(self, package: str) -> None:
        self.package = package
        self.names: list[str] = []

    def visit_If(self, node: ast.If) -> None:
        """Skip code that only type checkers see."""
        test = node.test
        name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")
        for child in node.orelse if name == "TYPE_CHECKING" else [test, *node.body, *node.orelse]:
            self.visit(child)

    def visit_Import(self, node: ast.Import) -> None:
        """Collect the names of ``import a.b``."""
        self.names += [alias.name for alias in node.names]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """Collect the names of ``from a import b``; b may be a module, or an object in a."""
        base = self._absolute(node.module or "", node.level)
        if base:
            self.names += [base, *(f"{base}.{alias.name}" for alias in node.names)]

    def visit_Call(self, node: ast.Call) -> None:
        """Collect the name of ``import_module("a.b")``."""
        called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        called = called or getattr(node.func, "id", "")
        first = node.args[0] if node.args else None
        if called in ("import_module", "__import__") and isinstance(first, ast.Constant):
            text = str(first.value)
            name = text.lstrip(".")
            self.names.append(self._absolute(name, len(text) - len(name)))
        self.generic_visit(node)

    def _absolute(self, name: str, level: int) -> str:
        if not level:
            return name
        parents = self.package.split(".")
        kept = parents[: len(parents) - level + 1]
        return ".".join([*kept, name] if name else kept)
