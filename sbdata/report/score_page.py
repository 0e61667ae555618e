"""The report of a score: one HTML file that needs nothing else, and its figures as SVG files.

The same score gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
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
from sbdata.formatting import (
    NOTHING,
    count,
    headline_name,
    limits,
    metric_name,
    number,
    percent,
    signed,
    span,
)
from sbdata.metrics import FEW, OUTCOMES, Cell, Orphans
from sbdata.report.document import contents, document, section, table
from sbdata.report.gallery import Worst, picture_svg, worst_small
from sbdata.report.markup import Markup, element, join
from sbdata.score.result import Comparison, LoadImage, ScoreResult
from sbdata.storage import write_text

__all__ = ["report_html", "write_figures", "write_report"]

_SYNTHETIC = "The images are generated. Scores on them say nothing about photographs."
_MOVED_SHOWN = 20
_LONG_NAME = 22  # characters


def write_report(scored: ScoreResult, path: Path, load_image: LoadImage | None) -> None:
    """Write the report as one HTML file, atomically.

    Args:
        scored: what to report.
        path: of the file.
        load_image: image_id to photo ``(H, W, 3)`` uint8 (None where there is no photo), class map,
            instance map and prediction, for the gallery; None leaves the gallery out.

    Raises:
        InputError: if the arrays of an image do not belong together.
    """
    write_text(path, report_html(scored, load_image))


def write_figures(scored: ScoreResult, folder: Path) -> list[Path]:
    """Write each figure as an SVG file with its own style, atomically; return the paths.

    Args:
        scored: what to draw.
        folder: in which the files are put, such as ``scores/<name>/figures``.
    """
    paths = []
    for name, draw in _drawings(scored).items():
        paths.append(folder / f"{name}.svg")
        write_text(paths[-1], draw(WIDE).standalone())
    return paths


def report_html(scored: ScoreResult, load_image: LoadImage | None) -> str:
    """Return the text of the report; see :func:`write_report`."""
    title = f"{scored.name} on {scored.truth_name}" + (" (synthetic)" if scored.synthetic else "")
    sections = [
        *(_comparison(scored, k) for k in range(len(scored.compared))),
        _curve_section(scored),
        _heat_map_section(scored),
        _precision_section(scored),
        _outcomes_section(scored),
        _orphans_section(scored),
        _classes_section(scored),
        _gallery_section(scored, load_image),
        _measured_section(scored),
    ]
    content = [
        _header(scored),
        _headline(scored),
        _notes(scored),
        contents((id_, heading) for id_, heading, _ in sections),
        *(section(*parts) for parts in sections),
    ]
    return document(f"{title}: IA-IoU by object size", content)


def _drawings(scored: ScoreResult) -> Mapping[str, Callable[[int], Figure]]:
    summary = scored.summary
    return {
        "ia_by_area": lambda width: ia_by_area(summary, width),
        "ia_by_class_and_size": lambda width: ia_by_class_and_size(
            summary, scored.taxonomy.classes, width
        ),
        "precision_by_size": lambda width: precision_by_size(summary, scored.intervals, width),
    }


# --- the page's parts -----------------------------------------------------------------------------


_Section = tuple[str, str, Sequence[Markup]]
"""An id, a heading and what stands beneath."""


def _table(
    caption: str,
    head: Sequence[str],
    rows: Iterable[Markup],
    class_: str | None = None,
    words: Sequence[int] = (),
) -> Markup:
    """Return a :func:`~sbdata.report.document.table` whose titles may be names of any length."""
    return table(caption, [_name(title) for title in head], rows, class_, words)


def _row(name: object, cells: Iterable[object], class_: str | None = None) -> Markup:
    """Return a table row; a cell that is not a whole ``td`` becomes one."""
    given = (
        c if isinstance(c, Markup) and c.startswith("<td") else element("td", c) for c in cells
    )
    head = element("th", _name(name), scope="row", class_="words")
    return element("tr", head, *given, class_=class_)


def _words(name: object) -> Markup:
    return element("td", _name(name), class_="words")


def _name(name: object) -> object:
    """Return a name as it is, or in a box that breaks its lines if it is long."""
    return element("span", name, class_="name") if len(str(name)) > _LONG_NAME else name


def _figure(draw: Callable[[int], Markup], caption: str) -> Markup:
    """Return a figure at both widths, of which the style sheet shows one."""
    return element(
        "figure",
        element("div", draw(WIDE), class_="wide"),
        element("div", draw(NARROW), class_="narrow"),
        element("figcaption", caption),
    )


def _header(scored: ScoreResult) -> Markup:
    summary = scored.summary
    instances = summary.ia["ia"].n_instances
    parts = [
        element("h1", f"{scored.name} on {scored.truth_name}"),
        element(
            "p",
            f"Instance-aware IoU by object size ({summary.metric}). "
            f"{count(summary.n_images, 'image')}, {count(instances, 'instance')}, "
            f"{count(len(scored.taxonomy), 'class', 'classes')} ({scored.taxonomy.name}).",
            class_="lead",
        ),
    ]
    if scored.synthetic:
        parts.append(
            element("p", element("strong", "Synthetic"), f": {_SYNTHETIC}", class_="synthetic")
        )
    return element("header", *parts)


# --- headline and notes ---------------------------------------------------------------------------


def _headline(scored: ScoreResult) -> Markup:
    summary = scored.summary

    def figure(name: str, value: float | None) -> Markup:
        shown = element("strong", number(value))
        interval = element("small", span(scored.intervals.get(name))) if value is not None else ""
        return element("td", shown, interval)

    def of(instances: str, classes: int) -> Markup:
        return element("td", instances, element("small", count(classes, "class", "classes")))

    miou = [figure("miou", summary.miou), "", of("", summary.n_miou_classes)]
    rows = [_row("mIoU", miou)]
    rows += [
        _row(
            metric_name(name),
            [
                figure(f"{name}.class_mean", ia.class_mean),
                figure(f"{name}.instance_mean", ia.instance_mean),
                of(f"{ia.n_instances:,}", ia.n_classes),
            ],
        )
        for name, ia in summary.ia.items()
    ]
    caption = (
        "Scores, with 95 % intervals beneath. mIoU and IA count background as a class; IA_objects "
        f"and the sizes do not. No interval: fewer than {FEW} instances, or a single image."
    )
    head = ["", "class mean", "instance mean", "instances"]
    beside = element(
        "p",
        f"Pixel accuracy {number(summary.pixel_accuracy)}, 95 % interval "
        f"{span(scored.intervals.get('pixel_accuracy'))}. "
        + " ".join(
            f"{name.capitalize()} is {limits(scored.bins, k)} pixels of visible area."
            for k, name in enumerate(scored.bins.names)
        ),
        class_="lead",
    )
    return join([_table(caption, head, rows, "headline"), beside])


def _notes(scored: ScoreResult) -> Markup:
    notes = list(scored.notes)
    summary = scored.summary
    if summary.absent:
        names = ", ".join(_class_name(scored, c) for c in summary.absent)
        notes.append(f"Classes without a true pixel, left out of mIoU: {names}.")
    if not notes:
        return Markup()
    items = (element("li", note) for note in notes)
    return element(
        "aside", element("h2", "Notes"), element("ul", *items), class_="notes", aria_label="Notes"
    )


def _class_name(scored: ScoreResult, class_id: int) -> str:
    return "background" if class_id == 0 else scored.taxonomy.name_of(class_id)


# --- comparisons ----------------------------------------------------------------------------------


def _comparison(scored: ScoreResult, place: int) -> _Section:
    compared = scored.compared[place]
    own = scored.summary.headline()
    rows = []
    for name, value in own.items():
        difference = compared.differences.get(name)
        interval = difference.interval if difference is not None else None
        apart = interval is not None and (interval.low > 0 or interval.high < 0)
        rows.append(
            _row(
                headline_name(name),
                [
                    number(value),
                    number(compared.figures.get(name)),
                    element(
                        "td", signed(difference.value if difference else None), class_="difference"
                    ),
                    span(interval, difference=True),
                    percent(difference.sign_change if difference else None),
                ],
                "clear" if apart else None,
            )
        )
    caption = (
        f"{scored.name} minus {compared.name}. Paired bootstrap over images, 95 % intervals; bold "
        "if the interval excludes 0. Sign change: the share of resamples in which the difference "
        "is 0 or has the other sign."
    )
    head = ["", scored.name, compared.name, "difference", "95 % interval", "sign change"]
    content = [_table(caption, head, rows), *_moved(scored, compared)]
    return f"against-{place + 1}", f"{scored.name} minus {compared.name}", content


def _moved(scored: ScoreResult, compared: Comparison) -> list[Markup]:
    if not compared.moved:
        return [element("p", "No instance differs in IA.")]
    shown = compared.moved[:_MOVED_SHOWN]
    rows = [
        _row(
            moved.image_id,
            [
                f"{moved.instance_id}",
                _words(moved.class_name),
                f"{moved.area:,}",
                _words(moved.size),
                number(moved.first),
                number(moved.second),
                signed(moved.first - moved.second),
            ],
        )
        for moved in shown
    ]
    head = ["image", "instance", "class", "area", "size", scored.name, compared.name, "difference"]
    return [
        _table(
            f"The {count(len(rows), 'instance')} whose IA differs most.", head, rows, words=(2, 4)
        )
    ]


# --- figures --------------------------------------------------------------------------------------


def _curve_section(scored: ScoreResult) -> _Section:
    caption = (
        "Instance mean of IA by half octaves of visible area. Bars: how many instances. Hollow "
        f"points: fewer than {FEW}. Dashed lines: the limits of the sizes."
    )
    content = [_figure(_drawings(scored)["ia_by_area"], caption)]
    if scored.summary.curve:
        rows = [
            _row(f"{p.low:,} to {p.high - 1:,}", [number(p.value), f"{p.n:,}"])
            for p in scored.summary.curve
        ]
        listed = _table("IA by half octaves of area.", ["area (pixels)", "IA", "n"], rows)
        content.append(element("details", element("summary", "The figure as a table"), listed))
    return "by-area", "IA by area", content


def _heat_map_section(scored: ScoreResult) -> _Section:
    caption = (
        f"IA of each class by size, n instances in each cell. Hatched: n under {FEW}, too few to "
        "rely on. A dash: no instance."
    )
    drawn = _figure(_drawings(scored)["ia_by_class_and_size"], caption)
    return "by-class-and-size", "IA by class and size", [drawn]


def _precision_section(scored: ScoreResult) -> _Section:
    caption = (
        "IA is measured on true instances and cannot see an invented object. Region precision is "
        "measured on predicted regions: the share with at least half their pixels on their class. "
        "Instances are sorted by their own area, regions by theirs. Lines are 95 % intervals."
    )
    drawn = _figure(_drawings(scored)["precision_by_size"], caption)
    return "precision", "Region precision beside IA", [drawn]


# --- tables by class ------------------------------------------------------------------------------


def _outcomes_section(scored: ScoreResult) -> _Section:
    rows = []
    for size, counts in scored.summary.outcomes.items():
        total = sum(counts.values())
        cells = [f"{total:,}", *(percent(counts[k] / total if total else None) for k in OUTCOMES)]
        rows.append(_row(size, cells))
    caption = (
        "What became of the instances, by size; the first kind that holds. Found: IA of at least "
        "0.5. Wrong class: at least half of the pixels predicted as one other class. Missed: under "
        "5 % of the pixels found. Mostly missed: under 25 %. Bled: more false pixels than the "
        "instance has pixels. Partial: all others."
    )
    head = ["size", "instances", *(kind.replace("_", " ") for kind in OUTCOMES)]
    return "outcomes", "Outcomes by size", [_table(caption, head, rows)]


def _orphans_section(scored: ScoreResult) -> _Section:
    listed: list[tuple[str, Orphans, str | None]] = [
        (_class_name(scored, figures.class_id), figures.orphans, None)
        for figures in scored.summary.classes
    ]
    listed.append(("all classes", scored.summary.orphans, "whole"))
    rows = [
        _row(name, [f"{o.regions:,}", f"{o.pixels:,}", percent(o.share)], class_)
        for name, o, class_ in listed
    ]
    caption = (
        "Predicted regions that meet no instance of their class. They lower no IA. Share: their "
        "part of all predicted pixels whose true class is another one."
    )
    head = ["class", "regions", "pixels", "share of false pixels"]
    return "orphans", "Orphans", [_table(caption, head, rows)]


def _classes_section(scored: ScoreResult) -> _Section:
    summary = scored.summary
    names = [name for name in summary.ia if name != "ia_objects"]

    def cell(found: Cell) -> Markup:
        beside = element("span", f"n {found.n:,}", class_="beside")
        return element("td", number(found.value), beside)

    rows = [
        _row(
            _class_name(scored, figures.class_id),
            [number(figures.iou), *(cell(figures.ia[name]) for name in names)],
        )
        for figures in summary.classes
    ]
    background = summary.background_ia
    found = element(
        "td",
        number(background.value),
        element("span", count(background.n, "image"), class_="beside"),
    )
    rows.append(
        _row("background", [number(summary.background_iou), found, *("" for _ in names[1:])])
    )
    means = [
        element(
            "td",
            number(summary.ia[name].class_mean),
            element("span", f"n {summary.ia[name].n_instances:,}", class_="beside"),
        )
        for name in names
    ]
    rows.append(_row("class mean", [number(summary.miou), *means], "whole"))
    caption = (
        "IoU over all images, and IA as the mean over the n instances of the class; for "
        "background, over the images that have some."
    )
    head = ["class", "IoU", *(metric_name(name) for name in names)]
    return "by-class", "By class", [_table(caption, head, rows)]


# --- gallery --------------------------------------------------------------------------------------


def _gallery_section(scored: ScoreResult, load_image: LoadImage | None) -> _Section:
    size = scored.bins.names[0]
    heading = f"Worst {size} instances"
    worst = worst_small(scored)
    n = scored.summary.ia[f"ia_{size}"].n_instances
    if not worst:
        why = f"Every {size} instance has an IA of 1." if n else f"There is no {size} instance."
        return "gallery", heading, [element("p", why)]
    if load_image is None:
        return "gallery", heading, [element("p", "Made without photos: no pictures to show.")]
    caption = (
        f"{len(worst):,} of {count(n, f'{size} instance')}, those with the lowest IA; of equals "
        "the larger first. Each as photo, truth and prediction."
    )
    key = [
        ("truth", "the instance"),
        ("sibling", "other pixels of its class"),
        ("found", "predicted as its class"),
        ("other", "predicted as another class"),
        ("void", "void"),
    ]
    items = (element("li", element("span", class_=class_), words) for class_, words in key)
    cards = (_card(scored, place, one, load_image) for place, one in enumerate(worst, 1))
    content = [
        element("p", caption),
        element("ul", *items, class_="key"),
        element("ol", *cards, class_="gallery"),
    ]
    return "gallery", heading, content


def _card(scored: ScoreResult, place: int, worst: Worst, load_image: LoadImage) -> Markup:
    class_name = _class_name(scored, worst.class_id)
    what = f"{class_name}, {worst.area:,} pixels, IA {number(worst.ia)}"
    where = f"{worst.image_id}, instance {worst.instance_id}"
    said = f"{what}; {where}: photo, truth and prediction"
    return element(
        "li",
        picture_svg(worst, f"photo-{place}", said, load_image),
        element("p", what),
        element("p", where, class_="id"),
    )


# --- what was measured ----------------------------------------------------------------------------


def _measured_section(scored: ScoreResult) -> _Section:
    definition = element(
        "p",
        element("code", scored.summary.metric),
        " is the instance-aware IoU of Mun et al., “Small Objects Matters in Weakly-Supervised "
        "Semantic Segmentation” (WACV 2024), as their released code computes it (commit 629dd2c). "
        "The pixels predicted as a class fall into regions by outer outline. The pixels of a "
        "region whose true class is another one are charged to the instances that the region "
        "meets: by default in proportion to the overlap, rounded down. With TP the instance's "
        "pixels that are found and FP those charged to it, IA = TP / (area + FP). Class mean: the "
        "mean over classes of each class's mean; for IA over all sizes, background is a class, "
        "with the mean over images of its IoU. Instance mean: over all instances. Void counts "
        "nowhere. mIoU is over background and the classes that have a true pixel, from one "
        "confusion matrix. Intervals are 95 % percentile intervals of a Bayesian bootstrap over "
        "images. A dash "
        f"({NOTHING}) stands for an undefined value.",
    )
    options = {f"option: {k}": v for k, v in scored.options.as_dict().items()}
    sizes = "; ".join(f"{n} {limits(scored.bins, k)}" for k, n in enumerate(scored.bins.names))
    listed: dict[str, Any] = {
        "predictions": scored.predictions,
        "truth": scored.truth_name,
        "taxonomy": scored.taxonomy.name,
        **options,
        "sizes": sizes,
        "size edges": list(scored.bins.edges),
        **_flat(scored.provenance),
    }
    rows = (
        _row(name, [element("td", _plain(value), class_="words value")])
        for name, value in listed.items()
    )
    shown = _table("What the figures were computed from.", ["what", "value"], rows, words=(1,))
    return "measured", "What was measured", [definition, shown]


def _flat(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Return nested mappings as one, the names of the levels joined."""
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
