"""Measure where the size-balanced loss puts its weight on pseudo-masks.

    python examples/where_weights_go.py data/shapes-train --masks truth=data/shapes-train/SegmentationClass \
        --masks irn=MASKS --result results/weights-shapes.json

The script computes the weights of every image of a training set from its true mask and from each
folder of pseudo-masks (whole masks, not crops), and summarises them by the size of the true instances.
It reads the truth of the training set to explain results; no method does. The weights are those of
sb_ce.v2; --normalizer class --regions components gives those of version 1.

Values for each folder of masks:

- ``components``: number of 8-connected components of a class per mask; ``specks``: the share of them
  under 64 pixels;
- ``seen``: the share of the pixels of small, medium and large instances that have their class;
- ``weight``: the mean weight of these pixels; plain cross-entropy gives 1;
- ``merged``: the share of instances of which at least half of the pixels lie in a component that also
  contains half of another instance, so that the loss treats the two as one;
- ``extra``: how the weight above 1 is distributed: to seen pixels of small, medium and large
  instances, to pixels with a ``wrong`` class in the mask, and to ``background`` of the mask, which has
  such weights only in holes;
- ``below``: the share of the mask's foreground with a weight below 1, such as the rims of regions with
  large holes.
"""  # noqa: E501 - the command in one line

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import numpy.typing as npt

from sbdata.cli import run
from sbdata.cli.pairs import read_pairs
from sbdata.cli.progress import showing_progress
from sbdata.errors import InputError
from sbdata.losses import size_weights
from sbdata.losses.pixel import LOSS
from sbdata.losses.weights import NORMALIZERS, REGIONS
from sbdata.masks import VOID, LabelMap, read_index_png
from sbdata.sets import EvaluationSet, open_set
from sbdata.storage import write_text

SPECK = 64
_TOTALS = ("components", "specks", "extra", "wrong", "background", "foreground", "below")

_FOLDER = click.Path(path_type=Path)


@click.command()
@click.argument("training", type=_FOLDER)
@click.option("--masks", "given", multiple=True, required=True, metavar="NAME=FOLDER")
@click.option("--tau", default=5.0, show_default=True)
@click.option("--normalizer", type=click.Choice(NORMALIZERS), default="image", show_default=True)
@click.option("--regions", type=click.Choice(REGIONS), default="outlines", show_default=True)
@click.option("--result", type=_FOLDER, required=True)
def main(
    training: Path,
    given: tuple[str, ...],
    tau: float,
    normalizer: str,
    regions: str,
    result: Path,
) -> None:
    """Measure where the weight goes on the set TRAINING."""
    opened = open_set(training)
    found = {}
    with showing_progress() as progress:
        for name, folder in read_pairs("--masks", given).items():
            sizes = opened.manifest.bins.names
            counts = _empty(sizes)
            for done, image_id in enumerate(opened, start=1):
                mask = read_index_png(Path(folder) / f"{image_id}.png")
                if mask.shape != opened.size_of(image_id):
                    raise InputError(f"{folder}/{image_id}.png: differs in size from its photo; "
                                     "give masks of this set")  # fmt: skip
                weights = size_weights(mask, tau=tau, normalizer=normalizer, regions=regions)
                _count(counts, opened, image_id, mask, weights.astype(np.float64))
                progress(name, done, len(opened))
            found[name] = _shares(counts, len(opened), sizes)
    values = {
        "command": " ".join(["python", *sys.argv]),
        "training": {"set": opened.name, "logical_hash": opened.logical_hash},
        "synthetic": bool(opened.manifest.meta.get("synthetic", False)),
        "loss": LOSS,
        "options": {"tau": tau, "normalizer": normalizer, "regions": regions},
        "masks": found,
    }
    write_text(result, json.dumps(values, indent=2) + "\n")
    click.echo(json.dumps(found, indent=2))


def _empty(sizes: Sequence[str]) -> dict[str, Any]:
    numbers = dict.fromkeys(_TOTALS, 0.0)
    for size in sizes:
        numbers |= {
            f"{what} {size}": 0.0 for what in ("n", "area", "seen", "weight", "above", "merged")
        }
    return numbers


def _count(
    counts: dict[str, Any],
    opened: EvaluationSet,
    image_id: str,
    mask: LabelMap,
    weights: npt.NDArray[np.float64],
) -> None:
    truth, instances = opened.class_map(image_id), opened.instance_map(image_id)
    rows = opened.instances_of(image_id).to_pylist()
    parts, n_parts = _components(mask)
    areas = np.bincount(parts.ravel(), minlength=n_parts + 1)[1:]
    counts["components"] += n_parts
    counts["specks"] += int((areas < SPECK).sum())
    foreground = (mask > 0) & (mask < VOID)
    above = np.maximum(weights - 1.0, 0.0)
    counts["extra"] += above.sum()
    counts["wrong"] += above[foreground & (mask != truth)].sum()
    counts["background"] += above[mask == 0].sum()
    counts["foreground"] += foreground.sum()
    counts["below"] += (weights[foreground] < 1).sum()
    homes = {row["instance_id"]: _home(parts, instances == row["instance_id"]) for row in rows}
    for row in rows:
        own = instances == row["instance_id"]
        seen = own & (mask == row["class_id"])
        size, home = row["size"], homes[row["instance_id"]]
        counts[f"n {size}"] += 1
        counts[f"area {size}"] += own.sum()
        counts[f"seen {size}"] += seen.sum()
        counts[f"weight {size}"] += weights[seen].sum()
        counts[f"above {size}"] += above[seen].sum()
        counts[f"merged {size}"] += home > 0 and list(homes.values()).count(home) > 1


def _components(mask: LabelMap) -> tuple[npt.NDArray[Any], int]:
    """Return the 8-connected components of all classes, numbered from 1, and how many there are."""
    parts, n = np.zeros(mask.shape, np.int64), 0
    for class_id in np.unique(mask):
        if class_id not in (0, VOID):
            found, labels = cv2.connectedComponents((mask == class_id).astype(np.uint8))
            parts[labels > 0] = labels[labels > 0] + n
            n += found - 1
    return parts, n


def _home(parts: npt.NDArray[Any], own: npt.NDArray[np.bool_]) -> int:
    """Return the component that contains at least half of an instance, or 0."""
    inside = np.bincount(parts[own])
    place = int(inside.argmax())
    return place if inside[place] * 2 >= own.sum() else 0


def _shares(counts: dict[str, Any], n_images: int, sizes: Sequence[str]) -> dict[str, Any]:
    extra = counts["extra"]
    by_kind = {
        kind: counts[key] / extra if extra else 0.0
        for kind, key in (
            *((size, f"above {size}") for size in sizes),
            ("wrong", "wrong"),
            ("background", "background"),
        )
    }

    def per(what: str, of: str) -> dict[str, float | None]:
        return {
            size: counts[f"{what} {size}"] / counts[f"{of} {size}"]
            if counts[f"{of} {size}"]
            else None
            for size in sizes
        }

    return {
        "components": counts["components"] / n_images,
        "specks": counts["specks"] / counts["components"] if counts["components"] else None,
        "seen": per("seen", "area"),
        "weight": per("weight", "seen"),
        "merged": per("merged", "n"),
        "extra": by_kind,
        "below": counts["below"] / counts["foreground"] if counts["foreground"] else None,
    }


if __name__ == "__main__":
    run(main)
