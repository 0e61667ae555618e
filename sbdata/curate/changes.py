"""Changes: check whether the annotations that a set was built from are still the same.

A hidden file in the set holds the fingerprints of its sources' annotation files. Without it, a
correction of a source would have no effect, because the set already exists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from sbdata.errors import InputError
from sbdata.layout import SOURCES_MARKER
from sbdata.recipe import Recipe, SourceSpec
from sbdata.sources.files import annotation_files, fingerprint, is_unchanged
from sbdata.storage import write_bytes


def source_fingerprints(recipe: Recipe, roots: Mapping[str, Path]) -> dict[str, dict[str, str]]:
    """Return the annotation fingerprints of each split of a recipe's sources, by split name.

    Args:
        recipe: Recipe of the set.
        roots: Folder of each source, by source name.

    Raises:
        InputError: If annotations cannot be read.
    """
    found = {}
    for spec in _specs(recipe):
        for split in spec.splits:
            files = annotation_files(spec, split, roots.get(spec.name))
            if files:
                found[f"{spec.name}-{split}"] = dict(fingerprint(files))
    return found


def record_sources(
    root: Path,
    logical_hash: str,
    found: Mapping[str, Mapping[str, str]],
    notes: Sequence[str] = (),
) -> None:
    """Write the fingerprints of the sources into a set's folder.

    Args:
        root: Folder of the set.
        logical_hash: Logical hash of the set's manifest.
        found: Fingerprints returned by :func:`source_fingerprints`.
        notes: Sentences about the sources that must be shown with the set's numbers.
    """
    content = {"logical_hash": logical_hash, "sources": found, "notes": [*notes]}
    write_bytes(root / SOURCES_MARKER, orjson.dumps(content, option=orjson.OPT_SORT_KEYS))


def changed_sources(
    root: Path, logical_hash: str, recipe: Recipe, roots: Mapping[str, Path]
) -> list[str]:
    """Return the files, or splits of many files, that have changed since a set was built.

    Files that were not recorded, or are no longer available, are not compared.

    Args:
        root: Folder of the set.
        logical_hash: Logical hash of the set's manifest.
        recipe: Recipe of the set.
        roots: Folder of each source, by source name.
    """
    recorded = _recorded(root, logical_hash).get("sources")
    recorded = recorded if isinstance(recorded, dict) else {}
    changed = []
    for spec in _specs(recipe):
        for split in spec.splits:
            former = recorded.get(f"{spec.name}-{split}")
            try:
                files = annotation_files(spec, split, roots.get(spec.name))
                if not files or not isinstance(former, dict) or is_unchanged(files, former):
                    continue
            except (InputError, OSError):
                continue
            one = str(files[0])
            changed.append(one if len(files) == 1 else f"{spec.name} {split} in {roots[spec.name]}")
    return changed


def recorded_notes(root: Path, logical_hash: str) -> list[str]:
    """Return the sentences about its sources that were recorded when a set was built.

    Args:
        root: Folder of the set.
        logical_hash: Logical hash of the set's manifest.
    """
    notes = _recorded(root, logical_hash).get("notes")
    return [note for note in notes if isinstance(note, str)] if isinstance(notes, list) else []


def _specs(recipe: Recipe) -> list[SourceSpec]:
    return [*recipe.sources, *([recipe.overlay.source] if recipe.overlay else [])]


def _recorded(root: Path, logical_hash: str) -> Mapping[str, Any]:
    """Return the record of a set; empty if the file is damaged or belongs to another set."""
    try:
        content = orjson.loads((root / SOURCES_MARKER).read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict) or content.get("logical_hash") != logical_hash:
        return {}
    return content
