"""``sbdata bench --study`` and ``sbdata leaderboard --study``: options, plan and table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from sbdata.cli.output import say
from sbdata.cli.tables import print_table
from sbdata.errors import InputError

if TYPE_CHECKING:
    from sbdata.benchmark.config import BenchmarkConfig
    from sbdata.benchmark.study import Study
    from sbdata.benchmark.study_plan import StudyPlan
    from sbdata.benchmark.study_table import StudyTable

PAGE, MARKDOWN, VALUES = "study.html", "study.md", "study.json"

_PART_OF_STUDY = {
    "sets": "--set",
    "train_set": "--train-set",
    "preset": "--preset",
    "train_preset": "--train-preset",
    "seeds": "--seeds",
    "first_seed": "--first-seed",
    "labels": "--labels",
    "saliency": "--saliency",
    "boxes": "--boxes",
}
"""Options that a study's file replaces."""

_GB, _MB = 1e9, 1e6


def chosen_study(
    called: str,
    *,
    methods: Sequence[str],
    strategies: Sequence[str],
    parts: Sequence[str],
    options: Sequence[str],
    method_options: Sequence[str],
) -> Study:
    """Return a study, narrowed by the command line and with its overrides of presets.

    Raises:
        InputError: if the study or a name is unknown, or a study's file replaces an option.
    """
    from sbdata.benchmark.study import load_study

    context = click.get_current_context()
    for name, option in _PART_OF_STUDY.items():
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            msg = f"{option} does not go with --study; leave it out, or change it in a study file"
            raise InputError(msg)
    study = load_study(called).narrowed(methods, strategies, parts)
    return replace(
        study,
        options=(*study.options, *options),
        method_options=(*study.method_options, *method_options),
    )


def folders_of_masks(
    given: Sequence[str], parts: Sequence[str], methods: Sequence[str]
) -> dict[str, dict[str, Path]]:
    """Return the folders of ``--pseudo``, by part and method.

    Args:
        given: Texts ``METHOD=DIR``, for the first part, or ``PART/METHOD=DIR``.
        parts: Names of the parts; one empty name for a call without a study.
        methods: Names of the methods.

    Raises:
        InputError: if a text has another form, a name is unknown, or a method is named twice.
    """
    found: dict[str, dict[str, Path]] = {}
    for text in given:
        name, equals, folder = text.partition("=")
        part, slash, method = name.rpartition("/")
        part = part if slash else parts[0]
        if not equals or not folder or part not in parts or method not in methods:
            of_parts = f" and parts {', '.join(parts)}" if parts[0] else ""
            msg = (
                f"--pseudo takes METHOD=DIR or PART/METHOD=DIR with methods {', '.join(methods)}"
                f"{of_parts}, not {text!r}"
            )
            raise InputError(msg)
        if method in found.setdefault(part, {}):
            msg = f"--pseudo {text}: {method} already has a folder of masks; give only one"
            raise InputError(msg)
        found[part][method] = Path(folder)
    return found


def prepared(
    configs: Sequence[BenchmarkConfig], work: Path, study: Study | None, *, quiet: bool
) -> tuple[BenchmarkConfig, ...]:
    """Build the generated sets of a study and import the masks of ``--pseudo``.

    Raises:
        InputError: if a set cannot be built, or masks cannot be imported for a training set.
    """
    if study is not None:
        _build_sets(study, work)
    if not any(config.pseudo for config in configs):
        return tuple(configs)
    from sbdata.benchmark.importing import import_for
    from sbdata.cli.progress import showing_progress

    with showing_progress(quiet=quiet) as progress:
        return tuple(
            replace(
                config,
                pseudo={
                    method: import_for(
                        method, folder, config.training, work, partial(progress, f"import {method}")
                    )
                    for method, folder in config.pseudo.items()
                },
            )
            for config in configs
        )


def _build_sets(study: Study, work: Path) -> None:
    """Build the missing generated sets of a study; existing ones must be undamaged."""
    from sbdata.benchmark.cache import locked
    from sbdata.curate.build import build_set, built_already
    from sbdata.curate.inputs import Inputs

    for called in study.sets:
        recipe = study.recipe_of(called)
        if recipe is not None:
            folder = study.folder(called, work)
            with locked(folder):  # another process may build it
                if built_already(folder, recipe, Inputs()) is None:
                    build_set(recipe, folder, Inputs())


# --- the plan -------------------------------------------------------------------------------------


def show_study_plan(study: Study, plan: StudyPlan, as_json: bool) -> None:
    """Print the plan of a study: tasks by kind, costs, downloads."""
    from sbdata.benchmark.costs import BASIS, GPU

    if as_json:
        say(json.dumps(plan.as_dict(study), indent=2))
        return
    say(f"study {study.name}: {study.description}")
    kinds = plan.kinds
    print_table(
        ["part", "kind", "tasks", "done", "GPU-hours", "CPU-hours", "space"],
        [
            [
                kind.part,
                kind.kind,
                f"{kind.tasks:,}",
                f"{kind.done:,}",
                _hours(kind.gpu_hours),
                _hours(kind.cpu_hours),
                _size(kind.space),
            ]
            for kind in kinds
        ],
    )
    if plan.downloads:
        print_table(
            ["download", "kind", "size", ""],
            [
                [d.name, d.purpose, _size(d.size), "to fetch" if d.missing else "there"]
                for d in plan.downloads
            ],
        )
    for unbuilt in plan.unbuilt:
        images = "unknown" if unbuilt.images is None else f"{unbuilt.images:,}"
        say(
            f"set {unbuilt.name}: not built yet, {images} images; its tasks have ids once it is "
            "built"
        )
    for note in plan.notes:
        say(f"note: {note}")
    missing = [d for d in plan.downloads if d.missing]
    unknown = sum(d.size is None for d in missing)
    fetched = sum(d.size or 0 for d in missing)
    left = sum(kind.tasks - kind.done for kind in kinds)
    say(
        f"{left:,} of {sum(kind.tasks for kind in kinds):,} tasks to do: about "
        f"{_hours(sum(k.gpu_hours for k in kinds))} GPU-hours and "
        f"{_hours(sum(k.cpu_hours for k in kinds))} CPU-hours, or "
        f"{_hours(sum(k.core_hours for k in kinds))} hours on a single CPU core. The basis is "
        f"{BASIS}; that a GPU is {GPU:g} times as fast as a core is a guess."
    )
    say(
        f"To download: {_size(fetched)}"
        f"{f' and {unknown} of unknown size' if unknown else ''}. Space: results "
        f"{_size(sum(kind.space for kind in kinds))}, archives with their unpacked files "
        f"{_size(2 * sum(d.size or 0 for d in missing if d.purpose == 'archive'))}, photos of sets "
        f"{_size(plan.set_bytes)}. Nothing was computed; --json lists the tasks."
    )


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.1f}" if hours >= 0.1 else f"{hours:.2g}"


def _size(size: float | None) -> str:
    if size is None:
        return "unknown"
    return f"{size / _GB:,.1f} GB" if size >= _GB / 2 else f"{size / _MB:,.1f} MB"


# --- the table ------------------------------------------------------------------------------------


def show_study(
    study: Study, files: Sequence[Path], work: Path, *, as_json: bool, out: Path | None = None
) -> None:
    """Print the tables of a study, and write its page if a folder is given."""
    from sbdata.benchmark.study_table import read_tables, tables_as_dict
    from sbdata.report.study_text import study_markdown, study_page
    from sbdata.storage import write_text

    tables = read_tables(study, files, work)
    values = json.dumps(tables_as_dict(study, tables), indent=2) + "\n"
    written: Mapping[str, str] = {}
    if out is not None:
        written = {
            PAGE: study_page(study, tables),
            MARKDOWN: study_markdown(study, tables),
            VALUES: values,
        }
        for name, text in written.items():
            write_text(out / name, text)
    if as_json:
        say(values, nl=False)
        return
    for table in tables:
        _print(table)
    for name in written:
        say(f"{out}/{name}: written")


def _print(table: StudyTable) -> None:
    from sbdata.report.study_text import caption_of, heading_of, notes_of, rows_of, titles_of

    say(f"\n{heading_of(table)}\n{caption_of(table)}")
    print_table(titles_of(table, "\n"), rows_of(table, "\n"))
    for note in notes_of(table):
        say(f"note: {note}")
