"""Measure what a training view, a predicted photo and its CRF cost on one CPU core, by network.

    python benchmarks/steps.py --out results/steps.json

Training steps are those of a bare loop with the size-balanced loss on noisy photos of 320 x 280
pixels; weights are random, which costs the same. The networks are those of the presets. Seconds are
CPU seconds, per million pixels that pass through the network, over all its scales.
``sbdata.benchmark.costs`` estimates durations from the result.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from trainer import bare, pictures

from sbdata.sources.shapes import ShapesSource
from sbdata.taxonomy import TAXONOMIES
from sbdata.train.checkpoint import new_segmenter
from sbdata.train.predict import predict_image
from sbdata.train.preset import ModelSettings, Preset, load_preset
from sbdata.train.refine import make_refiner
from sbdata.train.samples import TrainingImages

FORMAT = "sbdata.steps.v1"
NETWORKS = {
    "tf_efficientnet_lite0, stride 16": ("smoke", "tf_efficientnet_lite0", 16, ()),
    "resnet50, stride 16": ("wacv24", "resnet50", 16, ()),
    "resnet101, stride 16": ("wacv24", "resnet101", 16, ()),
    "resnet101, stride 8": ("wacv24", "resnet101", 8, (0.5, 0.75)),
    "vgg16, stride 8": ("wacv24", "vgg16", 8, ()),
}
"""Preset that gives crop and optimiser, backbone, output stride and further scales."""

_PHOTO = (375, 500)  # usual size of a VOC photo: height, width
_REPEATS = 3


def preset_of(name: str, scale: float) -> tuple[Preset, int]:
    """Return the preset of a network, and the number of steps to take."""
    start, backbone, stride, scales = NETWORKS[name]
    preset = load_preset(start)
    light = start == "smoke"
    batch, steps = (preset.optimisation.batch_size, 20) if light else (2, 1)
    model = ModelSettings(backbone, "none", stride, preset.model.rates, scales)
    optimisation = replace(preset.optimisation, batch_size=batch if scale >= 1 else 1, accumulate=1)
    return replace(preset, model=model, optimisation=optimisation), max(1, round(steps * scale))


def measured(name: str, images: TrainingImages, scale: float) -> dict[str, Any]:
    """Return the speed of one network."""
    preset, steps = preset_of(name, scale)
    repeats = _REPEATS if scale >= 1 else 1
    share = 1.0 + sum(s * s for s in preset.model.scales)
    views = steps * preset.optimisation.batch_size
    pixels = views * share * preset.augmentation.crop**2 / 1e6
    trained = [bare(images, preset, steps) / pixels for _ in range(repeats)]
    model = new_segmenter(preset.model, images.taxonomy).eval()
    photo = np.random.default_rng(0).integers(0, 255, (*_PHOTO, 3), dtype=np.uint8)
    predicted = []
    for _ in range(repeats):
        began = time.process_time()
        predict_image(model, photo)
        taken = time.process_time() - began
        predicted.append(taken / (share * _PHOTO[0] * _PHOTO[1] / 1e6))
    return {
        "crop": preset.augmentation.crop,
        "batch_size": preset.optimisation.batch_size,
        "scales": list(preset.model.scales),
        "parameters": sum(p.numel() for p in model.parameters()),
        "train_seconds_per_megapixel": round(statistics.median(trained), 3),
        "predict_seconds_per_megapixel": round(statistics.median(predicted), 3),
    }


def crf_seconds(scale: float) -> float | None:
    """Return the seconds of the CRF of ``wacv24`` per million pixels; None if not installed.

    The photo is a picture of the generated shapes: on noise, whose pixels have no neighbours in
    colour, the CRF takes several times as long.
    """
    source = ShapesSource("shapes", "train", 1, size=_PHOTO[1])
    photo = source.pixels(source.members()[0].file_name)
    height, width = map(int, photo.shape[:2])
    classes = len(TAXONOMIES["voc20"].classes) + 1
    chances = np.random.default_rng(0).dirichlet(np.ones(classes), (height, width))
    maps = np.ascontiguousarray(chances.transpose(2, 0, 1), np.float32)
    try:
        refine = make_refiner("crf", load_preset("wacv24").inference.crf)
        assert refine is not None
        taken = []
        for _ in range(_REPEATS if scale >= 1 else 1):
            began = time.process_time()
            refine(photo, maps)
            taken.append(time.process_time() - began)
    except Exception as error:
        print(f"the CRF was not measured: {error}")
        return None
    return float(round(statistics.median(taken) / (height * width / 1e6), 3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of steps")
    parser.add_argument("--quick", action="store_true", help="as --scale 0.1")
    parser.add_argument("--only", choices=NETWORKS, action="append", help="network; all by default")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args()
    scale = 0.1 if options.quick else options.scale
    torch.set_num_threads(1)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        images = pictures(Path(folder))
        for name in options.only or NETWORKS:
            found[name] = measured(name, images, scale)
            speed = found[name]
            print(
                f"{name}: {speed['train_seconds_per_megapixel']} s to train on a million pixels, "
                f"{speed['predict_seconds_per_megapixel']} s to predict them",
                flush=True,
            )
    crf = crf_seconds(scale)
    print(f"CRF: {crf} s per million pixels of a photo")
    if options.out:
        record = {
            "format": FORMAT,
            "command": f"python benchmarks/steps.py --out {options.out}",
            "scale": scale,
            "device": "one CPU core",
            "processor": _processor(),
            "versions": {
                "python": platform.python_version(),
                **{name: version(name) for name in ("numpy", "timm", "torch")},
            },
            "networks": found,
            "crf_seconds_per_megapixel": crf,
        }
        options.out.write_text(json.dumps(record, indent=2) + "\n")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


if __name__ == "__main__":
    main()
