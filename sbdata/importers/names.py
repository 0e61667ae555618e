"""Match the names of published files to images, in any spelling of the image ids.

``2007_000032`` is also written ``2007000032``, and ``COCO_train2014_000000000009`` also
``000000000009`` and ``9``. The code of methods appends ``_palette`` and ``_crf``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sbdata.errors import InputError
from sbdata.file_names import composed

_VOC = re.compile(r"(\d{4})_?(\d{6})")
_NUMBER = re.compile(r"(?:COCO_[a-z]+\d{4}_)?(\d{1,18})")
_BY_CLASS = re.compile(r"(.+)_(\d{1,3})")
_ENDINGS = ("_palette", "_crf")


@dataclass(frozen=True)
class ImageNames:
    """Image ids that can be found by any spelling.

    Attributes:
        image_ids: Ids as spelled in the set.

    >>> ImageNames(("2007_000032", "000000000009")).find("2007000032_palette")
    '2007_000032'
    >>> ImageNames(("000000000009",)).find("COCO_val2014_000000000009")
    '000000000009'
    """

    image_ids: tuple[str, ...]
    _by_form: Mapping[str, str | None] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        table: dict[str, str | None] = {}
        for image_id in self.image_ids:
            for form in _forms(image_id):
                table[form] = None if form in table else image_id  # ambiguous if two ids share it
        table.update({f"={composed(image_id)}": image_id for image_id in self.image_ids})
        object.__setattr__(self, "_by_form", table)

    def find(self, stem: str) -> str | None:
        """Return the id of the image that a file's stem names, or None if it is unknown."""
        for text in _without_endings(stem):
            for form in _forms(text):
                found = self._by_form.get(form)
                if found is not None:
                    return found
        return None


def _forms(text: str) -> Iterator[str]:
    """Yield the text unchanged, then the numbers that it may stand for."""
    yield f"={composed(text)}"
    voc = _VOC.fullmatch(text)
    number = _NUMBER.fullmatch("".join(voc.groups()) if voc else text)
    if number:
        yield str(int(number.group(1)))


def _without_endings(stem: str) -> Iterator[str]:
    yield stem
    for ending in _ENDINGS:
        if stem.endswith(ending):
            yield from _without_endings(stem.removesuffix(ending))


@dataclass(frozen=True)
class SortedFiles:
    """The files of a folder, grouped by image.

    Attributes:
        whole: File of each image, if there is one file per image.
        by_class: Files of each image by the class number in their name, if each file is of one
            class.
        twins: Coloured copies beside the file that holds the numbers; they are ignored.
        extra: Files that belong to no image of the set.
    """

    whole: Mapping[str, Path]
    by_class: Mapping[str, Mapping[int, Path]]
    twins: tuple[Path, ...]
    extra: tuple[Path, ...]


def sort_files(files: Sequence[Path], names: ImageNames) -> SortedFiles:
    """Group files by image, using their names.

    Raises:
        InputError: If two files belong to one image, and neither is a coloured twin of the other.
    """
    whole: dict[str, Path] = {}
    by_class: dict[str, dict[int, Path]] = {}
    twins, extra = [], []
    plain = {path.stem for path in files}
    for path in sorted(files):
        image_id = names.find(path.stem)
        twin = path.stem.endswith("_palette") and path.stem.removesuffix("_palette") in plain
        if twin and composed(image_id or "") != composed(path.stem):  # an image may be called so
            twins.append(path)
            continue
        if image_id is not None:
            if image_id in whole:
                raise _two_of_one(whole[image_id], path, image_id)
            whole[image_id] = path
            continue
        parts = _BY_CLASS.fullmatch(path.stem)
        image_id = names.find(parts.group(1)) if parts else None
        if parts is None or image_id is None:
            extra.append(path)
            continue
        of_image = by_class.setdefault(image_id, {})
        number = int(parts.group(2))
        if number in of_image:
            raise _two_of_one(of_image[number], path, f"{image_id}, class {number}")
        of_image[number] = path
    return SortedFiles(whole, by_class, tuple(twins), tuple(extra))


def _two_of_one(first: Path, second: Path, what: str) -> InputError:
    return InputError(
        f"{first.parent}: {first.name} and {second.name} both belong to image {what}; put one "
        "file per image into a folder of its own"
    )
