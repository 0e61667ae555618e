"""Prediction format: one file per image, of the image's size, with class numbers 0..C.

The file is a PNG, or an array in a ``.npy`` file; see also :mod:`sbdata.score.json_predictions`.
A folder is checked completely before any result is reported: first the names, in one listing, then
the headers, then the pixels. Values are checked on the same decoded pixels that are scored. Defects
are collected as :class:`Problem`, file by file, and a folder with problems gives no result.
"""

from __future__ import annotations

import csv
import io
import os
import re
import stat
import zipfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sbdata.errors import InputError
from sbdata.file_names import FileNames, stored
from sbdata.images import kind_of_file
from sbdata.litter import is_litter
from sbdata.mask_files import VOID, MaskFile, PngError, greys_of_voc, read_mask
from sbdata.plurals import count
from sbdata.printable import csv_cell, printable
from sbdata.score.label_files import read_array, read_by_palette
from sbdata.score.palettes import Palette
from sbdata.storage import write_text
from sbdata.taxonomy import Taxonomy

SHOWN = 20  # problems that the error's text lists; the CSV has all of them
DECODE = "add --decode-palette"
"""Remedy that `sbdata score` suggests for colours that are not decoded."""

_FEW = 6
_START = 512  # first bytes that reveal the type of a file
_KINDS = {
    ".pkl": "a pickle",
    ".pickle": "a pickle",
    ".mat": "a MATLAB file",
    ".json": "a JSON file",
}


@dataclass(frozen=True, order=True)
class Problem:
    """One defect of one file in a folder.

    Attributes:
        file: Name of the file in the folder.
        kind: Slug of the defect: ``missing``, ``extra``, ``size``, ``mode``, ``colours``,
            ``palette``, ``values``, ``void``, ``duplicate`` or ``unreadable``.
        detail: Description of the defect and the remedy.
        folder: Folder of the predictions, as given.
    """

    file: str
    kind: str
    detail: str
    folder: str = ""


@dataclass(frozen=True)
class PredictionFormat:
    """Rules that a prediction must follow.

    Attributes:
        taxonomy: Classes; values must be in 0..C.
        predicted_void: True if 255 may be predicted; it is read as background.
        decode_palette: True to decode RGB images with VOC's palette.
        allow_missing: True to treat a missing file as background everywhere.
        colour_remedy: Remedy to suggest for colours that are not decoded.
        palette: Palette that tells the classes of colours or numbers, or None.
        zero: False if 0 may not be predicted without a palette, as the truth has no background.
    """

    taxonomy: Taxonomy
    predicted_void: bool = False
    decode_palette: bool = False
    allow_missing: bool = False
    colour_remedy: str = DECODE
    palette: Palette | None = None
    zero: bool = True


@dataclass(frozen=True)
class PredictionIndex:
    """Names in a folder of predictions, or in a JSON file, compared with the images of the truth.

    Attributes:
        folder: Folder of the predictions, or the JSON file.
        found: Ids of images that have a prediction.
        missing: Ids of images without one, sorted.
        ignored: Ids of predictions for images that the truth had to leave out.
        problems: Problems with the names.
        arrays: Ids of images whose file is a ``.npy`` array, not a PNG.
        read_map: Function of an image's id and size that returns its class map, if the
            predictions are a JSON file.
        file_of: Function of an image's id that returns its PNG, if they are a panoptic JSON file.
        notes: Sentences to show with the values.
        identity: Hashes of the JSON file and of the one that tells its ids, if there are any.
    """

    folder: Path
    found: frozenset[str]
    missing: tuple[str, ...]
    ignored: tuple[str, ...]
    problems: tuple[Problem, ...]
    arrays: frozenset[str] = frozenset()
    read_map: Callable[[str, tuple[int, int]], MaskFile] | None = None
    file_of: Callable[[str], Path] | None = None
    notes: tuple[str, ...] = ()
    identity: str = ""

    def name(self, image_id: str) -> str:
        """Return the name of an image's file; in a JSON file, that of the image."""
        if self.read_map is not None:
            return image_id
        return f"{image_id}.npy" if image_id in self.arrays else f"{image_id}.png"

    def path(self, image_id: str) -> Path | None:
        """Return the file of an image in a folder, None if it is missing."""
        if self.file_of is not None and image_id in self.found:
            return self.file_of(image_id)
        return stored(self.folder, self.name(image_id)) if image_id in self.found else None

    def read(self, image_id: str, size: tuple[int, int], contract: PredictionFormat) -> MaskFile:
        """Read a prediction that exists.

        Args:
            image_id: Id of the image.
            size: Width and height of the image.
            contract: Rules of the prediction format.

        Raises:
            PngError: If it violates the format.
        """
        if self.read_map is not None:
            return self.read_map(image_id, size)
        return check_prediction(stored(self.folder, self.name(image_id)), size, contract)


class ProblemsError(InputError):
    """Predictions that violate the prediction format.

    Attributes:
        problems: All problems, sorted by folder and file.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda p: (p.folder, p.file, p.kind)))
        super().__init__(_as_text(self.problems))


# --- names ----------------------------------------------------------------------------------------


def list_predictions(
    folder: Path,
    image_ids: Sequence[str],
    *,
    allow_missing: bool = False,
    left_out: Collection[str] = (),
    arrays: bool = False,
) -> PredictionIndex:
    """Compare the names in a folder with the images to be scored.

    Hidden files are ignored. Only names are checked, not contents. A name is found in any Unicode
    form in which it is stored, see :mod:`sbdata.file_names`.

    Args:
        folder: Folder of the predictions.
        image_ids: Ids of the images of the truth.
        allow_missing: True if a missing file is not a problem.
        left_out: Ids of images of the dataset that the truth had to leave out; their files are
            ignored.
        arrays: True to take ``<image_id>.npy`` for an image that has no PNG.

    Raises:
        InputError: If the folder does not exist or is empty.
        AmbiguousNameError: If the folder contains two files of one image, or two images would have
            one file.
    """
    FileNames(image_ids, "ids of the truth").check_distinct()
    names = _names_in(folder)
    there = FileNames(names, folder)
    found = {i: name for i in image_ids if (name := there.find(f"{i}.png")) is not None}
    of_left_out = {i: name for i in left_out if (name := there.find(f"{i}.png")) is not None}
    of_arrays: dict[str, str] = {}
    ending = ".png"
    if arrays and any(name.endswith(".npy") for name in names):
        ending = ".npy" if not found else ending
        for ids, known in ((image_ids, found), (left_out, of_left_out)):
            more = {i: there.find(f"{i}.npy") for i in ids if i not in known}
            of_arrays |= {i: name for i, name in more.items() if name is not None}
            known |= {i: of_arrays[i] for i in more if i in of_arrays}
    wanted = {f"{image_id}{ending}" for image_id in image_ids}
    missing = sorted(f"{image_id}{ending}" for image_id in image_ids if image_id not in found)
    ignored = {*of_left_out.values()} - {*found.values()}
    extra = sorted(names - {*found.values()} - ignored)
    if len(missing) == len(wanted) and not extra:
        msg = f"{folder}: no prediction for any of the {len(wanted)} images; give another folder"
        raise InputError(msg)
    meant = _suggestions([_stem(name) for name in extra], [_stem(name) for name in missing])
    looks_like = {image_id: stem for stem, image_id in sorted(meant.items(), reverse=True)}
    by_stem = {_stem(name): name for name in reversed(extra)}
    problems = [
        Problem(
            printable(name), "extra", _about_extra(folder / name, meant, found, arrays), str(folder)
        )
        for name in extra
    ]
    if not allow_missing:
        for name in missing:
            detail = "no such file"
            if _stem(name) in looks_like:
                like = printable(by_stem[looks_like[_stem(name)]])
                detail = f"no such file; if {like} is meant, rename it"
            problems.append(Problem(name, "missing", detail, str(folder)))
    return PredictionIndex(
        folder,
        frozenset(found),
        tuple(_stem(name) for name in missing),
        tuple(sorted(of_left_out)),
        tuple(problems),
        frozenset(of_arrays),
    )


def _names_in(folder: Path) -> set[str]:
    if folder.is_file():
        if zipfile.is_zipfile(folder):
            msg = f"{folder}: a zip archive; unpack it and give the folder with the PNGs"
        else:
            what = _kind_of(folder).removesuffix(", not a PNG")
            if what == "a JSON file":
                what += " (such as a list of results with run-length codes)"
            elif what == "not a PNG":
                what = "a file"
            msg = f"{folder}: {what}; give the folder with one <image_id>.png per image"
        raise InputError(msg)
    if not folder.is_dir():
        msg = f"{folder}: no such folder; give the folder with one <image_id>.png per image"
        raise InputError(msg)
    try:
        with os.scandir(folder) as entries:
            names = {entry.name for entry in entries if not is_litter(entry.name)}
    except OSError as error:
        msg = f"{folder}: cannot be listed ({error.strerror}); make it readable"
        raise InputError(msg) from error
    if not names:
        msg = f"{folder}: an empty folder; give the folder with one <image_id>.png per image"
        raise InputError(msg)
    if not any(name.lower().endswith(".png") for name in names):
        inner = sorted(
            n for n in names if (folder / n).is_dir() and any((folder / n).glob("*.png"))
        )
        if inner:
            msg = f"{folder}: no PNG in it, but in {printable(inner[0])}; give {folder / inner[0]}"
            raise InputError(msg)
    return names


def _stem(name: str) -> str:
    return os.path.splitext(name)[0]  # noqa: PTH122 - of a name that may be odd


def _about_extra(
    path: Path, meant: Mapping[str, str], found: Mapping[str, str], arrays: bool
) -> str:
    stem, suffix = _stem(path.name), path.suffix
    ending = ".npy" if arrays and suffix == ".npy" else ".png"
    hint = f"did you mean {meant[stem]}{ending}?" if stem in meant else "remove it"
    if ending == ".npy" and stem in found:
        return f"a second prediction of the image of {found[stem]}; keep one"
    if ending == ".npy" and path.is_file():
        return f"not an image of the set; {hint}"
    if suffix.lower() != ".png":
        if path.is_dir():
            return "a folder, but predictions must lie in one folder; remove it"
        return f"{_kind_of(path)}; predictions are <image_id>.png, {hint}"
    return f"not an image of the set; {hint}"


def _kind_of(path: Path) -> str:
    """Return the type of a file without the suffix .png, by its name and its first bytes."""
    by_name = _KINDS.get(path.suffix.lower())
    try:
        if stat.S_ISREG(path.stat().st_mode):
            with path.open("rb") as stream:
                kind = kind_of_file(stream.read(_START))
        else:
            kind = "something else"
    except (OSError, ValueError):
        kind = "something else"
    if kind == "a PNG file":
        return "a PNG file with another suffix"
    if kind == "something else":
        return f"{by_name}, not a PNG" if by_name else "not a PNG"
    return f"{kind}, not a PNG"


def _suggestions(stems: Sequence[str], missing: Sequence[str]) -> dict[str, str]:
    """Return, for stems that match no image, the one missing image that each is likely to mean.

    Names are compared without case and leading zeros. One name may be a part of the other, between
    separators, so that ``pred_139`` matches ``000000000139``.
    """
    if not stems or not missing:
        return {}
    whole: dict[str, set[str]] = {}
    parts: dict[str, set[str]] = {}
    for image_id in missing:
        for k, form in enumerate(_forms(image_id)):
            (parts if k else whole).setdefault(form, set()).add(image_id)
    found: dict[str, str] = {}
    for stem in stems:
        forms = list(_forms(stem))
        options = [whole.get(form, set()) for form in forms] + [parts.get(forms[0], set())]
        best = next((option for option in options if len(option) == 1), None)
        if best:
            found[stem] = next(iter(best))
    taken = Counter(found.values())
    return {stem: image_id for stem, image_id in found.items() if taken[image_id] == 1}


def _forms(stem: str) -> Iterator[str]:
    """Yield the plain form of a name, then those of its parts between separators, longest first."""
    words = list(re.finditer(r"[^\W_]+", stem))[:12]
    spans = sorted(
        ((a.start(), b.end()) for k, a in enumerate(words) for b in words[k:]),
        key=lambda span: (span[0] - span[1], span),
    )
    yield _plain(stem)
    for start, end in spans:
        if end - start < len(stem):
            yield _plain(stem[start:end])


def _plain(text: str) -> str:
    return re.sub(r"(?<!\d)0+(?=\d)", "", text.casefold())


# --- one file -------------------------------------------------------------------------------------


def read_prediction(
    path: Path, size: tuple[int, int], contract: PredictionFormat
) -> tuple[npt.NDArray[np.uint8], str]:
    """Read one prediction that follows the prediction format.

    Args:
        path: Path of the file.
        size: Width and height of its image.
        contract: Rules of the prediction format.

    Returns:
        Class numbers, ``(H, W)`` uint8 (255 only if the format allows it), and the SHA-256 of the
        file.

    Raises:
        PngError: If the file violates the format; it has the kind of problem, a description and the
            remedy.
    """
    found = check_prediction(path, size, contract)
    return found.values, found.digest


def check_prediction(path: Path, size: tuple[int, int], contract: PredictionFormat) -> MaskFile:
    """Read one prediction like :func:`read_prediction`, and return how its numbers were decoded."""
    if contract.palette is not None:
        found = read_by_palette(path, size, contract.palette)
    elif path.suffix == ".npy":
        found = read_array(path, size)
    else:
        found = read_mask(
            path,
            size=size,
            classes=contract.taxonomy,
            sixteen_bits=True,
            decode_colours=contract.decode_palette,
            remedy=contract.colour_remedy,
        )
    _check_values(path, found.values, contract)
    if found.values.dtype != np.uint8:
        found = replace(found, values=found.values.astype(np.uint8))
    if not contract.zero and contract.palette is None and not found.values.all():
        zeros = found.values.size - np.count_nonzero(found.values)
        name, classes = contract.taxonomy.name, len(contract.taxonomy)
        raise PngError(
            path,
            "values",
            f"0 in {zeros} pixels, but the truth has no background, and the classes of {name} are "
            f"1..{classes}; say by --palette what the numbers are, such as cityscapes-trainids or "
            "a file of lines `name: n`",
        )
    return found


def _check_values(path: Path, values: npt.NDArray[Any], contract: PredictionFormat) -> None:
    classes = len(contract.taxonomy)
    if values.max() <= classes and (values.dtype.kind == "u" or values.min() >= 0):
        return
    present, counts = np.unique(values, return_counts=True)
    pairs = zip(present.tolist(), counts.tolist(), strict=True)
    wrong = [(v, n) for v, n in pairs if not 0 <= v <= classes]
    strange = [(v, n) for v, n in wrong if v != VOID]
    if strange:
        seen = ", ".join(f"{v} ({n} pixels)" for v, n in strange[:_FEW])
        more = ", ..." if len(strange) > _FEW else ""
        greys = set(present.tolist()) <= greys_of_voc()
        origin = "; they are VOC's colours turned to grey" if greys else ""
        raise PngError(
            path,
            "values",
            f"values {seen}{more}; {contract.taxonomy.name} has 0..{classes}, map them to classes"
            f"{origin}",
        )
    if not contract.predicted_void:
        raise PngError(
            path,
            "void",
            f"255 in {wrong[0][1]} pixels; predict a class there, or add --pred-void, which reads "
            "it as background",
        )


# --- reports --------------------------------------------------------------------------------------


def _as_text(problems: Sequence[Problem]) -> str:
    kinds = Counter(problem.kind for problem in problems)
    counted = ", ".join(f"{kind} {n:,}" for kind, n in sorted(kinds.items()))
    folders = {problem.folder for problem in problems}
    where = problems[0].folder if len(folders) == 1 else f"{len(folders)} folders"
    lines = [f"{where}: {count(len(problems), 'problem')} ({counted}), nothing was scored"]
    for problem in problems[:SHOWN]:
        place = problem.file if len(folders) == 1 else f"{problem.folder}/{problem.file}"
        lines.append(f"  {place}: {problem.detail}")
    if len(problems) > SHOWN:
        lines.append(f"  ... and {len(problems) - SHOWN:,} more")
    return "\n".join(lines)


def write_problems(path: Path, problems: Sequence[Problem]) -> None:
    """Write all problems as CSV with the columns file, kind, detail and folder."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("file", "kind", "detail", "folder"))
    writer.writerows([csv_cell(text) for text in astuple(problem)] for problem in problems)
    write_text(path, out.getvalue())
