"""Convert plain YAML values to frozen dataclasses, and back.

Unknown keys and wrong types raise errors that list the valid ones.
"""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from sbdata.errors import InputError
from sbdata.printable import printable
from sbdata.quoting import quoted, shortened
from sbdata.text_files import read_text

_LARGEST = 2**63 - 1
_DEEPEST = 60
_EXPONENT = re.compile(r"[+-]?\d+e[+-]?\d+", re.IGNORECASE)


def bundled(folder: str) -> list[str]:
    """Return the names of the YAML files bundled with the package in ``sbdata/<folder>``."""
    files = (resources.files("sbdata") / folder).iterdir()
    return sorted(f.name.removesuffix(".yaml") for f in files if f.name.endswith(".yaml"))


def read_settings(name_or_path: str, folder: str, what: str) -> tuple[Any, str]:
    """Read a bundled YAML file by name, or any YAML file by path.

    Args:
        name_or_path: Name such as ``pascal-b``, or a path ending in ``.yaml`` or ``.yml``.
        folder: Folder of the package that holds the bundled files.
        what: Word for such a file in messages, such as ``recipe``.

    Returns:
        The plain values, and the name of the file for messages.

    Raises:
        InputError: If the name is unknown, or the file cannot be read as YAML.
    """
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            msg = f"{path}: no such {what} file"
            raise InputError(msg)
        text, where = read_text(path), printable(str(path))
    elif name_or_path in bundled(folder):
        file = resources.files("sbdata") / folder / f"{name_or_path}.yaml"
        text, where = file.read_text("utf-8"), f"{what} {name_or_path}"
    else:
        known = ", ".join(bundled(folder))
        msg = f"no {what} called {name_or_path!r}; bundled: {known}; or give a path to a .yaml file"
        raise InputError(msg)
    from sbdata.yaml_files import parse_yaml  # not needed to check settings

    return parse_yaml(text, where), where


def overridden(raw: Any, overrides: Sequence[str], where: str, option: str = "--set") -> Any:
    """Return plain values with some entries replaced.

    Args:
        raw: Nested mappings and lists.
        overrides: Texts ``key=value`` with dotted keys and YAML values, such as
            ``select.quota=20``, ``sources.0.splits=[val2017]`` or ``overlay=null``. List indices
            start at 0.
        where: Name of the file for messages.
        option: Command-line option that gave the overrides.

    Raises:
        InputError: If an override is not ``key=value``, or its key is impossible.
    """
    from sbdata.yaml_files import parse_yaml

    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key:
            msg = f"{option} takes key=value, not {quoted(override)}"
            raise InputError(msg)
        try:
            raw = _replaced(raw, key.split("."), parse_yaml(value, "its value"))
        except (InputError, IndexError, TypeError) as error:
            reason = " ".join(str(error).split())
            given = f"{option} {shortened(override)}"
            msg = f"{given}: {shortened(key)} cannot be set in {where} ({reason})"
            raise InputError(msg) from error
    return raw


def as_plain(value: Any) -> Any:
    """Convert dataclasses, mappings and tuples to dicts and lists, ready for JSON and YAML."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: as_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): as_plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [as_plain(v) for v in value]
    return value


def _replaced(raw: Any, keys: Sequence[str], value: Any) -> Any:
    """Return a copy of nested mappings and lists with one entry replaced."""
    if not keys:
        return value
    if isinstance(raw, list):
        place = _place(keys[0], len(raw))
        return [*raw[:place], _replaced(raw[place], keys[1:], value), *raw[place + 1 :]]
    if raw is None:
        raw = {}
    if not isinstance(raw, dict):
        msg = f"{quoted(keys[0])} is below {quoted(raw, 40)}, which has no keys"
        raise TypeError(msg)
    return {**raw, keys[0]: _replaced(raw.get(keys[0]), keys[1:], value)}


def _place(key: str, length: int) -> int:
    """Return the list index that a part of a dotted key stands for."""
    numbers = f"0 to {length - 1}" if length else "none, it is empty"
    if not (key.isascii() and key.isdecimal()) or len(key) > 9 or int(key) >= length:
        msg = f"{quoted(key)} is not an index of a list of {length}; valid indices: {numbers}"
        raise IndexError(msg)
    return int(key)


def from_plain(kind: Any, raw: Any, where: str) -> Any:
    """Convert plain values to ``kind``, a dataclass or any type its fields may have.

    Args:
        kind: Dataclass; its fields may be dataclasses, tuples, mappings, unions and literals.
        raw: Plain values from YAML or JSON.
        where: Name of the place for messages.

    Raises:
        InputError: If keys are unknown or missing, or types are wrong; the message lists the valid
            keys.
    """
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        _check_plain(raw, where)
        return raw
    if origin in (types.UnionType, typing.Union):
        return _build_union(args, raw, where)
    if origin is Literal:
        for option in args:
            if type(raw) is type(option) and raw == option:  # True == 1, but is not a 1
                return option
            if type(raw) is int and str(raw) == option:  # YAML reads precision: 32 as a number
                return option
        msg = f"{where} must be one of {', '.join(map(str, args))}, not {quoted(raw)}"
        raise InputError(msg)
    if origin is tuple:
        if isinstance(raw, list):
            return tuple(from_plain(args[0], item, f"{where}[{i}]") for i, item in enumerate(raw))
        msg = f"{where} must be a list, not {quoted(raw)}"
        raise InputError(msg)
    if origin is not None and issubclass(origin, Mapping):
        if isinstance(raw, dict) and all(isinstance(key, str) for key in raw):
            for key in raw:
                _check_text(key, f"{where}: a key")
            return {key: from_plain(args[1], value, f"{where}.{key}") for key, value in raw.items()}
        msg = f"{where} must be a mapping of names, not {quoted(raw)}"
        raise InputError(msg)
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(kind, raw, where)
    if kind is float and isinstance(raw, int) and not isinstance(raw, bool):
        _check_scalar(raw, where)
        return float(raw)
    if kind is float and isinstance(raw, str) and _EXPONENT.fullmatch(raw):
        raw = float(raw)  # YAML 1.1 reads 1e-3 as text, and 1.0e-3 as a number
    if not isinstance(raw, kind) or (isinstance(raw, bool) and kind is not bool):
        msg = f"{where} must be {kind.__name__}, not {quoted(raw)}"
        raise InputError(msg)
    _check_scalar(raw, where)
    return raw


def _check_scalar(raw: Any, where: str) -> None:
    """Refuse lone surrogates, huge integers and non-finite numbers, which other readers reject."""
    if isinstance(raw, str):
        _check_text(raw, where)
    elif isinstance(raw, int) and not -_LARGEST <= raw <= _LARGEST:
        msg = f"{where} must be a whole number of at most 63 bits, not {quoted(raw, 40)}"
        raise InputError(msg)
    elif isinstance(raw, float) and not math.isfinite(raw):
        msg = f"{where} must be a finite number, not {raw}"
        raise InputError(msg)


def _check_text(raw: str, where: str) -> None:
    try:
        raw.encode()
    except UnicodeEncodeError as error:
        msg = f"{where} holds a lone surrogate, which is half of a character: {quoted(raw)}"
        raise InputError(msg) from error


def _check_plain(raw: Any, where: str, depth: int = 0) -> None:
    """Check that a value consists of types that JSON supports, within limits."""
    if depth > _DEEPEST:
        msg = f"{where} is nested deeper than {_DEEPEST} levels"
        raise InputError(msg)
    if isinstance(raw, dict):
        for key, value in raw.items():
            _check_plain(key, f"{where}: a key", depth + 1)
            _check_plain(value, where, depth + 1)
    elif isinstance(raw, list | tuple):
        for value in raw:
            _check_plain(value, where, depth + 1)
    elif raw is None or isinstance(raw, str | int | float):
        _check_scalar(raw, where)
    else:
        msg = f"{where} holds {quoted(raw)}, which is not a number, text, list or mapping"
        raise InputError(msg)


def _build_union(options: tuple[Any, ...], raw: Any, where: str) -> Any:
    if raw is None and type(None) in options:
        return None
    problems = []
    for option in options:
        if option is type(None):
            continue
        try:
            return from_plain(option, raw, where)
        except InputError as error:
            problems.append(str(error))
    raise InputError(" or ".join(problems))


def _build_dataclass(kind: Any, raw: Any, where: str) -> Any:
    fields = {f.name: f for f in dataclasses.fields(kind)}
    if not isinstance(raw, dict):
        msg = f"{where} must be a mapping with the keys {', '.join(fields)}, not {quoted(raw)}"
        raise InputError(msg)
    unknown = sorted(set(raw) - set(fields), key=str)
    if unknown:
        msg = f"{where}: unknown key {quoted(unknown[0])}; valid keys: {', '.join(fields)}"
        raise InputError(msg)
    missing = [
        name
        for name, f in fields.items()
        if name not in raw
        and f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        msg = f"{where}: missing key {missing[0]!r}; valid keys: {', '.join(fields)}"
        raise InputError(msg)
    hints = typing.get_type_hints(kind)
    return kind(**{name: from_plain(hints[name], raw[name], f"{where}: {name}") for name in raw})
