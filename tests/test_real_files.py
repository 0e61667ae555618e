"""Real files of other people's formats: what becomes of each is what the documentation says."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from sbdata.errors import InputError
from sbdata.importers.layouts import detect_layout
from sbdata.importers.target import Target
from sbdata.mask_files import PngError, read_header
from sbdata.score.inputs import PredictionFormat, list_predictions, read_prediction
from sbdata.score.truth import truth_from_coco
from sbdata.taxonomy import VOC20
from sbdata.weak_labels.labels import read_labels

pytestmark = pytest.mark.realdata
DOCS = Path(__file__).resolve().parent.parent / "docs" / "reference" / "files.md"
ANY = "2007_000032"


@pytest.fixture(scope="module")
def real_files(request: pytest.FixtureRequest) -> Path:
    """The folder of the files; the tests skip where it is absent."""
    named = os.environ.get("SBDATA_REAL_FILES")
    if named is None:
        data: Path = request.getfixturevalue("real_data")
        folder = data.parent / "cases" / "files"
    else:
        folder = Path(named)
    if not folder.is_dir():
        pytest.skip(f"no files in {folder}; name their folder by SBDATA_REAL_FILES")
    return folder


def rows() -> dict[str, list[str]]:
    """Return what the table says of each file: the texts in backticks of the last column."""
    table = DOCS.read_text("utf-8").partition("## Nineteen real files")[2]
    found = {}
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        name = re.fullmatch(r"`(.+)`", cells[0])
        if name and len(cells) == 3:
            found[name[1]] = [t for t in re.findall(r"`([^`]+)`", cells[2]) if _is_said(t)]
    return found


def _is_said(text: str) -> bool:
    """Tell whether a text in backticks is a message or a result, not an option or a command."""
    return not re.fullmatch(r"--[a-z-]+( own)?|bench --labels|pseudo import", text)


def as_mask(path: Path) -> str:
    """Read a prediction of an image of its own size, without and with the option for colours."""
    header = read_header(path)
    size = (500, 375) if path.parent.name == "other-size" else (header.width, header.height)
    return "; ".join(_counted(path, size, decode) for decode in (False, True))


def _counted(path: Path, size: tuple[int, int], decode: bool) -> str:
    try:
        values, _ = read_prediction(path, size, PredictionFormat(VOC20, decode_palette=decode))
    except PngError as error:
        return error.detail
    numbers, counts = np.unique(values, return_counts=True)
    pairs = zip(numbers.tolist(), counts.tolist(), strict=True)
    return ", ".join(f"{k}: {n:,}" for k, n in pairs)


def as_prediction(path: Path) -> str:
    """Find the file in a folder of predictions."""
    listing = list_predictions(path.parent, [ANY], allow_missing=True)
    return "; ".join(p.detail for p in listing.problems if p.file == path.name)


def as_annotations(path: Path) -> str:
    try:
        truth = truth_from_coco(path, "own")
    except InputError as error:
        return str(error)
    objects = {
        int(number)
        for image_id in truth.image_ids
        for number in truth.load(image_id).truth.class_ids
    }
    return f"{len(truth.image_ids)} images, {len(objects)} categories with objects"


def as_labels(path: Path) -> str:
    labels = read_labels(path, VOC20, [ANY])
    return f"{ANY}: " + " ".join(VOC20.name_of(k) for k in labels[ANY])


def as_import(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        detect_layout(path.parent, Target("one", (ANY,), VOC20))
    return str(caught.value)


HANDED_IN: Mapping[str, tuple[Callable[[Path], str], ...]] = {
    "rgb-palette": (as_mask,),
    "index-palette": (as_mask,),
    "jpeg-masks": (as_prediction,),
    "other-size": (as_mask,),
    "coco-panoptic": (as_mask,),
    "coco-stuff": (as_mask,),
    "rle-json": (as_annotations, as_prediction),
    "npy-labels": (as_labels, as_prediction),
    "pickle": (as_import, as_prediction),
    "mat": (as_prediction,),
}


def test_every_file_is_in_the_table(real_files: Path) -> None:
    there = {
        path.relative_to(real_files).as_posix()
        for path in real_files.rglob("*")
        if path.is_file() and path.name != "README.md"
    }
    assert there == set(rows())
    assert len(there) == 19


@pytest.mark.parametrize("name", sorted(rows()))
def test_what_comes_out_is_what_the_table_says(real_files: Path, name: str) -> None:
    path, texts = real_files / name, rows()[name]
    folder = name.partition("/")[0]
    ways = HANDED_IN[folder]
    if path.suffix == ".json" and folder != "rle-json":
        ways = (as_annotations,)
    said = "; ".join(way(path) for way in ways)
    assert texts, "the table says nothing that could be compared"
    for text in texts:
        assert text in said, f"{text!r} is not in {said!r}"
