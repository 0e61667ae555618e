"""Draw the examples of instance-aware IoU in the documentation.

    python examples/draw_ia_iou.py docs/concepts

Every number in a figure is computed by ``score_image`` from the pixels that the figure shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from sbdata.cli import run
from sbdata.drawing.svg import LETTER, Figure, element, figure, hatching, rect, text
from sbdata.formatting import number
from sbdata.metrics import Accumulator, score_image, truth_from_maps
from sbdata.metrics.image import ImageScore
from sbdata.storage import write_text

_CELL = 22
_LABEL = 84
_EDGE = 10
_VOID = 255
_NUMBERS = {".": 0, "a": 1, "b": 2, "#": 1, "v": _VOID}


@dataclass(frozen=True)
class Example:
    """One truth and one prediction of the same class, as rows of characters.

    Attributes:
        title: First line of the figure.
        instances: Rows of true instances: ``a``, ``b``, ``v`` for void or ``.``.
        prediction: Rows of the prediction: ``#`` or ``.``.
    """

    title: str
    instances: tuple[str, ...]
    prediction: tuple[str, ...]


EXAMPLES = {
    "ia-attribution": (
        Example("one region over two instances", ("aa.....bbbb....",), ("###########..##",)),
    ),
    "ia-outlines": (
        Example(
            "a closed ring belongs to the blob in it",
            (".....", ".....", "..a..", ".....", "....."),
            ("#####", "#...#", "#.#.#", "#...#", "#####"),
        ),
        Example(
            "an open ring is a region of its own",
            (".....", ".....", "..a..", ".....", "....."),
            ("##.##", "#...#", "#.#.#", "#...#", "#####"),
        ),
    ),
    "ia-sizes": (
        Example("half of a large object is missed", ("aaaaaaaaaaaa.bb",), ("######.......##",)),
        Example("a small object is missed", ("aaaaaaaaaaaa.bb",), ("############...",)),
    ),
    "ia-void": (Example("void joins a region and counts nowhere", ("aavv.",), ("#####",)),),
}  # fmt: skip
"""Examples of each file."""


def drawn(examples: tuple[Example, ...]) -> Figure:
    """Return a figure of examples, one below the other."""
    parts: list[Markup] = []
    y, width = 0.0, 0.0
    for example in examples:
        instances, predicted = _pixels(example.instances), _pixels(example.prediction)
        class_map = np.where(instances == 2, 1, instances)
        score = score_image(predicted, truth_from_maps(class_map, instances), n_classes=1)
        parts.append(text(0, y + 16, example.title, "start strong"))
        y += 28
        cells = (_truth_cells(instances), _prediction_cells(instances, predicted))
        for label, grid in zip(("truth", "prediction"), cells, strict=True):
            parts.append(text(0, y + 15, label, "start quiet"))
            parts.append(element("g", *grid, transform=f"translate({_LABEL} {y:g})"))
            y += _CELL * len(instances) + 8
        lines = _said(score)
        for words in lines:
            parts.append(text(0, y + 14, words, "start"))
            y += 19
        widest = max(len(words) for words in (*lines, example.title)) * LETTER
        width = max(width, _LABEL + _CELL * instances.shape[1], widest)
        y += 14
    title = "Instance-aware IoU: " + "; ".join(example.title for example in examples)
    moved = element("g", *parts, transform=f"translate({_EDGE} {_EDGE})")
    return figure(title, width + 2 * _EDGE, y + _EDGE, [moved])


def _pixels(rows: tuple[str, ...]) -> npt.NDArray[np.int64]:
    return np.array([[_NUMBERS[pixel] for pixel in row] for row in rows])


def _truth_cells(instances: npt.NDArray[np.int64]) -> list[Markup]:
    looks = {0: ("nothing", ""), 1: ("s1", "a"), 2: ("s1", "b"), _VOID: ("nothing", "void")}
    return [_cell(row, column, *looks[int(n)]) for (row, column), n in np.ndenumerate(instances)]


def _prediction_cells(
    instances: npt.NDArray[np.int64], predicted: npt.NDArray[np.int64]
) -> list[Markup]:
    found = []
    for (row, column), n in np.ndenumerate(predicted):
        true = int(instances[row, column])
        if true == _VOID:
            look = ("nothing", "void")
        elif not n:
            look = ("nothing", "")
        else:
            look = ("s2", " ab"[true]) if true else ("s3", "×")
        found.append(_cell(row, column, *look))
    return found


def _cell(row: int, column: int, look: str, mark: str) -> Markup:
    x, y, side = column * _CELL, row * _CELL, _CELL - 2
    if look == "nothing":
        inside = hatching(x, y, side, side) if mark == "void" else ""
        frame = rect(x + 0.5, y + 0.5, side - 1, side - 1)
        void = element("g", inside, class_="cell h3") if mark == "void" else ""
        return element("g", frame, void, class_="nothing")
    letter = text(x + side / 2, y + side / 2 + 4, mark, "middle strong")
    box = {"x": float(x), "y": float(y), "width": float(side), "height": float(side)}
    return element(
        "g", element("rect", **box, class_="mark", fill_opacity=0.3), letter, class_=look
    )


def _said(score: ImageScore) -> list[str]:
    """Return the lines below an example: instances, regions that meet none, values of the class."""
    lines = []
    for name, row, ia in zip("ab", score.instances, score.ia_iou, strict=False):
        area, found, charged = int(row["area"]), int(row["tp"]), int(row["fp"])
        ratio = f"{found} / ({area} + {charged}) = {number(float(ia), 3)}"
        lines.append(f"{name}: area {area}, found {found}, charged {charged}: IA = {ratio}")
    orphans = score.regions[score.regions["met_instances"] == 0]
    if len(orphans):
        lines.append(
            f"regions that meet no instance: {len(orphans)}, {orphans['area'].sum()} pixels"
        )
    values = Accumulator(n_classes=1)
    values.update("example", score)
    summary = values.compute()
    mean, iou = summary.ia["ia_objects"].instance_mean, summary.classes[0].iou
    assert mean is not None  # noqa: S101 - every example has an instance
    assert iou is not None  # noqa: S101
    return [
        *lines,
        f"IoU of the class {number(iou, 3)}, mean IA of its instances {number(mean, 3)}",
    ]


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
def main(folder: Path) -> None:
    """Write one SVG file for each example to FOLDER."""
    for name, examples in EXAMPLES.items():
        write_text(folder / f"{name}.svg", drawn(examples).standalone())


if __name__ == "__main__":
    run(main)
