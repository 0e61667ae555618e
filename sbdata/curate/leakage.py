"""The leakage guard: keep training images, and near duplicates of them, out of an evaluation set.

A recipe names the training sets that its set is meant to judge (``judges: [voc-trainaug]``). An
image is left out if it is a member of one, or if its perceptual hash is close to a member's. A
training set that is not at hand cannot be checked, and the manifest then says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sbdata.curate.duplicates import hash_members, near_duplicates
from sbdata.errors import InputError
from sbdata.fetch.parallel import Progress
from sbdata.recipe import Recipe, SourceSpec
from sbdata.sources import Rejection, open_source, warm_up

# Datasets that annotate the same images under the same ids.
_IMAGES_OF = {"lvis": "coco"}


@dataclass(frozen=True)
class JudgedSet:
    """One training set that a set is meant to judge.

    Attributes:
        name: as in the recipe, ``SOURCE-SPLIT``.
        members: ids of its images in the source's own numbering; empty if it is not at hand.
        hashes: perceptual hashes (16 hex digits) of those members whose image is at hand, by id.
        missing: why it is not at hand, empty if it is.
    """

    name: str
    members: frozenset[str] = frozenset()
    hashes: Mapping[str, str] = field(default_factory=dict)
    missing: str = ""

    @property
    def source(self) -> str:
        """Return the name of the dataset whose ids the members bear."""
        return image_namespace(self.name.partition("-")[0])


def image_namespace(source: str) -> str:
    """Return the dataset whose image ids a source uses."""
    return _IMAGES_OF.get(source, source)


def judged_sets(
    recipe: Recipe,
    roots: Mapping[str, Path],
    cache: Path,
    *,
    workers: int = 1,
    progress: Progress | None = None,
) -> list[JudgedSet]:
    """Find the training sets that a recipe names, and hash those of their images that are at hand.

    Args:
        recipe: whose ``judges`` are looked up.
        roots: source name to folder.
        cache: folder where hashes are kept between runs.
        workers: parallel processes or threads.
        progress: called with (done, total) images of each training set.
    """
    known = {spec.name: spec for spec in recipe.sources}
    found = []
    for name in recipe.judges:
        source_name, _, split = name.partition("-")
        spec = known.get(source_name, SourceSpec(source_name, (split,)))
        try:
            source = open_source(spec, split, roots.get(source_name))
            members = source.members()
        except InputError as error:
            found.append(JudgedSet(name, missing=str(error)))
            continue
        if members:
            warm_up(source, members[0].file_name)
        hashed = hash_members(
            source,
            members,
            workers=workers,
            processes=source.generated,
            cache=cache / f"{name}.json",
            progress=progress,
        )
        ids = frozenset(member.source_image_id for member in members)
        found.append(JudgedSet(name, ids, hashed.hashes))
    return found


def training_members(images: Iterable[Mapping[str, Any]], judged: JudgedSet) -> list[Rejection]:
    """Return a rejection for every image that is a member of a judged training set.

    Args:
        images: rows with image_id, source, source_image_id and file_name.
        judged: the training set.
    """
    return [
        _rejection(image, "training_member", f"an image of {judged.name}")
        for image in images
        if image_namespace(image["source"]) == judged.source
        and image["source_image_id"] in judged.members
    ]


def training_duplicates(
    images: Iterable[Mapping[str, Any]],
    hashes: Mapping[str, str],
    judged: JudgedSet,
    bits: int,
) -> list[Rejection]:
    """Return a rejection for every image that is a near duplicate of a judged training image.

    Args:
        images: rows with image_id, source and file_name.
        hashes: image_id to perceptual hash; images without one are not checked.
        judged: the training set.
        bits: largest Hamming distance that counts as a near duplicate.
    """
    rows = {image["image_id"]: image for image in images}
    wanted = {image_id: hashes[image_id] for image_id in rows if image_id in hashes}
    return [
        _rejection(rows[image_id], "near_duplicate", f"looks like {twin} of {judged.name}")
        for image_id, twin in near_duplicates(wanted, judged.hashes, bits).items()
    ]


def describe_check(judged: JudgedSet, members: int, duplicates: int) -> dict[str, Any]:
    """Say in plain values how far a training set was checked and what that left out.

    Args:
        judged: the training set.
        members: candidates left out because they belong to it.
        duplicates: chosen images left out because they look like one of it.
    """
    hashed, count = len(judged.hashes), len(judged.members)
    if judged.missing:
        result = f"not checked: {judged.missing}"
    else:
        result = (
            f"checked: {count:,} ids compared, {hashed:,} images hashed; "
            f"left out {members:,} members and {duplicates:,} near duplicates"
        )
        if hashed < count:
            result += f"; {count - hashed:,} of its images are not at hand and were not hashed"
    return {
        "training_set": judged.name,
        "checked": not judged.missing,
        "members": count,
        "hashed": hashed,
        "result": result,
    }


def _rejection(image: Mapping[str, Any], reason: str, detail: str) -> Rejection:
    return Rejection(image["source"], image["file_name"], reason, detail, image["image_id"])
