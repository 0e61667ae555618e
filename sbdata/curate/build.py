"""Build an evaluation set: scan, filter, select, fetch, guard, refill, write.

Everything is prepared in a hidden folder next to the target and moved there in one step at the end.
A build that was killed resumes from that folder. Decisions depend only on the recipe and the
contents of the sources, so an interrupted build ends with the same set.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import filelock
import orjson
import pyarrow as pa

from sbdata.curate.card import FIGURE, card_figure, dataset_card
from sbdata.curate.changes import changed_sources, record_sources, source_fingerprints
from sbdata.curate.croissant import croissant
from sbdata.curate.filters import filter_images
from sbdata.curate.header import check_header
from sbdata.curate.inputs import Inputs
from sbdata.curate.leakage import (
    describe_check,
    first_of_each,
    hash_splits,
    identities_by_file,
    open_splits,
    training_members,
)
from sbdata.curate.materialise import (
    REJECTED_FILE,
    read_rejected,
    remove_strangers,
    write_checksums,
    write_rejected,
    write_set,
)
from sbdata.curate.notes import opened_notes, set_notes, source_notes
from sbdata.curate.scan_sources import (
    Opened,
    compared_statistics,
    has_labels_only,
    join_images,
    open_all,
    open_compared,
    scan_all,
    source_statistics,
    source_statistics_by,
    with_edges,
)
from sbdata.curate.select_and_fetch import choose_images, fetch_rows, not_had
from sbdata.curate.statistics import (
    LabelStatistics,
    SizeStatistics,
    label_statistics_of,
    statistics_from,
    statistics_of_set,
)
from sbdata.curate.verify import verify_set
from sbdata.errors import InputError
from sbdata.fetch.images import Failed, Fetched
from sbdata.file_names import differ_in_case, tells_case
from sbdata.layout import IMAGES_FOLDER
from sbdata.machine import check_output, writing_to
from sbdata.manifest import Manifest, is_manifest, make_manifest, read_manifest, rows_of
from sbdata.quoting import quoted
from sbdata.recipe import Recipe, SourceSpec
from sbdata.settings import as_plain
from sbdata.sizes import AskedBins, SizeBins
from sbdata.sources import ImageFolders, ImageHolder, Rejection, open_source
from sbdata.sources.rejections import count_reasons, describe_rejections
from sbdata.sources.sbd import sbd_folders
from sbdata.sources.voc import devkit_folders
from sbdata.storage import write_bytes, write_text

_NAMES = ["image_id", "source", "file_name"]


@dataclass(frozen=True)
class Built:
    """Finished set, with the statistics of the set and of its sources.

    Attributes:
        root: Folder of the set.
        manifest: Manifest of the set.
        before: Statistics of everything in the sources; None for a set with labels only.
        after: Statistics of the set.
        fresh: True if the set was built by this call, False if it existed already.
        notes: Other facts that affect the set's numbers, one sentence each.
    """

    root: Path
    manifest: Manifest
    before: SizeStatistics | None
    after: SizeStatistics | LabelStatistics
    fresh: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measured:
    """Statistics of a recipe's sources before any filter or selection.

    Attributes:
        statistics: Statistics of everything that could be read.
        rejections: Items that could not be read; they are counted nowhere.
        notes: Other facts that affect the numbers, one sentence each.
        bins: Size bins of the statistics, with their edges; labels have no sizes.
        synthetic: True if the images are generated.
    """

    statistics: SizeStatistics | LabelStatistics
    rejections: tuple[Rejection, ...]
    notes: tuple[str, ...]
    bins: SizeBins
    synthetic: bool = False


def build_set(recipe: Recipe, out: Path, inputs: Inputs) -> Built:
    """Build the set that a recipe describes in the folder ``out``.

    Raises:
        InputError: If a source or a training split to be excluded cannot be read, nothing can be
            chosen, ``out`` holds something else, or images cannot be downloaded. What was fetched
            so far is kept for the next attempt.
    """
    check_output(_staging_folder(out))
    opened = open_all(recipe, inputs)
    check_listed(recipe, opened)
    splits = open_splits(recipe, inputs.roots)
    compared = open_compared(recipe, inputs)
    found = source_fingerprints(recipe, inputs.roots)
    contents = {name: one["content"] for name, one in found.items()}
    roots = {name: str(root.resolve()) for name, root in sorted(inputs.roots.items())}
    state = {"recipe": recipe.as_dict(), "roots": roots, "sources": contents}
    with _staging(out, state) as staging:
        taxonomy = recipe.classes()
        scans = scan_all(recipe, opened, staging / "scan", inputs)
        images = join_images(scans)
        labels_only = has_labels_only(recipe, images)
        rejections = [r for scanned in scans for r in scanned.scan.rejections()]
        kept, refused = filter_images(images, recipe.filters)
        rejections += refused

        training = hash_splits(
            splits,
            staging / "training",
            hashed=recipe.near_duplicate_bits is not None,
            workers=inputs.workers,
            progress=partial(inputs.progress, "training"),
        )
        identities = _identities(opened, inputs) if training else {}
        rows = rows_of(images, kept).select(["image_id", "source", "file_name"]).to_pylist()
        members = [training_members(rows, identities, split) for split in training]
        leaked = first_of_each(r for found in members for r in found)
        rejections += leaked.values()
        candidates = rows_of(images, [i for i in kept if i not in leaked])
        if not candidates.num_rows:
            raise _nothing_left(
                recipe, "none of the scanned images is a candidate", rejections, out
            )

        if recipe.select is None:  # known before hours of fetching
            check_expected(recipe, candidates["image_id"].to_pylist(), rejections)
        check_names(candidates["image_id"].to_pylist(), staging)
        asked = None
        if not isinstance(recipe.bins, SizeBins):
            ids = candidates["image_id"].to_pylist()
            recipe, scans, asked = with_edges(recipe, scans, ids)
            candidates = rows_of(join_images(scans), ids)
        chosen = choose_images(
            recipe, candidates, scans, training, staging / "set" / IMAGES_FOLDER, inputs
        )
        rejections += chosen.rejections
        if not chosen.images.num_rows:
            raise _nothing_left(recipe, "no image is left", rejections, out)
        check_expected(recipe, chosen.images["image_id"].to_pylist(), rejections)
        extra = {
            "recipe": recipe.as_dict(),
            "synthetic": _is_synthetic(recipe, opened),
            "candidates": {"scanned": images.num_rows, "kept": candidates.num_rows},
            "rejected": count_reasons(rejections),
            "selection": chosen.selection.as_dict() if chosen.selection else None,
            "leakage": [
                describe_check(split, len(found), chosen.duplicates[split.name])
                for split, found in zip(training, members, strict=True)
            ],
            "source": {} if labels_only else source_statistics(scans, recipe).as_dict(),
            "compared": compared_statistics(recipe, compared, staging / "scan", inputs),
            **({} if asked is None else {"asked_bins": as_plain(asked)}),
        }
        assert isinstance(recipe.bins, SizeBins)  # noqa: S101 - resolved above
        manifest = make_manifest(
            recipe.name,
            chosen.images,
            chosen.instances,
            taxonomy,
            recipe.bins,
            extra,
            labels_only=labels_only,
        )
        others = [one for _, one in compared if isinstance(one, Opened)]
        notes = opened_notes(recipe, [*opened, *others])
        record_sources(staging / "set", manifest.logical_hash, found, notes)
        return _finish(manifest, rejections, staging, out, inputs)


_EXPECT_REMEDY = "correct the source, or build without this check by --set expect=null"


def check_listed(recipe: Recipe, opened: Sequence[Opened]) -> None:
    """Check that the sources list as many images as the recipe expects.

    Raises:
        InputError: If the number differs; the message has it for each split.
    """
    if recipe.expect is None or recipe.expect.listed is None:
        return
    listed = {f"{one.spec.name} {one.source.split}": one.listed or 0 for one in opened}
    found = sum(listed.values())
    if found != recipe.expect.listed:
        named = ", ".join(f"{name} {count:,}" for name, count in listed.items())
        msg = (
            f"recipe {recipe.name}: its sources list {found:,} images ({named}), but "
            f"{recipe.expect.listed:,} are published; {_EXPECT_REMEDY}"
        )
        raise InputError(msg)


def check_expected(
    recipe: Recipe, image_ids: Sequence[str], rejections: Sequence[Rejection]
) -> None:
    """Check that a set has the published number of images, and the published ids.

    Args:
        recipe: Recipe with the published facts.
        image_ids: Ids of the set's images.
        rejections: Items that were left out, for the error message.

    Raises:
        InputError: If the number or the ids differ.
    """
    expect = recipe.expect
    if expect is None:
        return
    wrong = ""
    digest = hashlib.sha256("".join(f"{i}\n" for i in sorted(image_ids)).encode()).hexdigest()
    if expect.images not in (None, len(image_ids)):
        wrong = f"{len(image_ids):,} images, but {expect.images:,} are published"
    elif expect.ids_sha256 not in (None, digest):
        wrong = (
            f"{len(image_ids):,} images, which are not the published ones: their ids have the "
            f"SHA-256 {digest[:12]}, but {str(expect.ids_sha256)[:12]} is published"
        )
    if wrong:
        said = describe_rejections(rejections)
        left_out = f"; left out: {said}" if said else ""
        msg = f"recipe {recipe.name}: {wrong}{left_out}; {_EXPECT_REMEDY}"
        raise InputError(msg)


def check_names(image_ids: Sequence[str], folder: Path) -> None:
    """Check that image names which differ only in letter case give separate files in a folder.

    Args:
        image_ids: Ids of the images.
        folder: Folder on the disk that the images are written to.

    Raises:
        InputError: If the disk treats two of the names as one file; the message names both.
    """
    groups = differ_in_case(image_ids)
    if groups and not tells_case(folder):
        msg = (
            f"{folder}: this disk takes {' and '.join(map(quoted, groups[0][:2]))} for one file, "
            "but the set has both images; rename one of them in the source, or build on a disk "
            "that distinguishes letter case"
        )
        raise InputError(msg)


def _nothing_left(
    recipe: Recipe, what: str, rejections: Sequence[Rejection], out: Path
) -> InputError:
    """Record why everything was left out, and return the error that reports it."""
    kept = _staging_folder(out) / REJECTED_FILE
    write_rejected(kept, rejections)
    said = describe_rejections(rejections) or "nothing was scanned"
    return InputError(
        f"recipe {recipe.name}: {what}: {said}; see {kept} for every reason, then correct the "
        "source, or loosen the filters by --set"
    )


def rebuild_set(folder: Path, out: Path, inputs: Inputs) -> Built:
    """Rebuild the set of an existing manifest: the same images, the same masks.

    Args:
        folder: Folder with ``images.parquet`` and ``instances.parquet``.
        out: Folder to write the set to.
        inputs: Build inputs; ``roots`` may name local copies of the sources. Other images are
            downloaded by URL and checked against the recorded SHA-256.

    Raises:
        InputError: If the manifest is damaged or an image is not available as recorded.
    """
    manifest = read_manifest(folder)
    recipe = check_header(manifest, folder)
    with _staging(out, {"manifest": manifest.logical_hash}) as staging:
        check_names(manifest.images["image_id"].to_pylist(), staging)
        rows = manifest.images.to_pylist()
        answers: list[Fetched | Failed] = []
        for spec in recipe.sources:
            mine = [row for row in rows if row["source"] == spec.name]
            for holder, held in _holders(spec, inputs.roots.get(spec.name), mine):
                answers += fetch_rows(held, holder, staging / "set" / IMAGES_FOLDER, inputs)
        failed = [answer for answer in answers if isinstance(answer, Failed)]
        if failed:
            raise not_had(failed, len(rows), staging, may_skip=False)
        rejected = folder / REJECTED_FILE
        rejections = read_rejected(rejected) if rejected.is_file() else []
        return _finish(manifest, rejections, staging, out, inputs)


def _identities(opened: Sequence[Opened], inputs: Inputs) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return the identities of each image of the sources, by source and file name."""
    found = {}
    for one in opened:
        root = inputs.roots.get(one.spec.name)
        of_split = identities_by_file(one.spec, root, one.source.members())
        found.update({(one.source.name, name): known for name, known in of_split.items()})
    return found


def measure_sources(recipe: Recipe, inputs: Inputs, asked: AskedBins | None = None) -> Measured:
    """Measure the sources of a recipe before any filter or selection.

    Args:
        recipe: Recipe.
        inputs: Sources and settings.
        asked: Size bins to use instead of the recipe's, or terciles.

    Raises:
        InputError: If a source cannot be read, or its areas cannot be divided in terciles.
    """
    with tempfile.TemporaryDirectory(prefix="sbdata-") as folder:
        opened = open_all(recipe, inputs)
        scanned = scan_all(recipe, opened, Path(folder), inputs)
        rejections = tuple(r for one in scanned for r in one.scan.rejections())
        notes = source_notes(
            recipe,
            opened,
            pa.concat_tables([one.scan.images().select(_NAMES) for one in scanned]),
            workers=inputs.workers,
            progress=partial(inputs.progress, "photos"),
        )
        images = join_images(scanned)
        synthetic = _is_synthetic(recipe, opened)
        if has_labels_only(recipe, images):
            found = label_statistics_of(images, recipe.classes())
            return Measured(found, rejections, notes, SizeBins(), synthetic)
        measured, bins, lacking = source_statistics_by(scanned, recipe, asked or recipe.bins)
        return Measured(measured, rejections, (*notes, *lacking), bins, synthetic)


def _is_synthetic(recipe: Recipe, opened: Sequence[Opened]) -> bool:
    return recipe.synthetic or any(one.source.generated for one in opened)


def built_already(out: Path, recipe: Recipe, inputs: Inputs) -> Built | None:
    """Return the set in ``out`` if it is the recipe's and undamaged, None if ``out`` is empty.

    Raises:
        InputError: If ``out`` holds something else, or a damaged set.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    if not is_manifest(out):
        msg = f"{out} exists and is not an evaluation set; give another folder by --out"
        raise InputError(msg)
    manifest = read_manifest(out)
    asked = manifest.meta.get("asked_bins", {}).get("bins")
    wanted = replace(recipe, bins=manifest.bins) if recipe.bins == asked else recipe
    if check_header(manifest, out) != wanted:
        msg = f"{out} holds a set of another recipe; remove it, or give another folder by --out"
        raise InputError(msg)
    changed = changed_sources(out, manifest.logical_hash, recipe, inputs.roots)
    if changed:
        msg = (
            f"{out}: the annotations changed since the set was built ({', '.join(changed)}); "
            "remove the folder and build again, or give another folder by --out"
        )
        raise InputError(msg)
    damages = verify_set(out, workers=inputs.workers, progress=partial(inputs.progress, "verify"))
    if damages:
        msg = (
            f"{out} is damaged ({damages[0].path}: {damages[0].kind}, {len(damages)} in all; "
            f"`sbdata dataset verify {out}` lists them); remove the folder and build again"
        )
        raise InputError(msg)
    _remove_emptied(out)
    before, after = _statistics(manifest)
    notes = set_notes(manifest, out)
    return Built(out, manifest, before, after, fresh=False, notes=notes)


def _holders(
    spec: SourceSpec, root: Path | None, rows: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[ImageHolder, list[Mapping[str, Any]]]]:
    """Yield the rows of a manifest, grouped by the source that may hold their images locally."""
    published = [row for row in rows if row["sha256_of"] == "file"]
    if published:
        folders = (*devkit_folders(root), *sbd_folders(root)) if root else ()
        yield ImageFolders(folders), published
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
    before, after = _statistics(manifest)
    if before is not None and isinstance(after, SizeStatistics):
        write_text(root / FIGURE, card_figure(manifest, after, before).standalone())
    write_text(root / "README.md", dataset_card(manifest, after))
    described = orjson.dumps(croissant(manifest, root), option=orjson.OPT_INDENT_2)
    write_bytes(root / "dataset.json", described + b"\n")
    write_checksums(root, workers=inputs.workers)
    root.replace(_real(out))
    return Built(out, manifest, before, after, fresh=True, notes=set_notes(manifest, out))


def _statistics(
    manifest: Manifest,
) -> tuple[SizeStatistics | None, SizeStatistics | LabelStatistics]:
    """Return the statistics of a set's sources and of the set."""
    before = None if manifest.labels_only else statistics_from(manifest.meta["source"], manifest)
    return before, statistics_of_set(manifest)


def _real(out: Path) -> Path:
    """Return the folder itself if ``out`` is a link or ``.``, which no folder can be moved to."""
    return out.resolve() if out.is_symlink() or out.name in ("", "..") else out


def _staging_folder(out: Path) -> Path:
    place = _real(out)
    return place.parent / f".{place.name}.building"


def _lock_of(out: Path) -> filelock.BaseFileLock:
    place = _real(out)
    return filelock.FileLock(place.parent / f".{place.name}.lock", blocking=False)


def _remove_emptied(out: Path) -> None:
    """Delete what a build killed at the very end left next to its finished set."""
    staging, lock = _staging_folder(out), _lock_of(out)
    if not staging.is_dir() and not Path(lock.lock_file).exists():
        return
    with suppress(OSError, filelock.Timeout), lock:  # the folder may be read-only
        if not (staging / "set").exists():
            shutil.rmtree(staging, ignore_errors=True)
            Path(lock.lock_file).unlink(missing_ok=True)


@contextmanager
def _staging(out: Path, state: Mapping[str, Any]) -> Iterator[Path]:
    """Yield the hidden folder that a build is prepared in; it is kept if the build fails.

    The folder of a killed build is reused if its state is the same and emptied if it differs. Only
    one build of a target runs at a time.
    """
    staging = _staging_folder(out)
    with writing_to(staging):
        staging.mkdir(parents=True, exist_ok=True)
    described = orjson.dumps(state, option=orjson.OPT_SORT_KEYS)
    lock = _lock_of(out)
    try:
        with writing_to(staging.parent), lock:
            staging.mkdir(exist_ok=True)  # another process may have found the set finished
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
