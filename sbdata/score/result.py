"""What a scored folder consists of; the tables, the summary and the report are written from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy.typing as npt

from sbdata.errors import InputError
from sbdata.metrics import Difference, Interval, MetricOptions, ScoreTables, Summary
from sbdata.sizes import SizeBins
from sbdata.taxonomy import Taxonomy

if TYPE_CHECKING:
    import pandas as pd

LoadImage = Callable[
    [str], tuple[npt.NDArray[Any] | None, npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]
]
"""image_id to photo ``(H, W, 3)`` uint8, class map, instance map and prediction ``(H, W)``.

The photo may be None where the truth has none: the masks are then shown on grey."""


@dataclass(frozen=True)
class InstanceChange:
    """One instance whose IA differs between two predictions."""

    image_id: str
    instance_id: int
    class_name: str
    area: int
    size: str
    first: float
    second: float


@dataclass(frozen=True)
class Comparison:
    """A second folder of predictions against the first, on the same set.

    Attributes:
        name: of the second folder.
        figures: its own figures, by the names of ``Summary.headline``.
        differences: the first folder's minus this one's, under the same bootstrap weights; None
            for a figure that one of them lacks.
        moved: the instances whose IA differs most, the largest difference first.
    """

    name: str
    figures: Mapping[str, float | None]
    differences: Mapping[str, Difference | None]
    moved: tuple[InstanceChange, ...]


@dataclass(frozen=True)
class ScoreResult:
    """One folder of predictions, scored. A notebook shows its report.

    Attributes:
        name: of the run; the folder below ``scores/``.
        predictions: the folder that was scored.
        truth_name: of the set, or of what stood in for one.
        synthetic: whether the images are generated.
        taxonomy: of the classes.
        bins: of the sizes.
        options: of the metric.
        summary: all figures.
        intervals: 95 % intervals by the names of ``Summary.headline``; None where undefined.
        tables: rows per instance, region and image.
        compared: further folders, in the order given.
        notes: sentences that must stand beside the figures, such as how many predictions were
            missing and counted as background, or that instances are connected components.
        provenance: versions, hashes of set and predictions, seed, resamples and the command.
        photo_paths: image_id to photo, where the truth has photos; for the report's gallery.
        image_sizes: image_id to width and height in pixels.
        missing: images without a prediction, which counted as background.
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
        self, table: Literal["values", "instances", "regions", "images"] = "values"
    ) -> pd.DataFrame:
        """Return one table of the result as a data frame; needs pandas, the extra ``pandas``.

        Args:
            table: ``values`` has a row for each metric, with its value and the ends of its 95 %
                interval; the others have a row for each instance, region or image, with the columns
                of the result's Parquet files.

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
            msg = f"a score has no table {table!r}; take values, instances, regions or images"
            raise InputError(msg)
        of_rows: pd.DataFrame = found.to_pandas()
        return of_rows

    def to_html(self, load_image: LoadImage | None = None) -> str:
        """Return the report as the text of one HTML page that needs nothing else.

        Args:
            load_image: gives what the report shows of an image, as
                :func:`~sbdata.score.run.loader_of` returns it; None leaves the pictures out.
        """
        # The report is a package above this one, and is imported at the call alone: scoring without
        # a report loads no templates, and the contract of layers has this one exception.
        from sbdata.report.score_page import report_html

        return report_html(self, load_image)

    def _repr_html_(self) -> str:
        # A frame of its own, so that the page's style changes nothing else in the notebook.
        page = escape(self.to_html())
        return (
            f'<iframe srcdoc="{page}" title="{escape(self.name)}" sandbox '
            'style="width: 100%; height: 640px; border: 0"></iframe>'
        )
