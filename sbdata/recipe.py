"""Recipes: YAML files that define how an evaluation set is chosen, read into frozen dataclasses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from sbdata.errors import InputError
from sbdata.quoting import has_controls, quoted
from sbdata.settings import as_plain, bundled, from_plain, overridden, read_settings
from sbdata.sizes import AskedBins, SizeBins, Terciles
from sbdata.storage import is_safe_stem
from sbdata.taxonomy import TAXONOMIES, Taxonomy, check_foreground

_SOURCE_SPLIT = re.compile(r"[^-].*-.*[^-]")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MOST = 10**9  # of instances, nodes and columns
_SAME_IMAGE = ("refuse", "first")
_LATER_KEYS = ("same_image", "expect")  # left out of a header by default: hashes stay as they were
_FORMER_KEY = "judges"


@dataclass(frozen=True)
class SourceSpec:
    """Source entry of a recipe.

    Attributes:
        name: Name of the source in ``--source-root NAME=PATH`` and in the tables.
        format: Format of the source (``shapes``, ``voc``, ``sbd``, ``coco``, ``lvis``,
            ``cityscapes``, ``ade20k``, ``labels``); the name by default.
        splits: Splits of the dataset, in order.
        class_map: Name of a map, a mapping of names, or None for identity.
        annotations: Annotation file relative to the root, may contain ``{split}``; the format's
            published layout by default. Only for ``coco``, ``lvis`` and ``labels``.
        images: Image folder relative to the root, may contain ``{split}``; the format's published
            layout by default. Only for ``coco``, ``lvis`` and ``labels``.
        options: Further settings of the format (``shapes``: counts and seed).
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
        """Return the format; it is the name if the recipe gives no format."""
        return self.format or self.name


@dataclass(frozen=True)
class Overlay:
    """Finer masks of the same images; each replaces the mask that it matches.

    Attributes:
        source: Source of the finer masks (``lvis``), over images of the recipe's sources.
        min_iou: Smallest IoU at which a finer mask replaces another; masks are matched one to one
            within a class.
    """

    source: SourceSpec
    min_iou: float = 0.5


@dataclass(frozen=True)
class Filters:
    """Conditions that an image must meet to be a candidate.

    Attributes:
        exhaustive: Leave out images in which a class is not exhaustively annotated.
        max_crowd_share: Largest share of the image's pixels that crowd regions of the set's classes
            may cover, because the objects in crowd regions are not counted.
        with_instances: Leave out images without an instance of the set's classes.
    """

    exhaustive: bool = True
    max_crowd_share: float = 1.0
    with_instances: bool = False


@dataclass(frozen=True)
class Selection:
    """Number of instances per class x size cell, and search limits; see ``sbdata.curate.select``.

    Attributes:
        quota: Number of instances wanted in every cell.
        band: Relative width above the quota that still counts as balanced.
        gap: Relative gap to the bound at which the search stops.
        nodes: Number of branch-and-bound nodes at which the search stops.
        columns: Number of columns of smallest reduced cost that the search keeps.
    """

    quota: int
    band: float = 0.05
    gap: float = 0.008
    nodes: int = 20
    columns: int = 1000


@dataclass(frozen=True)
class Expected:
    """Published facts that a set must agree with; a value of None is not checked.

    Attributes:
        listed: Number of images that the splits of the sources list, before anything is left out.
        images: Number of images of the set.
        ids_sha256: SHA-256 of the set's image ids, sorted, each followed by a line feed: that of
            the set's list in ``ImageSets/Segmentation``.
    """

    listed: int | None = None
    images: int | None = None
    ids_sha256: str | None = None


@dataclass(frozen=True)
class Recipe:
    """Definition of how an evaluation set is chosen.

    Attributes:
        name: Name of the set.
        version: Named interpretation of a published definition, such as ``pascal_b.v1``.
        taxonomy: Name of a known taxonomy, or a list of class names.
        sources: Sources of the images.
        description: One or two sentences for the dataset card.
        synthetic: True if the images are generated; every output then says so. A set with images of
            a source that generates them is always synthetic.
        same_image: What happens if several splits of the sources list an image with the same id:
            ``refuse`` stops the build; ``first`` takes image and masks from the first split that
            lists it, in the order of the recipe, and never from a later one, even if the first has
            no usable mask.
        overlay: Finer masks, or None.
        bins: Size intervals; or ``terciles`` or ``terciles-by-class`` of the candidates' areas,
            whose edges the build puts here.
        filters: Conditions that candidate images must meet.
        select: Balance wanted, or None to take every candidate.
        exclude_overlap_with: Training splits, each ``SOURCE-SPLIT``, whose images and near
            duplicates are left out, so that the set can evaluate models trained on them.
        unchecked: Training splits from ``exclude_overlap_with`` that are not compared; the manifest
            and the card say so. A split that cannot be read and is not listed here stops the build.
        compare: Ordinary sets, each ``SOURCE-SPLIT``, whose sizes and balance are shown next to
            this set's in the manifest and on the card, if they are available.
        near_duplicate_bits: Largest Hamming distance of two 64-bit perceptual hashes that counts as
            a near duplicate; None to compare only identities.
        expect: Published number and ids of the images, or None.
        split: Name of the list in ``ImageSets/Segmentation``.
        seed: Seed of the order among equally good images.
    """

    name: str
    version: str
    taxonomy: str | tuple[str, ...]
    sources: tuple[SourceSpec, ...]
    description: str = ""
    synthetic: bool = False
    same_image: str = "refuse"
    overlay: Overlay | None = None
    bins: AskedBins = field(default_factory=SizeBins)
    filters: Filters = field(default_factory=Filters)
    select: Selection | None = None
    exclude_overlap_with: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()
    compare: tuple[str, ...] = ()
    near_duplicate_bits: int | None = 6
    expect: Expected | None = None
    split: str = "val"
    seed: int = 0

    def classes(self) -> Taxonomy:
        """Return the set's taxonomy.

        Raises:
            InputError: If the taxonomy's name is unknown.
        """
        if isinstance(self.taxonomy, tuple):
            return Taxonomy(self.name, self.taxonomy)
        if self.taxonomy not in TAXONOMIES:
            known = ", ".join(sorted(TAXONOMIES))
            msg = f"recipe {self.name}: unknown taxonomy {quoted(self.taxonomy)}; known: {known}"
            raise InputError(msg)
        return TAXONOMIES[self.taxonomy]

    def source_names(self) -> set[str]:
        """Return the names of all sources that folders may be given for.

        ``SOURCE-SPLIT`` in ``exclude_overlap_with`` and ``compare`` counts with every part that may
        be the source, because both may contain hyphens.
        """
        names = {spec.name for spec in self.sources}
        if self.overlay is not None:
            names.add(self.overlay.source.name)
        for named in (*self.exclude_overlap_with, *self.compare):
            names |= {named[:place] for place, letter in enumerate(named) if letter == "-"}
        return names

    def as_dict(self) -> dict[str, Any]:
        """Return the resolved recipe as plain JSON-like values."""
        plain = as_plain(self)
        assert isinstance(plain, dict)  # noqa: S101 - for the type checker
        unchanged = {f.name: f.default for f in fields(self) if f.name in _LATER_KEYS}
        return {k: v for k, v in plain.items() if k not in unchanged or v != unchanged[k]}


@dataclass(frozen=True)
class ResolvedBins:
    """How the edges of a set's size bins were determined.

    Attributes:
        bins: Size bins that the recipe asked for.
        instances: Number of instances of the candidates, whose areas were divided.
        over_all: Classes without terciles of their own, which have those over all classes.
    """

    bins: Terciles
    instances: int
    over_all: tuple[str, ...]


def bundled_recipes() -> list[str]:
    """Return the names of the recipes included in the package."""
    return bundled("recipes")


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a bundled recipe by name, or a YAML file, and apply overrides.

    Args:
        name_or_path: Name of a bundled recipe (``pascal-b``), or a path ending in ``.yaml`` or
            ``.yml``.
        overrides: Settings to change, see :func:`sbdata.settings.overridden`.

    Raises:
        InputError: If the recipe or a key is unknown or a value has the wrong type (the message
            lists the valid ones), or its own list of classes names background.
    """
    raw, where = read_settings(name_or_path, "recipes", "recipe")
    recipe = recipe_from_dict(raw, where, overrides)
    if isinstance(recipe.taxonomy, tuple):
        check_foreground(recipe.taxonomy, f"{where}: taxonomy")
    return recipe


def recipe_from_dict(raw: Any, where: str, overrides: Sequence[str] = ()) -> Recipe:
    """Build a recipe from plain values, such as a manifest's header, and apply overrides.

    Raises:
        InputError: If a key is unknown or a value has the wrong type; the message names ``where``.
    """
    plain = overridden(raw, overrides, where)
    _refuse_former_key(plain, where)
    recipe = from_plain(Recipe, plain, where)
    assert isinstance(recipe, Recipe)  # noqa: S101 - for the type checker
    _check(recipe, where)
    return recipe


def source_and_split(named: str, sources: Iterable[str]) -> tuple[str, str]:
    """Return the source and the split that ``SOURCE-SPLIT`` names.

    A source's name may contain hyphens: the longest known name that fits is used. If none fits, the
    source is the text before the first hyphen.

    >>> source_and_split("my-coco-train2017", ["coco", "my-coco"])
    ('my-coco', 'train2017')
    >>> source_and_split("voc-trainaug", [])
    ('voc', 'trainaug')
    """
    fits = [source for source in sources if named.startswith(f"{source}-")]
    source = max(fits, key=len, default=named.partition("-")[0])
    return source, named[len(source) + 1 :]


def _refuse_former_key(plain: Any, where: str) -> None:
    """Raise an error that gives the present name of a key used by older recipes."""
    if not isinstance(plain, dict) or _FORMER_KEY not in plain:
        return
    given = plain[_FORMER_KEY]
    shown = ", ".join(v for v in given if isinstance(v, str)) if isinstance(given, list) else ""
    msg = (
        f"{where}: unknown key {_FORMER_KEY!r}, which is now called exclude_overlap_with (here: "
        f"[{shown:.80}]); valid keys: {', '.join(f.name for f in fields(Recipe))}"
    )
    raise InputError(msg)


def _check(recipe: Recipe, where: str) -> None:
    def wrong(key: str, rule: str) -> InputError:
        return InputError(f"{where}: {key} must be {rule}")

    for key in ("name", "split"):
        if not is_safe_stem(getattr(recipe, key)):
            given = quoted(getattr(recipe, key))
            rule = f"a plain name that is valid as a file name, without slashes, not {given}"
            raise wrong(key, rule)
    sources = [*recipe.sources, *([recipe.overlay.source] if recipe.overlay else [])]
    named = (recipe.version, *(source.name for source in sources))
    for text in (*named, *recipe.exclude_overlap_with, *recipe.compare):
        if has_controls(text):
            raise wrong(quoted(text), "a name without control characters")
    classes = recipe.classes()
    bins = recipe.bins
    if isinstance(bins, SizeBins) and bins.by_class and len(bins.edges) != len(classes):
        rule = f"a list for each of its {len(classes)} classes, not of {len(bins.edges)}"
        raise wrong("bins.edges by class", rule)
    if not recipe.sources or any(not spec.splits for spec in recipe.sources):
        raise wrong("sources", "a list of at least one, each with at least one split")
    if recipe.overlay and not recipe.overlay.source.splits:
        raise wrong("overlay.source.splits", "a list of at least one split")
    names = [source.name for source in recipe.sources]
    if len(set(names)) != len(names):
        raise wrong("sources", "of distinct names; list all splits of a source in its splits")
    labels = [f"{spec.name}-{split}" for spec in sources for split in spec.splits]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        rule = f"of splits that SOURCE-SPLIT tells apart, but {quoted(twice)} is there twice"
        raise wrong("sources and overlay", f"{rule}; rename a source, or name the split once")
    if not 0 <= recipe.filters.max_crowd_share <= 1:
        raise wrong("filters.max_crowd_share", "between 0 and 1")
    if recipe.overlay and not 0 < recipe.overlay.min_iou <= 1:
        raise wrong("overlay.min_iou", "above 0 and at most 1")
    if recipe.same_image not in _SAME_IMAGE:
        raise wrong("same_image", f"one of {', '.join(_SAME_IMAGE)}")
    if recipe.near_duplicate_bits is not None and not 0 <= recipe.near_duplicate_bits <= 64:
        raise wrong("near_duplicate_bits", "between 0 and 64, or null")
    if recipe.expect is not None:
        expect = recipe.expect
        if min(1 if n is None else n for n in (expect.listed, expect.images)) < 1:
            raise wrong("expect.listed and expect.images", "at least 1, or null")
        if expect.ids_sha256 is not None and not _SHA256.fullmatch(expect.ids_sha256):
            raise wrong("expect.ids_sha256", "64 lower-case hex digits, or null")
    for key in ("exclude_overlap_with", "compare"):
        if not all(_SOURCE_SPLIT.fullmatch(named) for named in getattr(recipe, key)):
            raise wrong(key, "a list of SOURCE-SPLIT, such as voc-trainaug")
    if not set(recipe.unchecked) <= set(recipe.exclude_overlap_with):
        raise wrong("unchecked", "a list of names that are also in exclude_overlap_with")
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
