"""Overlap check: keep training images and their near duplicates out of an evaluation set.

A recipe names the training splits that its set must not overlap with (``exclude_overlap_with:
[voc-trainaug]``). An image is left out if it is a member of such a split, or if its perceptual hash
is close to that of a member. Membership is decided by the identity of an image (its published name,
its URL or its file; see :mod:`sbdata.sources.identity`), not by the name that a user gave its
source. It may be a set that sbdata built, given by ``--source-root NAME=FOLDER``. A split that
cannot be read stops the build, unless the recipe lists it under ``unchecked``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sbdata.curate.duplicates import hash_members, near_duplicates
from sbdata.curate.scan_sources import spec_with_classes
from sbdata.errors import InputError
from sbdata.manifest import is_manifest
from sbdata.parallel import Progress
from sbdata.recipe import Recipe, SourceSpec, source_and_split
from sbdata.sources import FORMATS, Member, Rejection, Source, open_source, warm_up


@dataclass(frozen=True)
class OpenedSplit:
    """Training split that a recipe names.

    Attributes:
        name: Name in the recipe, ``SOURCE-SPLIT``.
        spec: Source that the split belongs to.
        root: Folder of the source; None if it has none.
        source: Opened split; None if the recipe lists it under ``unchecked``.
        members: Images of the split.
    """

    name: str
    spec: SourceSpec
    root: Path | None
    source: Source | None
    members: tuple[Member, ...] = ()


@dataclass(frozen=True)
class TrainingSplit:
    """Training split that images are compared with.

    Attributes:
        name: Name in the recipe, ``SOURCE-SPLIT``.
        checked: True if images are compared with this split.
        members: Number of images of the split.
        identities: Identities of all its images.
        hashes: Perceptual hash (16 hex digits) by id, for the images available locally.
        unreadable: Number of images that are available but cannot be decoded.
        hashed: True if near duplicates are looked for.
    """

    name: str
    checked: bool = True
    members: int = 0
    identities: frozenset[str] = frozenset()
    hashes: Mapping[str, str] = field(default_factory=dict)
    unreadable: int = 0
    hashed: bool = True


def open_splits(recipe: Recipe, roots: Mapping[str, Path]) -> list[OpenedSplit]:
    """Open the training splits that a recipe's set must not overlap with.

    Args:
        recipe: Recipe that names the splits in ``exclude_overlap_with``.
        roots: Dataset folder by source name.

    Raises:
        InputError: If a split cannot be read and is not listed under ``unchecked``.
    """
    specs = {spec.name: spec_with_classes(spec, recipe) for spec in recipe.sources}
    if recipe.overlay is not None:
        specs.setdefault(recipe.overlay.source.name, recipe.overlay.source)
    opened = []
    for name in recipe.exclude_overlap_with:
        source_name, split = source_and_split(name, {*specs, *roots, *FORMATS})
        root = roots.get(source_name)
        spec = specs.get(source_name) or _spec_of(source_name, split, root)
        if name in recipe.unchecked:
            opened.append(OpenedSplit(name, spec, root, None))
            continue
        try:
            source = open_source(spec, split, root)
            opened.append(OpenedSplit(name, spec, root, source, tuple(source.members())))
        except InputError as error:
            msg = (
                f"recipe {recipe.name}: overlap with {name} cannot be excluded ({error}); to build "
                f"without this check, add --set 'unchecked=[{name}]', and the card will say so"
            )
            raise InputError(msg) from error
    return opened


def _spec_of(name: str, split: str, root: Path | None) -> SourceSpec:
    """Return the entry of a source that the recipe does not list: a dataset, or a built set."""
    built = name not in FORMATS and root is not None and is_manifest(root)
    return SourceSpec(name, (split,), format="voc" if built else "")  # a set has VOC's layout


def hash_splits(
    opened: Sequence[OpenedSplit],
    cache: Path,
    *,
    hashed: bool = True,
    workers: int = 1,
    progress: Progress | None = None,
) -> list[TrainingSplit]:
    """Identify the images of training splits, and hash those that are available locally.

    Args:
        opened: Splits returned by :func:`open_splits`.
        cache: Folder that keeps the hashes between runs.
        hashed: False to compare images by identity alone.
        workers: Number of parallel processes or threads.
        progress: Callback, called with (done, total) images of each training split.
    """
    found = []
    for place, split in enumerate(opened):
        source, members = split.source, split.members
        if source is None:
            found.append(TrainingSplit(split.name, checked=False))
            continue
        hashing = members if hashed else ()
        if hashing:
            warm_up(source, hashing[0].file_name)
        found_hashes = hash_members(
            source,
            hashing,
            workers=workers,
            processes=source.generated,
            cache=cache / f"{place}.json",
            progress=progress,
        )
        known = identities_by_file(split.spec, split.root, members).values()
        identities = frozenset(identity for of_one in known for identity in of_one)
        found.append(
            TrainingSplit(
                name=split.name,
                members=len(members),
                identities=identities,
                hashes=found_hashes.hashes,
                unreadable=found_hashes.unreadable,
                hashed=hashed,
            )
        )
    return found


def identities_by_file(
    spec: SourceSpec, root: Path | None, members: Iterable[Member]
) -> dict[str, tuple[str, ...]]:
    """Return the identities of a split's images by their file name.

    If a source provides no identity, its images are identified by their id within its format and
    folder.
    """
    place = None if root is None else root.resolve()
    return {
        member.file_name: member.identities or (f"{spec.reader} {place} {member.source_image_id}",)
        for member in members
    }


def training_members(
    images: Iterable[Mapping[str, Any]],
    identities: Mapping[tuple[str, str], Sequence[str]],
    split: TrainingSplit,
) -> list[Rejection]:
    """Return a rejection for every image that is a member of a training split.

    Args:
        images: Rows with image_id, source and file_name.
        identities: Identities of each image, by source and file name.
        split: Training split to compare with.

    Raises:
        InputError: If the source of an image does not list it as a member.
    """
    found = []
    for image in images:
        known = identities.get((image["source"], image["file_name"]))
        if known is None:
            msg = (
                f"source {image['source']}: {image['file_name']} is annotated, but its split does "
                "not list it, so overlap cannot be excluded; correct the source"
            )
            raise InputError(msg)
        if not split.identities.isdisjoint(known):
            found.append(_rejection(image, "training_member", f"an image of {split.name}"))
    return found


def training_duplicates(
    images: Iterable[Mapping[str, Any]],
    hashes: Mapping[str, str],
    split: TrainingSplit,
    bits: int,
) -> list[Rejection]:
    """Return a rejection for every image that is a near duplicate of a training image.

    Args:
        images: Rows with image_id, source and file_name.
        hashes: Perceptual hash by image_id; images without one are not checked.
        split: Training split to compare with.
        bits: Largest Hamming distance that counts as a near duplicate.
    """
    rows = {image["image_id"]: image for image in images}
    wanted = {image_id: hashes[image_id] for image_id in rows if image_id in hashes}
    return [
        _rejection(rows[image_id], "near_duplicate", f"looks like {twin} of {split.name}")
        for image_id, twin in near_duplicates(wanted, split.hashes, bits).items()
    ]


def first_of_each(rejections: Iterable[Rejection]) -> dict[str, Rejection]:
    """Return the first rejection of each image, since an image may be in several splits."""
    found: dict[str, Rejection] = {}
    for rejection in rejections:
        found.setdefault(rejection.image_id, rejection)
    return found


def describe_check(split: TrainingSplit, members: int, duplicates: int) -> dict[str, Any]:
    """Return, as plain values, how a training split was checked and how many images were left out.

    Args:
        split: Training split.
        members: Number of candidates left out because they belong to the split.
        duplicates: Number of chosen images left out because they resemble an image of the split.
    """
    hashed = len(split.hashes)
    if not split.checked:
        result = "not checked: the recipe lists it under `unchecked`"
    elif not split.hashed:
        result = (
            f"checked: {split.members:,} images compared by identity; left out {members:,} "
            "members; near duplicates were not looked for"
        )
    else:
        result = (
            f"checked: {split.members:,} images compared by identity, {hashed:,} hashed; "
            f"left out {members:,} members and {duplicates:,} near duplicates"
        )
        absent = split.members - hashed - split.unreadable
        if absent:
            result += f"; {absent:,} of its images are not at hand and were not hashed"
        if split.unreadable:
            result += f"; {split.unreadable:,} of its images cannot be decoded and were not hashed"
    return {
        "training_set": split.name,
        "checked": split.checked,
        "members": split.members,
        "hashed": hashed,
        "result": result,
    }


def _rejection(image: Mapping[str, Any], reason: str, detail: str) -> Rejection:
    return Rejection(image["source"], image["file_name"], reason, detail, image["image_id"])
