"""Make two prediction folders from a set: the truth itself, and the truth without small objects.

    python examples/erase_small.py data/shapes-b predictions
    sbdata score predictions/without_small --set data/shapes-b --against predictions/perfect

The two differ in nothing else, so their scores show what mIoU does not see.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from sbdata.cli import run
from sbdata.masks import VOID, write_index_png
from sbdata.sets import open_set


@click.command()
@click.argument("root", metavar="SET", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
def main(root: Path, out: Path) -> None:
    """Write OUT/perfect and OUT/without_small, the predictions made from SET."""
    opened = open_set(root)
    for image_id in opened:
        perfect = opened.class_map(image_id).copy()
        perfect[perfect == VOID] = 0
        erased = perfect.copy()
        instances = opened.instance_map(image_id)
        for row in opened.instances_of(image_id).to_pylist():
            if row["size"] == "small":
                erased[np.asarray(instances) == row["instance_id"]] = 0
        write_index_png(out / "perfect" / f"{image_id}.png", perfect)
        write_index_png(out / "without_small" / f"{image_id}.png", erased)


if __name__ == "__main__":
    run(main)
