"""Results of ``sbdata bench``, set side by side: one board a training set and scored set.

A board has a row for each method and strategy, with the mean over the seeds that were run. Results
are averaged only if nothing but their seed differs. The protocol that most results of a board share
is the board's; a row of another one (another split, refinement, multi-scale test, initialisation,
training preset or set of the same name) stays, with a mark and a sentence that says what differs.
Nothing is filled in: a pair of method and strategy without a result is "not run".
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sbdata.bench.result import (
    DIFFERENCES_FORMAT,
    FORMAT,
    Differences,
    Result,
    read_differences,
    read_result,
)
from sbdata.errors import InputError
from sbdata.score.wording import NOTHING, count, number, signed
from sbdata.settings import as_plain

PAIRS = (("sb-ewc", "ce-ft"), ("sb-ewc", "ce"))
"""Strategies whose difference a claim for the paper's strategy rests on: minuend, subtrahend."""

CONTROLS = "controls"
"""The kind of what is a ceiling or a floor instead of a method."""

_STRATEGIES = ("ce", "ce-ft", "sb", "sb-ft", "sb-ewc")  # in this order; others follow by name
_KINDS = ("image labels", "image labels + saliency", "boxes")  # likewise
_ROLES = {"full": "ceiling", "labels-only": "floor"}
_CLOSE = 1e-6  # of a difference and the figures it is of, which were written as text
_UNSTATED = "not stated"

# --- reading --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """One method under one strategy and seed, scored on one set.

    Attributes:
        file: it was read from.
        method: its name.
        strategy: of the training.
        seed: of everything.
        kind: what the method sees, in words: ``image labels + saliency``; or ``controls``.
        synthetic: whether the images are generated.
        training: name of the set that was trained on.
        scored: name of the set that was scored.
        protocol: what has to be equal for two entries to be compared; plain values by name.
        labels: where the image labels came from.
        settings: of the method, plain values by name.
        code: hash of sbdata's code.
        figures: by headline name, such as ``miou`` and ``ia_small.class_mean``.
        n_images: of the scored set.
        n_instances: by ``ia``, ``ia_small`` ...
        n_classes: that have such an instance, likewise.
    """

    file: Path
    method: str
    strategy: str
    seed: int
    kind: str
    synthetic: bool
    training: str
    scored: str
    protocol: Mapping[str, str]
    labels: str
    settings: Mapping[str, str]
    code: str
    figures: Mapping[str, float | None]
    n_images: int
    n_instances: Mapping[str, int]
    n_classes: Mapping[str, int]


@dataclass(frozen=True)
class Change:
    """A difference of one figure, and its 95 % interval; None where there is none."""

    value: float
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Paired:
    """The paired differences of two strategies: ``minuend`` minus ``subtrahend``."""

    file: Path
    method: str
    seed: int
    scored: str
    minuend: str
    subtrahend: str
    changes: Mapping[str, Change | None]


def read_boards(paths: Sequence[Path]) -> list[Board]:
    """Read result files and the differences beside them, and set them side by side.

    Raises:
        InputError: see :func:`read_entries` and :func:`make_boards`.
    """
    return make_boards(*read_entries(paths))


def read_entries(paths: Sequence[Path]) -> tuple[list[Entry], list[Paired]]:
    """Read result files, and the files of differences that lie beside them.

    Args:
        paths: files, or folders that are searched for ``*.json``; JSON files of other formats in a
            folder are passed over.

    Raises:
        InputError: if a path does not exist, a file is damaged or of a later format, or there is
            no result at all.
    """
    entries: list[Entry] = []
    pairs: list[Paired] = []
    for path in sorted({file for given in paths for file in _files(given)}):
        format_ = _format_of(path)
        if format_ == FORMAT:
            entries += _entries(read_result(path), path)
        elif format_ == DIFFERENCES_FORMAT:
            pairs += _paired(read_differences(path), path)
        elif re.match(r"sbdata\.(result|differences)\.v", format_):
            msg = f"{path}: of format {format_}, which this sbdata does not read; update sbdata"
            raise InputError(msg)
        elif path in paths:
            msg = f"{path}: no result; 'sbdata bench' writes files of format {FORMAT}"
            raise InputError(msg)
    if not entries:
        where = ", ".join(map(str, paths))
        msg = f"{where}: no result of format {FORMAT}; 'sbdata bench' writes them"
        raise InputError(msg)
    return entries, pairs


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return [file for file in path.rglob("*.json") if file.is_file()]
    if not path.is_file():
        msg = f"{path}: no such file or folder; give the results that 'sbdata bench' wrote"
        raise InputError(msg)
    return [path]


def _format_of(path: Path) -> str:
    """Return what a JSON file says it is, or nothing."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"{path}: cannot be read as JSON ({error}); delete it and run 'sbdata bench' again"
        raise InputError(msg) from error
    found = raw.get("format") if isinstance(raw, dict) else None
    return found if isinstance(found, str) else ""


def _entries(result: Result, path: Path) -> Iterator[Entry]:
    kind = " + ".join(s.replace("_", " ") for s in result.supervision) or "nothing"
    about = {"logical_hash": result.training.logical_hash, "images": result.training.images}
    common = {
        "training set": about,
        "preset": result.preset,
        "pretrained": result.pretrained,
        "training": result.training_preset,
    }
    for name, scored in sorted(result.sets.items()):
        protocol = _flat({**common, "metric": scored.metric, **as_plain(scored.protocol)})
        # How often a checkpoint is written changes no figure.
        protocol.pop("training: optimisation: checkpoint_every", None)
        yield Entry(
            file=path,
            method=result.method,
            strategy=result.strategy,
            seed=result.seed,
            kind=CONTROLS if result.control else kind,
            synthetic=result.synthetic,
            training=result.training.set,
            scored=name,
            protocol=protocol,
            labels=result.training.labels,
            settings=_flat(result.method_settings),
            code=result.code.get("sbdata", ""),
            figures={figure: at.value for figure, at in scored.figures.items()},
            n_images=scored.n_images,
            n_instances=scored.n_instances,
            n_classes=scored.n_classes,
        )


def _flat(values: Mapping[str, Any], above: str = "") -> dict[str, str]:
    """Return nested mappings as one of texts, so that any two values can be compared and shown."""
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{above}{name}: ")
        else:
            flat[f"{above}{name}"] = value if isinstance(value, str) else json.dumps(value)
    return flat


def _paired(found: Differences, path: Path) -> Iterator[Paired]:
    for pair in found.pairs:
        changes = {
            name: None if given is None else _change(given, f"{path}: {name}")
            for name, given in pair.differences.items()
        }
        strategies = (pair.second, pair.first)  # the file subtracts the first from the second
        yield Paired(path, found.method, found.seed, pair.set, *strategies, changes)


def _change(given: Mapping[str, Any], where: str) -> Change:
    """Read a difference; its interval may be a list of two or have ``low`` and ``high``."""
    interval = given.get("interval")
    if isinstance(interval, Mapping):
        interval = [interval.get("low"), interval.get("high")]
    ends = interval if interval is not None else [0.0, 0.0]
    numbers = [given.get("value"), *ends]
    if len(numbers) != 3 or not all(type(n) in (int, float) for n in numbers):
        msg = f"{where}: a difference needs a value and an interval; run 'sbdata bench' again"
        raise InputError(msg)
    return Change(numbers[0], None if interval is None else (numbers[1], numbers[2]))


# --- boards ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mean:
    """A figure over seeds.

    Attributes:
        value: the mean.
        std: the sample standard deviation (divisor n - 1); None for one seed.
        n: the number of seeds.
    """

    value: float
    std: float | None
    n: int


@dataclass(frozen=True)
class Row:
    """A method under a strategy.

    Attributes:
        method: its name.
        strategy: of the training.
        kind: what the method sees, or ``controls``.
        role: ``ceiling`` or ``floor`` of a control, else empty.
        seeds: that were run, sorted; none means that it was not run.
        figures: by headline name; None where there is nothing to measure.
        mark: of the footnote that says how its protocol differs, or empty.
    """

    method: str
    strategy: str
    kind: str
    role: str
    seeds: tuple[int, ...] = ()
    figures: Mapping[str, Mean | None] = field(default_factory=dict)
    mark: str = ""


@dataclass(frozen=True)
class Contrast:
    """A strategy minus another, of one method.

    Attributes:
        method: its name.
        kind: what the method sees, or ``controls``.
        minuend: a strategy.
        subtrahend: a strategy.
        seeds: the differences of each seed by headline name, with their intervals of the paired
            bootstrap over images.
        mean: of the seeds' differences, with the t-interval of their mean: how far it hangs on the
            seeds. None for one seed.
        missing: why there is nothing: ``not run``, ``not compared``; else empty.
        mark: as in :class:`Row`.
    """

    method: str
    kind: str
    minuend: str
    subtrahend: str
    seeds: Mapping[int, Mapping[str, Change | None]] = field(default_factory=dict)
    mean: Mapping[str, Change | None] | None = None
    missing: str = ""
    mark: str = ""


@dataclass(frozen=True)
class Footnote:
    """What differs where a row has this mark."""

    mark: str
    text: str


@dataclass(frozen=True)
class Board:
    """The results on one scored set of methods trained on one set.

    Attributes:
        training: name of the training set.
        scored: name of the scored set.
        synthetic: whether images of either are generated.
        n_images: of the scored set.
        n_instances: by ``ia``, ``ia_small`` ...
        n_classes: that have such an instance, likewise.
        protocol: that the rows without a mark share.
        rows: by kind, method and strategy.
        contrasts: by kind, method and pair.
        footnotes: by mark.
        notes: sentences that must stand beside the figures.
    """

    training: str
    scored: str
    synthetic: bool
    n_images: int
    n_instances: Mapping[str, int]
    n_classes: Mapping[str, int]
    protocol: Mapping[str, str]
    rows: tuple[Row, ...]
    contrasts: tuple[Contrast, ...]
    footnotes: tuple[Footnote, ...]
    notes: tuple[str, ...]

    @property
    def name(self) -> str:
        """Return the board's name: training set, slash, scored set."""
        return f"{self.training}/{self.scored}"

    @property
    def strategies(self) -> tuple[str, ...]:
        """Return the strategies of the rows, in their order."""
        return tuple(dict.fromkeys(sorted((r.strategy for r in self.rows), key=_strategy_order)))


def make_boards(entries: Sequence[Entry], pairs: Sequence[Paired] = ()) -> list[Board]:
    """Set results side by side; boards are sorted by training set and scored set.

    Args:
        entries: the results.
        pairs: paired differences between results that lie in the same folder.

    Raises:
        InputError: if two files give one cell different figures, or a difference is not that of
            the figures it belongs to.
    """
    groups: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in entries:
        groups[entry.training, entry.scored].append(entry)
    methods, strategies = ({getattr(e, key) for e in entries} for key in ("method", "strategy"))
    return [_board(groups[key], pairs, methods, strategies) for key in sorted(groups)]


def _board(
    entries: Sequence[Entry], pairs: Sequence[Paired], methods: set[str], strategies: set[str]
) -> Board:
    protocol = _commonest(entry.protocol for entry in entries)
    marks, footnotes = _marks(entries, protocol)
    kept, notes = _without_repeats(entries, marks)
    kinds = {entry.method: entry.kind for entry in kept}
    cells: dict[tuple[str, str, str], list[Entry]] = defaultdict(list)
    for entry in kept:
        cells[entry.method, entry.strategy, marks[id(entry)]].append(entry)
    present = sorted({entry.strategy for entry in kept}, key=_strategy_order)
    run = {(method, strategy) for method, strategy, _ in cells}
    rows = [
        Row(method, strategy, kinds[method], _role(method, kinds[method]), *_averaged(found), mark)
        for (method, strategy, mark), found in cells.items()
    ]
    rows += [
        Row(method, strategy, kind, _role(method, kind))
        for method, kind in kinds.items()
        for strategy in present
        if (method, strategy) not in run
    ]
    elsewhere = {
        "method": sorted(methods - set(kinds)),
        "strategy": sorted(strategies - set(present), key=_strategy_order),
    }
    for what, names in elsewhere.items():
        if names:
            listed = count(len(names), what, "strategies" if what == "strategy" else "")
            notes.append(f"Not run here, though on another set: {listed} ({', '.join(names)}).")
    codes = {entry.code for entry in kept}
    if len(codes) > 1:
        notes.append(f"The results come from {len(codes)} versions of sbdata's code.")
    contrasts, skipped = _contrasts(entries, pairs, kinds, run, set(present), marks)
    of_reference = [entry for entry in kept if entry.protocol == protocol]
    first = of_reference[0]
    return Board(
        training=first.training,
        scored=first.scored,
        synthetic=any(entry.synthetic for entry in kept),
        n_images=first.n_images,
        n_instances=first.n_instances,
        n_classes=first.n_classes,
        protocol=protocol,
        rows=tuple(sorted(rows, key=_row_order)),
        contrasts=tuple(contrasts),
        footnotes=footnotes,
        notes=(*notes, *skipped),
    )


def _row_order(row: Row) -> tuple[Any, ...]:
    return (*_method_order(row.method, row.kind), _strategy_order(row.strategy), row.mark)


def _method_order(method: str, kind: str) -> tuple[Any, ...]:
    known = (*_KINDS, kind) if kind != CONTROLS else (*_KINDS, "", CONTROLS)
    roles = (*_ROLES, method)
    return known.index(kind), kind, roles.index(method) if kind == CONTROLS else 0, method


def _strategy_order(strategy: str) -> tuple[int, str]:
    return (*_STRATEGIES, strategy).index(strategy), strategy


def _role(method: str, kind: str) -> str:
    return _ROLES.get(method, "") if kind == CONTROLS else ""


# --- protocols ------------------------------------------------------------------------------------


def _commonest(protocols: Iterable[Mapping[str, str]]) -> Mapping[str, str]:
    """Return the protocol that occurs most often; among equals the first in sorted order."""
    counted = Counter(tuple(sorted(protocol.items())) for protocol in protocols)
    most = max(counted.values())
    return dict(min(items for items, n in counted.items() if n == most))


def _marks(
    entries: Sequence[Entry], protocol: Mapping[str, str]
) -> tuple[dict[int, str], tuple[Footnote, ...]]:
    """Return each entry's mark (by ``id``), and what the marks stand for.

    A method's settings are held against those that most results of the method have, the labels of
    all but the controls against each other: a control need not have the methods' labels.
    """
    labels = [{"image labels": e.labels} for e in entries if e.kind != CONTROLS]
    of_most = _commonest(labels) if labels else {}
    settings = {
        method: _commonest(e.settings for e in entries if e.method == method)
        for method in {entry.method for entry in entries}
    }
    texts: dict[int, str] = {}
    for entry in entries:
        found = [*_differing(entry.protocol, protocol)]
        if entry.kind != CONTROLS:
            found += _differing({"image labels": entry.labels}, of_most)
        found += [f"its {d}" for d in _differing(entry.settings, settings[entry.method])]
        texts[id(entry)] = "; ".join(found)
    order = list(dict.fromkeys(texts[id(e)] for e in sorted(entries, key=_entry_order)))
    mark_of = {text: _letter(k) for k, text in enumerate(text for text in order if text)}
    footnotes = tuple(Footnote(mark, text) for text, mark in mark_of.items())
    return {key: mark_of.get(text, "") for key, text in texts.items()}, footnotes


def _entry_order(entry: Entry) -> tuple[Any, ...]:
    order = (*_method_order(entry.method, entry.kind), _strategy_order(entry.strategy))
    return (*order, entry.seed, str(entry.file))


def _differing(own: Mapping[str, str], reference: Mapping[str, str]) -> Iterator[str]:
    for name in sorted({*own, *reference}):
        mine, theirs = own.get(name, _UNSTATED), reference.get(name, _UNSTATED)
        if mine != theirs:
            yield f"{name} {_shortened(mine)} instead of {_shortened(theirs)}"


def _shortened(value: str) -> str:
    """Return a value with a hash cut to what tells two apart."""
    return value[:12] if re.fullmatch(r"(sha256:)?[0-9a-f]{32,}", value) else value


def _letter(place: int) -> str:
    """Return the mark of a place: a to z, then aa.

    >>> _letter(0), _letter(25), _letter(26)
    ('a', 'z', 'aa')
    """
    letters = ""
    place += 1
    while place:
        place, rest = divmod(place - 1, 26)
        letters = chr(ord("a") + rest) + letters
    return letters


# --- cells ----------------------------------------------------------------------------------------


def _without_repeats(
    entries: Sequence[Entry], marks: Mapping[int, str]
) -> tuple[list[Entry], list[str]]:
    """Return one entry a cell and seed, and notes of files that say the same again."""
    kept: dict[tuple[str, str, str, int], Entry] = {}
    notes = []
    for entry in sorted(entries, key=_entry_order):
        key = (entry.method, entry.strategy, marks[id(entry)], entry.seed)
        former = kept.setdefault(key, entry)
        if former is entry:
            continue
        if former.figures != entry.figures:
            msg = (
                f"{former.file} and {entry.file} give {entry.method}, {entry.strategy}, seed "
                f"{entry.seed} different figures on {entry.scored}; leave one of them out"
            )
            raise InputError(msg)
        notes.append(f"{entry.file.name} is there twice, with the same figures.")
    return list(kept.values()), notes


def _averaged(
    entries: Sequence[Entry],
) -> tuple[tuple[int, ...], dict[str, Mean | None]]:
    entries = sorted(entries, key=lambda entry: entry.seed)
    names = dict.fromkeys(name for entry in entries for name in entry.figures)
    figures = {name: _mean_of([entry.figures.get(name) for entry in entries]) for name in names}
    return tuple(entry.seed for entry in entries), figures


def _mean_of(values: Sequence[float | None]) -> Mean | None:
    """Return the mean over seeds; None if a seed has no such figure.

    >>> _mean_of([0.25, 0.5, 0.75])
    Mean(value=0.5, std=0.25, n=3)
    """
    defined = [value for value in values if value is not None]
    if not defined or len(defined) < len(values):
        return None
    n = len(defined)
    mean = math.fsum(defined) / n
    if n == 1:
        return Mean(mean, None, 1)
    return Mean(mean, math.sqrt(math.fsum((v - mean) ** 2 for v in defined) / (n - 1)), n)


# --- differences ----------------------------------------------------------------------------------


def _contrasts(
    entries: Sequence[Entry],
    pairs: Sequence[Paired],
    kinds: Mapping[str, str],
    run: set[tuple[str, str]],
    present: set[str],
    marks: Mapping[int, str],
) -> tuple[list[Contrast], list[str]]:
    """Return the differences of a board, and notes of those that cannot be shown."""
    place = {(e.file.parent, e.method, e.strategy, e.seed): e for e in entries}
    scored = entries[0].scored
    found: dict[tuple[str, str, str, str], dict[int, Mapping[str, Change | None]]]
    found = defaultdict(dict)
    notes = []
    for pair in pairs:
        minuend, subtrahend = (
            place.get((pair.file.parent, pair.method, strategy, pair.seed))
            for strategy in (pair.minuend, pair.subtrahend)
        )
        if pair.scored != scored or (minuend is None and subtrahend is None):
            continue  # belongs to another board
        if minuend is None or subtrahend is None:
            lacking = pair.minuend if minuend is None else pair.subtrahend
            notes.append(
                f"A difference in {pair.file.name} is left out: the result of {lacking} is not "
                "beside it."
            )
            continue
        _check_pair(pair, minuend, subtrahend)
        mark = " ".join(sorted({marks[id(minuend)], marks[id(subtrahend)]} - {""}))
        key = (pair.method, pair.minuend, pair.subtrahend, mark)
        found[key].setdefault(pair.seed, pair.changes)
    contrasts = [
        Contrast(
            method=method,
            kind=kinds[method],
            minuend=one,
            subtrahend=other,
            seeds=dict(sorted(seeds.items())),
            mean=_mean_change(seeds),
            mark=mark,
        )
        for (method, one, other, mark), seeds in found.items()
    ]
    there = {key[:3] for key in found}
    for method, kind in kinds.items():
        for one, other in PAIRS:
            if {one, other} <= present and (method, one, other) not in there:
                both_run = {(method, one), (method, other)} <= run
                why = "not compared" if both_run else "not run"
                contrasts.append(Contrast(method, kind, one, other, missing=why))
    return sorted(contrasts, key=_contrast_order), notes


def _contrast_order(contrast: Contrast) -> tuple[Any, ...]:
    pair = (contrast.minuend, contrast.subtrahend)
    order = (*PAIRS, pair).index(pair)
    return (*_method_order(contrast.method, contrast.kind), order, pair, contrast.mark)


def _check_pair(pair: Paired, minuend: Entry, subtrahend: Entry) -> None:
    """Make sure that differences are those of the figures they lie beside."""
    for name, change in pair.changes.items():
        values = (minuend.figures.get(name), subtrahend.figures.get(name))
        gap = None if values[0] is None or values[1] is None else values[0] - values[1]
        if (change is None) != (gap is None) or (
            change is not None and gap is not None and abs(change.value - gap) > _CLOSE
        ):
            msg = (
                f"{pair.file}: the difference of {name} is not that of {minuend.file.name} and "
                f"{subtrahend.file.name} on {pair.scored}; run 'sbdata bench' again"
            )
            raise InputError(msg)


def _mean_change(
    seeds: Mapping[int, Mapping[str, Change | None]],
) -> dict[str, Change | None] | None:
    """Return the mean of the seeds' differences with its 95 % t-interval; None for one seed."""
    if len(seeds) < 2:
        return None
    from scipy.stats import t  # slow to import, and not needed for one seed

    names = dict.fromkeys(name for changes in seeds.values() for name in changes)
    means: dict[str, Change | None] = {}
    for name in names:
        values = [None if c.get(name) is None else c[name].value for c in seeds.values()]  # type: ignore[union-attr]
        mean = _mean_of(values)
        if mean is None or mean.std is None:
            means[name] = None
        else:
            reach = float(t.ppf(0.975, mean.n - 1)) * mean.std / math.sqrt(mean.n)
            means[name] = Change(mean.value, (mean.value - reach, mean.value + reach))
    return means


# --- plain values ---------------------------------------------------------------------------------


def boards_as_dict(boards: Sequence[Board]) -> dict[str, Any]:
    """Return boards as plain values, for JSON."""
    listed = [{"name": board.name, **asdict(board)} for board in boards]
    return {"format": "sbdata.leaderboard.v1", "boards": listed}


# --- words, the same in the printed tables, on the page and in Markdown ---------------------------

CONTRASTS_SAID = (
    "Differences, first strategy minus second: of a seed, with the 95 % interval of the paired "
    "bootstrap over images; of the mean over seeds, with its 95 % t-interval."
)


def intro_of(board: Board) -> str:
    """Return the sentence over a board: what was trained and scored on, and how to read a cell."""
    synthetic = " (synthetic)" if board.synthetic else ""
    return (
        f"Trained on {board.training}, scored on {board.scored}{synthetic}: "
        f"{count(board.n_images, 'image')}. IA: class mean, beneath it the instance mean; "
        "mean ± sample standard deviation over the seeds."
    )


def title_of(figure: str) -> str:
    """Return how a figure is called.

    >>> title_of("ia_small")
    'IA_small'
    """
    return f"IA{figure.removeprefix('ia')}"


def shown_mean(mean: Mean | None) -> str:
    """Write a mean over seeds.

    >>> shown_mean(Mean(0.5, 0.25, 3)), shown_mean(Mean(0.5, None, 1)), shown_mean(None)
    ('0.500 ± 0.250', '0.500', '–')
    """
    if mean is None:
        return NOTHING
    return number(mean.value) + ("" if mean.std is None else f" ± {number(mean.std)}")


def shown_change(change: Change | None) -> str:
    """Write a difference and its interval.

    >>> shown_change(Change(0.25, (-0.5, 1.0)))
    '+0.250 (−0.500 to +1.000)'
    """
    if change is None or change.interval is None:
        return signed(change.value if change else None)
    low, high = change.interval
    return f"{signed(change.value)} ({signed(low)} to {signed(high)})"


def name_of_row(row: Row) -> str:
    """Return a row's method, with its role if it is a control."""
    return f"{row.method} ({row.role})" if row.role else row.method


def what_it_sees(kind: str) -> str:
    """Return a row's kind in a word: what the method sees, or that it is a control.

    >>> what_it_sees("boxes"), what_it_sees("controls")
    ('boxes', 'control')
    """
    return "control" if kind == CONTROLS else kind


def mark_shown(item: Row | Contrast) -> str:
    """Return the mark of another protocol, or that it is the board's; a dash where nothing was run.

    >>> mark_shown(Row("irn", "ce", "image labels", "", (0,)))
    'same'
    """
    there = bool(item.seeds)
    return (item.mark or "same") if there else NOTHING


def pair_of(contrast: Contrast) -> str:
    """Return the two strategies of a difference."""
    return f"{contrast.minuend} − {contrast.subtrahend}"


def rows_shown(board: Board, line_break: str) -> tuple[list[str], list[list[str]]]:
    """Return the head and the rows of a board as text; the last column is of protocol marks.

    Args:
        board: to show.
        line_break: between the lines of one cell.
    """
    head = ["method", "sees", "strategy", "seeds", "mIoU"]
    head += [
        f"{title_of(name)}{line_break}n {n:,} in {board.n_classes.get(name, 0)}"
        for name, n in board.n_instances.items()
    ]
    rows = [
        [
            name_of_row(row),
            what_it_sees(row.kind),
            row.strategy,
            f"{len(row.seeds)}" if row.seeds else NOTHING,
            *(line_break.join(cell) for cell in means_shown(board, row)),
            mark_shown(row),
        ]
        for row in board.rows
    ]
    return [*head, "protocol"], rows


def means_shown(board: Board, row: Row) -> list[tuple[str, ...]]:
    """Return a row's cells: mIoU, then for each size the class mean and the instance mean."""
    if not row.seeds:
        return [("not run",), *[("",)] * len(board.n_instances)]
    return _cells(board, {name: shown_mean(mean) for name, mean in row.figures.items()})


def changes_shown(board: Board, changes: Mapping[str, Change | None]) -> list[tuple[str, ...]]:
    """Return the cells of one seed's differences, or of their mean, as :func:`means_shown`."""
    return _cells(board, {name: shown_change(change) for name, change in changes.items()})


def _cells(board: Board, shown: Mapping[str, str]) -> list[tuple[str, ...]]:
    cells: list[tuple[str, ...]] = [(shown.get("miou", NOTHING),)]
    for name in board.n_instances:
        means = (f"{name}.class_mean", f"{name}.instance_mean")
        cells.append(tuple(shown.get(mean, NOTHING) for mean in means))
    return cells
