"""Detect the layout of a folder of published masks or maps from its files.

File names and a sample of the files decide; every file must then have the detected layout. A folder
with no known layout is refused, with a description of its content.
"""

from __future__ import annotations

import os
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sbdata.errors import InputError
from sbdata.importers.arrays import read_arrays, unwrap
from sbdata.importers.dictionaries import (
    CLASS_DICTIONARY,
    CRF_DICTIONARY,
    DICTIONARIES,
    KEYS_ONLY,
    NOTHING,
    NUMBERED,
    ClassMaps,
    LayoutError,
    Maps,
    describe,
    layout_of,
    maps_of,
    read_dictionary,
)
from sbdata.importers.names import SortedFiles, sort_files
from sbdata.importers.pickles import PickleError
from sbdata.importers.pictures import (
    Indices,
    palette_evidence,
    read_indices,
    read_map,
    read_picture,
)
from sbdata.importers.target import Target
from sbdata.litter import is_litter
from sbdata.mask_files import PALETTE, RGB
from sbdata.printable import printable

CLASS_PICTURES = "class-pictures"
INDEX_PICTURES = "index-pictures"
COLOUR_PICTURES = "colour-pictures"
TWO_FOLDERS = "two-folders"

PICTURES: Mapping[str, str] = {
    CLASS_PICTURES: "<image>_<class from 0>.png, a grey map each (NS-ROM, OAA, L2G, WSSS-BED)",
    INDEX_PICTURES: "<image>.png, class numbers in grey or palette, 255 for ignored",
    COLOUR_PICTURES: "<image>.png, class numbers told by VOC's colours",
    TWO_FOLDERS: "two folders of class numbers, Ycrf and Yret (BANA)",
}

LAYOUTS: Mapping[str, str] = {**DICTIONARIES, **PICTURES}
"""Descriptions of all layouts, by name."""

MASKS = frozenset({INDEX_PICTURES, COLOUR_PICTURES, TWO_FOLDERS})
"""Names of the layouts of finished masks, which need no rule."""

_SAMPLE = 64  # number of files that decide
_FEW = 4
_LARGEST_PICKLE = 1 << 26  # maximum bytes of a pickle described in a message
_CRF_FOLDERS, _RETRIEVED_FOLDERS = ("ycrf", "y_crf"), ("yret", "y_ret")
_SUM = 1e-2  # tolerance for the sum of a pixel's scores, which is 1, in half precision


@dataclass(frozen=True)
class Layout:
    """Detected layout and files of a folder.

    Attributes:
        name: Name of the layout, one of ``LAYOUTS``.
        files: Files by image id, and then by role: ``""``, the number of a class, or ``crf`` and
            ``ret``.
        decisions: Observations and the decisions made from them, one sentence each.
        twins: Coloured copies that were ignored.
        extra: Names of files that belong to no image of the set.
    """

    name: str
    files: Mapping[str, Mapping[str, Path]]
    decisions: tuple[str, ...]
    twins: int
    extra: tuple[str, ...]


@dataclass(frozen=True)
class ReadMaps:
    """Content of one image's files.

    Attributes:
        masks: Class numbers of one picture, or of two for ``TWO_FOLDERS``.
        maps: Maps, if the layout has maps instead of masks.
        digests: SHA-256 of each file, by name.
    """

    masks: tuple[Indices, ...]
    maps: ClassMaps | None
    digests: Mapping[str, str]


# --- which layout ---------------------------------------------------------------------------------


def detect_layout(folder: Path, target: Target, *, forced: str | None = None) -> Layout:
    """Detect the layout of a folder.

    Args:
        folder: Folder of the published files.
        target: Images that the files should belong to.
        forced: Layout to use if the files do not determine it; they must still match it.

    Raises:
        InputError: If the folder is empty, has no known layout, or has several.
    """
    if forced is not None and forced not in LAYOUTS:
        msg = f"no layout called {forced!r}; choose from {', '.join(LAYOUTS)}"
        raise InputError(msg)
    names, folders = _contents(folder)
    pair = _two_folders(folders)
    if pair is not None:
        found = _of_two_folders(folder, pair, target)
    else:
        found = _of_files(folder, names, folders, target, forced)
    if forced is not None and found.name != forced:
        msg = f"{folder}: the files are {LAYOUTS[found.name]}; leave out --layout {forced}"
        raise InputError(msg)
    return found


def _contents(folder: Path) -> tuple[list[str], list[str]]:
    """Return the names of the files and of the folders in a folder, without hidden ones."""
    if not folder.is_dir():
        if folder.is_file() and zipfile.is_zipfile(folder):
            msg = f"{folder}: a zip archive; unpack it and give the folder with the files"
        else:
            msg = f"{folder}: no such folder; give the one with the published files"
        raise InputError(msg)
    with os.scandir(folder) as entries:
        seen = sorted((e.name, e.is_dir()) for e in entries if not is_litter(e.name))
    files = [name for name, is_folder in seen if not is_folder]
    return files, [name for name, is_folder in seen if is_folder]


def _of_files(
    folder: Path, names: Sequence[str], folders: Sequence[str], target: Target, forced: str | None
) -> Layout:
    by_suffix: dict[str, list[Path]] = {".npy": [], ".png": []}
    for name in names:
        suffix = Path(name).suffix.lower()
        if suffix in by_suffix:
            by_suffix[suffix].append(folder / name)
    dictionaries, pictures = by_suffix[".npy"], by_suffix[".png"]
    if dictionaries and pictures:
        msg = (
            f"{folder}: {len(dictionaries):,} .npy and {len(pictures):,} .png files; put the "
            "files to import into a folder of their own"
        )
        raise InputError(msg)
    if not dictionaries and not pictures:
        raise _nothing_to_import(folder, names, folders)
    sorted_files = sort_files(dictionaries or pictures, target.names)
    if not sorted_files.whole and not sorted_files.by_class:
        files = dictionaries or pictures
        msg = (
            f"{folder}: none of the {len(files):,} files belongs to an image of {target.title} (a "
            f"file: {printable(files[0].name)}, an image: {target.image_ids[0]}); give the set or "
            "list that they were made for"
        )
        raise InputError(msg)
    decide = _of_dictionaries if dictionaries else _of_pictures
    name, decisions = decide(folder, sorted_files, target, forced)
    if sorted_files.twins:
        decisions.append(
            f"{len(sorted_files.twins):,} files *_palette.png are ignored: the files beside "
            "them hold the numbers"
        )
    if name == CLASS_PICTURES:
        files_of: dict[str, Mapping[str, Path]] = {
            image_id: {str(number): path for number, path in sorted(of_image.items())}
            for image_id, of_image in sorted(sorted_files.by_class.items())
        }
    else:
        files_of = {image_id: {"": path} for image_id, path in sorted(sorted_files.whole.items())}
    extra = tuple(path.name for path in sorted_files.extra)
    return Layout(name, files_of, tuple(decisions), len(sorted_files.twins), extra)


def _nothing_to_import(folder: Path, names: Sequence[str], folders: Sequence[str]) -> InputError:
    inner = next((name for name in folders if _has_files(folder / name)), None)
    if inner is not None:
        return InputError(f"{folder}: no .png or .npy here, but in {inner}; give {folder / inner}")
    pickled = next((name for name in names if Path(name).suffix in (".pkl", ".pickle")), None)
    if pickled is not None:
        return InputError(
            f"{folder / pickled}: {_held(folder / pickled)}; supported are .npy files with a "
            "dictionary each, and PNG files"
        )
    kinds = Counter(Path(name).suffix or "no suffix" for name in names)
    seen = ", ".join(f"{n:,} with {printable(kind)}" for kind, n in kinds.most_common(_FEW))
    return InputError(
        f"{folder}: no .png or .npy here ({seen or 'an empty folder'}); give the folder with the "
        "published masks or maps, unpacked"
    )


def _held(path: Path) -> str:
    """Return a description of a pickle of arrays, without running any code in it."""
    try:
        if path.stat().st_size > _LARGEST_PICKLE:
            return "a large pickle"
        with path.open("rb") as stream:
            found = read_arrays(stream)
        if isinstance(found, dict):
            found = {key: unwrap(value) for key, value in found.items()}
        return f"a pickle of {describe(found)}"
    except PickleError as error:
        return f"a pickle that is not read: {error}"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _has_files(folder: Path) -> bool:
    return any(
        path.suffix.lower() in (".npy", ".png") and not is_litter(path.name)
        for path in folder.iterdir()
    )


# --- dictionaries ---------------------------------------------------------------------------------


def _of_dictionaries(
    folder: Path, files: SortedFiles, target: Target, forced: str | None
) -> tuple[str, list[str]]:
    if files.by_class:
        path = next(iter(next(iter(files.by_class.values())).values()))
        msg = f"{path}: a .npy file of one class; files of single classes must be PNGs"
        raise InputError(msg)
    sample = [(i, files.whole[i]) for i in _spread(sorted(files.whole))]
    found: dict[str, list[tuple[str, Path, Mapping[Any, Any]]]] = {}
    unreadable: list[InputError] = []
    for image_id, path in sample:
        try:
            with naming(path):
                dictionary, _ = read_dictionary(path)
                layout = layout_of(dictionary)
        except InputError as error:  # listed with the other problems during conversion
            unreadable.append(error)
            continue
        found.setdefault(layout, []).append((image_id, path, dictionary))
    if not found:
        msg = f"{unreadable[0]}; the files of {folder} cannot be imported"
        raise InputError(msg) from unreadable[0]
    empty = found.pop(KEYS_ONLY, [])
    if len(found) > 1:
        seen = "; ".join(f"{rows[0][1].name}: {describe(rows[0][2])}" for rows in found.values())
        msg = f"{folder}: files of different layouts ({seen}); give a folder of one"
        raise InputError(msg)
    name = next(iter(found), KEYS_ONLY)
    start = f"{len(files.whole):,} .npy files, {len(sample)} of them looked into: "
    if name == NUMBERED:
        if forced in (CLASS_DICTIONARY, CRF_DICTIONARY):
            name, why = forced, "as --layout says"
        else:
            name, why = _zero_of(folder, [(i, d) for i, _, d in found[NUMBERED]], target)
        return name, [f"{start}{LAYOUTS[name]}; {why}"]
    decisions = [start + LAYOUTS[name]]
    if unreadable:
        decisions.append(f"{len(unreadable)} of those looked into cannot be imported")
    if empty and name != KEYS_ONLY:
        decisions.append("files without any key are images without objects")
    return name, decisions


def _zero_of(
    folder: Path, found: Sequence[tuple[str, Mapping[Any, Any]]], target: Target
) -> tuple[str, str]:
    """Return whether 0 is the first class or background, and the reason.

    Raises:
        InputError: If the files do not determine it.
    """
    filled = [(image_id, d) for image_id, d in found if d]
    without = sum(0 not in d for _, d in filled)
    last = sum(len(target.taxonomy) in d for _, d in filled)
    if without and last:
        msg = (
            f"{folder}: some dictionaries have no 0, so that 0 would be a class, and some have "
            f"{len(target.taxonomy)}, which would be one class too many; give the --taxonomy "
            "that they were made with"
        )
        raise InputError(msg)
    if without or not filled:
        return CLASS_DICTIONARY, f"{without:,} have no 0, so it is the first class"
    if last:
        return CRF_DICTIONARY, (
            f"all have a 0 and {last:,} have {len(target.taxonomy)}, so 0 is background"
        )
    labels = [(target.labels_of(image_id), d) for image_id, d in filled]
    known = [(said, set(d)) for said, d in labels if said is not None]
    if known:
        from_zero = sum(said == {key + 1 for key in keys} for said, keys in known)
        from_one = sum(said == keys - {0} for said, keys in known)
        if from_zero != from_one:
            name = CLASS_DICTIONARY if from_zero > from_one else CRF_DICTIONARY
            right = max(from_zero, from_one)
            return name, f"read so, {right:,} of {len(known):,} name the classes of their image"
    if all(_adds_up(dictionary) for _, dictionary in filled):
        return CRF_DICTIONARY, "all have a 0 and add up to 1 everywhere, so 0 is background"
    msg = (
        f"{folder}: all dictionaries have a map under 0, which may be background or the first "
        f"class; say which by --layout {CRF_DICTIONARY} or --layout {CLASS_DICTIONARY}"
    )
    raise InputError(msg)


def _adds_up(found: Mapping[Any, Any]) -> bool:
    """Return whether the maps of a dictionary are probabilities."""
    maps = [np.asarray(values, np.float64) for values in found.values()]
    same = len({values.shape for values in maps}) == 1
    return same and bool(np.allclose(np.sum(maps, axis=0), 1, atol=_SUM))


# --- pictures -------------------------------------------------------------------------------------


def _of_pictures(
    folder: Path, files: SortedFiles, target: Target, forced: str | None
) -> tuple[str, list[str]]:
    whole, by_class = files.whole, files.by_class
    if whole and by_class:
        one = next(iter(whole.values())).name
        other = next(iter(next(iter(by_class.values())).values())).name
        msg = (
            f"{folder}: files of whole images ({one}) and of single classes ({other}); put the "
            "files to import into a folder of their own"
        )
        raise InputError(msg)
    if by_class:
        n = sum(map(len, by_class.values()))
        what = f"{n:,} .png files of {len(by_class):,} images: {LAYOUTS[CLASS_PICTURES]}"
        return CLASS_PICTURES, [what]
    modes: Counter[str] = Counter()
    evidence: Counter[str] = Counter()
    sample = [whole[i] for i in _spread(sorted(whole))]
    for path in sample:
        try:
            picture = read_picture(path)
        except LayoutError as error:  # listed with the other problems during conversion
            modes["unreadable"] += 1
            if modes["unreadable"] == len(sample):
                msg = f"{path}: {error}"
                raise InputError(msg) from error
            continue
        modes[picture.header.mode] += 1
        if picture.header.colour == RGB:
            evidence["colour"] += 1
        elif picture.header.colour == PALETTE:
            evidence[palette_evidence(picture, len(target.taxonomy))[0]] += 1
        else:
            evidence["index" if picture.png.pixels.any() else "either"] += 1
    seen = ", ".join(f"{n} {mode}" for mode, n in modes.most_common())
    if evidence["colour"] and evidence["index"]:
        msg = (
            f"{folder}: some files hold class numbers and some colours ({seen}); give a folder "
            "of one kind"
        )
        raise InputError(msg)
    name = COLOUR_PICTURES if evidence["colour"] else INDEX_PICTURES
    start = f"{len(whole):,} .png files, {len(sample)} of them looked into ({seen}): "
    return name, [start + LAYOUTS[name]]


def _two_folders(folders: Iterable[str]) -> tuple[str, str] | None:
    lower = {name.lower(): name for name in folders}
    first = next((lower[name] for name in _CRF_FOLDERS if name in lower), None)
    second = next((lower[name] for name in _RETRIEVED_FOLDERS if name in lower), None)
    return (first, second) if first is not None and second is not None else None


def _of_two_folders(folder: Path, pair: tuple[str, str], target: Target) -> Layout:
    kinds = {}
    for key, name in zip(("crf", "ret"), pair, strict=True):
        inner, _ = _contents(folder / name)
        pictures = [folder / name / n for n in inner if n.lower().endswith(".png")]
        kinds[key] = sort_files(pictures, target.names)
    first, second = (found.whole for found in kinds.values())
    both = sorted(set(first) & set(second))
    if not both:
        msg = f"{folder}: no image of {target.title} has a file in both {pair[0]} and {pair[1]}"
        raise InputError(msg)
    alone = sorted(set(first) ^ set(second))
    if alone:
        place = folder / pair[1 if alone[0] in first else 0]
        msg = (
            f"{place}: no file for image {alone[0]}, which the other folder has ({len(alone):,} "
            "images lie in one of them only); unpack the release again"
        )
        raise InputError(msg)
    return Layout(
        TWO_FOLDERS,
        {i: {"crf": first[i], "ret": second[i]} for i in both},
        (f"{len(both):,} .png files in {pair[0]} and in {pair[1]}: {LAYOUTS[TWO_FOLDERS]}",),
        sum(len(found.twins) for found in kinds.values()),
        tuple(path.name for path in kinds["crf"].extra),
    )


def _spread(image_ids: Sequence[str]) -> list[str]:
    """Return some ids, evenly spread over the sorted ones; all of them if they are few."""
    if len(image_ids) <= _SAMPLE:
        return list(image_ids)
    return [image_ids[k * len(image_ids) // _SAMPLE] for k in range(_SAMPLE)]


# --- one image ------------------------------------------------------------------------------------


def read_files(layout: Layout, image_id: str, classes: int) -> ReadMaps:
    """Read the files of one image.

    Args:
        layout: Layout of the folder.
        image_id: Id of an image in the folder.
        classes: Number of classes, background not counted.

    Raises:
        InputError: If a file does not have this layout; the message names it.
    """
    files = layout.files[image_id]
    if layout.name in DICTIONARIES:
        path = files[""]
        with naming(path):
            found, digest = read_dictionary(path)
            return ReadMaps((), maps_of(found, layout.name, classes), {path.name: digest})
    digests: dict[str, str] = {}
    if layout.name == CLASS_PICTURES:
        numbers: list[int] = []
        maps: list[Maps] = []
        for number, path in files.items():
            with naming(path):
                values, digests[path.name] = read_map(path)
                if int(number) >= classes:
                    msg = f"class {number}, but the classes are 0..{classes - 1}"
                    raise LayoutError(msg)
                if maps and values.shape != maps[0].shape:
                    msg = "a map of another size than the image's other maps"
                    raise LayoutError(msg)
            numbers.append(int(number) + 1)
            maps.append(values)
        return ReadMaps((), ClassMaps(tuple(numbers), np.stack(maps) if maps else NOTHING), digests)
    masks = []
    for path in files.values():
        with naming(path):
            mask, digest = read_indices(path, classes, by_colour=layout.name == COLOUR_PICTURES)
        digests[f"{path.parent.name}/{path.name}" if len(files) > 1 else path.name] = digest
        masks.append(mask)
    return ReadMaps(tuple(masks), None, digests)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Convert a LayoutError to an InputError that names the file."""
    try:
        yield
    except LayoutError as error:
        msg = f"{path}: {error}"
        raise InputError(msg) from error
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror}); unpack it again"
        raise InputError(msg) from error
