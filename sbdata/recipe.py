"""Recipes: YAML files that say how an evaluation set is chosen, read into frozen dataclasses."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml

from sbdata.errors import InputError
from sbdata.sizes import SizeBins
from sbdata.taxonomy import TAXONOMIES, Taxonomy


@dataclass(frozen=True)
class SourceSpec:
    """How a recipe names a source.

    Attributes:
        name: by which ``--source-root NAME=PATH`` and the tables know it.
        format: its reader (``shapes``, ``voc``, ``coco``, ``lvis``); the name by default.
        splits: of the dataset, in order.
        class_map: name of a map, a mapping of names, or None for identity.
        annotations: annotation file relative to the root, with ``{split}`` filled in; the format's
            published layout by default.
        images: image folder relative to the root, likewise.
        options: further settings of the format (``shapes``: counts and seed).
    """

    name: str
    splits: tuple[str, ...]
    format: str = ""
    class_map: str | Mapping[str, str] | None = None
    annotations: str | None = None
    images: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def reader(self) -> str:
        """Return the format, which is the name where the recipe gives none."""
        return self.format or self.name


@dataclass(frozen=True)
class Overlay:
    """Finer masks of the same images: an object of ``source`` replaces the mask it matches.

    Attributes:
        source: that has the finer masks (``lvis``), over images of the recipe's sources.
        min_iou: of the two masks, of equal class and matched one to one, from which it replaces.
    """

    source: SourceSpec
    min_iou: float = 0.5


@dataclass(frozen=True)
class Filters:
    """Which images may be candidates at all.

    Attributes:
        exhaustive: leave out images of which a class is not exhaustively annotated.
        max_crowd_share: largest share of the image's pixels that crowd regions of the set's classes
            may cover; more of them are there than anyone counted.
        with_instances: leave out images without an instance of the set's classes.
    """

    exhaustive: bool = True
    max_crowd_share: float = 1.0
    with_instances: bool = False


@dataclass(frozen=True)
class Selection:
    """How many instances each class x size cell gets; see ``sbdata.curate.select``.

    Attributes:
        quota: instances wanted in every cell.
        band: relative width above the quota that still counts as balanced.
        gap: relative gap to the bound at which the search stops.
        nodes: branch-and-bound nodes at which the search stops.
        columns: how many columns of smallest reduced cost the search keeps.
    """

    quota: int
    band: float = 0.05
    gap: float = 0.008
    nodes: int = 20
    columns: int = 1000


@dataclass(frozen=True)
class Recipe:
    """How an evaluation set is chosen.

    Attributes:
        name: of the set.
        version: named reading of a published definition, such as ``pascal_b.v1``.
        taxonomy: a known taxonomy's name, or a list of class names.
        sources: where images come from.
        description: one or two sentences for the dataset card.
        synthetic: whether the images are generated; every output then says so.
        overlay: finer masks, or None.
        bins: size intervals.
        filters: which images may be candidates.
        select: the balance wanted, or None to take every candidate.
        judges: training sets the set is meant to judge, each ``SOURCE-SPLIT``; their images and
            near duplicates are left out.
        compare: ordinary sets, each ``SOURCE-SPLIT``, whose sizes and balance stand beside this
            set's in the manifest and on the card, where they are at hand.
        near_duplicate_bits: largest Hamming distance of two 64-bit perceptual hashes that counts as
            a near duplicate.
        split: the name of the list in ``ImageSets/Segmentation``.
        seed: of the order among equally good images.
    """

    name: str
    version: str
    taxonomy: str | tuple[str, ...]
    sources: tuple[SourceSpec, ...]
    description: str = ""
    synthetic: bool = False
    overlay: Overlay | None = None
    bins: SizeBins = field(default_factory=SizeBins)
    filters: Filters = field(default_factory=Filters)
    select: Selection | None = None
    judges: tuple[str, ...] = ()
    compare: tuple[str, ...] = ()
    near_duplicate_bits: int = 6
    split: str = "val"
    seed: int = 0

    def classes(self) -> Taxonomy:
        """Return the set's taxonomy.

        Raises:
            InputError: for a name that is not known.
        """
        if isinstance(self.taxonomy, tuple):
            return Taxonomy(self.name, self.taxonomy)
        if self.taxonomy not in TAXONOMIES:
            known = ", ".join(sorted(TAXONOMIES))
            msg = f"recipe {self.name}: unknown taxonomy {self.taxonomy!r}; known: {known}"
            raise InputError(msg)
        return TAXONOMIES[self.taxonomy]

    def as_dict(self) -> dict[str, Any]:
        """Return the resolved recipe as plain JSON-like values."""
        plain = _plain(self)
        assert isinstance(plain, dict)  # noqa: S101 - for the type checker
        return plain


def bundled_recipes() -> list[str]:
    """Return the names of the recipes that come with the package."""
    folder = resources.files("sbdata") / "recipes"
    return sorted(
        f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml")
    )


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a bundled recipe by name, or a YAML file, and apply overrides.

    Args:
        name_or_path: ``pascal-b``, or a path ending in ``.yaml`` or ``.yml``.
        overrides: ``key=value`` with dotted keys and YAML values, such as ``select.quota=20``,
            ``sources.0.splits=[val2017]`` or ``overlay=null``.

    Raises:
        InputError: for an unknown recipe or key or a value of the wrong type; the message lists the
            valid ones.
    """
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            msg = f"{path}: no such recipe file"
            raise InputError(msg)
        text, where = path.read_text(encoding="utf-8"), str(path)
    elif name_or_path in bundled_recipes():
        text = (resources.files("sbdata") / "recipes" / f"{name_or_path}.yaml").read_text("utf-8")
        where = f"recipe {name_or_path}"
    else:
        known = ", ".join(bundled_recipes())
        msg = f"no recipe called {name_or_path!r}; bundled: {known}; or give a path to a .yaml file"
        raise InputError(msg)
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        msg = f"{where}: not valid YAML ({' '.join(str(error).split())})"
        raise InputError(msg) from error
    return recipe_from_dict(raw, where, overrides)


def recipe_from_dict(raw: Any, where: str, overrides: Sequence[str] = ()) -> Recipe:
    """Build a recipe from plain values, such as a manifest's header, and apply overrides.

    Raises:
        InputError: naming ``where`` for unknown keys and wrong types.
    """
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key:
            msg = f"--set takes key=value, not {override!r}"
            raise InputError(msg)
        try:
            raw = _replaced(raw, key.split("."), yaml.safe_load(value))
        except (yaml.YAMLError, IndexError, ValueError, TypeError) as error:
            msg = (
                f"--set {override}: {key} cannot be set in {where} ({' '.join(str(error).split())})"
            )
            raise InputError(msg) from error
    recipe = _build(Recipe, raw, where)
    assert isinstance(recipe, Recipe)  # noqa: S101 - for the type checker
    _check(recipe, where)
    return recipe


def _check(recipe: Recipe, where: str) -> None:
    def wrong(key: str, rule: str) -> InputError:
        return InputError(f"{where}: {key} must be {rule}")

    recipe.classes()
    if not recipe.sources or any(not source.splits for source in recipe.sources):
        raise wrong("sources", "a list of at least one, each with at least one split")
    names = [source.name for source in recipe.sources]
    if len(set(names)) != len(names):
        raise wrong("sources", "of distinct names; give further splits of one source in its splits")
    if not 0 <= recipe.filters.max_crowd_share <= 1:
        raise wrong("filters.max_crowd_share", "between 0 and 1")
    if recipe.overlay and not 0 < recipe.overlay.min_iou <= 1:
        raise wrong("overlay.min_iou", "above 0 and at most 1")
    if not 0 <= recipe.near_duplicate_bits <= 64:
        raise wrong("near_duplicate_bits", "between 0 and 64")
    for key in ("judges", "compare"):
        if any("-" not in named for named in getattr(recipe, key)):
            raise wrong(key, "a list of SOURCE-SPLIT, such as voc-trainaug")
    if recipe.select is not None:
        chosen = recipe.select
        if chosen.quota < 1 or chosen.nodes < 1 or chosen.columns < 1:
            raise wrong("select.quota, select.nodes and select.columns", "at least 1")
        if chosen.band < 0 or not 0 <= chosen.gap < 1:
            raise wrong("select.band and select.gap", "not negative, and the gap below 1")


# --- plain values <-> dataclasses ----------------------------------------------------------------


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return value


def _replaced(raw: Any, keys: Sequence[str], value: Any) -> Any:
    """Return a copy of nested mappings and lists with one place set."""
    if not keys:
        return value
    if isinstance(raw, list):
        place = int(keys[0])
        return [*raw[:place], _replaced(raw[place], keys[1:], value), *raw[place + 1 :]]
    if raw is None:
        raw = {}
    if not isinstance(raw, dict):
        msg = f"{keys[0]} is below a plain value"
        raise TypeError(msg)
    return {**raw, keys[0]: _replaced(raw.get(keys[0]), keys[1:], value)}


def _build(kind: Any, raw: Any, where: str) -> Any:
    """Turn plain YAML values into ``kind``; unknown keys and wrong types are errors."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return raw
    if origin in (types.UnionType, typing.Union):
        return _build_union(args, raw, where)
    if origin is Literal:
        if raw in args:
            return raw
        msg = f"{where} must be one of {', '.join(map(str, args))}, not {raw!r}"
        raise InputError(msg)
    if origin is tuple:
        if isinstance(raw, list):
            return tuple(_build(args[0], item, f"{where}[{i}]") for i, item in enumerate(raw))
        msg = f"{where} must be a list, not {raw!r}"
        raise InputError(msg)
    if origin is not None and issubclass(origin, Mapping):
        if isinstance(raw, dict) and all(isinstance(key, str) for key in raw):
            return {key: _build(args[1], value, f"{where}.{key}") for key, value in raw.items()}
        msg = f"{where} must be a mapping of names, not {raw!r}"
        raise InputError(msg)
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(kind, raw, where)
    if kind is float and isinstance(raw, int) and not isinstance(raw, bool):
        return float(raw)
    if not isinstance(raw, kind) or (isinstance(raw, bool) and kind is not bool):
        msg = f"{where} must be {kind.__name__}, not {raw!r}"
        raise InputError(msg)
    return raw


def _build_union(options: tuple[Any, ...], raw: Any, where: str) -> Any:
    if raw is None and type(None) in options:
        return None
    problems = []
    for option in options:
        if option is type(None):
            continue
        try:
            return _build(option, raw, where)
        except InputError as error:
            problems.append(str(error))
    raise InputError(" or ".join(problems))


def _build_dataclass(kind: Any, raw: Any, where: str) -> Any:
    fields = {f.name: f for f in dataclasses.fields(kind)}
    if not isinstance(raw, dict):
        msg = f"{where} must be a mapping with the keys {', '.join(fields)}, not {raw!r}"
        raise InputError(msg)
    unknown = sorted(set(raw) - set(fields), key=str)
    if unknown:
        msg = f"{where}: unknown key {unknown[0]!r}; valid keys: {', '.join(fields)}"
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
    return kind(**{name: _build(hints[name], raw[name], f"{where}: {name}") for name in raw})
