"""Print how long results took, method by method.

    python examples/minutes.py results/bench-shapes [--seed 0]

These are the wall times of the steps, which other work on the machine lengthens. A method's stages
count once, although each of its strategies needs them; a stage that methods share (``cam``'s
classifier) is in the row of each, but counts once in the total. A strategy of two phases includes
its first phase, which it may share with others, so the total is an upper bound.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import click

from sbdata.benchmark.records import ResultRecord, read_result
from sbdata.cli import run
from sbdata.errors import InputError

_TRAINING = ("train", "predict")


@click.command()
@click.argument("results", type=click.Path(path_type=Path))
@click.option("--method", "only", multiple=True, help="May be repeated [all].")
@click.option("--strategy", "strategies", multiple=True, help="May be repeated [all].")
@click.option("--seed", default=0, show_default=True)
def main(results: Path, only: tuple[str, ...], strategies: tuple[str, ...], seed: int) -> None:
    """Print the minutes of one seed of the results in the folder RESULTS."""
    methods: dict[str, list[ResultRecord]] = defaultdict(list)
    files = sorted(results.glob("*.seed*.json"))
    if not files:
        raise InputError(f"{results}: no results *.seed*.json; give a folder of sbdata bench")
    for found in map(read_result, files):
        chosen = (not only or found.method in only, not strategies or found.strategy in strategies)
        if found.seed == seed and all(chosen):
            methods[found.method].append(found)
    click.echo("| method | threads a process | to pseudo-masks | strategies | each |")
    click.echo("| --- | ---: | ---: | ---: | ---: |")
    taken: dict[tuple[str, ...], float] = {}
    for method, runs in methods.items():
        stages = {k: s for k, s in runs[0].seconds.items() if k not in _TRAINING}
        trained = [sum(run.seconds[step] for step in _TRAINING) for run in runs]
        # Methods that share a stage have its time from one file, to the last digit.
        taken |= {(stage, str(seconds)): seconds for stage, seconds in stages.items()}
        taken |= {(method, r.strategy): t for r, t in zip(runs, trained, strict=True)}
        each = sum(trained) / len(trained) / 60
        threads = runs[0].environment.get("threads", "?")
        minutes = f"{sum(stages.values()) / 60:.1f} | {len(runs)} | {each:.1f}"
        click.echo(f"| `{method}` | {threads} | {minutes} |")
    click.echo(f"\nIn all {sum(taken.values()) / 60:.0f} minutes of one process.")


if __name__ == "__main__":
    run(main)
