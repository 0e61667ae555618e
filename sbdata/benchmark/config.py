"""What a call of ``sbdata bench`` asks, checked at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sbdata.benchmark.imported import absolute_import
from sbdata.errors import InputError
from sbdata.train.preset import Preset, load_preset
from sbdata.train.registry import find_strategy

_SEGMENTER_PRESETS = {"paper": "wacv24"}
"""Presets of the segmenter by those of the methods, if the two have different names."""


@dataclass(frozen=True)
class BenchmarkConfig:
    """What a call of the bench asks. Paths are made absolute, so they mean the same anywhere.

    Attributes:
        methods: names of baselines, ``full``, or ``import:NAME`` for imported masks.
        strategies: names of the strategies by which segmenters are trained.
        training: folder of the training set.
        sets: folders of the evaluation sets.
        seeds: each makes everything anew.
        preset: name of the methods' preset, and of the segmenter's if it has no other; the methods'
            ``paper`` goes with the segmenter's ``wacv24``.
        training_preset: name or YAML file of the segmenter's preset.
        training_overrides: ``key=value``, changes of the segmenter's preset.
        method_overrides: ``method:key=value``, changes of a method's preset.
        labels: a file of image-level labels, instead of the set's own.
        saliency: a folder of saliency maps, for the methods that take them.
        boxes: a file or folder of boxes, for the methods that take them, instead of the set's own.
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

    def __post_init__(self) -> None:
        for what in ("methods", "strategies", "sets", "seeds"):
            values = getattr(self, what)
            if not values or len(set(values)) < len(values):
                msg = f"a bench needs {what}, each named once, not {', '.join(map(str, values))!r}"
                raise InputError(msg)
        for name in self.strategies:
            find_strategy(name)
        absolute = {
            "methods": tuple(map(absolute_import, self.methods)),
            "training": self.training.absolute(),
            "sets": tuple(root.absolute() for root in self.sets),
            "labels": self.labels and self.labels.absolute(),
            "saliency": self.saliency and self.saliency.absolute(),
            "boxes": self.boxes and self.boxes.absolute(),
        }
        for name, value in absolute.items():
            object.__setattr__(self, name, value)

    def segmenter_preset(self) -> Preset:
        """Return the segmenter's preset: its own, or the one that goes with the methods'.

        Raises:
            InputError: for an unknown preset or key, or a value of a wrong type or out of range.
        """
        name = self.training_preset or _SEGMENTER_PRESETS.get(self.preset, self.preset)
        return load_preset(name, self.training_overrides)
