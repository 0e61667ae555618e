"""Build an evaluation set: scan, filter, select, fetch, guard, refill, write.

Everything is prepared in a hidden folder beside the target and moved there in one step at the end.
A build that was killed goes on from that folder. Decisions depend on the recipe and on the
contents of the sources alone, so an interrupted build ends with the same set.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import filelock
import orjson

from sbdata.curate.card import FIGURE, dataset_card
from sbdata.curate.choose import choose_images, count_reasons, describe_counts, fetch_rows, not_had
from sbdata.curate.croissant import croissant
from sbdata.curate.figure import draw_size_figure
from sbdata.curate.filters import filter_images
from sbdata.curate.gather import (
    Opened,
    compared_statistics,
    join_images,
    open_all,
    scan_all,
    source_statistics,
)
from sbdata.curate.header import check_header
from sbdata.curate.inputs import Inputs
from sbdata.curate.leakage import (
    describe_check,
    hash_splits,
    identities_by_file,
    open_splits,
    training_members,
)
from sbdata.curate.materialise import (
    REJECTED_FILE,
    finish_set,
    read_rejected,
    remove_strangers,
    write_set,
)
from sbdata.curate.statistics import SizeStatistics, statistics_from, statistics_of
from sbdata.curate.verify import verify_set
from sbdata.errors import InputError
from sbdata.fetch.images import Failed, Fetched
from sbdata.layout import IMAGES_FOLDER
from sbdata.manifest import Manifest, is_manifest, make_manifest, read_manifest, rows_of
from sbdata.recipe import Recipe, SourceSpec
from sbdata.sources import ImageFolders, ImageHolder, Rejection, open_source
from sbdata.sources.voc import devkit_folders
from sbdata.storage import write_bytes, write_text


@dataclass(frozen=True)
class Built:
    """A finished set and what it was chosen from."""

    root: Path
    manifest: Manifest
    before: SizeStatistics
    after: SizeStatistics
    fresh: bool


def build_set(recipe: Recipe, out: Path, inputs: Inputs) -> Built:
    """Build the set that a recipe describes in the folder ``out``.

    Raises:
        InputError: if a source or a training split to be left out cannot be read, nothing can be
            chosen, ``out`` holds something else, or images cannot be downloaded; what was fetched
            so far stays for the next try.
    """
    opened = open_all(recipe, inputs)
    splits = open_splits(recipe, inputs.roots)
    roots = {name: str(root.resolve()) for name, root in sorted(inputs.roots.items())}
    with _staging(out, {"recipe": recipe.as_dict(), "roots": roots}) as staging:
        taxonomy = recipe.classes()
        scans = scan_all(recipe, opened, staging / "scan", inputs)
        images = join_images(scans)
        before = source_statistics(scans, recipe)
        rejections = [r for scanned in scans for r in scanned.scan.rejections()]
        kept, refused = filter_images(images, recipe.filters)
        rejections += refused

        training = hash_splits(
            splits,
            staging / "training",
            workers=inputs.workers,
            progress=partial(inputs.progress, "training"),
        )
        identities = _identities(opened, inputs) if training else {}
        rows = rows_of(images, kept).select(["image_id", "source", "file_name"]).to_pylist()
        members = [training_members(rows, identities, split) for split in training]
        rejections += [r for found in members for r in found]
        leaked = {r.image_id for found in members for r in found}
        candidates = rows_of(images, [i for i in kept if i not in leaked])
        if not candidates.num_rows:
            msg = (
                f"recipe {recipe.name}: none of the scanned images is a candidate "
                f"({describe_counts(rejections)}); loosen the filters by --set"
            )
            raise InputError(msg)

        chosen = choose_images(
            recipe, candidates, scans, training, staging / "set" / IMAGES_FOLDER, inputs
        )
        rejections += chosen.rejections
        extra = {
            "recipe": recipe.as_dict(),
            "synthetic": recipe.synthetic or any(one.source.generated for one in opened),
            "candidates": {"scanned": images.num_rows, "kept": candidates.num_rows},
            "rejected": count_reasons(rejections),
            "selection": chosen.selection.as_dict() if chosen.selection else None,
            "leakage": [
                describe_check(split, len(found), chosen.duplicates[split.name])
                for split, found in zip(training, members, strict=True)
            ],
            "source": before.as_dict(),
            "compared": compared_statistics(recipe, staging / "scan", inputs),
        }
        manifest = make_manifest(
            recipe.name, chosen.images, chosen.instances, taxonomy, recipe.bins, extra
        )
        return _finish(manifest, rejections, staging, out, inputs)


def rebuild_set(folder: Path, out: Path, inputs: Inputs) -> Built:
    """Build the set of an existing manifest again: the same images, the same masks.

    Args:
        folder: with ``images.parquet`` and ``instances.parquet``.
        out: where the set goes.
        inputs: ``roots`` may name local copies; other images are fetched by url and checked by the
            recorded SHA-256.

    Raises:
        InputError: if the manifest is damaged or an image cannot be had as recorded.
    """
    manifest = read_manifest(folder)
    recipe = check_header(manifest, folder)
    with _staging(out, {"manifest": manifest.logical_hash}) as staging:
        rows = manifest.images.to_pylist()
        answers: list[Fetched | Failed] = []
        for spec in recipe.sources:
            mine = [row for row in rows if row["source"] == spec.name]
            for holder, held in _holders(spec, inputs.roots.get(spec.name), mine):
                answers += fetch_rows(held, holder, staging / "set" / IMAGES_FOLDER, inputs)
        failed = [answer for answer in answers if isinstance(answer, Failed)]
        if failed:
            raise not_had(failed, len(rows), staging)
        rejected = folder / REJECTED_FILE
        rejections = read_rejected(rejected) if rejected.is_file() else []
        return _finish(manifest, rejections, staging, out, inputs)


def _identities(opened: Sequence[Opened], inputs: Inputs) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return what identifies each image of the sources, by source and file name."""
    found = {}
    for one in opened:
        root = inputs.roots.get(one.spec.name)
        of_split = identities_by_file(one.spec, root, one.source.members())
        found.update({(one.source.name, name): known for name, known in of_split.items()})
    return found


def measure_sources(recipe: Recipe, inputs: Inputs) -> SizeStatistics:
    """Measure the sources of a recipe as they are, before any filter or selection."""
    with tempfile.TemporaryDirectory(prefix="sbdata-") as folder:
        scanned = scan_all(recipe, open_all(recipe, inputs), Path(folder), inputs)
        return source_statistics(scanned, recipe)


def built_already(out: Path, recipe: Recipe, inputs: Inputs) -> Built | None:
    """Return the set in ``out`` if it is the recipe's and undamaged, None if there is nothing.

    Raises:
        InputError: if ``out`` holds something else, or a damaged set.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    if not is_manifest(out):
        msg = f"{out} exists and is not an evaluation set; give another folder by --out"
        raise InputError(msg)
    manifest = read_manifest(out)
    if check_header(manifest, out) != recipe:
        msg = f"{out} holds a set of another recipe; remove it, or give another folder by --out"
        raise InputError(msg)
    damages = verify_set(out, workers=inputs.workers, progress=partial(inputs.progress, "verify"))
    if damages:
        msg = (
            f"{out} is damaged ({damages[0].path}: {damages[0].kind}, {len(damages)} in all; "
            f"`sbdata dataset verify {out}` lists them); remove the folder and build again"
        )
        raise InputError(msg)
    before = statistics_from(manifest.meta["source"])
    after = statistics_of(
        manifest.images.num_rows, manifest.instances, manifest.taxonomy, manifest.bins
    )
    return Built(out, manifest, before, after, fresh=False)


def _holders(
    spec: SourceSpec, root: Path | None, rows: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[ImageHolder, list[Mapping[str, Any]]]]:
    """Pair the rows of a manifest with what may have their images at hand."""
    published = [row for row in rows if row["sha256_of"] == "file"]
    if published:
        yield ImageFolders(devkit_folders(root) if root else ()), published
    if len(published) < len(rows):
        for split in spec.splits:
            source = open_source(spec, split, root)
            names = {member.file_name for member in source.members()}
            yield source, [row for row in rows if row["file_name"] in names]


def _finish(
    manifest: Manifest, rejections: Sequence[Rejection], staging: Path, out: Path, inputs: Inputs
) -> Built:
    root = staging / "set"
    remove_strangers(manifest, root)
    write_set(
        manifest,
        root,
        rejections=rejections,
        workers=inputs.workers,
        progress=partial(inputs.progress, "masks"),
    )
    before = statistics_from(manifest.meta["source"])
    after = statistics_of(
        manifest.images.num_rows, manifest.instances, manifest.taxonomy, manifest.bins
    )
    draw_size_figure(root / FIGURE, manifest.name, after, before, manifest.bins)
    write_text(root / "README.md", dataset_card(manifest, after))
    described = orjson.dumps(croissant(manifest, root), option=orjson.OPT_INDENT_2)
    write_bytes(root / "dataset.json", described + b"\n")
    finish_set(manifest, root, workers=inputs.workers)
    root.replace(out)
    return Built(out, manifest, before, after, fresh=True)


@contextmanager
def _staging(out: Path, state: Mapping[str, Any]) -> Iterator[Path]:
    """Give the hidden folder that a build is prepared in; it is kept if the build fails.

    A folder left by a killed build of the same state is taken up again, one of another state is
    emptied. Only one build of a target runs at a time.
    """
    staging = out.parent / f".{out.name}.building"
    staging.mkdir(parents=True, exist_ok=True)
    described = orjson.dumps(state, option=orjson.OPT_SORT_KEYS)
    lock = filelock.FileLock(staging.parent / f".{out.name}.lock", blocking=False)
    try:
        with lock:
            recorded = staging / "state.json"
            if not recorded.is_file() or recorded.read_bytes() != described:
                shutil.rmtree(staging)
                staging.mkdir()
                write_bytes(recorded, described)
            (staging / "set" / IMAGES_FOLDER).mkdir(parents=True, exist_ok=True)
            yield staging
            shutil.rmtree(staging)
            Path(lock.lock_file).unlink(missing_ok=True)
    except filelock.Timeout as error:
        msg = f"{out} is being built by another process; wait for it, or give another --out"
        raise InputError(msg) from error
