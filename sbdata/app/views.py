"""Saved views to start with, and the order of the sidebar."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import combinations
from operator import or_
from typing import TYPE_CHECKING, Any

from sbdata.app.attached import AttachedRun, attached_runs
from sbdata.app.info import info_of, note_info
from sbdata.app.runs import image_fields, mask_field
from sbdata.app.samples import IMAGE_ID, INSTANCES, OBJECTS, TRUTH, count_field
from sbdata.manifest import size_counts
from sbdata.metrics.bootstrap import FEW
from sbdata.metrics.outcomes import MISSED_RECALL
from sbdata.sets import EvaluationSet

if TYPE_CHECKING:
    import fiftyone as fo

_SHOWN = 100  # images in a view that is sorted
_MOST_PAIRS = 6  # pairs of runs, each with its own view


@dataclass(frozen=True)
class _Named:
    name: str
    description: str
    view: Any


def save_views(dataset: fo.Dataset, opened: EvaluationSet) -> tuple[str, ...]:
    """Save the views that show where a set has few objects and what its runs miss.

    Views saved by an earlier call are replaced, or deleted if they no longer apply. All other views
    are kept.

    Args:
        dataset: Dataset that holds the set, with its runs.
        opened: Set of the dataset.

    Returns:
        The names of the views.
    """
    known = info_of(dataset)
    views = list(_views(dataset, opened, attached_runs(known)))
    names = tuple(view.name for view in views)
    for former in known.get("views", ()):
        if former not in names and dataset.has_saved_view(former):
            dataset.delete_saved_view(former)
    for view in views:
        dataset.save_view(view.name, view.view, description=view.description, overwrite=True)
    note_info(dataset, views=list(names))
    return names


def _views(
    dataset: fo.Dataset, opened: EvaluationSet, runs: Mapping[str, AttachedRun]
) -> Iterator[_Named]:
    from fiftyone import ViewField as F

    smallest = opened.bins.names[0]
    is_small = F("size") == smallest
    count = F(count_field(smallest))
    yield _Named(
        f"{smallest} objects",
        f"The images with {smallest} objects; others are hidden",
        dataset.filter_labels(INSTANCES, is_small),
    )
    yield _Named(
        f"richest in {smallest} objects",
        f"Images by their number of {smallest} objects, most first",
        dataset.match(count > 0).sort_by(count_field(smallest), reverse=True).limit(_SHOWN),
    )
    cells = thin_cells(opened)
    if cells:
        each = ((F("label") == label) & (F("size") == size) for label, size, _ in cells)
        said = ", ".join(f"{label}/{size} {n}" for label, size, n in cells)
        yield _Named(
            "thin cells",
            f"Objects of the classes and sizes that the set has fewest of: {said}",
            dataset.filter_labels(INSTANCES, reduce(or_, each)),
        )
    if runs:
        missed = is_small
        for name in runs:
            missed &= F(f"outcome_{name}") == "missed"
        titles = ", ".join(run.title for run in runs.values())
        yield _Named(
            f"{smallest} objects missed by every run",
            f"{smallest} objects of which under {MISSED_RECALL:.0%} of the pixels are found, and "
            f"which are not predicted as another class: {titles}",
            dataset.filter_labels(INSTANCES, missed),
        )
    for first, second in pairs_of(list(runs)):
        change = (F(f"ia_iou_{first}") - F(f"ia_iou_{second}")).abs()
        yield _Named(
            f"largest difference: {first} minus {second}",
            f"Images by the object whose IA differs most, in either direction, largest first; A "
            f"minus B with A = {runs[first].title} and B = {runs[second].title}",
            dataset.match(F(OBJECTS).length() > 0)
            .sort_by(F(OBJECTS).map(change).max(), reverse=True)
            .limit(_SHOWN),
        )


def pairs_of(runs: Sequence[str]) -> list[tuple[str, str]]:
    """Return the first pairs of runs to compare, in the order in which they were attached.

    >>> pairs_of(["a", "b", "c"])
    [('a', 'b'), ('a', 'c'), ('b', 'c')]
    """
    return list(combinations(runs, 2))[:_MOST_PAIRS]


def thin_cells(opened: EvaluationSet) -> list[tuple[str, str, int]]:
    """Return the thin cells of class and size: those with few objects, the fewest first.

    A cell is thin if it holds fewer than ten objects, or fewer than half of the set's median cell.
    Cells without an object are left out. If no cell is thin, the smallest is returned.

    Returns:
        Class, size and number of objects of each cell.
    """
    counts = size_counts(opened.manifest.instances, opened.taxonomy, opened.bins)
    cells = sorted(
        (n, label, size) for label, row in counts.items() for size, n in row.items() if n > 0
    )
    if not cells:
        return []
    limit = max(FEW, statistics.median(n for n, _, _ in cells) / 2)
    thin = [cell for cell in cells if cell[0] < limit] or cells[:1]
    return [(label, size, n) for n, label, size in thin]


def arrange_sidebar(dataset: fo.Dataset) -> None:
    """Group the fields of the sidebar: objects and masks first, then scores, then the rest.

    The sliders of area and IA-IoU are attributes of the objects, inside the group of the objects.
    """
    import fiftyone as fo

    known = info_of(dataset)
    runs, sizes = list(known["runs"]), known["sizes"]
    groups = {
        "objects": [INSTANCES],
        "masks": [TRUTH, *(mask_field(name) for name in runs)],
        "scores": [field for name in runs for field in image_fields(name, sizes)],
        "image": [IMAGE_ID, *map(count_field, sizes), "split", "source", "url", "license"],
    }
    ours = {path for paths in groups.values() for path in paths}
    rest = [path for path in _further(dataset) if path not in ours]
    groups["other"] = [path for path in rest if not path.startswith("metadata")]
    groups["metadata"] = [path for path in rest if path.startswith("metadata")]
    dataset.app_config.sidebar_groups = [
        fo.SidebarGroupDocument(name="tags", paths=[], expanded=False),
        *(
            fo.SidebarGroupDocument(name=name, paths=paths, expanded=name in ("objects", "masks"))
            for name, paths in groups.items()
            if paths
        ),
    ]
    dataset.save()


def _further(dataset: fo.Dataset) -> Sequence[str]:
    """Return the paths that FiftyOne shows by default."""
    import fiftyone as fo

    groups = fo.DatasetAppConfig.default_sidebar_groups(dataset)
    return [path for group in groups for path in group.paths if group.name != "tags"]
