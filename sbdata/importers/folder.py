"""Convert a folder of published files to a folder of pseudo-masks, completely or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from filelock import FileLock

from sbdata.errors import InputError
from sbdata.importers.decoding import (
    Fit,
    Map,
    Refine,
    check_classes,
    fitted_maps,
    fitted_mask,
    mask_of_maps,
    merged,
)
from sbdata.importers.dictionaries import LayoutError, Maps
from sbdata.importers.digests import digest_of
from sbdata.importers.layouts import TWO_FOLDERS, Layout, detect_layout, naming, read_files
from sbdata.importers.names import sort_files
from sbdata.importers.pictures import read_map
from sbdata.importers.record import (
    MaskFacts,
    Origin,
    Record,
    check_name,
    components_of,
    facts_of,
    shares_of,
    write_record,
)
from sbdata.importers.rules import Changes, Rule
from sbdata.importers.sources import (
    UNKNOWN,
    Merge,
    Source,
    find_source,
    rule_for,
)
from sbdata.importers.target import Target
from sbdata.layout import IMPORTED_MASKS
from sbdata.litter import is_litter
from sbdata.masks import VOID, write_index_png
from sbdata.parallel import Progress, run_each
from sbdata.plurals import count
from sbdata.printable import printable
from sbdata.score.pseudo_masks import MASKS, instance_outcomes, losses_by_stage
from sbdata.sizes import SizeBins
from sbdata.storage import new_folder, remove_leftovers
from sbdata.supervision import SUPERVISION
from sbdata.train.photos import read_photo

_FEW = 10  # maximum problems or names in a message


@dataclass(frozen=True)
class Request:
    """Settings of an import.

    Attributes:
        folder: Folder of the published files.
        target: Images that the files belong to.
        name: Name of the import.
        source: Name of one of ``SOURCES``, if known.
        url: Address where the files were published; the source's repository by default.
        supervision: Supervision of the method; that of the source by default.
        layout: Layout of the files, if it cannot be detected.
        changes: Changes to the source's rule.
        saliency: Folder of saliency maps, for rules that need them.
        merge: Rule for merging BANA's two masks.
        fit: Allowed changes to masks of another size than their image's.
        missing: Treatment of images without a file: refused, 255 everywhere, or background.
        workers: Number of threads that convert files.
    """

    folder: Path
    target: Target
    name: str
    source: str | None = None
    url: str | None = None
    supervision: tuple[str, ...] = ()
    layout: str | None = None
    changes: Changes = field(default_factory=Changes)
    saliency: Path | None = None
    merge: Merge = "agree"
    fit: Fit = field(default_factory=Fit)
    missing: Literal["error", "ignored", "background"] = "error"
    workers: int = 1

    def __post_init__(self) -> None:
        check_name(self.name)
        unknown = set(self.supervision) - {*SUPERVISION, UNKNOWN}
        if unknown:
            known = ", ".join(SUPERVISION)
            msg = f"no supervision called {unknown.pop()!r}; choose from {known}"
            raise InputError(msg)

    @property
    def known_source(self) -> Source | None:
        """Source of the files, or None if it was not named."""
        return None if self.source is None else find_source(self.source)


@dataclass(frozen=True)
class Detected:
    """Detected content of a folder, and how it will be converted.

    Attributes:
        request: Settings of the import.
        layout: Layout of the files.
        rule: Rule that converts maps to masks; None for finished masks.
        decisions: Decisions for the user, one sentence each.
        missing: Images of the target without a file.
        warnings: Warnings for the user.
    """

    request: Request
    layout: Layout
    rule: Rule | None
    decisions: tuple[str, ...]
    missing: tuple[str, ...]
    warnings: tuple[str, ...]

    @cached_property
    def saliency(self) -> Mapping[str, Path]:
        """Saliency map of each image, if the rule needs them."""
        folder = self.request.saliency
        if self.rule is None or not self.rule.needs_saliency or folder is None:
            return {}
        if not folder.is_dir():
            msg = f"{folder}: no such folder; --saliency takes a folder of <image>.png"
            raise InputError(msg)
        pictures = [
            path
            for path in folder.iterdir()
            if path.suffix.lower() == ".png" and not is_litter(path.name)
        ]
        found = sort_files(pictures, self.request.target.names).whole
        lacking = sorted(set(self.layout.files) - set(found))
        if lacking:
            msg = f"{folder}: no map of image {lacking[0]} ({len(lacking):,} images lack one)"
            raise InputError(msg)
        return found


def detect(request: Request) -> Detected:
    """Detect the content of a folder and decide how to convert it; nothing is written.

    Raises:
        InputError: If the folder cannot be imported as requested.
    """
    layout = detect_layout(request.folder, request.target, forced=request.layout)
    rule, said, assumed = rule_for(layout.name, request.known_source, request.changes)
    decisions = [*layout.decisions, said]
    if layout.name == TWO_FOLDERS:
        taken = {
            "agree": "where the two masks differ, 255",
            "crf": "of the two masks, that of the CRF",
            "ret": "of the two masks, that of the retrieval",
        }
        decisions.append(taken[request.merge])
    warnings = []
    if assumed:
        warnings.append(f"the source was not named: {said}")
    absent = tuple(i for i in request.target.image_ids if i not in layout.files)
    if absent and request.missing == "error":
        names = ", ".join(absent[:3]) + (", ..." if len(absent) > 3 else "")
        msg = (
            f"{request.folder}: no file for {len(absent):,} of the "
            f"{len(request.target.image_ids):,} images of {request.target.title} ({names}"
            f"{_extra(layout)}); add them, or choose a value for their masks by --missing"
        )
        raise InputError(msg)
    found = Detected(request, layout, rule, tuple(decisions), absent, tuple(warnings))
    if rule is not None and rule.needs_saliency and request.saliency is None:
        msg = f"{request.folder}: {rule}; give the saliency maps by --saliency, or --background"
        raise InputError(msg)
    return found


def _extra(layout: Layout) -> str:
    if not layout.extra:
        return ""
    first = printable(layout.extra[0])
    return f"; {len(layout.extra):,} files belong to other images, such as {first}"


def import_masks(request: Request, out: Path, progress: Progress | None = None) -> Record:
    """Convert published masks or maps to pseudo-masks.

    Args:
        request: Settings of the import.
        out: Folder to create, which must not exist. It gets ``masks/<image_id>.png`` and
            ``import.json``, and appears when everything is done.
        progress: Callback with (images done, total images).

    Raises:
        InputError: If files cannot be imported; the message names them, and nothing is written.
    """
    found = detect(request)
    if found.rule is not None:
        _ = found.saliency  # raises now, not during the work, if maps are missing
    refiner = _refiner(found)
    with _building(out) as folder:
        image_ids = request.target.image_ids
        convert = partial(_attempt, found, refiner, folder / IMPORTED_MASKS)
        rows = run_each(convert, image_ids, workers=request.workers, progress=progress)
        problems = [row for row in rows if isinstance(row, str)]
        if problems:
            raise _not_imported(request.folder, problems)
        made = [row for row in rows if isinstance(row, _Made)]
        _check_saliency(request, made)
        record = _record(found, made, folder / IMPORTED_MASKS)
        write_record(folder, record)
    return record


def _not_imported(folder: Path, problems: Sequence[str]) -> InputError:
    more = [f"  ... and {len(problems) - _FEW:,} more"] if len(problems) > _FEW else []
    files = count(len(problems), "file")
    lines = [f"{folder}: {files} cannot be imported, nothing was written"]
    return InputError("\n".join([*lines, *(f"  {text}" for text in problems[:_FEW]), *more]))


def _check_saliency(request: Request, made: Sequence[_Made]) -> None:
    """Refuse saliency maps of 0 and 1, of which each pixel would count as hardly salient."""
    if 0 < max((row.salience for row in made), default=0) <= np.float32(1 / 255):
        msg = (
            f"{request.saliency}: its maps hold only 0 and 1, but 255 is the most salient; "
            "multiply them by 255"
        )
        raise InputError(msg)


@contextmanager
def _building(out: Path) -> Iterator[Path]:
    """Yield a hidden folder beside ``out``; it is renamed to ``out`` on success, else deleted."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(out.parent / f".{out.name}.lock"):
        if out.exists():
            msg = f"{out}: already exists; remove it, or give another --name or --out"
            raise InputError(msg)
        remove_leftovers(out.parent, out.name)
        with new_folder(out) as folder:
            (folder / IMPORTED_MASKS).mkdir(parents=True)
            yield folder


# --- one image ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Made:
    """The written mask of one image, and the largest value of its saliency map."""

    image_id: str
    facts: MaskFacts
    digests: Mapping[str, str]
    fitted: str
    salience: float = 0.0


MakeRefine = Callable[[str], Refine]


def _refiner(found: Detected) -> MakeRefine | None:
    """Return a function from an image's id to the function that refines its scores, or None."""
    rule, target = found.rule, found.request.target
    if rule is None or rule.refine == "none":
        return None
    lacking = next((i for i in found.layout.files if target.photo_of(i) is None), None)
    if lacking is not None:
        msg = (
            f"refining by {rule.refine} needs the photos; give --set or --photos, or --refine none"
        )
        raise InputError(msg)
    from sbdata.train.refine import make_refiner  # imports PyTorch, which nothing else here needs

    refine = make_refiner(rule.refine)

    def of_image(image_id: str) -> Refine:
        path = target.photo_of(image_id)
        assert path is not None  # noqa: S101 - looked for above
        photo = np.asarray(read_photo(path))

        def refined(probabilities: Maps) -> Maps:
            return refine(photo, probabilities) if len(probabilities) > 1 else probabilities

        return refined

    return of_image


def _attempt(
    found: Detected, refiner: MakeRefine | None, folder: Path, image_id: str
) -> _Made | str:
    """Write one mask, or return a description of the problem."""
    try:
        return _make(found, refiner, folder, image_id)
    except InputError as error:
        return str(error)


def _make(found: Detected, refiner: MakeRefine | None, folder: Path, image_id: str) -> _Made:
    request = found.request
    target, classes = request.target, len(request.target.taxonomy)
    size, salience = target.size_of(image_id), 0.0
    if image_id not in found.layout.files:
        if size is None:
            msg = f"image {image_id}: no file, and its size is not known; give --photos"
            raise InputError(msg)
        value = VOID if request.missing == "ignored" else 0
        mask, fitted, digests = np.full(size, value, np.uint8), "", dict[str, str]()
    else:
        read = read_files(found.layout, image_id, classes)
        digests = dict(read.digests)
        with naming(next(iter(found.layout.files[image_id].values()))):
            if read.maps is None:
                mask, fitted = fitted_mask(merged(read.masks, request.merge), size, request.fit)
            else:
                assert found.rule is not None  # noqa: S101 - maps have one
                maps, fitted = fitted_maps(read.maps, size, request.fit)
                shape = (maps.maps.shape[1], maps.maps.shape[2])
                saliency, digest = _saliency(found, image_id, shape)
                digests |= digest
                salience = 0.0 if saliency is None else float(saliency.max())
                refine = None if refiner is None else refiner(image_id)
                mask = mask_of_maps(maps, found.rule, saliency, refine)
            check_classes(mask, classes)
    write_index_png(folder / f"{image_id}.png", np.ascontiguousarray(mask))
    return _Made(image_id, facts_of(mask), digests, fitted, salience)


def _saliency(
    found: Detected, image_id: str, size: tuple[int, int]
) -> tuple[Map | None, dict[str, str]]:
    path = found.saliency.get(image_id)
    if path is None:
        return None, {}
    with naming(path):
        values, digest = read_map(path)
        if values.shape != size:
            msg = (
                f"{values.shape[1]} x {values.shape[0]} pixels, the maps have {size[1]} x {size[0]}"
            )
            raise LayoutError(msg)
    return values, {f"saliency/{path.name}": digest}


# --- the record -----------------------------------------------------------------------------------


def _record(found: Detected, made: Sequence[_Made], folder: Path) -> Record:
    request, layout = found.request, found.layout
    target, source = request.target, request.known_source
    opened = target.opened
    facts = [row.facts for row in made]
    files = [(name, digest) for row in made for name, digest in row.digests.items()]
    outside = _outside_labels(target, made)
    bins = SizeBins() if opened is None else opened.bins
    true = None if opened is None or opened.labels_only else opened.manifest.instances
    return Record(
        name=request.name,
        origin=Origin(
            name=request.source or "",
            title=source.title if source else "",
            url=request.url or (source.url if source else ""),
            folder=str(request.folder),
            files=len(files),
            sha256=digest_of(files),
        ),
        supervision=request.supervision or (source.supervision if source else (UNKNOWN,)),
        layout=layout.name,
        decisions=found.decisions,
        rule=found.rule,
        taxonomy=target.taxonomy.name,
        classes=target.taxonomy.classes,
        target=target.title,
        set_hash=None if opened is None else opened.logical_hash,
        synthetic=opened is not None and bool(opened.manifest.meta.get("synthetic", False)),
        images=len(made),
        missing=len(found.missing),
        missing_as=request.missing if found.missing else None,
        extra=len(layout.extra),
        extra_files=layout.extra[:_FEW],
        cropped=sum(row.fitted == "cropped" for row in made),
        resized=sum(row.fitted == "resized" for row in made),
        masks_sha256=digest_of((row.image_id, row.facts.digest) for row in made),
        warnings=(*found.warnings, *_warnings(facts, outside, target)),
        images_outside_labels=outside,
        shares=shares_of(facts, target.taxonomy),
        components=components_of(facts, target.taxonomy, bins, true),
        losses=_losses(folder, target),
    )


def _outside_labels(target: Target, made: Sequence[_Made]) -> int | None:
    """Return the number of images whose mask has a class that their labels lack."""
    if target.opened is None:
        return None
    count = 0
    for row in made:
        present = set(np.flatnonzero(row.facts.pixels).tolist()) - {0, VOID}
        count += not present <= (target.labels_of(row.image_id) or frozenset())
    return count


def _warnings(facts: Sequence[MaskFacts], outside: int | None, target: Target) -> list[str]:
    found = []
    present = np.flatnonzero(np.sum([f.pixels for f in facts], axis=0)).tolist()
    classes = [value for value in present if value not in (0, VOID)]
    if not classes:
        found.append("no mask has a pixel of any class")
    elif classes == [1] and len(target.taxonomy) > 1:
        found.append(
            f"the only class is {target.taxonomy.name_of(1)}: these look like binary masks, of "
            "saliency or background"
        )
    if outside is not None and 2 * outside > len(facts):
        found.append(
            f"{outside:,} of {len(facts):,} masks have a class that their image lacks: the classes "
            "may be numbered in another order"
        )
    return found


def _losses(folder: Path, target: Target) -> tuple[dict[str, Any], ...] | None:
    """Return the number of true instances that the masks lose, by size."""
    opened = target.opened
    if opened is None or not opened.manifest.instances.num_rows:
        return None
    fates = instance_outcomes(folder, opened)
    return tuple(losses_by_stage([(MASKS, fates)], opened.bins).to_pylist())
