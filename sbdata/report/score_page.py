"""Report of a score: one self-contained HTML file, and its figures as SVG files.

The same score gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sbdata.drawing import (
    NARROW,
    WIDE,
    Figure,
    ia_by_area,
    ia_by_class_and_size,
    precision_by_size,
)
from sbdata.formatting import NOTHING, estimate, limits, sizes_line, sizes_said
from sbdata.metrics.bootstrap import FEW
from sbdata.metrics.outcomes import OUTCOMES, OUTCOMES_EXPLAINED
from sbdata.report.confusion import confusion_matrix
from sbdata.report.gallery import Worst, picture_svg, worst_small
from sbdata.report.pages import render
from sbdata.score.result import LoadImage, ScoreResult
from sbdata.storage import write_text


def write_report(scored: ScoreResult, path: Path, load_image: LoadImage | None) -> None:
    """Write the report as one HTML file, atomically.

    Args:
        scored: Score to report.
        path: Path of the file.
        load_image: Function from an image id to the photo, uint8 ``(H, W, 3)`` (None if there is no
            photo), class map, instance map and prediction, for the gallery; None omits the gallery.

    Raises:
        InputError: if the arrays of an image do not match.
    """
    write_text(path, report_html(scored, load_image))


def write_figures(scored: ScoreResult, folder: Path) -> list[Path]:
    """Write each figure as an SVG file with its own style, atomically; return the paths.

    Args:
        scored: Score to draw.
        folder: Output folder, such as ``scores/<name>/figures``.
    """
    paths = []
    for name, draw in _drawings(scored).items():
        paths.append(folder / f"{name}.svg")
        write_text(paths[-1], draw(WIDE).standalone())
    return paths


def report_html(scored: ScoreResult, load_image: LoadImage | None) -> str:
    """Return the HTML of the report; see :func:`write_report`."""
    worst = worst_small(scored)
    return render(
        "score",
        title=f"{scored.name} on {scored.truth_name}{' (synthetic)' if scored.synthetic else ''}",
        scored=scored,
        summary=scored.summary,
        sections=_sections(scored),
        figures={
            name: {"wide": draw(WIDE), "narrow": draw(NARROW)}
            for name, draw in _drawings(scored).items()
        },
        smallest=scored.bins.names[0],
        sizes_said=sizes_said(scored.bins, "Sizes are by class, with the edges below."),
        few=FEW,
        outcomes=OUTCOMES,
        outcomes_explained=OUTCOMES_EXPLAINED,
        confusion=confusion_matrix(scored.tables.confusion, scored.taxonomy.classes),
        worst=worst,
        pictures=[
            _picture(scored, place, one, load_image) for place, one in enumerate(worst, 1)
        ] if load_image is not None else [],
        measured=_measured(scored),
    )  # fmt: skip


def _drawings(scored: ScoreResult) -> Mapping[str, Callable[[int], Figure]]:
    summary, names = scored.summary, scored.taxonomy.classes
    return {
        "ia_by_area": lambda width: ia_by_area(summary, width),
        "ia_by_class_and_size": lambda width: ia_by_class_and_size(summary, names, width),
        "precision_by_size": lambda width: precision_by_size(summary, scored.intervals, width),
    }


def _sections(scored: ScoreResult) -> dict[str, str]:
    """Return the headings of the page's sections by id."""
    return {
        **{
            f"against-{place}": f"{scored.name} minus {compared.name}"
            for place, compared in enumerate(scored.compared, start=1)
        },
        "by-area": "IA by area",
        "by-class-and-size": "IA by class and size",
        "precision": "Region precision and IA",
        "outcomes": "Outcomes by size",
        "confusion": "Confusion of classes",
        "orphans": "Orphans",
        "by-class": "By class",
        "gallery": f"Worst {scored.bins.names[0]} instances",
        "measured": "What was measured",
    }


def _picture(
    scored: ScoreResult, place: int, worst: Worst, load_image: LoadImage
) -> dict[str, str]:
    class_name = scored.taxonomy.name_of(worst.class_id)
    what = f"{class_name}, {worst.area:,} pixels, IA {estimate('ia', worst.ia)}"
    where = f"{worst.image_id}, instance {worst.instance_id}"
    said = f"{what}; {where}: photo, truth and prediction"
    svg = picture_svg(worst, f"photo-{place}", said, load_image)
    return {"svg": svg, "what": what, "where": where}


def _measured(scored: ScoreResult) -> dict[str, str]:
    """Return the inputs and settings of the score, as text by name."""
    sizes = "; ".join(f"{n} {limits(scored.bins, k)}" for k, n in enumerate(scored.bins.names))
    listed: dict[str, Any] = {
        "predictions": scored.predictions,
        "truth": scored.truth_name,
        "taxonomy": scored.taxonomy.name,
        **{f"option: {k}": v for k, v in scored.options.as_dict().items()},
        "sizes": sizes,
        "size edges": sizes_line(scored.bins, scored.summary.counts_of(scored.taxonomy.classes))
        if scored.bins.by_class
        else list(scored.bins.edges),
        **_flat(scored.provenance),
    }
    return {name: _plain(value) for name, value in listed.items()}


def _flat(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Return nested mappings as a flat one, with joined names of the levels."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{above}{name}: ")
        else:
            flat[f"{above}{name}"] = value
    return flat


def _plain(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return json.dumps(value, ensure_ascii=False, default=str)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return NOTHING if value is None else str(value)
