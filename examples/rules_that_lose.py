"""Count the objects, by size, that rules which leave out photos or pixels lose.

    python examples/rules_that_lose.py data/shapes-train --masks irn=MASKS \
        --masks bana-crf=Y_CRF --masks bana-agreement=AGREEMENT --result results/rules-shapes.json

An object is kept if at least half of its pixels have its class in the mask. The script counts kept
objects for each folder of masks, as they are and under each of these rules:

- ``one class``: CDA's bank uses a photo only if its mask has exactly one class;
- ``one class, 2 % to 70 %`` and ``one class, 10 % to 70 %``: and only if the class covers that share of
  the photo, as in CDA's presets ``smoke`` and ``paper`` (option ``bank.ratio``; ``[0, 1]`` uses all);
- ``classes from 1 %``: NS-ROM leaves out photos with less than 1 % foreground (option ``--sparse`` of
  'sbdata pseudo import').

To measure rules on pixels, give masks made with and without them: seeds, whose uncertain pixels are
255, and the masks; BANA's agreement of two masks (option ``masks.use``) and one of the two. The script
reads the truth of the training set to explain results; no method does.
"""  # noqa: E501 - the command in one line

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from sbdata_baselines.stages.bank import only_class

from sbdata.cli import run
from sbdata.cli.pairs import read_pairs
from sbdata.cli.progress import showing_progress
from sbdata.masks import VOID, LabelMap, read_index_png
from sbdata.score.pseudo_masks import instance_outcomes
from sbdata.sets import EvaluationSet, open_set
from sbdata.storage import write_text

KEPT = 0.5
LEAST_FOREGROUND = 0.01

_FOLDER = click.Path(path_type=Path)

Keeps = Callable[[LabelMap], bool]
"""Function that returns True if a rule keeps a photo with this mask."""


def gives_object(low: float, high: float) -> Keeps:
    """Return CDA's rule for a range of shares of the photo."""
    return lambda mask: only_class(mask, (low, high)) is not None


def has_foreground(mask: LabelMap) -> bool:
    """Return True if NS-ROM keeps a photo with this mask."""
    return bool(((mask > 0) & (mask != VOID)).mean() >= LEAST_FOREGROUND)


RULES: dict[str, Keeps] = {
    "as they are": lambda mask: True,
    "one class": gives_object(0.0, 1.0),
    "one class, 2 % to 70 %": gives_object(0.02, 0.7),
    "one class, 10 % to 70 %": gives_object(0.1, 0.7),
    "classes from 1 %": has_foreground,
}


@click.command()
@click.argument("training", type=_FOLDER)
@click.option("--masks", "given", multiple=True, required=True, metavar="NAME=FOLDER")
@click.option("--result", type=_FOLDER, required=True)
def main(training: Path, given: tuple[str, ...], result: Path) -> None:
    """Count the objects that the rules keep on the set TRAINING."""
    opened = open_set(training)
    found: dict[str, dict[str, Any]] = {}
    with showing_progress() as progress:
        for name, folder in read_pairs("--masks", given).items():
            found[name] = kept_by_rule(Path(folder), opened)
            progress("rules", len(found), len(given))
    values = {
        "command": " ".join(["python", *sys.argv]),
        "training": {"set": opened.name, "logical_hash": opened.logical_hash},
        "synthetic": bool(opened.manifest.meta.get("synthetic", False)),
        "kept_from": KEPT,
        "masks": found,
    }
    write_text(result, json.dumps(values, indent=2) + "\n")
    click.echo(json.dumps(found, indent=2))


def kept_by_rule(folder: Path, opened: EvaluationSet) -> dict[str, Any]:
    """Return how many photos, and how many objects by size, each rule keeps.

    A photo that a rule leaves out keeps none of its objects.
    """
    fates = instance_outcomes(folder, opened).to_pandas()
    seen = fates["share_own_class"] >= KEPT
    kept_photos: dict[str, list[str]] = {rule: [] for rule in RULES}
    for image_id in opened:
        mask = read_index_png(folder / f"{image_id}.png")
        for rule, keeps in RULES.items():
            if keeps(mask):
                kept_photos[rule].append(image_id)
    found = {}
    for rule, photos in kept_photos.items():
        kept = seen & fates["image_id"].isin(photos)
        objects = {
            size: {"n": int(of_size.sum()), "kept": int((kept & of_size).sum())}
            for size in opened.manifest.bins.names
            for of_size in [fates["size"] == size]
        }
        found[rule] = {"photos": len(photos), "objects": objects}
    return found


if __name__ == "__main__":
    run(main)
