"""``sbdata bench``: from weak labels to pseudo-masks to segmenters to scores."""

from __future__ import annotations

import json
import shlex
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sbdata.cli.examples import examples
from sbdata.cli.output import say
from sbdata.cli.shell_completion import (
    complete_method,
    complete_method_preset,
    complete_set,
    complete_strategy,
    complete_train_preset,
)
from sbdata.cli.tables import print_table
from sbdata.errors import InputError
from sbdata.limits import MAX_SEED

if TYPE_CHECKING:
    from sbdata.benchmark.config import BenchmarkConfig
    from sbdata.benchmark.eta import BenchProgress, Watcher
    from sbdata.benchmark.records import ResultRecord

_FOLDER = click.Path(path_type=Path)
_PAPER = 90  # characters of a title that --list shows; --json has all


@click.command(
    epilog=examples(
        "sbdata bench --method irn --strategy ce --strategy sb-ewc --set data/shapes-b",
        "sbdata bench --method cam --preset photos --seeds 3 --dry-run",
    )
)
@click.option(
    "--study", "study_name", metavar="NAME|FILE",
    help="Study to run: a name, such as wacv24 or smoke, or a YAML file; --method and --strategy "
    "narrow it.",
)  # fmt: skip
@click.option(
    "--part", "parts", multiple=True, metavar="NAME",
    help="Part of the study [all]; may be repeated.",
)  # fmt: skip
@click.option(
    "--method", "methods", multiple=True, metavar="NAME", shell_complete=complete_method,
    help="Method [cam]; may be repeated. --list shows all.",
)  # fmt: skip
@click.option(
    "--strategy", "strategies", multiple=True, metavar="NAME", shell_complete=complete_strategy,
    help="Training strategy [ce, sb-ewc]; may be repeated. --list shows all.",
)  # fmt: skip
@click.option(
    "--set", "sets", type=_FOLDER, multiple=True, shell_complete=complete_set,
    help="Evaluation set [data/shapes-b]; may be repeated.",
)  # fmt: skip
@click.option(
    "--train-set", type=_FOLDER, default=Path("data/shapes-train"), show_default=True,
    help="Training set (with image-level labels).",
)  # fmt: skip
@click.option(
    "--preset",
    shell_complete=complete_method_preset,
    default="smoke",
    show_default=True,
    help="Preset of the methods: smoke, photos or paper.",
)
@click.option(
    "--train-preset",
    shell_complete=complete_train_preset,
    help="Preset of the segmenter: a name or a YAML file [as --preset; wacv24 for paper].",
)
@click.option(
    "--seeds", type=click.IntRange(min=1), default=1, show_default=True, help="Number of seeds."
)
@click.option(
    "--first-seed", type=click.IntRange(0, MAX_SEED), default=0, show_default=True,
    help="First seed. Existing results of other seeds are kept.",
)  # fmt: skip
@click.option(
    "--option", "overrides", multiple=True, metavar="KEY=VALUE",
    help="Override a key of the segmenter's preset; may be repeated.",
)  # fmt: skip
@click.option(
    "--method-option", "method_overrides", multiple=True, metavar="METHOD:KEY=VALUE",
    help="Override a key of a method's preset; may be repeated.",
)  # fmt: skip
@click.option(
    "--labels", type=_FOLDER,
    help="Image-level labels: a .csv, .txt, .json, COCO or cls_labels.npy file, or a folder of "
    "VOC's XML [the set's].",
)  # fmt: skip
@click.option("--saliency", type=_FOLDER, help="Saliency maps <image_id>.png [the built-in ones].")
@click.option(
    "--boxes", type=_FOLDER,
    help="Boxes: a JSON file in COCO's format, or a folder of VOC's XML [the set's].",
)  # fmt: skip
@click.option(
    "--pseudo", "pseudo", multiple=True, metavar="[PART/]METHOD=DIR",
    help="Published masks or maps, or an import of them, to use instead of a method's own stages; "
    "in the study's first part unless PART is given. May be repeated.",
)  # fmt: skip
@click.option(
    "--work",
    type=_FOLDER,
    default=Path("runs/bench"),
    show_default=True,
    help="Folder for the results of tasks.",
)
@click.option(
    "--results",
    type=_FOLDER,
    default=Path("results/bench"),
    show_default=True,
    help="Folder to write result files to.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option(
    "--workers", type=click.IntRange(min=0),
    help="Number of data-loading workers [0 on a CPU; on a GPU its share of the cores, at most 8].",
)  # fmt: skip
@click.option(
    "--jobs", type=click.IntRange(min=1), default=1, show_default=True,
    help="Number of processes of the local executor.",
)  # fmt: skip
@click.option("--threads", type=click.IntRange(min=1), help="PyTorch threads per process.")
@click.option(
    "--executor",
    type=click.Choice(["local", "slurm", "ray"]),
    default="local",
    show_default=True,
    help="Where tasks run: on this machine, as jobs of a Slurm cluster (extra slurm), or on a Ray "
    "cluster (extra ray).",
)
@click.option(
    "--slurm", multiple=True, metavar="NAME=VALUE",
    help="Parameter of the Slurm jobs, such as time=120 (minutes), partition=gpu or "
    "gpus_per_node=1; may be repeated.",
)  # fmt: skip
@click.option(
    "--verify", is_flag=True,
    help="Hash all files of finished steps, not only those whose size or time changed.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Show the tasks and their cost, then exit.")
@click.option(
    "--stages", is_flag=True,
    help="Show the 'sbdata pseudo score' commands of the class masks that the stages of each "
    "method have written so far, then exit.",
)  # fmt: skip
@click.option(
    "--only", metavar="ID",
    help="Run only the task whose id begins with ID (see --dry-run).",
)  # fmt: skip
@click.option("--list", "listing", is_flag=True, help="Show methods and strategies, then exit.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def bench(
    study_name: str | None,
    parts: tuple[str, ...],
    methods: tuple[str, ...],
    strategies: tuple[str, ...],
    sets: tuple[Path, ...],
    train_set: Path,
    preset: str,
    train_preset: str | None,
    seeds: int,
    first_seed: int,
    overrides: tuple[str, ...],
    method_overrides: tuple[str, ...],
    labels: Path | None,
    saliency: Path | None,
    boxes: Path | None,
    pseudo: tuple[str, ...],
    work: Path,
    results: Path,
    device: str,
    workers: int | None,
    jobs: int,
    threads: int | None,
    executor: str,
    slurm: tuple[str, ...],
    verify: bool,
    dry_run: bool,
    stages: bool,
    only: str | None,
    listing: bool,
    as_json: bool,
) -> None:
    """Run methods from image-level labels to scored, comparable results.

    Every step is stored in WORK under a hash of its settings, inputs and code. Finished steps are
    not repeated, and an interrupted bench continues. An altered file of a step is refused; a
    missing one is made again. RESULTS receives one JSON file per method, strategy and seed, and one
    of paired differences per method and seed. Their names contain a hash of everything that they
    depend on, so results of other settings, data or code are kept. 'sbdata leaderboard' reads them.
    """
    if listing:
        _list(as_json)
        return
    from sbdata.benchmark.config import BenchmarkConfig
    from sbdata.cli.study import chosen_study, folders_of_masks, prepared, show_study

    if study_name is not None:
        study = chosen_study(
            study_name,
            methods=methods,
            strategies=strategies,
            parts=parts,
            options=overrides,
            method_options=method_overrides,
        )
        masks = folders_of_masks(pseudo, list(study.parts), study.methods)
        if dry_run:
            from sbdata.benchmark.study_plan import plan_study
            from sbdata.cli.study import show_study_plan

            planned = plan_study(study, work, results, pseudo=masks, workers=workers)
            show_study_plan(study, planned, as_json)
            return
        plans = study.configs(work, masks)
    else:
        if parts:
            msg = "--part selects a part of a study; add --study"
            raise InputError(msg)
        study = None
        plan = BenchmarkConfig(
            methods=methods or ("cam",),
            strategies=strategies or ("ce", "sb-ewc"),
            training=train_set,
            sets=sets or (Path("data/shapes-b"),),
            seeds=tuple(range(first_seed, first_seed + seeds)),
            preset=preset,
            training_preset=train_preset,
            training_overrides=overrides,
            method_overrides=method_overrides,
            labels=labels,
            saliency=saliency,
            boxes=boxes,
            pseudo=folders_of_masks(pseudo, [""], methods or ("cam",)).get("", {}),
        )
        if dry_run:
            _show_plan(plan, work, results, workers, as_json)
            return
        plans = (plan,)
    if stages:
        _show_stages(plans, work, as_json)
        return
    from sbdata.benchmark.run import run_bench
    from sbdata.machine import check_output
    from sbdata.train.devices import init_distributed

    for folder in (work, results):
        check_output(folder)
    first = init_distributed(device).is_first if executor == "local" else True
    quiet = as_json or not first
    plans = prepared(plans, work, study, quiet=quiet)
    with _watching(quiet=quiet) as watcher:
        written = run_bench(
            plans,
            work,
            results,
            device=device,
            workers=workers,
            executor=executor,
            slurm=slurm,
            processes=jobs,
            threads=threads,
            watcher=watcher,
            verify=verify,
            only=only,
        )
    if first and written and study is not None and only is None:
        show_study(study, [*written, *results.glob("*-differences.*.json")], work, as_json=as_json)
    elif first and (written or as_json):
        _show_results(written, as_json)
    elif first:
        say(f"--only {only}: done")


# --- progress -------------------------------------------------------------------------------------


@contextmanager
def _watching(*, quiet: bool) -> Iterator[Watcher]:
    """Show each step's progress, the progress of the whole bench, and its remaining time."""
    from sbdata.cli.progress import showing_progress

    on_terminal = sys.stderr.isatty()
    with showing_progress(quiet=quiet) as progress:

        def watch(moment: BenchProgress) -> None:
            whole = "bench" if on_terminal else f"bench, {_left(moment.seconds_left)}"
            progress(whole, moment.tasks_done, moment.tasks)
            if moment.what:
                progress(moment.what, moment.done, moment.total)

        yield watch


def _left(seconds: float | None) -> str:
    if seconds is None:
        return "time left not known yet"
    return f"about {_duration(seconds)} left" if seconds > 20 else "almost done"


def _duration(seconds: float) -> str:
    """Return a duration rounded to minutes, or to hours if it is long."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "a minute"
    return f"{minutes} min" if minutes < 120 else f"{round(seconds / 3600)} h"


# --- what is printed ------------------------------------------------------------------------------


def _show_plan(
    plan: BenchmarkConfig, work: Path, results: Path, workers: int | None, as_json: bool
) -> None:
    from sbdata.benchmark.costs import BASIS
    from sbdata.benchmark.executors.as_ready import levels_of
    from sbdata.benchmark.run import SHORT, plan_bench

    rows = plan_bench(plan, work, results, workers=workers)
    total = sum(row.seconds for row in rows)
    kinds = {row.task.kind for row in rows}
    unscored = ""
    if "stage" in kinds and "pseudo" not in kinds:
        unscored = "Pseudo-masks are not scored: the training set has labels only, no pixel truth."
    if as_json:
        levels = levels_of([row.task for row in rows])
        tasks = [
            {
                "id": row.task.id,
                "kind": row.task.kind,
                "name": row.task.name,
                **row.task.context["about"],
                "needs": list(row.task.needs),
                "level": levels[row.task.id],
                "images": row.task.resources.images,
                "cpus": row.task.resources.cpus,
                "gpus": row.task.resources.gpus,
                "seconds": row.seconds,
                "estimate": row.estimate.source,
                "done": row.done,
                "folder": str(work / row.task.folder) if row.task.folder else None,
            }
            for row in rows
        ]
        left_out = {"left_out": [unscored]} if unscored else {}
        say(json.dumps({"tasks": tasks, "estimated_seconds": total, **left_out}, indent=2))
        return
    print_table(
        ["task", "kind", "id", "needs", "cpus", "gpus", "images", "", "estimate", "from"],
        [
            [
                row.task.name,
                row.task.kind,
                row.task.id[:SHORT],
                _listed([needed[:SHORT] for needed in row.task.needs]),
                f"{row.task.resources.cpus:g}",
                f"{row.task.resources.gpus:g}",
                f"{row.task.resources.images:,}",
                "done" if row.done else "to do",
                "–" if row.done else f"{row.seconds:,.0f} s",
                "–" if row.done else row.estimate.source,
            ]
            for row in rows
        ],
    )
    if unscored:
        say(unscored)
    to_do = sum(not row.done for row in rows)
    say(
        f"{to_do} of {len(rows)} tasks to do, about {_duration(total)}. Estimates come from "
        f"earlier tasks of the same kind in {work}; otherwise they are rough ({BASIS}). Nothing "
        "was computed; '--only ID' runs one task."
    )


def _show_stages(plans: Sequence[BenchmarkConfig], work: Path, as_json: bool) -> None:
    """Print the folders of class masks as commands that score them, one for each method and seed.

    A line that begins with # is a comment of the shell.
    """
    from sbdata.benchmark.cache import Cache
    from sbdata.benchmark.run import plan_bench
    from sbdata.benchmark.stage_masks import stage_masks

    found = stage_masks([row.task for row in plan_bench(plans, work)], Cache(work))
    if not found:
        msg = "no method of this call makes pseudo-masks that can be scored; see --dry-run"
        raise InputError(msg)
    if as_json:
        plain = [
            {
                "name": one.name,
                "set": str(one.training),
                "masks": one.masks and str(one.masks),
                "stages": {name: str(folder) for name, folder in one.earlier.items()},
            }
            for one in found
        ]
        say(json.dumps(plain, indent=2))
        return
    for one in found:
        if one.masks is None:
            say(f"# {one.name}: no pseudo-masks yet; the same command without --stages makes them")
            continue
        words = ["sbdata", "pseudo", "score", str(one.masks), "--set", str(one.training)]
        for name, folder in one.earlier.items():
            words += ["--stage", f"{name}={folder}"]
        say(f"# {one.name}")
        say(shlex.join(words))


def _listed(names: list[str]) -> str:
    """Return names for one cell; if there are many, the first and the number of the others."""
    return " ".join(names if len(names) <= 3 else [*names[:2], f"+{len(names) - 2}"])


def _show_results(written: Mapping[Path, ResultRecord], as_json: bool) -> None:
    if as_json:
        say(json.dumps([{"file": str(file), **r.as_dict()} for file, r in written.items()]))
        return
    from sbdata.metrics.registry import sizes_in

    scores = [scored for result in written.values() for scored in result.sets.values()]
    sizes = dict.fromkeys(size for scored in scores for size in sizes_in(scored.n_instances))
    shown = ("miou", "ia.class_mean", *(f"ia_{size}.class_mean" for size in sizes))
    rows = []
    for result in written.values():
        for name, scored in result.sets.items():
            given = [scored.figures.get(figure) for figure in shown]
            values = [None if figure is None else figure.value for figure in given]
            cells = ["–" if value is None else f"{value:.3f}" for value in values]
            rows.append([f"{result.method}, {result.strategy}", str(result.seed), name, *cells])
    if any(result.synthetic for result in written.values()):
        say("synthetic photos")
    header = [name.removesuffix(".class_mean") for name in shown]
    print_table(["method, strategy", "seed", "set", *header], rows)
    folder = next(iter(written)).parent
    say(f"{folder}: {len(written)} results; 'sbdata leaderboard' compares them")


def _list(as_json: bool) -> None:
    from sbdata.benchmark.baseline import describe_baselines
    from sbdata.train.registry import STRATEGIES

    methods = describe_baselines()
    strategies = {s.name: s.summary for s in STRATEGIES.values()}
    if as_json:
        say(json.dumps({"methods": methods, "strategies": strategies}, indent=2))
        return
    print_table(
        ["method", "ten", "", "supervision", "presets"],
        [
            [
                m["name"],
                "yes" if m.get("of_paper") else "–",
                textwrap.shorten(m["paper"], _PAPER, placeholder="…"),
                ", ".join(m["supervision"]),
                ", ".join(m["presets"]),
            ]
            for m in methods
        ],
    )
    say("ten: one of the ten methods of 'Small Objects Matters' (Mun et al., WACV 2024)")
    print_table(["strategy", ""], [list(row) for row in strategies.items()])
