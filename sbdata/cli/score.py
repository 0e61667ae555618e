"""``sbdata score``: score a folder of predictions against a ground truth."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sbdata.cli.examples import examples
from sbdata.cli.output import say
from sbdata.cli.shell_completion import complete_palette, complete_set, complete_taxonomy
from sbdata.cli.tables import print_table
from sbdata.errors import InputError

if TYPE_CHECKING:
    from sbdata.score.conditions import FormerPredictions, Verdict
    from sbdata.score.inputs import ProblemsError
    from sbdata.score.result import Comparison, LoadImage, ScoreResult
    from sbdata.score.run import ScoreOptions
    from sbdata.score.truth import GroundTruth
    from sbdata.sizes import SizeBins

_MOVED_SHOWN = 5  # instances printed per comparison; summary.json lists more
_FOLDER = click.Path(path_type=Path)
_TEXTS = ("--split", "--instances", "--taxonomy")


@click.command(
    epilog=examples(
        "sbdata score predictions/mine --set data/shapes-b --against predictions/other",
        "sbdata score predictions/mine --voc VOCdevkit/VOC2012 --split val --per-class",
    )
)
@click.argument("places", metavar="PRED", type=_FOLDER, nargs=-1, required=True)
@click.option(
    "--set",
    "set_folder",
    type=_FOLDER,
    shell_complete=complete_set,
    help="Ground truth: a built set, or its manifest.",
)
@click.option("--voc", type=_FOLDER, help="Ground truth: a VOC devkit; see --split.")
@click.option("--split", help="Split of --voc and --cityscapes [val], or of --ade20k [validation].")
@click.option("--coco", type=_FOLDER, help="Ground truth: a COCO instances or panoptic file.")
@click.option(
    "--cityscapes", type=_FOLDER, help="Ground truth: the folder that holds Cityscapes' gtFine."
)
@click.option(
    "--ade20k", type=_FOLDER, help="Ground truth: the folder that holds ADE20K's instance masks."
)
@click.option("--class-masks", type=_FOLDER, help="Ground truth: a folder of class masks.")
@click.option(
    "--instance-masks",
    type=_FOLDER,
    help="Folder of instance masks, for --class-masks; or of the PNGs of a panoptic --coco file "
    "[the folder of its name].",
)
@click.option(
    "--instances",
    type=click.Choice(["components"]),
    help="Treat each connected component of a class as an instance, without --instance-masks.",
)
@click.option(
    "--taxonomy",
    shell_complete=complete_taxonomy,
    help="Classes of --coco [coco80; own if panoptic] or --class-masks [voc20]: a known name, "
    "'own' for the COCO file's categories, or a text file with one name per line.",
)
@click.option("--photos", type=_FOLDER, help="Photos for the report, with --coco or --class-masks.")
@click.option(
    "--against",
    multiple=True,
    type=_FOLDER,
    help="Other predictions B: the table shows PRED − B with paired intervals; may be repeated.",
)
@click.option(
    "--fail-under",
    metavar="NAME=VALUE",
    multiple=True,
    help="Exit with status 1 if a value is below VALUE or undefined, such as ia_small=0.4, "
    "miou=0.6 or ia_small.instance_mean=0.5 [class mean]; may be repeated.",
)
@click.option(
    "--fail-worse-than",
    metavar="OLD",
    multiple=True,
    type=_FOLDER,
    help="Exit with status 1 if IA of the smallest size, IA_objects or mIoU is clearly worse than "
    "of OLD: the paired interval lies wholly below 0. OLD is other predictions, or the folder of "
    "their former score; may be repeated.",
)
@click.option("--name", help="Name of the result [the folder's name].")
@click.option(
    "--out",
    type=_FOLDER,
    default=Path("scores"),
    show_default=True,
    help="Output folder; the result is written to OUT/NAME.",
)
@click.option("--allow-missing", is_flag=True, help="Count missing predictions as background.")
@click.option("--decode-palette", is_flag=True, help="Decode RGB predictions by VOC's palette.")
@click.option(
    "--palette",
    metavar="NAME|FILE",
    shell_complete=complete_palette,
    help="Classes of the colours or numbers in predictions: voc, cityscapes-trainids, "
    "cityscapes-labelids, or a file of lines 'name: r g b' or 'name: n', such as labelmap.txt.",
)
@click.option(
    "--coco-ids",
    type=_FOLDER,
    help="COCO-format file whose image and category ids JSON predictions use [the --coco file].",
)
@click.option("--pred-void", is_flag=True, help="Read 255 in predictions as background.")
@click.option(
    "--fp-attribution",
    type=click.Choice(["overlap", "area", "equal", "all"]),
    default="overlap",
    show_default=True,
    help="How false pixels of a region are attributed to the instances that it overlaps.",
)
@click.option(
    "--rounding",
    type=click.Choice(["floor", "exact"]),
    default="floor",
    show_default=True,
    help="Rounding of the false pixels attributed to an instance: down, or none.",
)
@click.option(
    "--boundary",
    is_flag=True,
    help="Also measure Boundary IoU by size, which takes several times as long.",
)
@click.option(
    "--bins",
    "size_bins",
    metavar="A,B|A%,B%|terciles|terciles-by-class",
    help="Areas (pixels, or shares of the image) that separate the sizes, or terciles of the true "
    "instances' areas [those of the set].",
)
@click.option(
    "--resamples",
    type=click.IntRange(min=0),
    default=1000,
    show_default=True,
    help="Number of bootstrap resamples; 0 disables confidence intervals.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Bootstrap seed."
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes for reading and scoring, and with --coco for drawing the truth; the result "
    "does not depend on it.",
)
@click.option(
    "--shard",
    metavar="K/N",
    help="Score the K-th of N parts of the images, and write OUT/NAME.shard-K-of-N.npz only.",
)
@click.option(
    "--merge",
    is_flag=True,
    help="PRED are folders with all shards of a result: write the result that one call gives.",
)
@click.option("--no-report", is_flag=True, help="Do not write report.html.")
@click.option("--per-class", is_flag=True, help="Also print the values of each class.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.pass_context
def score(
    ctx: click.Context,
    places: tuple[Path, ...],
    set_folder: Path | None,
    voc: Path | None,
    split: str | None,
    coco: Path | None,
    cityscapes: Path | None,
    ade20k: Path | None,
    class_masks: Path | None,
    instance_masks: Path | None,
    instances: str | None,
    taxonomy: str | None,
    photos: Path | None,
    against: tuple[Path, ...],
    fail_under: tuple[str, ...],
    fail_worse_than: tuple[Path, ...],
    name: str | None,
    out: Path,
    allow_missing: bool,
    decode_palette: bool,
    palette: str | None,
    coco_ids: Path | None,
    pred_void: bool,
    fp_attribution: str,
    rounding: str,
    boundary: bool,
    size_bins: str | None,
    resamples: int,
    seed: int,
    workers: int,
    shard: str | None,
    merge: bool,
    no_report: bool,
    per_class: bool,
    as_json: bool,
) -> None:
    """Score the predictions in PRED: mIoU, and instance-aware IoU by object size.

    PRED is a folder of PNGs named <image_id>.png with class numbers, each of its image's size, or
    of arrays <image_id>.npy; or a JSON file of COCO results with run-length codes, or of COCO's
    panoptic format. All of it is checked first; if there are problems, all are listed and nothing
    is scored. Give exactly one ground truth: --set, --voc, --coco, --cityscapes, --ade20k or
    --class-masks.

    A large set can be scored in shards, by several calls on one machine or many: each takes the
    same options and its own --shard. `sbdata score --merge DIR --out OUT` then gives the result.
    """
    from functools import partial

    # Before Arrow is imported: its own allocator keeps the memory that reading a large set takes.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    from sbdata.cli.progress import showing_progress
    from sbdata.machine import check_output, writing_to
    from sbdata.score.conditions import former_predictions, headline_name, parse_minimum
    from sbdata.score.inputs import ProblemsError, write_problems
    from sbdata.score.run import ScoreOptions, gather, loader_of, name_of, score_images, task_of
    from sbdata.score.shards import find_shards, merge_shards, parse_shard, write_shard
    from sbdata.score.write import check_place, problems_file, summary_as_dict, write_result
    from sbdata.sizes import SizeBins, parse_bins

    given: dict[str, Any] = {
        "--set": set_folder,
        "--voc": voc,
        "--coco": coco,
        "--cityscapes": cityscapes,
        "--ade20k": ade20k,
        "--class-masks": class_masks,
        "--split": split,
        "--instance-masks": instance_masks,
        "--instances": instances,
        "--taxonomy": taxonomy,
        "--photos": photos,
    }
    options = ScoreOptions(
        fp_attribution=fp_attribution,
        rounding=rounding,
        boundary=boundary,
        predicted_void=pred_void,
        decode_palette=decode_palette,
        palette=palette,
        coco_ids=None if coco_ids is None else str(coco_ids),
        allow_missing=allow_missing,
        resamples=resamples,
        seed=seed,
        bins=parse_bins(size_bins) if size_bins else None,
    )
    minima = [parse_minimum(text) for text in fail_under]
    formers = [former_predictions(old) for old in fail_worse_than]
    if formers and not resamples:
        msg = "--fail-worse-than judges by intervals; give --resamples of at least 1"
        raise InputError(msg)
    if shard is not None and (minima or formers):
        msg = "a shard has no values to judge; give --fail-under to --merge"
        raise InputError(msg)
    against += tuple(f.place for f in formers if f.place not in against)
    paths: list[Path] = []
    if merge:
        _refuse_with_merge(ctx)
        call, paths = find_shards(places)
        name, options = call["name"], _options_from(call["call"]["options"])
        given = {
            key: Path(value) if value and key not in _TEXTS else value
            for key, value in call["call"]["given"].items()
        }
        places, against = (tuple(map(Path, call["call"][key])) for key in ("places", "against"))
    if len(places) != 1:
        msg = f"one PRED is scored at a time, not {len(places)}; see --against"
        raise InputError(msg)
    (predictions,) = places
    part = parse_shard(shard) if shard is not None else None
    name = name or name_of(predictions)
    folder = check_place(out, name, predictions)
    check_output(out)
    opening = _opener(
        {kind: given[kind] for kind in _TAKEN},
        {option: value for option, value in given.items() if option not in _TAKEN},
        options,
        workers,
    )
    with showing_progress(quiet=as_json) as progress:
        truth = opening()
        # Terciles have the usual names; their edges follow from the areas.
        bins = SizeBins() if isinstance(options.bins, str) else options.bins or truth.bins
        minima = [(headline_name(name, bins, options.metric), least) for name, least in minima]
        try:
            task, shown = task_of(predictions, truth, options, against), partial(progress, "score")
            if part is not None:
                call = _call(places, against, given, options)
                file = write_shard(
                    out, name, part, task, options, call, workers=workers, progress=shown
                )
                say(json.dumps({"shard": str(file)}) if as_json else f"{file}")
                return
            if merge:
                scored = merge_shards(task, options, paths)
            else:
                every = range(len(truth.image_ids))
                scored = gather(task, score_images(task, every, workers, shown), options, name)
        except ProblemsError as error:
            listed = problems_file(folder)
            with writing_to(listed.parent):
                write_problems(listed, error.problems)
            _say_problems(error, listed, as_json)
            ctx.exit(2)
        verdicts = _verdicts(scored, minima, formers, against)
        load = loader_of(scored, truth, options, task.listings[0])
        report = None if no_report else partial(_report, scored, load)
        write_result(scored, out, report)
    if as_json:
        said = {**summary_as_dict(scored), "result": str(folder)}
        if verdicts:
            said["conditions"] = [asdict(verdict) for verdict in verdicts]
        say(json.dumps(said, indent=2))
    else:
        _print_scored(scored, per_class)
        say(f"{folder}: {', '.join(sorted(entry.name for entry in folder.iterdir()))}")
    for verdict in verdicts:
        if verdict.result != "passed":
            say(f"{verdict.result.capitalize()}: {verdict.said} ({verdict.condition}).", err=True)
    if any(verdict.result == "failed" for verdict in verdicts):
        ctx.exit(1)


def _verdicts(
    scored: ScoreResult,
    minima: Sequence[tuple[str, float]],
    formers: Sequence[FormerPredictions],
    against: Sequence[Path],
) -> list[Verdict]:
    """Judge a score by the conditions of the call."""
    from sbdata.score.conditions import check_minima, check_not_worse, check_unchanged

    found = check_minima(scored, minima)
    for former in formers:
        k = against.index(former.place)
        check_unchanged(scored, former, k)
        found += check_not_worse(scored, scored.compared[k])
    return found


def _report(scored: ScoreResult, load: LoadImage, path: Path) -> None:
    from sbdata.report.score_page import write_figures, write_report

    write_report(scored, path, load)
    write_figures(scored, path.parent / "figures")


def _call(
    places: tuple[Path, ...],
    against: tuple[Path, ...],
    given: Mapping[str, Any],
    options: ScoreOptions,
) -> dict[str, Any]:
    """Return plain values of a call, from which --merge opens the same truth and folders."""
    return {
        "places": list(map(str, places)),
        "against": list(map(str, against)),
        "given": {key: value and str(value) for key, value in given.items()},
        "options": asdict(options),
    }


def _options_from(plain: Mapping[str, Any]) -> ScoreOptions:
    from sbdata.score.run import ScoreOptions
    from sbdata.settings import from_plain
    from sbdata.sizes import AskedBins

    bins = from_plain(AskedBins, plain["bins"], "bins") if plain["bins"] else None
    return ScoreOptions(**{**plain, "bins": bins})


def _refuse_with_merge(ctx: click.Context) -> None:
    """Refuse options that are the shards' and would be ignored."""
    from click.core import ParameterSource

    useful = {
        "places", "merge", "out", "workers", "no_report", "per_class", "as_json", "fail_under"
    }  # fmt: skip
    for name in ctx.params:
        if name not in useful and ctx.get_parameter_source(name) == ParameterSource.COMMANDLINE:
            said = next(p.opts[0] for p in ctx.command.params if p.name == name)
            msg = f"{said} does not go with --merge, which follows the shards; leave it out"
            raise InputError(msg)


# --- options --------------------------------------------------------------------------------------

# further options of each ground truth
_TAKEN = {
    "--set": (),
    "--voc": ("--split",),
    "--coco": ("--taxonomy", "--photos", "--instance-masks"),
    "--cityscapes": ("--split",),
    "--ade20k": ("--split",),
    "--class-masks": ("--instance-masks", "--instances", "--taxonomy", "--photos"),
}


def _opener(
    truths: Mapping[str, Path | None],
    further: Mapping[str, Any],
    options: ScoreOptions,
    workers: int,
) -> Callable[[], GroundTruth]:
    """Return the function that opens the given ground truth.

    Raises:
        InputError: if there is none, or several, or an option that it does not support.
    """
    from functools import partial

    from sbdata.score.truth import (
        truth_from_coco,
        truth_from_masks,
        truth_from_set,
        truth_from_voc,
    )
    from sbdata.sizes import SizeBins

    given = {option: path for option, path in truths.items() if path is not None}
    if len(given) != 1:
        said = " and ".join(given) if given else "none"
        msg = f"give one ground truth: {', '.join(truths)}; {said} was given"
        raise InputError(msg)
    ((kind, path),) = given.items()
    useless = [o for o, value in further.items() if value is not None and o not in _TAKEN[kind]]
    if useless:
        msg = f"{useless[0]} does not go with {kind}; leave it out"
        raise InputError(msg)
    if kind == "--set":
        return partial(truth_from_set, path)
    bins = options.bins if isinstance(options.bins, SizeBins) else SizeBins()
    if kind == "--voc":
        return partial(truth_from_voc, path, further["--split"] or "val", bins=bins)
    if kind == "--coco":
        return partial(
            truth_from_coco,
            path,
            further["--taxonomy"],
            bins=bins,
            segments=further["--instance-masks"],
            photos=further["--photos"],
            workers=workers,
        )
    if kind in ("--cityscapes", "--ade20k"):
        return partial(_label_maps, kind, path, further["--split"], bins)
    masks = further["--instance-masks"]
    if (masks is None) == (further["--instances"] is None):
        msg = (
            "--class-masks needs either --instance-masks, or --instances components to use the "
            "components of a class as instances"
        )
        raise InputError(msg)
    return partial(
        truth_from_masks,
        path,
        masks,
        further["--taxonomy"] or "voc20",
        bins=bins,
        photos=further["--photos"],
    )


def _label_maps(kind: str, root: Path, split: str | None, bins: SizeBins) -> GroundTruth:
    from sbdata.score.label_map_truth import truth_from_label_maps
    from sbdata.sources.ade20k import ADE20K
    from sbdata.sources.cityscapes import CITYSCAPES

    dataset, usual = (CITYSCAPES, "val") if kind == "--cityscapes" else (ADE20K, "validation")
    return truth_from_label_maps(dataset, root, split or usual, bins=bins)


# --- printing -------------------------------------------------------------------------------------


def _say_problems(error: ProblemsError, listed: Path, as_json: bool) -> None:
    if as_json:
        problems = [asdict(problem) for problem in error.problems]
        say(json.dumps({"problems": problems, "csv": str(listed)}, indent=2))
    else:
        say(f"Error: {error}\nAll of them, by file: {listed}", err=True)


def _print_scored(scored: ScoreResult, per_class: bool) -> None:
    summary = scored.summary
    say(
        f"{scored.name} on {scored.truth_name}{' (synthetic)' if scored.synthetic else ''}: "
        f"{summary.n_images:,} images, {summary.ia['ia'].n_instances:,} instances, {summary.metric}"
    )
    _print_values(scored)
    _print_regions(scored)
    _print_outcomes(scored)
    if per_class:
        _print_classes(scored)
    for other in scored.compared:
        _print_compared(scored, other)
    for note in scored.notes:
        say(f"note: {note}")


def _print_values(scored: ScoreResult) -> None:
    from sbdata.formatting import NOTHING, caption, estimate, sizes_line, span

    summary, intervals = scored.summary, scored.intervals

    def shown(key: str, value: float | None) -> list[str]:
        return [estimate(key, value), span(intervals[key], key)]

    miou = [caption("miou"), *shown("miou", summary.miou)]
    rows = [[*miou, NOTHING, NOTHING, NOTHING, f"{summary.n_miou_classes}"]]
    rows += [
        [
            caption(key),
            *shown(f"{key}.class_mean", found.class_mean),
            *shown(f"{key}.instance_mean", found.instance_mean),
            f"{found.n_instances:,}",
            f"{found.n_classes}",
        ]
        for key, found in summary.ia.items()
    ]
    rows += [
        [caption(key), *shown(key, value), *[NOTHING] * 4] for key, value in summary.further.items()
    ]
    print_table(["", "class mean", "95 %", "instance mean", "95 %", "instances", "classes"], rows)
    absent = len(summary.absent)
    left_out = f"; {absent} of {absent + summary.n_miou_classes} are not in the truth"
    say(
        f"mIoU and IA count background as a class; IA_objects and sizes do not"
        f"{left_out if absent else ''}."
    )
    say(f"{sizes_line(scored.bins, summary.counts_of(scored.taxonomy.classes))}.")


def _print_regions(scored: ScoreResult) -> None:
    from sbdata.formatting import caption, estimate, percent, span
    from sbdata.plurals import count

    rows = [
        [caption(key), estimate(key, cell.value), span(scored.intervals[key], key), f"{cell.n:,}"]
        for key, cell in scored.summary.region_precision.items()
    ]
    print_table(["", "share", "95 %", "regions"], rows)
    orphans = scored.summary.orphans
    say(
        f"orphans (regions that meet no instance of their class): "
        f"{count(orphans.regions, 'region')}, {count(orphans.pixels, 'pixel')}, "
        f"{percent(orphans.share)} of all false pixels"
    )


def _print_outcomes(scored: ScoreResult) -> None:
    from sbdata.formatting import percent
    from sbdata.metrics.outcomes import OUTCOMES, in_words

    rows = []
    for size, counts in scored.summary.outcomes.items():
        total = sum(counts.values())
        shares = [percent(counts[kind] / total if total else None) for kind in OUTCOMES]
        rows.append([size, f"{total:,}", *shares])
    print_table(["outcomes", "instances", *map(in_words, OUTCOMES)], rows)


def _print_classes(scored: ScoreResult) -> None:
    from sbdata.formatting import caption, estimate

    summary = scored.summary
    keys = [key for key in summary.ia if key != "ia_objects"]
    titles = ["class", "IoU", *(f"{caption(key)} (n)" for key in keys), "orphans"]
    background = [summary.background_iou, summary.background_ia.value]
    rows = [["background", *(estimate("ia", v) for v in background), *[""] * len(keys)]]
    for of_class in summary.classes:
        cells = [f"{estimate(key, cell.value)} ({cell.n:,})" for key, cell in of_class.ia.items()]
        name = scored.taxonomy.name_of(of_class.class_id)
        iou = estimate("miou", of_class.iou)
        rows.append([name, iou, *cells, f"{of_class.orphans.regions:,}"])
    print_table(titles, rows)


def _print_compared(scored: ScoreResult, other: Comparison) -> None:
    from sbdata.formatting import caption, change, estimate, percent, span

    first = scored.summary.headline()
    rows = []
    for key, found in other.differences.items():
        row = [caption(key), estimate(key, first[key]), estimate(key, other.figures[key])]
        row.append(change(key, found.value if found else None))
        row.append(span(found.interval if found else None, key, difference=True))
        rows.append([*row, percent(found.sign_change if found else None)])
    titles = [f"{scored.name} minus {other.name}", scored.name, other.name]
    print_table([*titles, "difference", "95 %, paired", "sign changes"], rows)
    if other.moved:
        moved = [
            [f"{m.image_id} {m.instance_id}", m.class_name, m.size, f"{m.area:,}",
             estimate("ia", m.first), estimate("ia", m.second)]
            for m in other.moved[:_MOVED_SHOWN]
        ]  # fmt: skip
        header = [
            "largest differences (image, instance)",
            "class",
            "size",
            "area",
            scored.name,
            other.name,
        ]
        print_table(header, moved)
