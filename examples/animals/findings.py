"""Write tables and figures of the findings on photos from the committed results.

    python examples/animals/findings.py results/animals docs/findings.md

Every table stands between two markers of the page; the figures are written beside it. The results
are those of ``claim.yaml``, ``unequal.yaml``, ``compare_folders.py``, ``shared_photos.py`` and
``loss_share.py``; what is not there yet is left as it is on the page. A method of a study counts
once it has every strategy with three seeds.

Pooled differences are computed from the scores of single images (``keep_tables.py``) with 10,000
draws; see :mod:`sbdata.benchmark.pooled`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from markupsafe import Markup

from sbdata.benchmark.ordering import method_order
from sbdata.benchmark.pooled import PooledDifference, Run, pooled_differences
from sbdata.benchmark.records import FORMAT, ResultRecord, read_result
from sbdata.benchmark.values import LOST_THRESHOLD
from sbdata.cli import run
from sbdata.drawing.svg import Figure, element, figure, line, text
from sbdata.errors import InputError
from sbdata.formatting import caption, estimate, percent, signed
from sbdata.json_files import read_json
from sbdata.metrics.bootstrap import Bootstrap, bootstrap
from sbdata.metrics.outcomes import OUTCOMES, in_words
from sbdata.metrics.summary import summarise
from sbdata.report.leaderboard_markdown import markdown_table, write_into_readme
from sbdata.score.tables_file import read_tables
from sbdata.sizes import SizeBins
from sbdata.storage import write_text
from sbdata.text_files import read_text

VALUES = ("miou", *(f"ia{size}.class_mean" for size in ("", "_small", "_medium", "_large")))
"""Values in the tables; class means, as in the paper."""

STRATEGIES = ("sb", "sb-ft", "sb-ewc")
CONTROL = "ce"
LONGER = "ce, 2,400 steps"
"""The control with the steps of ``unequal.yaml``."""

SEEDS = (0, 1, 2)
DRAWS = 10_000
REMEDY = "restore the file"


def main(results: Path, page: Path) -> None:
    """Rewrite the tables of a page and its figures."""
    body = read_text(page)
    tables: dict[str, str] = {}
    points: dict[str, list[tuple[str, float, float]]] = {}
    claim = finished(read_runs(results / "claim"), (CONTROL, *STRATEGIES))
    if claim:
        records = {run: kept.record for run, kept in claim.items()}
        draws = {run: kept.draws for run, kept in claim.items()}
        found = pooled_differences(draws, STRATEGIES, VALUES, control=CONTROL)
        tables["claim"] = _levels(records)
        tables["claim-pooled"] = _pooled(found)
        tables["claim-methods"] = _by_method(found)
        tables["outcomes"] = _outcomes(
            {
                f"{method}, {strategy}": [
                    claim[run].outcomes for run in claim if run[:2] == (method, strategy)
                ]
                for method in _methods(records)
                for strategy in (CONTROL, "sb")
            }
        )
        made = _masks_by_method(records)
        tables["pseudo-masks"] = _pseudo_masks(made)
        tables["losses"] = _losses(made)
        points["segmenters (ce)"] = [
            (
                method,
                _mean_of(records, method, CONTROL, _AXES[0]),
                _mean_of(records, method, CONTROL, _AXES[1]),
            )
            for method in _methods(records)
        ]
        write_text(page.with_name("findings-claim.svg"), _forest(found).standalone())
    unequal = finished(read_runs(results / "unequal"), (CONTROL, *STRATEGIES))
    if unequal and claim:
        equal = {run: kept.draws for run, kept in unequal.items()}
        budgets = {(m, LONGER if s == CONTROL else s, seed): draws
                   for (m, s, seed), draws in equal.items()}  # fmt: skip
        budgets |= {run: claim[run].draws for run in equal if run[1] == CONTROL and run in claim}
        longer = pooled_differences(budgets, (*STRATEGIES, LONGER), VALUES, control=CONTROL)
        same = pooled_differences(equal, STRATEGIES, VALUES, control=CONTROL)
        tables["unequal"], tables["unequal-methods"] = _pooled(longer), _by_method(longer)
        tables["equal"], tables["equal-methods"] = _pooled(same), _by_method(same)
    masks = on_the_same_photos(sorted(results.glob("shared-photos*.json")))
    if masks:
        tables["shared-photos"] = _shared(masks)
        tables["shared-outcomes"] = _outcomes(
            {name: [of["outcomes"]] for name, of in masks.items()}
        )
        points["pseudo-masks"] = [
            (name, *(of["values"][value] for value in _AXES)) for name, of in masks.items()
        ]
    if points:
        write_text(page.with_name("findings-miou.svg"), _scatter(points).standalone())
    stages = {
        path.stem.removeprefix("stages-"): [read_json(path, REMEDY)]
        for path in sorted(results.glob("stages-*.json"))
    }
    if stages:
        tables["stages"] = _losses(stages)
    for name, draw in (
        ("transcam", lambda read: _shared(read["masks"])),
        ("why", _folders),
        ("why-released", _folders),
        ("why-cells", _folders),
        ("loss-share", _loss_share),
        ("scale", _folders),
    ):
        if (results / f"{name}.json").is_file():
            tables[name] = draw(read_json(results / f"{name}.json", REMEDY))
    for name, table in tables.items():
        body = write_into_readme(body, name, table)
    write_text(page, body)


# --- results --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kept:
    """A result, the draws of its score, and the outcomes of its instances by size."""

    record: ResultRecord
    draws: Bootstrap
    outcomes: Mapping[str, Mapping[str, int]]


def read_runs(folder: Path) -> dict[Run, Kept]:
    """Read results with their scores of single images, and check that they belong together.

    Raises:
        InputError: If the tables of a result are missing, or do not give its values.
    """
    found = {}
    for path in sorted(folder.glob("*.json")):
        if read_json(path, REMEDY).get("format") != FORMAT:
            continue
        record = read_result(path)
        (scored,) = record.sets.values()
        tables = read_tables(folder / "tables" / f"{path.stem}.npz")
        drawn = bootstrap(tables, SizeBins(), resamples=DRAWS)
        for value in VALUES:
            kept = scored.figures[value].value
            if kept is None or abs(kept - drawn.observed[value]) > 1e-6:
                msg = f"{path}: {value} is not that of its tables; keep the tables again"
                raise InputError(msg)
        run = (record.method, record.strategy, record.seed)
        if run in found:
            msg = f"{path}: another result of {' '.join(map(str, run))} lies beside it; remove one"
            raise InputError(msg)
        found[run] = Kept(record, drawn, summarise(tables, SizeBins()).outcomes)
    return found


def finished(runs: Mapping[Run, Kept], strategies: Sequence[str]) -> dict[Run, Kept]:
    """Return the results of the methods that have every strategy with every seed."""
    wanted = {(strategy, seed) for strategy in strategies for seed in SEEDS}
    whole = {method for method, *_ in runs if all((method, *of) in runs for of in wanted)}
    return {run: kept for run, kept in runs.items() if run[0] in whole}


def on_the_same_photos(files: Sequence[Path]) -> dict[str, Any]:
    """Return the scores of pseudo-masks by name, from files of ``shared_photos.py``.

    Raises:
        InputError: If two files are about different photos, or score the same masks differently.
    """
    found: dict[str, Any] = {}
    alike: tuple[Any, ...] | None = None
    for path in files:
        read = read_json(path, REMEDY)
        about = tuple(read[key] for key in ("logical_hash", "images", "metric"))
        twice = [name for name, of in read["masks"].items() if found.get(name, of) != of]
        if about != (alike or about) or twice:
            msg = f"{path}: not the photos or scores of {files[0]}; score all folders anew"
            raise InputError(msg)
        alike = about
        found |= read["masks"]
    return dict(sorted(found.items()))


def _methods(records: Mapping[Run, ResultRecord]) -> list[str]:
    kinds = {method: "controls" if r.control else "" for (method, _, _), r in records.items()}
    return sorted(kinds, key=lambda method: method_order(method, kinds[method]))


def _seeds(
    records: Mapping[Run, ResultRecord], method: str, strategy: str, value: str
) -> list[float]:
    found = []
    for (m, s, _), record in records.items():
        if (m, s) == (method, strategy):
            (scored,) = record.sets.values()
            found.append(float(scored.figures[value].value or 0))
    return found


def _mean_of(records: Mapping[Run, ResultRecord], method: str, strategy: str, value: str) -> float:
    return statistics.fmean(_seeds(records, method, strategy, value))


# --- tables ---------------------------------------------------------------------------------------


def _captions(values: Iterable[str] = VALUES) -> list[str]:
    return [caption(value.removesuffix(".class_mean")) for value in values]


def _levels(records: Mapping[Run, ResultRecord]) -> str:
    """Return the table of values: mean and standard deviation over the seeds."""
    rows = []
    for method in _methods(records):
        for strategy in (CONTROL, *STRATEGIES):
            cells = []
            for value in VALUES:
                seeds = _seeds(records, method, strategy, value)
                cells.append(estimate(value, statistics.fmean(seeds), statistics.stdev(seeds)))
            rows.append([f"`{method}`", f"`{strategy}`", *cells])
    return markdown_table(["method", "strategy", *_captions()], rows, 2)


def _with_interval(found: PooledDifference) -> str:
    mark = " †" if found.holm_p < 0.05 else ""
    return f"{signed(found.difference)} ({signed(found.low)} to {signed(found.high)}){mark}"


def _pooled(found: Sequence[PooledDifference]) -> str:
    """Return the differences pooled over all methods, with p-values after Holm's correction."""
    most = max(len(each.methods) for each in found)
    rows = [
        [
            f"`{each.strategy}` − `{each.control}`",
            *_captions([each.value]),
            f"{signed(each.difference)}",
            f"{signed(each.low)} to {signed(each.high)}",
            f"{signed(each.holm_low)} to {signed(each.holm_high)}",
            f"{each.holm_p:.3f}",
        ]
        for each in found
        if len(each.methods) == most
    ]
    titles = ["difference", "value", "mean", "95 %", "95 %, Holm", "p, Holm"]
    methods = ", ".join(f"`{method}`" for method in found[-1].methods)
    said = f"Methods: {methods}. Comparisons that are corrected together: {len(found)}."
    return f"{markdown_table(titles, rows, 2)}\n\n{said}"


def _by_method(found: Sequence[PooledDifference]) -> str:
    """Return the differences of every single method."""
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for each in found:
        if len(each.methods) == 1:
            row = cells.setdefault((each.methods[0], each.strategy), {})
            row[each.value] = _with_interval(each)
    rows = [
        [f"`{method}`", f"`{strategy}` − `{CONTROL}`", *(of[value] for value in VALUES)]
        for (method, strategy), of in sorted(cells.items(), key=lambda item: item[0][0])
    ]
    return markdown_table(["method", "difference", *_captions()], rows, 2)


def _masks_by_method(records: Mapping[Run, ResultRecord]) -> dict[str, list[Mapping[str, Any]]]:
    """Return the scores of the pseudo-masks of each method that makes some, one for each seed."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for method in _methods(records):
        for (m, strategy, _), record in records.items():
            if (m, strategy) == (method, CONTROL) and record.pseudo is not None:
                found.setdefault(method, []).append(record.pseudo)
    return found


def _pseudo_masks(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Return the quality of the pseudo-masks of each method: the mean over the seeds."""
    rows = [
        [
            f"`{method}`",
            *(
                estimate(value, statistics.fmean(m["figures"][value]["value"] for m in masks))
                for value in VALUES
            ),
        ]
        for method, masks in found.items()
    ]
    return markdown_table(["method", *_captions()], rows, 1)


def _losses(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Return the share of instances that each stage has lost, by size: the mean over the results.

    An instance is lost if less than half of its pixels have the right class.

    Args:
        found: Results by method, each with the rows of ``losses``.
    """
    shares: dict[tuple[str, str], dict[str, list[float]]] = {}
    for method, results in found.items():
        for row in (row for result in results for row in result["losses"]):
            if row["threshold"] == LOST_THRESHOLD:
                of = shares.setdefault((method, row["stage"]), {})
                of.setdefault(row["size"], []).append(row["lost"] / row["n"])
    rows = [
        [f"`{method}`", stage, *(percent(statistics.fmean(of[size])) for size in SizeBins().names)]
        for (method, stage), of in shares.items()
    ]
    return markdown_table(["method", "stage", *SizeBins().names], rows, 2)


def _folders(read: Mapping[str, Any]) -> str:
    """Return the table of ``compare_folders.py``: values, and differences with intervals."""
    found: dict[str, dict[str, str]] = {}
    for each in read["differences"]:
        shown = _with_interval(PooledDifference(**each))
        found.setdefault(each["strategy"], {})[each["value"]] = shown
    control, *kinds = read["values"]
    rows = [
        [
            control,
            *(
                estimate(value, statistics.fmean(seeds), statistics.stdev(seeds))
                for value, seeds in read["values"][control].items()
            ),
        ],
        *([f"{kind} − {control}", *(found[kind][value] for value in VALUES)] for kind in kinds),
    ]
    return markdown_table(["", *_captions()], rows, 1)


_SHARED = (*VALUES, "region_precision_small", "region_precision_large")


def _shared(masks: Mapping[str, Any]) -> str:
    rows = [
        [f"`{name}`", *(estimate(value, of["values"][value]) for value in _SHARED)]
        for name, of in masks.items()
    ]
    return markdown_table(["masks", *_captions(_SHARED)], rows, 1)


def _outcomes(found: Mapping[str, Sequence[Mapping[str, Mapping[str, int]]]]) -> str:
    """Return the shares of instances with each outcome, by size, over all given results."""
    rows = []
    for name, results in found.items():
        for size in results[0]:
            counts = [sum(of[size][outcome] for of in results) for outcome in OUTCOMES]
            n = sum(counts)
            rows.append([f"`{name}`", size, f"{n:,}", *(percent(count / n) for count in counts)])
    titles = list(map(in_words, OUTCOMES))
    return markdown_table(["", "size", "n", *titles], rows, 2)


def _loss_share(read: Mapping[str, Any]) -> str:
    """Return the shares of the loss by group of pixels, of the masks at their own size."""
    definitions = read["strides"]["1"]["definitions"]
    rows = [
        [name, *(percent(share) for share in of["share"].values())]
        for name, of in definitions.items()
    ]
    (first, *_) = definitions.values()
    return markdown_table(["definition", *first["share"]], rows, 1)


# --- figures --------------------------------------------------------------------------------------

_AXES = ("miou", "ia_small.class_mean")


def _scatter(points: Mapping[str, Sequence[tuple[str, float, float]]]) -> Figure:
    """Draw mIoU against IA_small: one mark for each method, a shape and colour for each group."""
    width, height, left, right, top, bottom = 720, 420, 60, 560, 20, 360
    every = [point for group in points.values() for point in group]
    top_x = -(-max(x for _, x, _ in every) * 10 // 1) / 10
    top_y = -(-max(y for _, _, y in every) * 10 // 1) / 10
    low_x = (min(x for _, x, _ in every) * 10 // 1) / 10

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            left + (right - left) * (x - low_x) / (top_x - low_x),
            bottom - (bottom - top) * y / top_y,
        )

    parts: list[Markup] = []
    for k in range(round(top_y * 10) + 1):
        y = at(low_x, k / 10)[1]
        parts += [
            line(left, y, right, y, "grid"),
            text(left - 8, y + 4, f"{k / 10:.1f}", "end quiet"),
        ]
    for k in range(round(low_x * 10), round(top_x * 10) + 1):
        x = at(k / 10, 0)[0]
        parts += [
            line(x, top, x, bottom, "grid"),
            text(x, bottom + 18, f"{k / 10:.1f}", "middle quiet"),
        ]
    parts += [
        text((left + right) / 2, bottom + 40, "mIoU", "middle"),
        text(left, top - 6, "IA of small objects (class mean)", "start"),
    ]
    marks = [at(x, y) for _, x, y in every]
    for k, (group, of) in enumerate(points.items()):
        colour = f"var(--{('blue', 'orange', 'green')[k % 3]})"
        for name, value, small in of:
            x, y = at(value, small)
            end = x + 12 + 7 * len(name)
            taken = any(x < other <= end and abs(y - beside) < 12 for other, beside in marks)
            label = (x - 8, "end fine") if taken or end > right else (x + 8, "start fine")
            parts += [_mark(x, y, k, colour), text(label[0], y + 4, name, label[1])]
        parts += [_mark(right + 24, top + 20 + 24 * k, k, colour),
                  text(right + 36, top + 24 + 24 * k, group, "start")]  # fmt: skip
    said = "mIoU and IA of small objects: " + "; ".join(
        f"{group} " + ", ".join(f"{name} {x:.3f} and {y:.3f}" for name, x, y in of)
        for group, of in points.items()
    )
    return figure(said, width, height, parts)


def _mark(x: float, y: float, shape: int, colour: str) -> Markup:
    corners = ((), ((-4, -4), (4, -4), (4, 4), (-4, 4)), ((0, -5.5), (5.5, 0), (0, 5.5), (-5.5, 0)))
    if not corners[shape % 3]:
        return element("circle", cx=x, cy=y, r=4.5, style=f"fill:{colour}")
    points = " ".join(f"{x + dx:g},{y + dy:g}" for dx, dy in corners[shape % 3])
    return element("polygon", points=points, style=f"fill:{colour}")


def _forest(found: Sequence[PooledDifference]) -> Figure:
    """Draw the differences with their 95 % intervals: every method, and all of them pooled."""
    shown = [each for each in found if each.value in (VALUES[0], *VALUES[2:])]
    values = list(dict.fromkeys(each.value for each in shown))
    groups = sorted({each.methods for each in shown}, key=lambda group: (len(group), group))
    strategies = list(dict.fromkeys(each.strategy for each in shown))
    reach = math.ceil(100 * max(max(abs(each.low), abs(each.high)) for each in shown)) / 100
    column, row, left, top = 150, 18, 120, 56
    height = top + row * len(strategies) * len(groups) + 14 * len(groups) + 34
    parts: list[Markup] = []
    for v, value in enumerate(values):
        middle = left + column * v + column / 2
        parts += [
            text(middle, 16, _captions([value])[0], "middle strong"),
            *(
                text(
                    middle + end * (column / 2 - 8),
                    34,
                    signed(end * reach, 2),
                    f"{side} quiet fine",
                )
                for end, side in ((-1, "start"), (0, "middle"), (1, "end"))
            ),
            line(middle, top - 10, middle, height - 30, "limit"),
        ]
        scale = (column / 2 - 8) / reach
        for g, group in enumerate(groups):
            for s, strategy in enumerate(strategies):
                y = top + row * (g * len(strategies) + s) + 14 * g
                each = next(
                    e for e in shown if (e.value, e.methods, e.strategy) == (value, group, strategy)
                )
                colour = f"var(--{('blue', 'orange', 'green')[s % 3]})"
                ends = {"x1": middle + each.low * scale, "x2": middle + each.high * scale}
                parts += [
                    element(
                        "line", y1=y, y2=y, **ends, style=f"stroke:{colour};stroke-width:2"
                    ),
                    _mark(middle + each.difference * scale, y, s, colour),
                ]  # fmt: skip
                if v == 0:
                    name = group[0] if len(group) == 1 else "all methods"
                    label = f"{name}, {strategy}" if s == 0 else strategy
                    parts.append(
                        text(left - 6, y + 4, label, "end fine" + (" strong" * (len(group) > 1)))
                    )
    parts.append(
        text(
            left,
            height - 10,
            f"difference from {CONTROL} of equal steps, with 95 % intervals",
            "start quiet",
        )
    )
    said = "Differences from ce: " + "; ".join(
        f"{'all methods' if len(e.methods) > 1 else e.methods[0]} {e.strategy} "
        f"{_captions([e.value])[0]} "
        f"{signed(e.difference)} ({signed(e.low)} to {signed(e.high)})"
        for e in shown
        if len(e.methods) > 1
    )
    return figure(said, left + column * len(values), height, parts)


@click.command()
@click.argument("results", type=click.Path(path_type=Path))
@click.argument("page", type=click.Path(path_type=Path))
def command(results: Path, page: Path) -> None:
    """Rewrite the tables and figures of PAGE from the folder RESULTS."""
    main(results, page)


if __name__ == "__main__":
    run(command)
