"""Recipes: YAML files that say how an evaluation set is chosen, read into frozen dataclasses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from sbdata.errors import InputError
from sbdata.quoting import has_controls, quoted
from sbdata.settings import as_plain, bundled, from_plain, overridden, read_settings
from sbdata.sizes import SizeBins
from sbdata.storage import is_safe_stem
from sbdata.taxonomy import TAXONOMIES, Taxonomy

_SOURCE_SPLIT = re.compile(r"[^-].*-.*[^-]")
_MOST = 10**9  # of instances, nodes and columns
_FORMER_KEY = "judges"


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
        synthetic: whether the images are generated; every output then says so. A set with images
            of a source that generates them is synthetic whatever is said here.
        overlay: finer masks, or None.
        bins: size intervals.
        filters: which images may be candidates.
        select: the balance wanted, or None to take every candidate.
        exclude_overlap_with: training splits, each ``SOURCE-SPLIT``, whose images and near
            duplicates are left out, so that the set can judge what was trained on them.
        unchecked: those of them that are not compared; the manifest and the card say so. Without
            it, a split that cannot be read stops the build.
        compare: ordinary sets, each ``SOURCE-SPLIT``, whose sizes and balance stand beside this
            set's in the manifest and on the card, if they are at hand.
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
    exclude_overlap_with: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()
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
            msg = f"recipe {self.name}: unknown taxonomy {quoted(self.taxonomy)}; known: {known}"
            raise InputError(msg)
        return TAXONOMIES[self.taxonomy]

    def as_dict(self) -> dict[str, Any]:
        """Return the resolved recipe as plain JSON-like values."""
        plain = as_plain(self)
        assert isinstance(plain, dict)  # noqa: S101 - for the type checker
        return plain


def bundled_recipes() -> list[str]:
    """Return the names of the recipes that come with the package."""
    return bundled("recipes")


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a bundled recipe by name, or a YAML file, and apply overrides.

    Args:
        name_or_path: ``pascal-b``, or a path ending in ``.yaml`` or ``.yml``.
        overrides: see :func:`sbdata.settings.overridden`.

    Raises:
        InputError: for an unknown recipe or key or a value of the wrong type; the message lists the
            valid ones.
    """
    raw, where = read_settings(name_or_path, "recipes", "recipe")
    return recipe_from_dict(raw, where, overrides)


def recipe_from_dict(raw: Any, where: str, overrides: Sequence[str] = ()) -> Recipe:
    """Build a recipe from plain values, such as a manifest's header, and apply overrides.

    Raises:
        InputError: naming ``where`` for unknown keys and wrong types.
    """
    plain = overridden(raw, overrides, where)
    _refuse_former_key(plain, where)
    recipe = from_plain(Recipe, plain, where)
    assert isinstance(recipe, Recipe)  # noqa: S101 - for the type checker
    _check(recipe, where)
    return recipe


def source_and_split(named: str, sources: Iterable[str]) -> tuple[str, str]:
    """Return the source and the split that ``SOURCE-SPLIT`` names.

    A source's name may have hyphens itself: the longest of the known ones that fits is taken, and
    if none fits, the text before the first hyphen.

    >>> source_and_split("my-coco-train2017", ["coco", "my-coco"])
    ('my-coco', 'train2017')
    >>> source_and_split("voc-trainaug", [])
    ('voc', 'trainaug')
    """
    fits = [source for source in sources if named.startswith(f"{source}-")]
    source = max(fits, key=len, default=named.partition("-")[0])
    return source, named[len(source) + 1 :]


def _refuse_former_key(plain: Any, where: str) -> None:
    """Say how a key is called now that older recipes have."""
    if not isinstance(plain, dict) or _FORMER_KEY not in plain:
        return
    given = plain[_FORMER_KEY]
    shown = ", ".join(v for v in given if isinstance(v, str)) if isinstance(given, list) else ""
    msg = (
        f"{where}: unknown key {_FORMER_KEY!r}, it is called exclude_overlap_with now (here: "
        f"[{shown:.80}]); valid keys: {', '.join(f.name for f in fields(Recipe))}"
    )
    raise InputError(msg)


def _check(recipe: Recipe, where: str) -> None:
    def wrong(key: str, rule: str) -> InputError:
        return InputError(f"{where}: {key} must be {rule}")

    for key in ("name", "split"):
        if not is_safe_stem(getattr(recipe, key)):
            given = quoted(getattr(recipe, key))
            rule = f"a plain name that can stand as a file's, without slashes, not {given}"
            raise wrong(key, rule)
    named = (recipe.version, *(source.name for source in recipe.sources), *recipe.bins.names)
    for text in (*named, *recipe.exclude_overlap_with, *recipe.compare):
        if has_controls(text):
            raise wrong(quoted(text), "a name without control characters")
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
    for key in ("exclude_overlap_with", "compare"):
        if not all(_SOURCE_SPLIT.fullmatch(named) for named in getattr(recipe, key)):
            raise wrong(key, "a list of SOURCE-SPLIT, such as voc-trainaug")
    if not set(recipe.unchecked) <= set(recipe.exclude_overlap_with):
        raise wrong("unchecked", "a list of names that exclude_overlap_with has too")
    if recipe.select is not None:
        chosen = recipe.select
        if chosen.quota < 1 or chosen.nodes < 1 or chosen.columns < 1:
            raise wrong("select.quota, select.nodes and select.columns", "at least 1")
        if max(chosen.quota, chosen.nodes, chosen.columns) > _MOST:
            raise wrong("select.quota, select.nodes and select.columns", f"at most {_MOST:,}")
        if chosen.band > _MOST:
            raise wrong("select.band", f"at most {_MOST:,}")
        if recipe.seed < 0:
            raise wrong("seed", "a whole number, 0 or more")
        if chosen.band < 0 or not 0 <= chosen.gap < 1:
            raise wrong("select.band and select.gap", "not negative, and the gap below 1")
