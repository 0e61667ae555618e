"""Read user-provided image-level labels: text, CSV, JSON, COCO, VOC's XML annotations or ``.npy``.

The code of many methods stores labels as a NumPy file, ``cls_labels.npy``: a pickled dictionary of
image ids and vectors of 0 and 1. It is read without running any code that the pickle names.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sbdata.errors import InputError
from sbdata.importers.dictionaries import LayoutError, read_dictionary
from sbdata.importers.names import ImageNames
from sbdata.limits import MAX_MAPS_BYTES
from sbdata.quoting import quoted
from sbdata.taxonomy import Taxonomy
from sbdata.text_files import read_text
from sbdata.weak_labels.boxes import read_coco_labels
from sbdata.weak_labels.voc_files import read_voc_files

HEADER = ["image_id", "classes"]

_STEPS = 3_000_000
"""Maximum instructions in a pickle of labels: about ten per image; COCO has 123,287 images."""

Labels = dict[str, tuple[int, ...]]
"""Class numbers, sorted, by image id."""


def read_labels(
    path: Path,
    taxonomy: Taxonomy,
    image_ids: Collection[str],
    *,
    others: list[str] | None = None,
) -> Labels:
    """Read the labels of some images.

    Args:
        path: One of six: a CSV file with the columns ``image_id`` and ``classes`` (names or
            numbers 1..C separated by spaces, empty for an image without objects); a ``.txt`` file
            of lines ``image_id classes``, such as ``2007_000032 person dog``; a ``.json`` file of
            an object from image ids to lists of names or numbers; a ``.json`` file in COCO's
            format, whose annotations may lack boxes and masks (crowds are ignored, as in sets with
            masks); a folder of ``<image_id>.xml`` in VOC's format; or a ``.npy`` file with a
            dictionary from image ids, in any spelling, to vectors of 0 and 1, one number per class.
        taxonomy: Classes of the labels.
        image_ids: Ids of the images to read; other images are ignored.
        others: List to which the names of those other images are appended; None to drop them.

    Returns:
        Labels of the requested images that the file has.

    Raises:
        InputError: If something cannot be read, a class is not in the taxonomy, or an image occurs
            twice; the message names the file and the line.
    """
    wanted, rest = set(image_ids), [] if others is None else others
    if path.is_dir():
        rest += sorted(file.stem for file in path.glob("*.xml") if file.stem not in wanted)
        return _read_folder(path, taxonomy, wanted)
    if not path.is_file():
        msg = (
            f"{path}: no such file; --labels takes a .csv, .txt, .json (COCO's too) or .npy file, "
            "or a folder of VOC's XML files"
        )
        raise InputError(msg)
    reader = _READERS.get(path.suffix.lower(), _read_csv)
    return reader(path, taxonomy, wanted, rest)


def classes_in(text: str, taxonomy: Taxonomy) -> tuple[int, ...]:
    """Return the class numbers that a text names, sorted, without repetitions.

    Names may consist of several words; the longest matching name is used.

    Raises:
        ValueError: If a word is not a class, or is the name of one class and the number of
            another; it holds the word.

    >>> from sbdata.taxonomy import COCO80
    >>> [COCO80.name_of(c) for c in classes_in("dining table 1", COCO80)]
    ['person', 'dining table']
    """
    words, found, start = text.split(), set(), 0
    longest = max(len(name.split()) for name in taxonomy.classes)
    while start < len(words):
        for stop in range(min(start + longest, len(words)), start, -1):
            name = " ".join(words[start:stop])
            if name in taxonomy.classes:
                if _is_number(name, taxonomy) and int(name) != taxonomy.id_of(name):
                    raise ValueError(name)  # of two classes
                found.add(taxonomy.id_of(name))
                start = stop
                break
        else:
            word = words[start]
            if not _is_number(word, taxonomy):
                raise ValueError(word)
            found.add(int(word))
            start += 1
    return tuple(sorted(found))


def _is_number(word: str, taxonomy: Taxonomy) -> bool:
    return word.isascii() and word.isdigit() and 1 <= int(word) <= len(taxonomy)


def _read_csv(path: Path, taxonomy: Taxonomy, wanted: set[str], others: list[str]) -> Labels:
    found: Labels = {}
    lines: dict[str, int] = {}
    try:
        with io.StringIO(read_text(path, MAX_MAPS_BYTES), newline="") as stream:
            rows = csv.reader(stream, strict=True)
            if next(rows, None) != HEADER:
                msg = f"{path}, line 1: must be the header {','.join(HEADER)}"
                raise InputError(msg)
            for row in rows:
                where = f"{path}, line {rows.line_num}"
                if not row:
                    continue
                if len(row) != 2:
                    msg = f"{where}: has {len(row)} columns; it must be image_id,classes"
                    raise InputError(msg)
                image_id, text = row[0].strip(), row[1]
                _note_line(image_id, rows.line_num, lines, where)
                classes = _checked(text, taxonomy, where)
                if image_id in wanted:
                    found[image_id] = classes
                else:
                    others.append(image_id)
    except csv.Error as error:
        msg = f"{path}: not a readable CSV file ({error}); write image_id,classes in each line"
        raise InputError(msg) from error
    return found


def _note_line(image_id: str, number: int, lines: dict[str, int], where: str) -> None:
    """Note an image's line.

    Raises:
        InputError: If the image already has one.
    """
    if image_id in lines:
        msg = f"{where}: image {quoted(image_id)} is also in line {lines[image_id]}"
        raise InputError(f"{msg}; keep one of them")
    lines[image_id] = number


def _read_text(path: Path, taxonomy: Taxonomy, wanted: set[str], others: list[str]) -> Labels:
    found: Labels = {}
    lines: dict[str, int] = {}
    for number, line in enumerate(read_text(path, MAX_MAPS_BYTES).splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        image_id, _, text = line.strip().replace("\t", " ").partition(" ")
        _note_line(image_id, number, lines, where)
        classes = _checked(text, taxonomy, where)
        if image_id in wanted:
            found[image_id] = classes
        else:
            others.append(image_id)
    return found


def _read_json(path: Path, taxonomy: Taxonomy, wanted: set[str], others: list[str]) -> Labels:
    """Read an object from image ids to classes, or a file in COCO's format."""
    remedy = "give an object from image ids to lists of classes, or a file in COCO's format"
    twice: list[str] = []

    def noted(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            twice.append(next(name for name, n in Counter(names).items() if n > 1))
        return dict(pairs)

    try:
        content = json.loads(read_text(path, MAX_MAPS_BYTES), object_pairs_hook=noted)
    except (ValueError, RecursionError) as error:
        msg = f"{path}: not a readable JSON file ({error!s:.80}); {remedy}"
        raise InputError(msg) from error
    if not isinstance(content, dict):
        msg = f"{path}: holds {quoted(content, 40)}; {remedy}"
        raise InputError(msg)
    if "annotations" in content and "categories" in content:
        return read_coco_labels(path, taxonomy, wanted, others)
    if twice:
        msg = f"{path}: image {quoted(twice[0])} is given twice; keep one of them"
        raise InputError(msg)
    found: Labels = {}
    for image_id, given in content.items():
        where = f"{path}, {quoted(image_id)}"
        named = [given] if isinstance(given, str) else given
        if not isinstance(named, list) or not all(type(c) in (str, int) for c in named):
            msg = f"{where}: {quoted(given, 40)} is not a list of class names or numbers; {remedy}"
            raise InputError(msg)
        classes = {c for text in named for c in _checked(str(text), taxonomy, where)}
        if image_id in wanted:
            found[image_id] = tuple(sorted(classes))
        else:
            others.append(image_id)
    return found


def _read_folder(path: Path, taxonomy: Taxonomy, wanted: set[str]) -> Labels:
    found: Labels = {}
    for image_id, file, tree in read_voc_files(path, wanted):
        names = [node.findtext("name", "").strip() for node in tree.iterfind("object")]
        unknown = next((name for name in names if name not in taxonomy.classes), None)
        if unknown is not None:
            msg = f"{file}: {quoted(unknown)} is not a class of {taxonomy.name}; correct the file"
            raise InputError(msg)
        found[image_id] = tuple(sorted({taxonomy.id_of(name) for name in names}))
    return found


def _read_vectors(path: Path, taxonomy: Taxonomy, wanted: set[str], others: list[str]) -> Labels:
    remedy = "--labels takes a dictionary of image ids and vectors of 0 and 1"
    try:
        vectors, _ = read_dictionary(path, _STEPS)
    except LayoutError as error:
        msg = f"{path}: {error}; {remedy}"
        raise InputError(msg) from error
    names, found = ImageNames(tuple(sorted(wanted))), {}
    spelled: dict[str, str] = {}
    for key, vector in vectors.items():
        shown = f"{path}, {quoted(key)}"
        if not isinstance(vector, np.ndarray) or vector.shape != (len(taxonomy),):
            what = vector.shape if isinstance(vector, np.ndarray) else type(vector).__name__
            msg = f"{shown}: {what}, not a vector of {len(taxonomy)} ({taxonomy.name}); {remedy}"
            raise InputError(msg)
        if not np.isin(vector, (0, 1)).all():
            msg = f"{shown}: has numbers other than 0 and 1; {remedy}"
            raise InputError(msg)
        image_id = names.find(str(key))
        if image_id is None:
            others.append(str(key))
            continue
        if image_id in spelled:
            msg = f"{shown}: belongs to image {image_id}, like {spelled[image_id]}; keep one"
            raise InputError(msg)
        spelled[image_id] = quoted(key)
        found[image_id] = tuple((np.flatnonzero(vector) + 1).tolist())
    return found


def _checked(text: str, taxonomy: Taxonomy, where: str) -> tuple[int, ...]:
    try:
        return classes_in(text, taxonomy)
    except ValueError as error:
        word = str(error)
        if word in taxonomy.classes:
            other = taxonomy.name_of(int(word))
            msg = (
                f"{where}: {quoted(word)} is the name of a class of {taxonomy.name} and the number "
                f"of another ({quoted(other)}); give labels as vectors (.npy), or rename the class"
            )
            raise InputError(msg) from error
        msg = (
            f"{where}: {quoted(word)} is not a class of {taxonomy.name}; give names or "
            f"numbers 1..{len(taxonomy)}, separated by spaces"
        )
        raise InputError(msg) from error


_READERS: Mapping[str, Callable[[Path, Taxonomy, set[str], list[str]], Labels]] = {
    ".npy": _read_vectors,
    ".txt": _read_text,
    ".json": _read_json,
}
"""Readers by suffix; a file of another one is read as CSV."""
