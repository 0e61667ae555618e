"""Result of scoring a folder; tables, summary and report are written from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import escape
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy.typing as npt

from sbdata.errors import InputError
from sbdata.metrics import MetricOptions, Summary
from sbdata.metrics.bootstrap import Difference, Interval
from sbdata.metrics.tables import ScoreTables
from sbdata.sizes import SizeBins
from sbdata.taxonomy import Taxonomy

if TYPE_CHECKING:
    import pandas as pd

    from sbdata.drawing import Figure

_PAGE = "sbdata.report.score_page"
_DRAWING = "sbdata.drawing"

LoadImage = Callable[
    [str], tuple[npt.NDArray[Any] | None, npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]
]
"""Function from an image id to the photo, uint8 ``(H, W, 3)``, and to class map, instance map and
prediction, ``(H, W)``.

The photo is None if the truth has none; the masks are then shown on grey."""


@dataclass(frozen=True)
class InstanceChange:
    """Instance whose IA differs between two predictions."""

    image_id: str
    instance_id: int
    class_name: str
    area: int
    size: str
    first: float
    second: float


@dataclass(frozen=True)
class Comparison:
    """Comparison of a second folder of predictions with the first, on the same set.

    Attributes:
        name: Name of the second folder.
        figures: Values of the second folder, by the names of ``Summary.headline``.
        differences: First folder's minus second folder's values, with the same bootstrap weights;
            None for a value that one of them lacks.
        moved: Instances whose IA differs most, the largest difference first.
    """

    name: str
    figures: Mapping[str, float | None]
    differences: Mapping[str, Difference | None]
    moved: tuple[InstanceChange, ...]


@dataclass(frozen=True)
class ScoreResult:
    """Result of scoring one folder of predictions. A notebook shows its report.

    Attributes:
        name: Name of the run, and of its folder below ``scores/``.
        predictions: Scored folder.
        truth_name: Name of the set, or of the ground truth used in its place.
        synthetic: True if the images are generated.
        taxonomy: Taxonomy of the classes.
        bins: Size bins.
        options: Metric options.
        summary: All values.
        intervals: 95 % intervals by the names of ``Summary.headline``; None where undefined.
        tables: Rows per instance, region and image.
        compared: Comparisons with further folders, in the order given.
        notes: Sentences that must be shown with the values, such as the number of missing
            predictions that counted as background, or that instances are connected components.
        provenance: Versions, hashes of set and predictions, seed, resamples and the command.
        photo_paths: Path of the photo by image id, if the truth has photos; for the report's
            gallery.
        image_sizes: Width and height in pixels, by image id.
        missing: Images without a prediction, which counted as background.
    """

    name: str
    predictions: Path
    truth_name: str
    synthetic: bool
    taxonomy: Taxonomy
    bins: SizeBins
    options: MetricOptions
    summary: Summary
    intervals: Mapping[str, Interval | None]
    tables: ScoreTables
    compared: tuple[Comparison, ...] = ()
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    photo_paths: Mapping[str, Path] = field(default_factory=dict)
    image_sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    missing: tuple[str, ...] = ()

    def to_pandas(
        self, table: Literal["values", "instances", "regions", "images", "confusion"] = "values"
    ) -> pd.DataFrame:
        """Return one table of the result as a data frame; needs pandas (extra ``pandas``).

        Args:
            table: Table name. ``values`` has a row for each metric, with its value and the ends of
                its 95 % interval; ``instances``, ``regions``, ``images`` and ``confusion`` have a
                row for each instance, region, image or pair of true and predicted class, with the
                columns of the result's Parquet files.

        Raises:
            ImportError: if pandas is not installed.
            InputError: if there is no such table.
        """
        try:
            import pandas as pd
        except ImportError as error:
            msg = "to_pandas() needs pandas: pip install 'sbdata[pandas]'"
            raise ImportError(msg) from error
        if table == "values":
            rows = {
                key: {
                    "value": value,
                    "low": interval.low if interval else None,
                    "high": interval.high if interval else None,
                }
                for key, value in self.summary.headline().items()
                for interval in (self.intervals.get(key),)
            }
            frame: pd.DataFrame = pd.DataFrame.from_dict(rows, orient="index", dtype=float)
            frame.index.name = "metric"
            return frame
        from sbdata.score.write import tables_of

        found = tables_of(self).get(f"{table}.parquet")
        if found is None:
            names = "values, instances, regions, images or confusion"
            msg = f"no table called {table!r}; choose {names}"
            raise InputError(msg)
        of_rows: pd.DataFrame = found.to_pandas()
        return of_rows

    def to_html(self, load_image: LoadImage | None = None) -> str:
        """Return the report as one self-contained HTML page.

        Args:
            load_image: Function that returns the photo and masks of an image, as returned by
                :func:`~sbdata.score.run.loader_of`; None omits the pictures.
        """
        # The page is imported by name at the call: scoring without a report loads no templates, and
        # no score depends on the source of the pages (see sbdata.fingerprints).
        html: str = import_module(_PAGE).report_html(self, load_image)
        return html

    def plot(self, kind: Literal["area", "classes", "precision"] = "area") -> Figure:
        """Return one figure of the report as SVG, which a notebook shows.

        Args:
            kind: ``area`` is IA by area of the instance, ``classes`` IA by class and size,
                ``precision`` region precision and IA by size.

        Raises:
            InputError: if there is no such figure.
        """
        drawing = import_module(_DRAWING)  # by name for the same reason as the page
        figures: dict[str, Callable[[], Figure]] = {
            "area": lambda: drawing.ia_by_area(self.summary),
            "classes": lambda: drawing.ia_by_class_and_size(self.summary, self.taxonomy.classes),
            "precision": lambda: drawing.precision_by_size(self.summary, self.intervals),
        }
        if kind not in figures:
            msg = f"no figure called {kind!r}; choose from {', '.join(figures)}"
            raise InputError(msg)
        return figures[kind]()

    def _repr_html_(self) -> str:
        # A separate frame, so that the page's style does not affect the rest of the notebook.
        page = escape(self.to_html())
        return (
            f'<iframe srcdoc="{page}" title="{escape(self.name)}" sandbox '
            'style="width: 100%; height: 640px; border: 0"></iframe>'
        )
