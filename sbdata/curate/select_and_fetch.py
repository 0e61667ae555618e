"""Select and fetch: choose and download images in rounds, until every chosen image is good."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from sbdata.curate.inputs import DOWNLOADS, Inputs
from sbdata.curate.leakage import TrainingSplit, first_of_each, training_duplicates
from sbdata.curate.scan_sources import Scanned
from sbdata.curate.select import Chosen, Supply, select_images, supply_of
from sbdata.errors import InputError
from sbdata.fetch.images import Failed, Fetched, ImageRequest, fetch_images
from sbdata.manifest import rows_of
from sbdata.recipe import Recipe
from sbdata.sizes import SizeBins
from sbdata.sources import ImageHolder, Rejection, warm_up

_ABSENT = ("missing", "http", "unsafe_path")  # the last of photos behind a link out of the folder


@dataclass(frozen=True)
class Choice:
    """Chosen images of a set, their fetched files, and the images left out.

    Attributes:
        images: Chosen rows of the candidates, with their hashes.
        instances: Instances of the chosen images.
        selection: Report of the selection; None if every candidate was taken.
        rejections: Images that were chosen and then left out.
        duplicates: Number of images left out as near duplicates, by name of the training split.
    """

    images: pa.Table
    instances: pa.Table
    selection: Chosen | None
    rejections: list[Rejection]
    duplicates: Counter[str]


def choose_images(
    recipe: Recipe,
    candidates: pa.Table,
    scanned: Sequence[Scanned],
    training: Sequence[TrainingSplit],
    photos: Path,
    inputs: Inputs,
) -> Choice:
    """Select and fetch images in rounds until every chosen image is good.

    An image that turns out to be damaged or a near duplicate of a training image is dropped, and
    the next round refills its cells without changing the images already fetched. If no candidate is
    left, the choice has no images.
    """
    home = {i: s for s in scanned for i in s.scan.images()["image_id"].to_pylist()}
    everyone = candidates["image_id"].to_pylist()
    supply = None if recipe.select is None else _supply(recipe, everyone, scanned)
    fetched: dict[str, Fetched] = {}
    rejections: list[Rejection] = []
    duplicates: Counter[str] = Counter()
    dropped: set[str] = set()
    selection = None
    while True:
        if recipe.select is None or supply is None:
            wanted = [i for i in everyone if i not in dropped]
        else:
            selection = select_images(
                supply,
                recipe.select,
                seed=recipe.seed,
                keep=sorted(fetched),
                drop=sorted(dropped),
            )
            wanted = list(selection.image_ids)
        rows = rows_of(candidates, [i for i in wanted if i not in fetched]).to_pylist()
        answers: list[Fetched | Failed] = []
        for s in scanned:
            mine = [row for row in rows if home[row["image_id"]] is s]
            answers += fetch_rows(mine, s.source, photos, inputs)
        failed = {a.image_id: a for a in answers if isinstance(a, Failed)}
        absent = [a for a in failed.values() if a.reason in _ABSENT]
        if absent and not inputs.skip_missing:
            raise not_had(absent, len(rows), photos.parent.parent)
        new = {a.image_id: a for a in answers if isinstance(a, Fetched)}
        hashes = {i: a.phash for i, a in new.items()}
        twins: dict[str, Rejection] = {}
        bits = recipe.near_duplicate_bits
        for split in training:
            found = [] if bits is None else training_duplicates(rows, hashes, split, bits)
            duplicates[split.name] += len(found)
            twins = first_of_each([*twins.values(), *found])
        lost = [
            Rejection(row["source"], row["file_name"], failed[i].reason, failed[i].detail, i)
            for row in rows
            if (i := row["image_id"]) in failed
        ]
        fetched.update(new)
        for rejection in (*lost, *twins.values()):
            dropped.add(rejection.image_id)
            fetched.pop(rejection.image_id, None)
        rejections += [*lost, *twins.values()]
        if not lost and not twins:
            break
    images = rows_of(candidates, wanted)
    for name, values in (
        ("sha256", [fetched[i].sha256 for i in images["image_id"].to_pylist()]),
        ("phash", [fetched[i].phash for i in images["image_id"].to_pylist()]),
    ):
        column = images.schema.get_field_index(name)
        images = images.set_column(column, images.schema.field(name), pa.array(values, pa.string()))
    instances = pa.concat_tables([s.scan.instances(image_ids=wanted) for s in scanned])
    return Choice(images, instances, selection, rejections, duplicates)


def _supply(recipe: Recipe, image_ids: Sequence[str], scanned: Sequence[Scanned]) -> Supply:
    """Count the supply of the candidates, once for all rounds."""
    columns = ["image_id", "class_name", "size"]
    tables = [s.scan.instances(image_ids=image_ids, columns=columns) for s in scanned]
    assert isinstance(recipe.bins, SizeBins)  # noqa: S101 - resolved before the selection
    return supply_of(pa.concat_tables(tables), recipe.classes(), recipe.bins)


def fetch_rows(
    rows: Sequence[Mapping[str, Any]], holder: ImageHolder, photos: Path, inputs: Inputs
) -> list[Fetched | Failed]:
    """Download or copy the images of some rows of an images table into a folder.

    Args:
        rows: Rows of one holder.
        holder: Source that may have the images locally.
        photos: Folder to write the images to.
        inputs: Build inputs with mirrors, workers and progress callback.
    """
    requests = [
        ImageRequest(
            image_id=row["image_id"],
            file_name=row["file_name"],
            url=row["url"],
            sha256=row["sha256"],
            width=row["width"],
            height=row["height"],
            sha256_of=row["sha256_of"],
        )
        for row in rows
    ]
    if requests:
        warm_up(holder, requests[0].file_name)
    return fetch_images(
        requests,
        photos,
        local=holder.image_bytes,
        pixel_sha256=holder.pixel_sha256,
        mirrors=inputs.mirrors,
        workers=inputs.workers if holder.generated else max(inputs.workers, DOWNLOADS),
        processes=holder.generated,
        progress=partial(inputs.progress, "images"),
    )


def not_had(
    failed: Sequence[Failed], wanted: int, staging: Path, *, may_skip: bool = True
) -> InputError:
    """Return the error that lists the missing images and suggests what to do.

    Args:
        failed: Images that could not be downloaded.
        wanted: Number of images that were wanted.
        staging: Folder that keeps the others.
        may_skip: False for the set of a manifest, which has all of its images.
    """
    skip = ", or leave them out by --skip-missing" if may_skip else ""
    shown = "; ".join(f"{f.image_id}: {f.detail}" for f in failed[:3])
    more = f" and {len(failed) - 3} more" if len(failed) > 3 else ""
    return InputError(
        f"{len(failed)} of {wanted} images could not be downloaded ({shown}{more}); what was "
        f"fetched stays in {staging}: give their folder by --source-root, another URL by "
        f"--mirror{skip}, and run the command again"
    )
