"""Baselines: method metadata, and the discovery of installed methods.

A package registers a method by an entry point in the group ``sbdata.baselines`` whose object is a
:class:`Baseline`; docs/guides/benchmark.md shows one of under 40 lines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sbdata.benchmark.stage import Stage
from sbdata.errors import InputError
from sbdata.plugins import Registry
from sbdata.settings import from_plain, overridden
from sbdata.supervision import IMAGE_LABELS, SUPERVISION

FULL = "full"
"""Name of the control that trains on ground-truth masks, the upper bound. Baselines have no access
to those masks, so it is not a baseline; the runner handles this name separately."""

PIXEL_MASKS = "pixel_masks"
CEILING = "Control: trained on ground-truth masks. The ceiling."


def _itself(settings: Any) -> str:
    return ""


@dataclass(frozen=True)
class Baseline:
    """Method that turns weak labels into pseudo-masks.

    Attributes:
        name: Name in ``--method`` and in tables.
        paper: Title, venue and year; or the purpose of a control.
        year: Year of the paper, or None for a control.
        supervision: Labels that the method uses: ``image_labels``, ``boxes``, ``saliency``.
        settings: Dataclass of its settings.
        presets: Plain values of ``settings`` by preset name: ``smoke``, ``paper``.
        build: Function from settings to the last stage, whose folder holds ``<image_id>.png``
            pseudo-masks.
        differences: Differences from the official code, with reasons; one sentence each.
        backbone: Backbone of the official code.
        control: True for a ceiling or a floor instead of a method.
        of_paper: Whether it is one of the ten methods that Mun et al. (WACV 2024) train on.
        published: Published values with their protocol, for the docs; never listed beside ours.
        variant: Function from settings to the variant suffix in tables, such as ``hybrid``; empty
            for the method itself.
    """

    name: str
    paper: str
    year: int | None
    settings: type[Any]
    presets: Mapping[str, Mapping[str, Any]]
    build: Callable[[Any], Stage]
    supervision: tuple[str, ...] = (IMAGE_LABELS,)
    differences: tuple[str, ...] = ()
    backbone: str = ""
    control: bool = False
    of_paper: bool = False
    published: Mapping[str, str] = field(default_factory=dict)
    variant: Callable[[Any], str] = _itself

    def __post_init__(self) -> None:
        unknown = set(self.supervision) - set(SUPERVISION)
        if unknown:
            msg = f"baseline {self.name}: supervision {unknown.pop()!r} is not in {SUPERVISION}"
            raise InputError(msg)

    def resolved(self, preset: str, overrides: tuple[str, ...] = ()) -> Any:
        """Return the settings of a preset, changed by ``key=value`` overrides.

        Raises:
            InputError: for an unknown preset or key, or a value of a wrong type.
        """
        if preset not in self.presets:
            known = ", ".join(sorted(self.presets))
            msg = f"baseline {self.name} has no preset {preset!r}; choose from {known}"
            raise InputError(msg)
        where = f"baseline {self.name}, preset {preset}"
        raw = overridden(dict(self.presets[preset]), overrides, where, "--method-option")
        return from_plain(self.settings, raw, where)


BASELINES: Registry[Baseline] = Registry(
    "sbdata.baselines",
    "method",
    check=lambda thing: "" if isinstance(thing, Baseline) else "is not a Baseline",
)
"""Methods by name; all of them are entry points."""

find_baseline = BASELINES.find


def register_baseline(baseline: Baseline) -> None:
    """Add a method in this process.

    Raises:
        InputError: If its name is taken.
    """
    BASELINES.register(baseline.name, baseline)


def describe_baselines() -> list[dict[str, Any]]:
    """Return the metadata of every method as plain values, sorted by name.

    A method that cannot be loaded is listed with the reason in place of its paper. ``full``, which
    trains on ground truth and is not a baseline, is listed too.
    """
    said: list[dict[str, Any]] = [
        {"name": FULL, "paper": CEILING, "supervision": [PIXEL_MASKS], "presets": ["any"]}
    ]
    for name in sorted(BASELINES):
        try:
            found = find_baseline(name)
        except InputError as error:  # the others are shown
            reason = str(error)
            said.append({"name": name, "paper": reason, "supervision": [], "presets": []})
            continue
        said.append(
            {
                "name": name,
                "paper": found.paper,
                "year": found.year,
                "supervision": list(found.supervision),
                "control": found.control,
                "of_paper": found.of_paper,
                "presets": sorted(found.presets),
                "backbone": found.backbone,
                "differences": list(found.differences),
                "published": dict(found.published),
            }
        )
    return sorted(said, key=lambda method: str(method["name"]))
