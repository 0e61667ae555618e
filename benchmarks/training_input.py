"""Measure how fast one data worker makes training views, and which library decodes photos fastest.

    python benchmarks/training_input.py --out results/training-input.json
    python benchmarks/training_input.py --quick

The views are those of the preset wacv24: crops of 321 pixels from VOC-sized JPEG photos, labels at
the size of each network output, and the weights of sb_ce.v2. Photos and masks are generated;
``--photos`` and ``--masks`` name folders of real ones. Colours are normalised by the network on its
own device, from bytes, so this costs a worker nothing. All times are CPU seconds of one thread;
repetitions alternate and the medians are reported.

Decoders are compared with Pillow pixel by pixel, on generated JPEGs of several subsamplings,
qualities and kinds and on the photos. The times are those of a photo in memory to Pillow's image,
which resizing needs.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import distributions
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageFile

from sbdata.losses import size_weights
from sbdata.mask_files import read_mask
from sbdata.masks import write_index_png
from sbdata.taxonomy import VOC20
from sbdata.train.augment import cut_image, cut_mask, draw_view
from sbdata.train.photos import read_photo
from sbdata.train.preset import Preset, load_preset
from sbdata.train.resize import nearest
from sbdata.train.samples import TrainingImages, images_of_folders, views_of
from sbdata.train.segmenter import build_segmenter, output_sizes

ImageFile.MAXBLOCK = 1 << 22  # Pillow's buffer is too small for noise of quality 100
WANTED = 200  # images a second that a card like an H200 may take; a guess until one is measured
HEIGHT, WIDTH = 375, 500  # of most photos of VOC
Pixels = npt.NDArray[np.uint8]
Decoder = Callable[[bytes], Any]


# --- what is decoded ------------------------------------------------------------------------------


def picture(rng: np.random.Generator, height: int = HEIGHT, width: int = WIDTH) -> Pixels:
    """Draw a photo with large shapes, texture and noise."""
    image = np.zeros((height, width, 3))
    for cell, strength in ((100, 90), (25, 50), (6, 25), (1, 8)):
        coarse = rng.normal(size=(-(-height // cell), -(-width // cell), 3))
        image += strength * np.kron(coarse, np.ones((cell, cell, 1)))[:height, :width]
    return np.clip(image + 120, 0, 255).astype(np.uint8)


def mask_of(rng: np.random.Generator) -> Pixels:
    """Draw one to six ellipses with a void border and frayed edges."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    for _ in range(rng.integers(1, 7)):
        y, x = rng.uniform(0, HEIGHT), rng.uniform(0, WIDTH)
        height, width = np.exp(rng.uniform(np.log(8), np.log(140), 2))
        far = np.hypot((rows - y) / height, (columns - x) / width)
        far += 0.15 * np.kron(rng.random((125, 167)), np.ones((3, 3)))[:HEIGHT, :WIDTH]
        mask[far < 1 + 3 / min(height, width)] = 255
        mask[far < 1] = rng.integers(1, 21)
    return mask


def write_pictures(root: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    (root / "photos").mkdir()
    for number in range(count):
        Image.fromarray(picture(rng)).save(root / "photos" / f"{number:03}.jpg", quality=90)
        write_index_png(root / "masks" / f"{number:03}.png", mask_of(rng))


def jpegs(quick: bool) -> Iterator[tuple[str, bytes]]:
    """Generate JPEGs of all subsamplings, qualities, kinds and odd sizes."""
    rng = np.random.default_rng(1)
    sizes = ((HEIGHT, WIDTH), (101, 67)) if not quick else ((101, 67),)
    kinds: dict[str, dict[str, Any]] = {
        "baseline": {},
        "progressive": {"progressive": True},
        "restarts": {"restart_marker_blocks": 5},
    }
    for (height, width), quality, sampling, kind in product(
        sizes, (40, 75, 95, 100), ("4:4:4", "4:2:2", "4:2:0"), kinds
    ):
        image = Image.fromarray(picture(rng, height, width))
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=quality, subsampling=sampling, **kinds[kind])
        yield f"{kind} {sampling} q{quality} {width}x{height}", stream.getvalue()
    for mode in ("L", "CMYK"):
        stream = io.BytesIO()
        Image.fromarray(picture(rng, 101, 67)).convert(mode).save(stream, "JPEG")
        yield f"mode {mode}", stream.getvalue()


def damaged() -> list[bytes]:
    """Return a JPEG that ends early, and one with a damaged byte in its scan."""
    stream = io.BytesIO()
    Image.fromarray(picture(np.random.default_rng(2))).save(stream, "JPEG", quality=90)
    whole = stream.getvalue()
    altered = bytearray(whole)
    altered[len(whole) // 2] ^= 0x55
    return [whole[: len(whole) // 2], bytes(altered)]


# --- decoders -------------------------------------------------------------------------------------


def by_pillow(data: bytes) -> Any:
    """Decode as the training does; draft mode, which scales while decoding, is off."""
    image = Image.open(io.BytesIO(data), formats=("JPEG", "PNG"))
    image.load()
    return image if image.mode == "RGB" else image.convert("RGB")


def decoders() -> dict[str, Decoder | str]:
    """Return each library's decoder to an RGB array, or why it is not available."""
    found: dict[str, Decoder | str] = {"pillow": by_pillow}
    try:
        import cv2

        cv2.setNumThreads(1)
        flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
        found["cv2"] = lambda data: cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except (ImportError, AttributeError) as error:
        found["cv2"] = str(error)
    try:
        from torchvision.io import ImageReadMode, decode_jpeg

        def by_torchvision(data: bytes) -> Any:
            given = torch.frombuffer(bytearray(data), dtype=torch.uint8)
            return decode_jpeg(given, ImageReadMode.RGB).permute(1, 2, 0).contiguous().numpy()

        found["torchvision"] = by_torchvision
    except ImportError as error:
        found["torchvision"] = str(error)
    try:
        import simplejpeg

        found["simplejpeg"] = lambda data: simplejpeg.decode_jpeg(data, "RGB")
    except ImportError as error:
        found["simplejpeg"] = str(error)
    try:
        from turbojpeg import TJPF_RGB, TurboJPEG

        decode = TurboJPEG().decode
        found["turbojpeg"] = lambda data: decode(data, TJPF_RGB)
    except (ImportError, RuntimeError) as error:
        found["turbojpeg"] = str(error).partition("\n")[0]
    return found


def as_image(decoded: Any) -> Image.Image:
    return decoded if isinstance(decoded, Image.Image) else Image.fromarray(decoded)


def decoded_or_error(decode: Decoder, data: bytes) -> Pixels | str:
    try:
        return np.asarray(decode(data))
    except Exception as error:  # each library raises its own kinds
        return f"{type(error).__name__}: {str(error)[:80]}"


def compared(quick: bool, photos: list[bytes], repeats: int) -> dict[str, Any]:
    """Compare the pixels and speed of all decoders with Pillow's."""
    cases = list(jpegs(quick))
    wanted = [np.asarray(by_pillow(data)) for _, data in cases]
    wanted_photos = [np.asarray(by_pillow(data)) for data in photos]
    found: dict[str, Any] = {}
    usable: dict[str, Decoder] = {}
    for name, decode in decoders().items():
        if isinstance(decode, str):
            found[name] = {"unavailable": decode}
            continue
        usable[name] = decode
        other = [
            case
            for (case, data), pixels in zip(cases, wanted, strict=True)
            if not _same(decoded_or_error(decode, data), pixels)
        ]
        same = sum(
            _same(decoded_or_error(decode, data), pixels)
            for data, pixels in zip(photos, wanted_photos, strict=True)
        )
        ends_early, altered = (decoded_or_error(decode, data) for data in damaged())
        found[name] = {
            "generated": len(cases),
            "generated_that_differ": other,
            "photos": len(photos),
            "photos_that_are_the_same": same,
            "ends_early": ends_early if isinstance(ends_early, str) else "decoded without an error",
            "damaged": altered if isinstance(altered, str) else "decoded without an error",
        }
    for name, times in timed(
        {n: lambda data, d=d: as_image(d(data)) for n, d in usable.items()},  # type: ignore[misc]
        photos,
        repeats,
    ).items():
        found[name]["milliseconds"] = times
        found[name]["times_pillow"] = round(times / found["pillow"]["milliseconds"], 3)
    return found


def _same(found: Pixels | str, wanted: Pixels) -> bool:
    return not isinstance(found, str) and np.array_equal(found, wanted)


def timed(
    functions: dict[str, Callable[[Any], object]], items: list[Any], repeats: int
) -> dict[str, float]:
    """Return median CPU milliseconds of an item for each function; the functions take turns."""
    taken: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(repeats + 1):
        for name, function in functions.items():
            began = time.process_time()
            for item in items:
                function(item)
            if turn:  # the first warms up
                taken[name].append(time.process_time() - began)
    return {n: round(1000 * statistics.median(t) / len(items), 4) for n, t in taken.items()}


# --- views ----------------------------------------------------------------------------------------


def views(images: TrainingImages, preset: Preset, repeats: int, seen: int) -> dict[str, Any]:
    """Measure whole views, and each of their parts on the same views."""
    model = build_segmenter(
        preset.model.backbone,
        n_classes=len(images.taxonomy),
        weights="none",
        output_stride=preset.model.output_stride,
        scales=preset.model.scales,
    )
    sizes = output_sizes(model, preset.augmentation.crop)
    balanced = views_of(images, preset.augmentation, 0, balance=preset.size_balance, sizes=sizes)
    plain = views_of(images, preset.augmentation, 0, sizes=sizes)
    whole = timed({"sb": balanced.__getitem__, "ce": plain.__getitem__}, list(range(seen)), repeats)
    rows = []
    for position in range(seen):
        row = images.rows[position % len(images)]
        photo, mask = read_photo(row.photo), read_mask(row.mask, classes=images.taxonomy).values
        view = draw_view(photo.size, preset.augmentation, np.random.default_rng(position))
        cut = np.array(cut_mask(mask, view))
        labels = [nearest(torch.from_numpy(cut)[None], s)[0].numpy() for s in dict.fromkeys(sizes)]
        rows.append((row, photo, mask, view, cut, labels))
    parts = timed(
        {
            "read and decode the photo": lambda r: read_photo(r[0].photo),
            "crop and rescale the photo": lambda r: cut_image(r[1], r[3]),
            "read and check the mask": lambda r: read_mask(r[0].mask, classes=images.taxonomy),
            "crop and rescale the mask": lambda r: cut_mask(r[2], r[3]),
            "labels of each output": lambda r: [
                nearest(torch.from_numpy(r[4])[None], size) for size in dict.fromkeys(sizes)
            ],
            "weights of sb_ce.v2": lambda r: [size_weights(target) for target in r[5]],
        },
        rows,
        repeats,
    )
    a_second = 1000 / whole["sb"]
    return {
        "crop": preset.augmentation.crop,
        "output_sizes": [list(size) for size in sizes],
        "milliseconds": {"sb_ce": whole["sb"], "ce": whole["ce"], "parts": parts},
        "images_per_second_and_worker": round(a_second, 1),
        "wanted_images_per_second": WANTED,
        "workers_for_that": math.ceil(WANTED / a_second),
    }


def versions() -> dict[str, str]:
    packages = ("pillow", "opencv-python-headless", "torch", "torchvision", "simplejpeg")
    there = {d.name.lower(): d.version for d in distributions() if d.name}
    found = {package: there.get(package, "not installed") for package in packages}
    return {"python": platform.python_version(), **found}


def _shown(argument: str) -> str:
    """Return an argument without the folders above a path's last one."""
    return Path(argument).name if Path(argument).is_absolute() else argument


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="few photos, to see that it runs")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the photos")
    parser.add_argument("--photos", type=Path, help="folder of real photos")
    parser.add_argument("--masks", type=Path, help="folder of their masks, with VOC's numbers")
    parser.add_argument("--out", type=Path, help="file to write the result to, as JSON")
    options = parser.parse_args()
    if (options.photos is None) != (options.masks is None):
        parser.error("--photos and --masks go together")
    torch.set_num_threads(1)
    count = 4 if options.quick else max(8, round(80 * options.scale))
    repeats = 1 if options.quick else 5
    preset = load_preset("wacv24", ["augmentation.crop=64"] if options.quick else [])
    with tempfile.TemporaryDirectory() as folder:
        photos, masks, ids = options.photos, options.masks, None
        if photos is None:
            photos, masks = Path(folder) / "photos", Path(folder) / "masks"
            write_pictures(Path(folder), count)
        else:
            ids = sorted(path.stem for path in masks.glob("*.png"))[:count]
        images = images_of_folders(photos, masks, VOC20, ids)
        data = [row.photo.read_bytes() for row in images.rows]
        found = {
            "command": " ".join(
                ["python", "benchmarks/training_input.py", *map(_shown, sys.argv[1:])]
            ),
            "synthetic": options.photos is None,
            "versions": versions(),
            "machine": f"one thread of {platform.machine()}",
            "photos": {"count": len(data), "mean_bytes": round(statistics.mean(map(len, data)))},
            "decoders": compared(options.quick, data, repeats),
            "views": views(images, preset, repeats, 2 * count),
        }
    text = json.dumps(found, indent=2) + "\n"
    if options.out:
        options.out.write_text(text)
    print(text, end="")


if __name__ == "__main__":
    main()
