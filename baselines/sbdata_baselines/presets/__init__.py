"""Presets of the methods: ``<method>.<preset>.yaml``, read into their settings' dataclasses."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

from sbdata.errors import InputError
from sbdata.settings import read_settings


def presets_of(method: str) -> dict[str, dict[str, Any]]:
    """Return the settings of a method as plain values, by preset.

    A value may be another preset: ``irn: irn.paper`` stands for all of ``irn.paper.yaml``.
    ``base: irn.smoke`` starts from that preset; the file's other keys replace its values.

    Raises:
        InputError: if a file is not a mapping.
    """
    folder = Path(str(resources.files(__name__)))
    files = sorted(folder.glob(f"{method}.*.yaml"))
    return {path.name.split(".")[1]: _read(path) for path in files}


def _read(path: Path) -> dict[str, Any]:
    raw, where = read_settings(str(path), "presets", "preset")
    if not isinstance(raw, dict):
        msg = f"{where}: a preset must be a mapping of keys to values"
        raise InputError(msg)
    parts = {
        key: _read(path.parent / f"{value}.yaml") if _is_preset(path, value) else value
        for key, value in raw.items()
    }
    base = parts.pop("base", {})
    if not isinstance(base, dict):
        msg = f"{where}: base must be the name of a preset in this folder, not {base!r}"
        raise InputError(msg)
    return _over(base, parts)


def _over(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return a mapping with some values replaced; nested mappings are merged the same way."""
    merged = dict(base)
    for key, value in changes.items():
        old = base.get(key)
        nested = isinstance(old, dict) and isinstance(value, dict)
        merged[key] = _over(base[key], value) if nested else value
    return merged


def _is_preset(path: Path, value: Any) -> bool:
    return isinstance(value, str) and (path.parent / f"{value}.yaml").is_file()
