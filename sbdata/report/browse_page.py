"""Page that shows the objects of a set by size; without a server or network access.

The page has the values of all objects. Their crops are in it, too, or, if there are many, in script
files beside it: a page opened from disk may load scripts, but no other data. Each crop is a picture
of its own, not part of a sheet: objects of similar IA are in many files, and a browser would decode
each sheet as a whole.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
from markupsafe import Markup

from sbdata.errors import InputError
from sbdata.formatting import area, change, estimate, limits, said_edges, sizes_line
from sbdata.manifest import size_counts
from sbdata.metrics.image import METRIC
from sbdata.metrics.outcomes import OUTCOMES, in_words
from sbdata.metrics.summary import half_octaves
from sbdata.plurals import count
from sbdata.printable import displayable
from sbdata.report.crops import LEAST_SIDE, SIDE
from sbdata.report.pages import render
from sbdata.score.saved import SavedScore
from sbdata.sets import EvaluationSet
from sbdata.sizes import SizeBins

LETTERS = ("A", "B")
"""Letters of the scores on a page, in the order in which they were given."""

PER_FILE = 200
"""Number of objects whose crops are in one script."""

_OUTCOME_INDEX = {outcome: k for k, outcome in enumerate(OUTCOMES)}


@dataclass(frozen=True)
class BrowsedObjects:
    """Objects of a set in the order of the page: by area, then by image and number.

    Attributes:
        rows: Row of each object in the manifest's table of instances.
        figures: Columns of the page, by name, and what their numbers stand for.
    """

    rows: npt.NDArray[np.int64]
    figures: Mapping[str, Any]


def browsed_objects(opened: EvaluationSet, scores: Sequence[SavedScore]) -> BrowsedObjects:
    """Return the values that a page shows of each object.

    Args:
        opened: Set with at least one object.
        scores: Scores on this set, at most as many as ``LETTERS``.

    Raises:
        InputError: If the values of a score are not those of a metric.
    """
    table, bins = opened.manifest.instances, opened.bins
    areas = table["area"].to_numpy()
    rows = np.argsort(areas, kind="stable")  # the table is sorted by image and number
    sources = sorted(set(table["source"].to_pylist()))
    image_of = {image_id: k for k, image_id in enumerate(opened.image_ids)}
    numbers = {source: k for k, source in enumerate(sources)}
    figures: dict[str, Any] = {
        "classes": _shown(opened.taxonomy.classes),
        "sizes": _shown(bins.names),
        "edges": [[edge, area(edge)] for edge in bins.pixel_edges],
        "intervals": bins.are_intervals,
        "bins": area_edges(areas, bins),
        "sources": _shown(sources),
        "images": _shown(opened.image_ids),
        "outcomes": [in_words(outcome) for outcome in OUTCOMES],
        "image": [image_of[image_id] for image_id in _column(table["image_id"], rows)],
        "instance": _column(table["instance_id"], rows),
        "class": [class_id - 1 for class_id in _column(table["class_id"], rows)],
        "area": areas[rows].tolist(),
        "size": [bins.names.index(size) for size in _column(table["size"], rows)],
        "source": [numbers[source] for source in _column(table["source"], rows)],
        "scores": [_score_columns(opened, score, rows) for score in scores],
    }
    if len(scores) > 1:
        first, second = (found["ia"] for found in figures["scores"][:2])
        pairs = zip(first, second, strict=True)
        figures["difference"] = [change("ia", a - b) for a, b in pairs]
    return BrowsedObjects(rows, figures)


def _column(column: Any, rows: npt.NDArray[np.int64]) -> list[Any]:
    values = column.to_pylist()
    return [values[row] for row in rows.tolist()]


def _shown(names: Sequence[str]) -> list[str]:
    return [displayable(name) for name in names]


def _score_columns(
    opened: EvaluationSet, score: SavedScore, rows: npt.NDArray[np.int64]
) -> dict[str, Any]:
    """Return the columns of a score; its rows are found by image and number of the object."""
    keys = (score.instances[name].to_pylist() for name in ("image_id", "instance_id"))
    row_of = {key: row for row, key in enumerate(zip(*keys, strict=True))}
    truth = (opened.manifest.instances[name].to_pylist() for name in ("image_id", "instance_id"))
    of_truth = [row_of[key] for key in zip(*truth, strict=True)]
    places = np.array(of_truth, np.int64)[rows]
    ia, tp, fp, outcome, other = (
        _column(score.instances[name], places)
        for name in ("ia_iou", "tp", "fp", "outcome", "other_class")
    )
    areas = opened.manifest.instances["area"].to_numpy()[rows]
    try:
        expected = np.array(tp, np.int64) / (areas + np.array(fp, np.float64))
        if not np.array_equal(expected, np.array(ia, np.float64)):
            raise ValueError
        outcomes = [_OUTCOME_INDEX[kind] for kind in outcome]
    except (ValueError, TypeError, KeyError) as error:
        msg = (
            f"{score.folder}: its table of objects contradicts itself; score the predictions again"
        )
        raise InputError(msg) from error
    return {
        "title": displayable(score.title),
        "ia": ia,
        "text": [estimate("ia", value) for value in ia],
        "tp": tp,
        "fp": [round(value, 2) for value in fp],
        "outcome": outcomes,
        "other": _shown(other),
    }


def area_edges(areas: npt.NDArray[Any], bins: SizeBins) -> list[int]:
    """Return half-octave edges that cover all areas and an octave on both sides of each limit.

    Args:
        areas: Areas in pixels.
        bins: Size bins, whose limits the histogram marks.

    >>> area_edges(np.array([700, 20000]), SizeBins())[:4]
    [512, 725, 1024, 1449]
    """
    low = min([int(areas.min()), *(edge // 2 for edge in bins.pixel_edges)])
    high = max([int(areas.max()), *(edge * 2 for edge in bins.pixel_edges)])
    edges = half_octaves(high)
    first = int(np.searchsorted(edges, low, side="right")) - 1
    kept: list[int] = edges[max(first, 0) :].tolist()
    return kept


# --- the page -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BrowsePage:
    """Content of a page besides its objects.

    Attributes:
        opened: Set.
        scores: Scores on the set.
        has_pixels: For each score, whether the predicted pixels are in the crops.
        notes: Sentences on the scores.
    """

    opened: EvaluationSet
    scores: Sequence[SavedScore] = ()
    has_pixels: Sequence[bool] = ()
    notes: Sequence[str] = ()

    def html(self, objects: BrowsedObjects, crops: Sequence[bytes] | None) -> str:
        """Return the HTML; the same values give the same text.

        Args:
            objects: Objects from :func:`browsed_objects`.
            crops: JSON of the crops, a list for each ``PER_FILE`` objects; None if they are in
                files beside the page.
        """
        opened, sizes = self.opened, self.opened.bins
        synthetic = bool(opened.manifest.meta["synthetic"])
        data = {
            **objects.figures,
            "perFile": PER_FILE,
            "files": None if crops is not None else [
                crops_file(k) for k in range(math.ceil(objects.rows.size / PER_FILE))
            ],
            "pixels": list(self.has_pixels),
        }  # fmt: skip
        blocks = {"data": orjson.dumps(data)}
        blocks |= {f"crops-{k}": found for k, found in enumerate(crops or ())}
        return render(
            "browse",
            title=f"Objects of {opened.name}{' (synthetic)' if synthetic else ''}",
            lead=self._lead(objects.rows.size),
            synthetic_set=synthetic,
            notes_shown=self.notes,
            letters=LETTERS[: len(self.scores)],
            outcomes=objects.figures["outcomes"],
            sources=objects.figures["sources"],
            classes=objects.figures["classes"],
            sizes=[
                {"name": name, "limits": limits(sizes, k)} for k, name in enumerate(sizes.names)
            ],
            counts=self._counts(),
            about=self._about(),
            least_side=LEAST_SIDE,
            most_side=SIDE,
            any_pixels=any(self.has_pixels),
            sheet=Markup(_own("browse.css")),  # noqa: S704 - our own file
            policy=_policy(beside=crops is None),
            blocks=Markup("\n").join(_data_block(name, found) for name, found in blocks.items()),
            script=Markup(f"<script>{_own('browse.js')}</script>"),  # noqa: S704 - our own file
        )

    def _lead(self, n_objects: int) -> str:
        images, taxonomy = len(self.opened), self.opened.taxonomy
        of_set = (
            f"{count(n_objects, 'object')} in {count(images, 'image')}, "
            f"{count(len(taxonomy), 'class', 'classes')} ({taxonomy.name}), logical hash "
            f"{self.opened.logical_hash[:12]}."
        )
        bins = self.opened.bins
        sizes = [f"{name} {limits(bins, k)}" for k, name in enumerate(bins.names)]
        unit = "as shares of the image" if bins.relative else "in pixels"
        of_sizes = f"Sizes by visible area {unit}: {', '.join(sizes)}."
        if bins.by_class:
            of_sizes = "Sizes are by class, with the edges below."
        named = [f"{a} is {s.title}" for a, s in zip(LETTERS, self.scores, strict=False)]
        of_scores = [f"Scores ({METRIC}): {', '.join(named)}."] if named else []
        return " ".join([of_set, of_sizes, *of_scores])

    def _counts(self) -> list[dict[str, Any]]:
        """Return the rows of the table of counts: all classes, then each class."""
        names = self.opened.bins.names
        rows = [
            {"name": name, "place": k, "cells": [of_class[size] for size in names]}
            for k, (name, of_class) in enumerate(self._size_counts().items())
        ]
        sums = [sum(column) for column in zip(*(row["cells"] for row in rows), strict=True)]
        return [{"name": "all classes", "place": None, "cells": sums}, *rows]

    def _size_counts(self) -> Mapping[str, Mapping[str, int]]:
        opened = self.opened
        return size_counts(opened.manifest.instances, opened.taxonomy, opened.bins)

    def _about(self) -> dict[str, str]:
        manifest, bins = self.opened.manifest, self.opened.bins
        about = {
            "set": manifest.name,
            "version": str(manifest.meta.get("recipe", {}).get("version", "–")),
            "logical hash": manifest.logical_hash,
            "taxonomy": self.opened.taxonomy.name,
            "size edges": f"{said_edges(bins)} of visible area"
            if bins.are_intervals
            else sizes_line(bins, self._size_counts()),
            "metric": METRIC,
        }
        for letter, score in zip(LETTERS, self.scores, strict=False):
            options = score.options
            about |= {
                f"score {letter}": score.title,
                f"{letter}: predictions": f"SHA-256 {score.predictions_hash}",
                f"{letter}: false pixels": f"attribution {options['fp_attribution']}, rounding "
                f"{options['rounding']}",
            }
        return about


def crops_file(number: int) -> str:
    """Return the name of a file with crops."""
    return f"crops-{number:04}.js"


def crops_script(number: int, crops: bytes) -> bytes:
    """Return the content of a file with crops, given as JSON."""
    return b"sbdataCrops(%d,%s);\n" % (number, crops)


def _data_block(name: str, content: bytes) -> Markup:
    """Return JSON as a block of data; an escaped < keeps any text from ending the block."""
    text = content.replace(b"<", b"\\u003c").decode()
    return Markup('<script type="application/json" id="{}">').format(name) + Markup(  # noqa: S704
        f"{text}</script>"
    )


def _policy(*, beside: bool) -> str:
    """Return the page's content policy: its own script, no request except for files beside it."""
    digest = base64.b64encode(hashlib.sha256(_own("browse.js").encode()).digest()).decode()
    scripts = f"'sha256-{digest}'" + (" 'self' file:" if beside else "")
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


@cache
def _own(name: str) -> str:
    return (resources.files("sbdata.report") / name).read_text("utf-8")
