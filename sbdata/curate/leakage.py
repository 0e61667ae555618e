"""The leakage guard: keep training images, and near duplicates of them, out of an evaluation set.

A recipe names the training splits that its set must not overlap with
(``exclude_overlap_with: [voc-trainaug]``). An image is left out if it is a member of one, or if its
perceptual hash is close to a member's. Membership goes by what an image is (its published name, its
address, its file; see :mod:`sbdata.sources.identity`), never by what a user called its source. A
split that cannot be read stops the build, unless the recipe lists it under ``unchecked``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sbdata.curate.duplicates import hash_members, near_duplicates
from sbdata.errors import InputError
from sbdata.parallel import Progress
from sbdata.recipe import Recipe, SourceSpec, source_and_split
from sbdata.sources import FORMATS, Member, Rejection, Source, open_source, warm_up


@dataclass(frozen=True)
class OpenedSplit:
    """A training split that a recipe names.

    Attributes:
        name: as in the recipe, ``SOURCE-SPLIT``.
        spec: of the source that it belongs to.
        root: the source's folder, if it has one.
        source: the split; None if the recipe lists it under ``unchecked``.
        members: its images.
    """

    name: str
    spec: SourceSpec
    root: Path | None
    source: Source | None
    members: tuple[Member, ...] = ()


@dataclass(frozen=True)
class TrainingSplit:
    """What images are compared with: one training split.

    Attributes:
        name: as in the recipe, ``SOURCE-SPLIT``.
        checked: whether it is compared at all.
        members: how many images it has.
        identities: of all of them.
        hashes: perceptual hashes (16 hex digits) of those members whose image is at hand, by id.
        unreadable: how many images are at hand and cannot be decoded.
    """

    name: str
    checked: bool = True
    members: int = 0
    identities: frozenset[str] = frozenset()
    hashes: Mapping[str, str] = field(default_factory=dict)
    unreadable: int = 0


def open_splits(recipe: Recipe, roots: Mapping[str, Path]) -> list[OpenedSplit]:
    """Open the training splits that a recipe's set must not overlap with.

    Args:
        recipe: whose ``exclude_overlap_with`` is looked up.
        roots: source name to folder.

    Raises:
        InputError: for a split that cannot be read and is not listed under ``unchecked``.
    """
    specs = {spec.name: spec for spec in recipe.sources}
    if recipe.overlay is not None:
        specs.setdefault(recipe.overlay.source.name, recipe.overlay.source)
    opened = []
    for name in recipe.exclude_overlap_with:
        source_name, split = source_and_split(name, {*specs, *roots, *FORMATS})
        spec = specs.get(source_name, SourceSpec(source_name, (split,)))
        root = roots.get(source_name)
        if name in recipe.unchecked:
            opened.append(OpenedSplit(name, spec, root, None))
            continue
        try:
            source = open_source(spec, split, root)
            opened.append(OpenedSplit(name, spec, root, source, tuple(source.members())))
        except InputError as error:
            msg = (
                f"recipe {recipe.name}: overlap with {name} cannot be excluded ({error}); to build "
                f"without this check, which the card will say, add --set 'unchecked=[{name}]'"
            )
            raise InputError(msg) from error
    return opened


def hash_splits(
    opened: Sequence[OpenedSplit],
    cache: Path,
    *,
    workers: int = 1,
    progress: Progress | None = None,
) -> list[TrainingSplit]:
    """Identify the images of training splits, and hash those that are at hand.

    Args:
        opened: by :func:`open_splits`.
        cache: folder where hashes are kept between runs.
        workers: parallel processes or threads.
        progress: called with (done, total) images of each training split.
    """
    found = []
    for place, split in enumerate(opened):
        source, members = split.source, split.members
        if source is None:
            found.append(TrainingSplit(split.name, checked=False))
            continue
        if members:
            warm_up(source, members[0].file_name)
        hashed = hash_members(
            source,
            members,
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
                hashes=hashed.hashes,
                unreadable=hashed.unreadable,
            )
        )
    return found


def identities_by_file(
    spec: SourceSpec, root: Path | None, members: Iterable[Member]
) -> dict[str, tuple[str, ...]]:
    """Return the identities of a split's images by their file name.

    Images of a source that gives none are known by their id, within its format and folder.
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
        images: rows with image_id, source and file_name.
        identities: of each image, by source and file name.
        split: the training split.

    Raises:
        InputError: for an image that its source does not list as a member.
    """
    found = []
    for image in images:
        known = identities.get((image["source"], image["file_name"]))
        if known is None:
            msg = (
                f"source {image['source']}: {image['file_name']} is annotated, but not among the "
                "members of its split, so overlap cannot be excluded; correct the source"
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
        images: rows with image_id, source and file_name.
        hashes: image_id to perceptual hash; images without one are not checked.
        split: the training split.
        bits: largest Hamming distance that counts as a near duplicate.
    """
    rows = {image["image_id"]: image for image in images}
    wanted = {image_id: hashes[image_id] for image_id in rows if image_id in hashes}
    return [
        _rejection(rows[image_id], "near_duplicate", f"looks like {twin} of {split.name}")
        for image_id, twin in near_duplicates(wanted, split.hashes, bits).items()
    ]


def describe_check(split: TrainingSplit, members: int, duplicates: int) -> dict[str, Any]:
    """Say in plain values how far a training split was checked and what that left out.

    Args:
        split: the training split.
        members: candidates left out because they belong to it.
        duplicates: chosen images left out because they look like one of it.
    """
    hashed = len(split.hashes)
    if not split.checked:
        result = "not checked: the recipe lists it under `unchecked`"
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
