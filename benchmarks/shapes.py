"""Measure how many generated images a second one core makes.

    python benchmarks/shapes.py --scale 0.4

Prints the CPU time per image of both stages of a build: layout and masks as run-length codes; and
the picture, its hash and the JPEG. Kernels are compiled before the clock starts.
"""

from __future__ import annotations

from collections.abc import Callable

import harness

from sbdata.recipe import SourceSpec
from sbdata.sources import Chunk
from sbdata.sources.shapes import open_shapes


def stages(split: str, images: int) -> dict[str, Callable[[], object]]:
    """Return the two stages for the first images of a split."""
    source = open_shapes(SourceSpec("shapes", (split,), options={split: images}), split, None)
    names = [member.file_name for member in source.members()]

    def render() -> None:
        for name in names:
            source.image_bytes(name)
            source.pixel_sha256(name)

    return {
        f"{split}: layout, masks": lambda: source.read(Chunk(0, images)),
        f"{split}: picture, hash, JPEG": render,
    }


def main() -> None:
    """Parse the command line, measure both splits and print."""
    options = harness.parser(__doc__, quick=0.4).parse_args()
    images = max(2, round(500 * options.scale))
    sides = {**stages("train", images), **stages("pool", images)}
    figures = harness.alternate(sides, options.repeat)
    speeds = {
        split: images / sum(f.cpu_seconds for f in figures if f.name.startswith(split))
        for split in ("train", "pool")
    }
    harness.report(options, figures, images=images, images_per_cpu_second=speeds)
    for split, speed in speeds.items():
        print(f"{split}: {images} images, {speed:.0f} a second and core")


if __name__ == "__main__":
    main()
