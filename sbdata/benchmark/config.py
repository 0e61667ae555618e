"""Configuration of a ``sbdata bench`` call, validated when it is created."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sbdata.benchmark.imported import absolute_import
from sbdata.errors import InputError
from sbdata.train.preset import Preset, load_preset
from sbdata.train.registry import find_strategy

_SEGMENTER_PRESETS = {"paper": "wacv24"}
"""Presets of the segmenter by preset of the methods, if the two have different names."""


@dataclass(frozen=True)
class BenchmarkConfig:
    """Configuration of a bench call. Paths are made absolute, so they are valid in any process.

    Attributes:
        methods: Names of baselines, ``full``, or ``import:NAME`` for imported masks.
        strategies: Names of the training strategies of segmenters.
        training: Folder of the training set.
        sets: Folders of the evaluation sets.
        seeds: Seeds; everything is run once for each.
        preset: Name of the methods' preset, and of the segmenter's unless it has another name; the
            methods' ``paper`` is used with the segmenter's ``wacv24``.
        training_preset: Name or YAML file of the segmenter's preset.
        training_overrides: Changes of the segmenter's preset, as ``key=value``.
        method_overrides: Changes of a method's preset, as ``method:key=value``.
        labels: File of image-level labels that replace those of the dataset.
        saliency: Folder of saliency maps, for the methods that use them.
        boxes: File or folder of boxes that replace those of the dataset, for the methods that use
            them.
        pseudo: Folder of an import by method; its masks replace those of the method.
        part: Name of this part of a study, which begins the names of its tasks; may be empty.
    """

    methods: tuple[str, ...]
    strategies: tuple[str, ...]
    training: Path
    sets: tuple[Path, ...]
    seeds: tuple[int, ...] = (0,)
    preset: str = "smoke"
    training_preset: str | None = None
    training_overrides: tuple[str, ...] = ()
    method_overrides: tuple[str, ...] = ()
    labels: Path | None = None
    saliency: Path | None = None
    boxes: Path | None = None
    pseudo: Mapping[str, Path] = field(default_factory=dict)
    part: str = ""

    def __post_init__(self) -> None:
        for what in ("methods", "strategies", "sets", "seeds"):
            values = getattr(self, what)
            if not values or len(set(values)) < len(values):
                msg = f"a bench needs {what}, each named once, not {', '.join(map(str, values))!r}"
                raise InputError(msg)
        for name in self.strategies:
            find_strategy(name)
        unknown = sorted(set(self.pseudo) - set(self.methods))
        if unknown:
            msg = (
                f"--pseudo {unknown[0]}=...: not a method of this call, which has "
                f"{', '.join(self.methods)}; add it by --method"
            )
            raise InputError(msg)
        absolute = {
            "methods": tuple(map(absolute_import, self.methods)),
            "training": self.training.absolute(),
            "sets": tuple(root.absolute() for root in self.sets),
            "labels": self.labels and self.labels.absolute(),
            "saliency": self.saliency and self.saliency.absolute(),
            "boxes": self.boxes and self.boxes.absolute(),
            "pseudo": {name: folder.absolute() for name, folder in self.pseudo.items()},
        }
        for name, value in absolute.items():
            object.__setattr__(self, name, value)

    def segmenter_preset(self) -> Preset:
        """Return the segmenter's preset: the given one, or the one matching the methods' preset.

        Raises:
            InputError: for an unknown preset or key, or a value of a wrong type or out of range.
        """
        name = self.training_preset or _SEGMENTER_PRESETS.get(self.preset, self.preset)
        return load_preset(name, self.training_overrides)
