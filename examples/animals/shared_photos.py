"""Compare pseudo-masks of several methods by object size, on the photos that all of them have.

    python examples/animals/shared_photos.py data/animals-train --masks cam=FOLDER --masks irn=FOLDER \
        --other transcam=PUBLISHED --result results/animals/shared-photos.json
    python examples/animals/shared_photos.py VOC2012 --split exact_instances \
        --masks transcam=PUBLISHED --result results/animals/transcam.json

The truth is a built set, or with ``--split`` a list of a VOC devkit. Each folder has
``<image_id>.png`` with the class numbers of the truth; a folder of ``--other`` has VOC's numbers, of
which those of the truth's classes are kept, by name, and all others become background. Photos that
a folder lacks are left out everywhere. 255 counts as background.

The file has, for each folder: mIoU, IA and region precision by size with 95 % intervals, the
outcomes of the true instances by size, and orphan regions. ``images`` is a hash of the ids.
"""  # noqa: E501 - the command in one line

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np

from sbdata.cli import run
from sbdata.cli.pairs import read_pairs
from sbdata.errors import InputError
from sbdata.masks import VOID, read_index_png, write_index_png
from sbdata.score.ground_truth import GroundTruth, Loader
from sbdata.score.run import ScoreOptions, score_folder
from sbdata.score.truth import truth_from_set, truth_from_voc
from sbdata.storage import write_text
from sbdata.taxonomy import VOC20, Taxonomy

_FOLDER = click.Path(path_type=Path)


@click.command()
@click.argument("training", type=_FOLDER)
@click.option("--split", help="TRAINING is a VOC devkit; list of its images.")
@click.option("--masks", "own", multiple=True, metavar="NAME=FOLDER")
@click.option("--other", "others", multiple=True, metavar="NAME=FOLDER")
@click.option("--result", type=_FOLDER, required=True)
def main(
    training: Path, split: str | None, own: tuple[str, ...], others: tuple[str, ...], result: Path
) -> None:
    """Score folders of pseudo-masks on the photos of TRAINING that all of them have."""
    truth = truth_from_voc(training, split) if split else truth_from_set(training)
    folders = {name: Path(at) for name, at in read_pairs("--masks", own).items()}
    published = {name: Path(at) for name, at in read_pairs("--other", others).items()}
    if twice := sorted(folders.keys() & published.keys()):
        raise InputError(f"{twice[0]!r} names two folders; give each a name of its own")
    every = [*folders.values(), *published.values()]
    ids = [i for i in truth.image_ids if all((at / f"{i}.png").is_file() for at in every)]
    if not every or not ids:
        raise InputError("no photo has a mask in every folder; give --masks or --other")
    shared = restricted(truth, ids)
    options = ScoreOptions(predicted_void=True)
    found: dict[str, Any] = {}
    for name, folder in (folders | published).items():
        numbers = _numbers(truth.taxonomy, VOC20 if name in published else truth.taxonomy)
        with TemporaryDirectory() as at:
            for image_id in ids:
                mask = np.asarray(read_index_png(folder / f"{image_id}.png"))
                write_index_png(Path(at) / f"{image_id}.png", numbers[mask])
            scored = score_folder(Path(at), shared, options, name=name)
        summary = scored.summary
        found[name] = {
            "values": summary.headline(),
            "intervals": {key: at and [at.low, at.high] for key, at in scored.intervals.items()},
            "outcomes": {size: dict(counts) for size, counts in summary.outcomes.items()},
            "orphans": asdict(summary.orphans),
        }
    report = {
        "set": truth.name,
        "logical_hash": truth.logical_hash,
        "images": hashlib.sha256("\n".join(ids).encode()).hexdigest(),
        "n_images": len(ids),
        "n_instances": {key: figure.n_instances for key, figure in summary.ia.items()},
        "metric": summary.metric,
        "masks": found,
    }
    write_text(result, json.dumps(report, indent=1) + "\n")


def restricted(truth: GroundTruth, image_ids: Sequence[str]) -> GroundTruth:
    """Return the truth of some of its images, in the order of the truth."""
    wanted = frozenset(image_ids)
    places = [place for place, image_id in enumerate(truth.image_ids) if image_id in wanted]
    kept = tuple(truth.image_ids[place] for place in places)
    return replace(
        truth,
        image_ids=kept,
        loaders=partial(_loaders, truth, places),
        logical_hash=None,
        left_out=frozenset(truth.image_ids) - wanted,
    )


def _loaders(truth: GroundTruth, places: Sequence[int], start: int, stop: int) -> list[Loader]:
    return [truth.loaders(place, place + 1)[0] for place in places[start:stop]]


def _numbers(taxonomy: Taxonomy, written: Taxonomy) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return the class number of the set for each value of a mask file."""
    table = np.zeros(256, np.uint8)
    table[VOID] = VOID
    for number, name in enumerate(written.classes, start=1):
        if name in taxonomy.classes:
            table[number] = taxonomy.classes.index(name) + 1
    return table


if __name__ == "__main__":
    run(main)
