"""Studies: experiments of several training sets, methods, strategies, seeds and scored sets.

A study is a small YAML file. Each of its parts is one training set and the sets on which its
segmenters are scored, which have the classes of the training set. ``sbdata bench --study NAME``
runs all of it, and a table by method shows the result.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from sbdata.benchmark.baseline import FULL, find_baseline
from sbdata.benchmark.config import BenchmarkConfig
from sbdata.errors import InputError
from sbdata.quoting import quoted
from sbdata.recipe import Recipe, bundled_recipes, load_recipe
from sbdata.settings import from_plain, read_settings
from sbdata.storage import is_safe_stem
from sbdata.train.registry import find_strategy

FOLDER = "studies"
"""Folder of the package that holds the bundled studies."""

DATA = Path("data")
"""Folder of the sets that are named by their recipe."""


@dataclass(frozen=True)
class GeneratedSet:
    """Set of generated images that a study builds itself.

    Attributes:
        recipe: Name of a recipe whose sources are all generated.
        options: Changes of the recipe, as ``key=value``.
    """

    recipe: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Part:
    """Training set of a study, and the sets on which its segmenters are scored.

    Attributes:
        training: Training set: a recipe's name, a name under ``generated``, or a folder whose path
            has a slash.
        sets: Scored sets, named in the same way.
        labels: File of image-level labels that replace those of the training set.
        saliency: Folder of saliency maps, for the methods that use them.
        boxes: File or folder of boxes that replace those of the training set.
    """

    training: str
    sets: tuple[str, ...]
    labels: str | None = None
    saliency: str | None = None
    boxes: str | None = None


@dataclass(frozen=True)
class Study:
    """Experiment: every method, strategy and seed of every preset on every part.

    Attributes:
        name: Name of the study.
        methods: Names of baselines, or ``full``.
        strategies: Names of training strategies; the tables compare the others with ``ce``.
        seeds: Seeds.
        parts: Training sets with their scored sets, by the name of the part.
        description: One or two sentences about the study.
        presets: Presets of the methods, and of the segmenter unless ``train_preset`` names one.
        train_preset: Preset of the segmenter.
        options: Changes of the segmenter's preset, as ``key=value``.
        method_options: Changes of a method's preset, as ``METHOD:key=value``.
        generated: Sets of generated images by name, which the study builds itself.
    """

    name: str
    methods: tuple[str, ...]
    strategies: tuple[str, ...]
    seeds: tuple[int, ...]
    parts: Mapping[str, Part]
    description: str = ""
    presets: tuple[str, ...] = ("smoke",)
    train_preset: str | None = None
    options: tuple[str, ...] = ()
    method_options: tuple[str, ...] = ()
    generated: Mapping[str, GeneratedSet] = field(default_factory=dict)

    def part(self, name: str) -> Part:
        """Return a part.

        Raises:
            InputError: if there is none of this name; the message lists the parts.
        """
        if name not in self.parts:
            msg = f"study {self.name} has no part {quoted(name)}; choose from {_listed(self.parts)}"
            raise InputError(msg)
        return self.parts[name]

    def narrowed(
        self,
        methods: Sequence[str] = (),
        strategies: Sequence[str] = (),
        parts: Sequence[str] = (),
    ) -> Study:
        """Return the study with only some of its methods, strategies and parts; all by default.

        Raises:
            InputError: for a name that is not in the study, or is given twice.
        """
        for what, given, known in (
            ("method", methods, self.methods),
            ("strategy", strategies, self.strategies),
            ("part", parts, tuple(self.parts)),
        ):
            strange = [name for name in given if name not in known]
            if strange or len(set(given)) < len(given):
                wrong = f"no {what} {quoted(strange[0])}" if strange else f"a {what} is named twice"
                msg = f"study {self.name}: {wrong}; it has {_listed(known)}"
                raise InputError(msg)
        kept = tuple(name for name in self.methods if not methods or name in methods)
        return replace(
            self,
            methods=kept,
            strategies=tuple(s for s in self.strategies if not strategies or s in strategies),
            parts={name: part for name, part in self.parts.items() if not parts or name in parts},
            method_options=tuple(o for o in self.method_options if o.partition(":")[0] in kept),
        )

    def folder(self, called: str, work: Path) -> Path:
        """Return the folder of a set that the study names.

        Args:
            called: Name or path, as in :class:`Part`.
            work: Work folder of the bench, which holds the generated sets.
        """
        if called in self.generated:
            return (work / "sets" / called).absolute()
        if "/" in called:
            return Path(called).absolute()
        return (DATA / called).absolute()

    def configs(
        self, work: Path, pseudo: Mapping[str, Mapping[str, Path]] | None = None
    ) -> tuple[BenchmarkConfig, ...]:
        """Return the bench calls of the study: one for each part and preset.

        Args:
            work: Work folder of the bench, which holds the generated sets.
            pseudo: Folders of imported masks, by part and method.

        Raises:
            InputError: for an unknown strategy, or a value that is given twice.
        """
        return tuple(
            BenchmarkConfig(
                methods=self.methods,
                strategies=self.strategies,
                training=self.folder(part.training, work),
                sets=tuple(self.folder(called, work) for called in part.sets),
                seeds=self.seeds,
                preset=preset,
                training_preset=self.train_preset,
                training_overrides=self.options,
                method_overrides=self.method_options,
                labels=_path(part.labels),
                saliency=_path(part.saliency),
                boxes=_path(part.boxes),
                pseudo=(pseudo or {}).get(name, {}),
                part=name if len(self.presets) == 1 else f"{name}, {preset}",
            )
            for name, part in self.parts.items()
            for preset in self.presets
        )

    def recipe_of(self, called: str) -> Recipe | None:
        """Return the recipe of a generated set; None for another set."""
        wanted = self.generated.get(called)
        if wanted is None:
            return None
        return load_recipe(wanted.recipe, [*wanted.options, f"name={called}"])

    @property
    def sets(self) -> tuple[str, ...]:
        """Names and paths of all sets, each once."""
        parts = self.parts.values()
        return tuple(dict.fromkeys(called for p in parts for called in (p.training, *p.sets)))


def load_study(name_or_path: str) -> Study:
    """Read a bundled study by name, or a YAML file.

    Raises:
        InputError: If the study or a key is unknown, or a value is wrong; the message lists the
            valid ones.
    """
    raw, where = read_settings(name_or_path, FOLDER, "study")
    study: Study = from_plain(Study, raw, where)
    try:
        _check(study)
    except InputError as error:
        msg = f"{where}: {error}"
        raise InputError(msg) from error
    return study


def _check(study: Study) -> None:
    """Check all that can be checked without the sets."""
    if not is_safe_stem(study.name):
        msg = f"name: {quoted(study.name)} must be a plain name"
        raise InputError(msg)
    for what in ("methods", "strategies", "seeds", "presets", "parts"):
        values = getattr(study, what)
        if not values or len(set(values)) < len(values):
            msg = f"{what}: must list one or more values, each once, not {_listed(values)!r}"
            raise InputError(msg)
    if min(study.seeds) < 0:
        msg = f"seeds: must not be below 0, not {min(study.seeds)}"
        raise InputError(msg)
    for strategy in study.strategies:
        find_strategy(strategy)
    for method in study.methods:
        if method != FULL:
            baseline = find_baseline(method)
            for preset in study.presets:
                baseline.resolved(preset)
    for name in study.generated:
        _check_generated(study, name)
    for name, part in study.parts.items():
        for called in (part.training, *part.sets):
            _check_called(study, name, called)
        if not part.sets or len({part.training, *part.sets}) < 1 + len(part.sets):
            msg = f"part {quoted(name)}: sets must list other sets than the training set, each once"
            raise InputError(msg)


def _check_generated(study: Study, name: str) -> None:
    recipe = study.recipe_of(name)
    if not is_safe_stem(name) or name in bundled_recipes():
        msg = f"generated: {quoted(name)} must be a plain name, and not that of a recipe"
        raise InputError(msg)
    if recipe is not None and any(spec.reader != "shapes" for spec in recipe.sources):
        msg = (
            f"generated: {quoted(name)}: recipe {recipe.name} reads published data; name its set "
            "in a part and build it by 'sbdata dataset build'"
        )
        raise InputError(msg)


def _check_called(study: Study, part: str, called: str) -> None:
    from sbdata.benchmark.published_sets import PUBLISHED

    known = {*study.generated, *bundled_recipes(), *PUBLISHED}
    if called not in known and "/" not in called:
        msg = (
            f"part {quoted(part)}: no set {quoted(called)}; give the name of a recipe "
            f"({_listed(sorted(known))}), or a path with a slash"
        )
        raise InputError(msg)


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def _listed(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))
