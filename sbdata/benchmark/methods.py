"""Methods: the baselines, imports and controls of a bench call, with resolved settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sbdata.benchmark.baseline import CEILING, FULL, PIXEL_MASKS, Baseline, find_baseline
from sbdata.benchmark.config import BenchmarkConfig
from sbdata.benchmark.imported import (
    PREFIX,
    find_import,
    import_in,
    is_import,
    method_name,
    paper_of,
    planned_import,
)
from sbdata.benchmark.stage import Stage, code_of, in_order
from sbdata.errors import InputError
from sbdata.fingerprints import code_fingerprint, hash_of
from sbdata.importers.sources import UNKNOWN
from sbdata.supervision import BOXES, IMAGE_LABELS, SALIENCY


@dataclass(frozen=True)
class Method:
    """Method with resolved settings.

    Attributes:
        name: Name in results.
        paper: Title, venue and year, or the purpose of a control.
        supervision: Kinds of labels that it uses.
        control: True for a ceiling or a floor.
        stages: Stages by names that are distinct within the method, in running order; the last one
            writes the pseudo-masks. None for ``full``.
        variant: Suffix of the name, such as ``hybrid``; empty for the method itself.
        reference: Stages of the method's preset ``smoke`` by the same names, to which estimated
            durations refer; empty if it has none.
        classes: Names of the classes of imported masks, from number 1; None if it makes its own.
    """

    name: str
    paper: str
    supervision: tuple[str, ...]
    control: bool
    stages: Mapping[str, Stage] = field(default_factory=dict)
    variant: str = ""
    reference: Mapping[str, Stage] = field(default_factory=dict)
    classes: tuple[str, ...] | None = None

    @property
    def code(self) -> str:
        """Hash of all code that the stages can reach."""
        return hash_of([code_fingerprint(*code_of(stage)) for stage in self.stages.values()])


SMOKE = "smoke"
"""Preset in which the stages' seconds per image were measured."""

_CEILING = Method(FULL, CEILING, (PIXEL_MASKS,), True)


def find_methods(
    config: BenchmarkConfig, cache: Path, *, unbuilt: bool = False
) -> dict[str, Method]:
    """Return the methods of a bench call with resolved settings.

    Args:
        config: Configuration of the call.
        cache: Folder of the cache, in which imports are looked up.
        unbuilt: True to plan with folders of masks that are not imported yet.

    Returns:
        The methods by their own names, in the given order; ``import:NAME`` is ``import-NAME``.

    Raises:
        InputError: for an unknown method, preset or setting.
    """
    overrides: dict[str, list[str]] = {name: [] for name in config.methods}
    for override in config.method_overrides:
        name, colon, rest = override.partition(":")
        if not colon or name not in overrides:
            msg = (
                f"--method-option takes METHOD:KEY=VALUE with a method of this call "
                f"({', '.join(config.methods)}), not {override!r}"
            )
            raise InputError(msg)
        overrides[name].append(rest)
    found: dict[str, Method] = {}
    for name in config.methods:
        if name.startswith(PREFIX):
            method = _imported(name, cache)
            if method.name in found:
                msg = f"--method {name}: duplicate import name; name each import once"
                raise InputError(msg)
        elif name == FULL:
            if overrides[name]:
                msg = f"method {FULL} has no settings; leave out --method-option {FULL}:..."
                raise InputError(msg)
            method = _CEILING
        else:
            baseline = find_baseline(name)
            settings = baseline.resolved(config.preset, tuple(overrides[name]))
            method = _resolved(name, baseline, settings)
            if name in config.pseudo:
                method = _replaced(method, config.pseudo[name], unbuilt=unbuilt)
        found[method.name] = method
    for path, option, seen, what in (
        (config.labels, "--labels", IMAGE_LABELS, "image labels"),
        (config.saliency, "--saliency", SALIENCY, "saliency maps"),
        (config.boxes, "--boxes", BOXES, "boxes"),
    ):
        # A study may be narrowed to methods that use none of a part's files.
        used = config.part or any(seen in method.supervision for method in found.values())
        if path is not None and not used:
            msg = (
                f"{option} {path}: none of {', '.join(found)} uses {what}; leave it out, or name a "
                "method that does"
            )
            raise InputError(msg)
    return found


def _imported(called: str, cache: Path) -> Method:
    record, stage = find_import(called, cache)
    name, paper = method_name(record), paper_of(record)
    return Method(
        name, paper, record.supervision, False, {stage.name: stage}, classes=record.classes
    )


IMPORTED = "imported masks"
"""Variant of a method whose stages were replaced by imported masks."""


def _replaced(method: Method, folder: Path, *, unbuilt: bool) -> Method:
    """Return a method whose stages are replaced by the masks of an import."""
    if unbuilt and not is_import(folder):
        stage = planned_import(method.name, folder)
        return replace(
            method, control=False, stages={stage.name: stage}, reference={}, variant=IMPORTED
        )
    record, stage = import_in(folder)
    supervision = method.supervision if UNKNOWN in record.supervision else record.supervision
    return replace(
        method,
        paper=f"{method.paper}; {paper_of(record)}",
        supervision=supervision,
        control=False,  # the masks are not its own
        stages={stage.name: stage},
        reference={},
        variant=IMPORTED,
        classes=record.classes,
    )


def _resolved(called: str, baseline: Baseline, settings: Any) -> Method:
    reference = {}
    if SMOKE in baseline.presets:
        reference = _named(baseline.build(baseline.resolved(SMOKE)))
    return Method(
        called,
        baseline.paper,
        baseline.supervision,
        baseline.control,
        _named(baseline.build(settings)),
        baseline.variant(settings),
        reference,
    )


def _named(last: Stage) -> dict[str, Stage]:
    """Return the stages that end in one, by names that are distinct."""
    stages: dict[str, Stage] = {}
    for stage in in_order(last):
        name, number = stage.name, 1
        while name in stages:
            number += 1
            name = f"{stage.name}-{number}"
        stages[name] = stage
    return stages
