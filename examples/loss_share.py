"""Measure how definitions of the size-balanced loss distribute it over object sizes.

    python examples/loss_share.py $SBDATA_REAL_DATA/voc2012-mini/VOCdevkit/VOC2012 \
        --result results/loss-share.json

The script computes the weights of the true masks of a VOC devkit or a built set by each definition
and adds them up: a pixel's share of the loss is its weight over the sum of all weights, if the
cross-entropy is the same everywhere. The masks are used as they are (stride 1) and as a network of
stride 8 is trained on them: reduced by nearest neighbour, with the regions and areas that remain.
The size of an object is that of its area in the whole mask.

For each definition and stride:

- ``share``: the share of the loss on small, medium and large objects and on background;
- ``weight``: the mean weight of their pixels; ``scale``: that of all pixels, the factor by which a loss
  that is divided by the number of pixels exceeds plain cross-entropy (with the sum of weights: 1);
- ``below one``: the share of the foreground with a weight below 1.

A value of a group without pixels is null, such as the mean weight of small objects if there are none.

``outlines_against_components`` is how often the two kinds of regions give different weights.
"""  # noqa: E501 - the command in one line

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import torch

from sbdata.cli import run
from sbdata.cli.progress import showing_progress
from sbdata.errors import InputError
from sbdata.losses import size_weights
from sbdata.masks import VOID, read_index_png
from sbdata.sizes import SizeBins
from sbdata.storage import write_text
from sbdata.train.resize import nearest

DEFINITIONS: dict[str, dict[str, Any]] = {
    "cross-entropy": {"tau": 1.0, "regions": "components"},
    "v1": {"normalizer": "class", "regions": "components"},
    "v2": {},
    "v2, by class": {"normalizer": "class"},
    "v2, components": {"regions": "components"},
}
BINS = SizeBins()
GROUPS = ("background", *BINS.names)
STRIDES = (1, 8)

_FOLDER = click.Path(path_type=Path)
_Map = npt.NDArray[np.uint8]


@click.command()
@click.argument("devkit", type=_FOLDER)
@click.option("--tau", "taus", type=float, multiple=True, help="Further values of tau in v2.")
@click.option("--result", type=_FOLDER, required=True)
def main(devkit: Path, taus: tuple[float, ...], result: Path) -> None:
    """Add up weights on the masks of DEVKIT, a folder with SegmentationClass and -Object."""
    definitions = DEFINITIONS | {f"v2, tau {tau:g}": {"tau": tau} for tau in taus}
    files = sorted((devkit / "SegmentationClass").glob("*.png"))
    if not files:
        raise InputError(f"{devkit}: no SegmentationClass/*.png; give a VOC devkit")
    sums = {
        stride: {name: np.zeros((len(GROUPS), 3)) for name in definitions} for stride in STRIDES
    }
    unlike = {stride: np.zeros(2) for stride in STRIDES}
    with showing_progress() as progress:
        for done, file in enumerate(files, start=1):
            classes = read_index_png(file)
            objects = devkit / "SegmentationObject" / file.name
            instances = read_index_png(objects)
            if instances.shape != classes.shape:
                raise InputError(f"{objects}: differs in size from {file}; give a VOC devkit")
            groups = _groups(instances, classes)
            for stride in STRIDES:
                mask, where = _reduced(classes, stride), _reduced(groups, stride)
                weights = {
                    name: size_weights(mask, **options) for name, options in definitions.items()
                }
                for name, found in weights.items():
                    sums[stride][name] += _added_up(found, where)
                other = weights["v2"] != weights["v2, components"]
                unlike[stride] += other.any(), other.sum()
            progress("masks", done, len(files))
    values = {
        "command": " ".join(["python", *sys.argv]),
        "devkit": devkit.name,
        "masks": len(files),
        "strides": {
            str(stride): {
                "pixels": _by_group(sums[stride]["cross-entropy"][:, 0]),
                "definitions": {name: _shares(total) for name, total in sums[stride].items()},
                "outlines_against_components": {
                    "masks": unlike[stride][0] / len(files),
                    "pixels": _ratio(unlike[stride][1], sums[stride]["v2"][:, 0].sum()),
                },
            }
            for stride in STRIDES
        },
    }
    write_text(result, json.dumps(values, indent=2) + "\n")
    _print(values)


def _groups(instances: _Map, classes: _Map) -> _Map:
    """Return for each pixel the number of its group, or void; an object's border is void."""
    groups = np.full(classes.shape, VOID, np.uint8)
    groups[classes == 0] = 0
    for instance in np.unique(instances):
        own = (instances == instance) & (classes != VOID) & (classes != 0)
        if own.any() and instance not in (0, VOID):
            groups[own] = 1 + int(BINS.index(own.sum()))
    return groups


def _reduced(maps: _Map, stride: int) -> _Map:
    size = [-(-side // stride) for side in maps.shape]
    found: _Map = nearest(torch.from_numpy(maps)[None], size)[0].numpy()
    return found


def _added_up(weights: npt.NDArray[np.float32], groups: _Map) -> npt.NDArray[np.float64]:
    """Return the number of pixels, sum of weights and number of pixels below 1, by group."""
    found = np.zeros((len(GROUPS), 3))
    for group in range(len(GROUPS)):
        own = weights[groups == group].astype(np.float64)
        found[group] = len(own), own.sum(), (own < 1).sum()
    return found


def _ratio(part: float, whole: float) -> float | None:
    """Return a quotient, or None, JSON's null, if there is nothing to divide by."""
    return float(part / whole) if whole else None


def _by_group(values: npt.NDArray[np.float64]) -> dict[str, float | None]:
    return {group: _ratio(of, values.sum()) for group, of in zip(GROUPS, values, strict=True)}


def _shares(total: npt.NDArray[np.float64]) -> dict[str, Any]:
    pixels, weights, below = total.T
    return {
        "share": _by_group(weights),
        "weight": dict(zip(GROUPS, map(_ratio, weights, pixels), strict=True)),
        "scale": _ratio(weights.sum(), pixels.sum()),
        "below one": _ratio(below[1:].sum(), pixels[1:].sum()),
    }


def _print(values: dict[str, Any]) -> None:
    for stride, found in values["strides"].items():
        click.echo(f"\n{values['masks']} masks at stride {stride}")
        click.echo("| | " + " | ".join(GROUPS) + " | scale | below one |")
        click.echo("| --- |" + " ---: |" * (len(GROUPS) + 2))
        cells = [_shown(found["pixels"][group], ".4f") for group in GROUPS]
        click.echo("| share of pixels | " + " | ".join(cells) + " | | |")
        for name, of in found["definitions"].items():
            cells = [
                f"{_shown(of['share'][g], '.4f')} (x {_shown(of['weight'][g], '.2f')})"
                for g in GROUPS
            ]
            cells += [_shown(of["scale"], ".3f"), _shown(of["below one"], ".3f")]
            click.echo(f"| {name} | " + " | ".join(cells) + " |")
        unlike = found["outlines_against_components"]
        click.echo(
            f"Outlines and components weigh {unlike['masks']:.1%} of the masks and "
            f"{_shown(unlike['pixels'], '.2%')} of the pixels differently."
        )


def _shown(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


if __name__ == "__main__":
    run(main)
