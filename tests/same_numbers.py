"""Check that two commits give the same numbers: ``python -m tests.same_numbers BEFORE [AFTER]``.

Both are checked out beside each other and run the same commands on generated images, and on real
ones if ``--real-data`` names their folder. Logical hashes of sets, scores, weights trained on the
CPU and values of a bench are compared for equality to the last bit; whatever differs is listed, and
the exit status is then 1.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
FEW = "sources.0.options={seed: 0, pool: 40, train: 12}"
TINY = (
    "model.backbone=mobilenetv3_small_050", "model.weights=none", "optimisation.steps=8",
    "optimisation.batch_size=2", "augmentation.crop=64", "ewc.images=3",
)  # fmt: skip
OPTIONS = tuple(word for option in TINY for word in ("--option", option))
STRATEGIES = tuple(w for s in ("ce", "sb", "sb-ft", "sb-ewc") for w in ("--strategy", s))
SOURCES = {
    "voc-val": ("voc-val", "voc=voc2012-mini/VOCdevkit/VOC2012"),
    "coco": ("coco-val-voc20", "coco=coco128", "--set", "sources.0.splits=[train2017]"),
}
"""Recipes that are built from real data, if its folder has them."""

NOT_COMPARED = ("seconds", "environment", "code", "provenance", "command", "hash", "key", "version")
"""Parts of names whose values may differ between commits."""


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """Give a worktree of a commit whose methods are found by its own entry points."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        subprocess.run(
            ["git", "worktree", "add", "--detach", "--quiet", tree, commit], cwd=ROOT, check=True
        )
        try:
            project = tomllib.loads((tree / "pyproject.toml").read_text())["project"]
            version = "0"  # only its entry points are read
            metadata = tree / f"sbdata-{version}.dist-info"
            metadata.mkdir()
            (metadata / "METADATA").write_text(
                f"Metadata-Version: 2.1\nName: sbdata\nVersion: {version}\n"
            )
            groups = [
                f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in entries.items())
                for group, entries in project["entry-points"].items()
            ]
            (metadata / "entry_points.txt").write_text("\n".join(groups))
            yield tree
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", tree], cwd=ROOT, check=True)


def run(tree: Path, place: Path, *arguments: object) -> str:
    """Run ``sbdata`` of a tree in a folder; return what it printed."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, (tree, tree / "baselines"))),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "sbdata", *map(str, arguments)], cwd=place, env=environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise click.ClickException(f"{tree}: sbdata {arguments}\n{done.stderr[-3000:]}")
    return done.stdout


def flat(values: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """Give the numbers and texts of nested values by their dotted names."""
    if isinstance(values, Mapping | list):
        items = values.items() if isinstance(values, Mapping) else enumerate(values)
        for key, value in items:
            if not any(part in str(key) for part in NOT_COMPARED):
                yield from flat(value, f"{above}.{key}" if above else str(key))
    elif not isinstance(values, str):
        yield above, values


def damaged(mask: np.ndarray, number: int) -> np.ndarray:
    """Return a prediction that is wrong in a reproducible way: shifted, a class lost, a blob."""
    wrong = np.roll(np.where(mask == 255, 0, mask), (number % 7, number % 5), (0, 1))
    wrong[wrong == 1 + number % 8] = 0
    wrong[:6, :9] = 1 + number % 3
    return wrong.astype(np.uint8)


def weights_of(path: Path) -> str:
    import torch

    state = torch.load(path, weights_only=True)
    digest = hashlib.sha256()
    for name, value in sorted(state["model"].items()):
        digest.update(name.encode() + value.numpy().tobytes())
    return digest.hexdigest()


def numbers_of(tree: Path, methods: tuple[str, ...], real_data: Path | None) -> dict[str, Any]:
    """Return all numbers that are compared, by name."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        builds: dict[str, tuple[str, ...]] = {
            "shapes-b": ("shapes-b", "--set", FEW, "--set", "select.quota=4"),
            "shapes-train": ("shapes-train", "--set", FEW),
        }
        for name, (recipe, root, *more) in SOURCES.items():
            source, _, path = root.partition("=")
            if real_data is not None and (real_data / path).is_dir():
                builds[name] = (recipe, "--source-root", f"{source}={real_data / path}", *more)
        for name, arguments in builds.items():
            built = place / "data" / name
            run(tree, place, "dataset", "build", *arguments, "--out", built)
            said = json.loads(run(tree, place, "dataset", "manifest", built, "--json",
                                  "--out", place / "manifests" / name))  # fmt: skip
            found[f"{name}: logical hash"] = said["logical_hash"]
            predictions = place / "predictions" / name
            predictions.mkdir(parents=True)
            for number, mask in enumerate(sorted((built / "SegmentationClass").glob("*.png"))):
                values = damaged(np.asarray(Image.open(mask)), number)
                Image.fromarray(values).save(predictions / mask.name)
            scored = run(tree, place, "score", predictions, "--set", built, "--json")
            found |= {f"{name}: {k}": v for k, v in flat(json.loads(scored))}
        sets = ("--set", "data/shapes-train", "--out", "runs/train")
        run(tree, place, "train", *sets, *STRATEGIES, *OPTIONS)
        for model in sorted((place / "runs/train").rglob("model.pt")):
            found[f"train: {model.relative_to(place)}"] = weights_of(model)
        if methods:
            named = tuple(word for name in methods for word in ("--method", name))
            run(tree, place, "bench", *named, *STRATEGIES, *OPTIONS, "--threads", "1",
                "--results", "results")  # fmt: skip
            for path in sorted((place / "results").glob("*.json")):
                name = ".".join(part for part in path.stem.split(".")[:-1])
                found |= {f"bench {name}: {k}": v for k, v in flat(json.loads(path.read_text()))}
            # Folders have other names in another version, so what they hold is compared sorted.
            trained = [weights_of(path) for path in (place / "runs/bench").rglob("model.pt")]
            found |= {f"bench weights {n}": one for n, one in enumerate(sorted(trained))}
            board = json.loads(run(tree, place, "leaderboard", "results", "--json"))
            found |= {f"board: {k}": v for k, v in flat(board)}
    return found


@click.command()
@click.argument("before")
@click.argument("after", default="HEAD")
@click.option("--method", "methods", multiple=True, default=("cam", "irn"), show_default=True)
@click.option("--real-data", type=click.Path(path_type=Path, exists=True))
def main(before: str, after: str, methods: tuple[str, ...], real_data: Path | None) -> None:
    """Compare the numbers of the commits BEFORE and AFTER."""
    sides = []
    for commit in (before, after):
        with checked_out(commit) as tree:
            sides.append(numbers_of(tree, methods, real_data))
    names = sorted({*sides[0], *sides[1]})
    differing = [n for n in names if n in sides[0] and n in sides[1] and sides[0][n] != sides[1][n]]
    for name in differing:
        click.echo(f"differs: {name}: {sides[0][name]} {sides[1][name]}")
    for text, one, other in (("only before", *sides), ("only after", *sides[::-1])):
        for name in (n for n in names if n in one and n not in other):
            click.echo(f"{text}: {name}")
    same = sum(1 for n in names if n in sides[0] and n in sides[1]) - len(differing)
    click.echo(f"{same} numbers are the same, {len(differing)} differ")
    sys.exit(bool(differing) or not same)


if __name__ == "__main__":
    main()
