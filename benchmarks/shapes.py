"""Measure how many generated images a second one core makes.

    python benchmarks/shapes.py --scale 0.4

Prints each stage's cost an image, and images a second for everything: layout, masks as run-length
codes, the picture, its hash and the JPEG. Kernels are compiled before the clock starts. The clock
is the process's own (CPU seconds), so that other programs on the machine count little.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from sbdata.recipe import SourceSpec
from sbdata.sources import Chunk
from sbdata.sources.shapes import open_shapes


@dataclass(frozen=True)
class Cost:
    """CPU milliseconds an image, and wall-clock images a second of both stages together."""

    split: str
    images: int
    read_ms: float
    render_ms: float
    cpu_images_per_second: float
    wall_images_per_second: float


def measure(split: str, images: int) -> Cost:
    """Make the first images of a split and time the two stages that a build runs."""
    source = open_shapes(SourceSpec("shapes", (split,), options={split: images}), split, None)
    names = [member.file_name for member in source.members()]

    def render() -> None:
        for name in names:
            source.image_bytes(name)
            source.pixel_sha256(name)

    wall = time.perf_counter()
    read = _cpu(lambda: source.read(Chunk(0, images)))
    drawn = _cpu(render)
    wall = time.perf_counter() - wall
    return Cost(
        split=split,
        images=images,
        read_ms=1000 * read / images,
        render_ms=1000 * drawn / images,
        cpu_images_per_second=images / (read + drawn),
        wall_images_per_second=images / wall,
    )


def _cpu(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    """Parse the command line, measure both splits and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--scale", type=float, default=1.0, help="share of 500 images a split")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    start = time.perf_counter()
    measure("pool", 2)
    compiled = time.perf_counter() - start
    costs = [measure(split, round(500 * arguments.scale)) for split in ("train", "pool")]
    if arguments.json:
        print(json.dumps([asdict(cost) for cost in costs]))
        return
    print(f"first two images, with compiling or loading the kernels: {compiled:.1f} s")
    print("split  images  layout+masks  picture+hash+JPEG  images/s a core (CPU)  (wall)")
    for cost in costs:
        print(
            f"{cost.split:5}  {cost.images:6}  {cost.read_ms:9.2f} ms  {cost.render_ms:14.2f} ms"
            f"  {cost.cpu_images_per_second:21.0f}  {cost.wall_images_per_second:6.0f}"
        )


if __name__ == "__main__":
    main()
