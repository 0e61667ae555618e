"""Quickstart: a small generated set, three predictors made from its truth, and their scores.

The set is part of the package, because generating it takes half a minute if no code is compiled
yet; its manifest can rebuild it. The predictors are the truth itself, the truth without its small
objects, and the truth with blurred edges. The last two have nearly the same mIoU.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import orjson

from sbdata.drawing import Figure
from sbdata.drawing.predictors import ShownPredictor, predictors_figure
from sbdata.errors import InputError
from sbdata.images import open_image
from sbdata.layout import CLASSES_FOLDER, IMAGES_FOLDER, OBJECTS_FOLDER
from sbdata.machine import check_output, writing_to
from sbdata.masks import VOID, LabelMap, write_index_png
from sbdata.report.score_page import write_figures, write_report
from sbdata.score.run import loader_of, score_folder
from sbdata.score.truth import truth_from_set
from sbdata.score.write import REPORT_FILE, write_result
from sbdata.sets import EvaluationSet, check_files, open_set
from sbdata.storage import write_bytes, write_text

SET = Path(__file__).with_name("quickstart_set")
"""The first 24 images of the generated shapes pool, as `sbdata dataset build` wrote them."""

RADIUS = 5
"""Half the side of the blur's window, in pixels; chosen so that the blur reduces the mIoU as much
as the loss of all small objects does."""

PERFECT, WITHOUT_SMALL, BLURRED = "perfect", "without-small", "blurred-edges"
NAMES = {
    PERFECT: "perfect",
    WITHOUT_SMALL: "without small objects",
    BLURRED: "blurred edges",
}
"""Names of the predictors in tables and figures, by folder name."""

KEYS = ("miou", "ia", "ia_small", "ia_medium", "ia_large")
"""Values that are printed and drawn; IA is the mean over the classes."""

FIGURE_FILE = "quickstart.svg"
_MARK_FILE = "quickstart.json"
_MARK = {"made_by": "sbdata quickstart", "version": 1}
_SHOWN = "shapes_pool_000007"


@dataclass(frozen=True)
class Quickstart:
    """Result of the quickstart.

    Attributes:
        folder: Folder that holds everything.
        values: Values by predictor and key, see ``KEYS``; class means.
        images: Number of images.
        instances: Number of true instances.
        metric: Name of the metric's definition.
    """

    folder: Path
    values: Mapping[str, Mapping[str, float | None]]
    images: int
    instances: int
    metric: str

    @property
    def report(self) -> Path:
        """Return the path of the report."""
        return self.folder / "scores" / WITHOUT_SMALL / REPORT_FILE

    @property
    def figure(self) -> Path:
        """Return the path of the figure."""
        return self.folder / FIGURE_FILE


def run_quickstart(folder: Path, progress: Callable[[str, int, int], None]) -> Quickstart:
    """Copy the set, make the predictions, score them and write the report and the figure.

    A second run writes the same bytes again.

    Args:
        folder: Folder for everything; absent, empty, or that of an earlier run.
        progress: Callback for progress reports: the name of a stage, the amount done and the total.

    Raises:
        InputError: If the folder holds something else, cannot be written, or the set in it was
            altered.
    """
    _take(folder)
    root = folder / "set"
    opened = _copied_set(root)
    predictions = {name: folder / "predictions" / name for name in NAMES}
    with writing_to(folder):
        for image_id in opened:
            for name, mask in predictions_of(opened, image_id).items():
                write_index_png(predictions[name] / f"{image_id}.png", mask)
    truth = truth_from_set(root)
    scored = score_folder(
        predictions[WITHOUT_SMALL],
        truth,
        against=[predictions[BLURRED], predictions[PERFECT]],
        progress=partial(progress, "score"),
    )

    def report(path: Path) -> None:
        write_report(scored, path, loader_of(scored, truth))
        write_figures(scored, path.parent / "figures")

    write_result(scored, folder / "scores", report)
    of_all = {
        scored.name: scored.summary.headline(),
        **{c.name: c.figures for c in scored.compared},
    }
    values = {name: {key: _class_mean(of_all[name], key) for key in KEYS} for name in NAMES}
    with writing_to(folder):
        write_text(folder / FIGURE_FILE, _figure(opened, values).standalone())
    summary = scored.summary
    instances = summary.ia["ia"].n_instances
    return Quickstart(folder, values, summary.n_images, instances, summary.metric)


def _copied_set(root: Path) -> EvaluationSet:
    """Return the package's set from a folder; copy it there first if needed."""
    if not root.exists():
        with writing_to(root.parent):
            part = root.with_name(".set.part")
            shutil.rmtree(part, ignore_errors=True)
            shutil.copytree(SET, part)
            part.replace(root)
    opened = open_set(root)
    check_files(opened, [IMAGES_FOLDER, CLASSES_FOLDER, OBJECTS_FOLDER])
    return opened


def predictions_of(opened: EvaluationSet, image_id: str) -> dict[str, LabelMap]:
    """Return each predictor's classes of an image, ``(H, W)`` uint8, by folder name."""
    classes = opened.class_map(image_id)
    classes[classes == VOID] = 0
    instances = opened.instance_map(image_id)
    small = [
        row["instance_id"]
        for row in opened.instances_of(image_id).to_pylist()
        if row["size"] == opened.bins.names[0]
    ]
    return {
        PERFECT: classes,
        WITHOUT_SMALL: np.where(np.isin(instances, small), 0, classes).astype(np.uint8),
        BLURRED: blurred(classes, RADIUS),
    }


def blurred(classes: LabelMap, radius: int) -> LabelMap:
    """Return the most frequent class around each pixel; of equally frequent ones, the lowest.

    Args:
        classes: Class numbers, ``(H, W)`` uint8.
        radius: Half the side of the square window: it is ``2 · radius + 1`` pixels wide. Beyond the
            image, its border pixels count again.

    >>> blurred(np.array([[0, 0, 0, 3, 3]], np.uint8), 1).tolist()
    [[0, 0, 0, 3, 3]]
    >>> blurred(np.array([[0, 3, 0, 3, 3]], np.uint8), 1).tolist()
    [[0, 0, 3, 3, 3]]
    """
    side = 2 * radius + 1
    padded = np.pad(classes, radius, mode="edge")
    present = np.unique(classes)
    counts = np.stack([_box_sums(padded == number, side) for number in present])
    found: LabelMap = present[np.argmax(counts, axis=0)]
    return found


def _box_sums(mask: npt.NDArray[np.bool_], side: int) -> npt.NDArray[np.int64]:
    """Return the number of pixels of a mask in each square of a side."""
    sums = np.pad(mask.cumsum(0, dtype=np.int64).cumsum(1), ((1, 0), (1, 0)))
    found: npt.NDArray[np.int64] = (
        sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    )
    return found


def _take(folder: Path) -> None:
    """Mark a folder as the quickstart's own before anything is written to it.

    Raises:
        InputError: If it holds something else, or cannot be written.
    """
    mark = orjson.dumps(_MARK, option=orjson.OPT_APPEND_NEWLINE)
    path = folder / _MARK_FILE
    if folder.exists() and not folder.is_dir():
        msg = f"{folder}: is a file, not a folder; give another folder by --out"
        raise InputError(msg)
    try:
        if folder.exists() and any(folder.iterdir()) and not (
            path.is_file() and path.read_bytes() == mark
        ):  # fmt: skip
            msg = f"{folder}: holds files of something else; give another folder by --out"
            raise InputError(msg)
    except OSError as error:
        msg = f"{folder}: cannot be read ({error.strerror}); give another folder by --out"
        raise InputError(msg) from error
    check_output(folder)
    with writing_to(folder):
        write_bytes(path, mark)


def _class_mean(figures: Mapping[str, float | None], key: str) -> float | None:
    return figures[key if key == "miou" else f"{key}.class_mean"]


def _figure(opened: EvaluationSet, values: Mapping[str, Mapping[str, float | None]]) -> Figure:
    with open_image(opened.image_path(_SHOWN)) as image:
        photo = np.asarray(image.convert("RGB"))
    masks = predictions_of(opened, _SHOWN)
    return predictors_figure(
        f"Two predictors with the same mIoU, on {len(opened)} synthetic images",
        photo,
        opened.instance_map(_SHOWN),
        [
            ShownPredictor(NAMES[name], masks[name], values[name])
            for name in (WITHOUT_SMALL, BLURRED)
        ],
    )
