"""Sets of drawn objects, predictions of them and their scores, for the tests of the browse page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from sbdata.curate.materialise import write_set
from sbdata.manifest import INSTANCES_SCHEMA, images_schema, make_manifest
from sbdata.masks import encode_mask, write_index_png
from sbdata.score.run import ScoreOptions, score_folder
from sbdata.score.saved import SavedScore, read_saved_score
from sbdata.score.truth import truth_from_set
from sbdata.score.write import write_result
from sbdata.sets import EvaluationSet, open_set
from sbdata.sizes import SizeBins
from sbdata.taxonomy import Taxonomy

HOSTILE = '</script><img src=x onerror="document.title=1">'
CLASSES = Taxonomy("pets", ("cat", HOSTILE, "never seen"))
BINS = SizeBins((30, 400))
HEIGHT, WIDTH = 90, 120

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Drawn:
    """One object of an image; later ones must not meet earlier ones."""

    class_id: int
    mask: Mask
    source: str = "drawn"


def box(
    top: int, left: int, height: int, width: int, size: tuple[int, int] = (HEIGHT, WIDTH)
) -> Mask:
    mask = np.zeros(size, bool)
    mask[top : top + height, left : left + width] = True
    return mask


def pets() -> dict[str, list[Drawn]]:
    """Three images: small and large boxes of two classes, one with a hole, and one of no object."""
    ring = box(50, 60, 30, 30) & ~box(60, 70, 10, 10)
    return {
        "a": [Drawn(1, box(2, 3, 4, 5)), Drawn(2, box(20, 40, 25, 25)), Drawn(1, ring)],
        "b & 'b'": [Drawn(2, box(0, 0, 5, 4), "other"), Drawn(2, box(60, 90, 20, 19))],
        "c": [],
    }


def photo_of(image_id: str, size: tuple[int, int] = (HEIGHT, WIDTH)) -> npt.NDArray[np.uint8]:
    """Return a photo whose colours tell the place: smooth, so that JPEG keeps them nearly."""
    ys, xs = np.mgrid[: size[0], : size[1]]
    blue = np.full(size, 40 + 10 * (len(image_id) % 9))
    return np.stack([ys * 255 // size[0], xs * 255 // size[1], blue], axis=2).astype(np.uint8)


def write_drawn(
    root: Path,
    images: Mapping[str, Sequence[Drawn]],
    *,
    classes: Taxonomy = CLASSES,
    bins: SizeBins = BINS,
    size: tuple[int, int] = (HEIGHT, WIDTH),
    **header: Any,
) -> EvaluationSet:
    """Write a set; the last column of every image is void."""
    (root / "JPEGImages").mkdir(parents=True, exist_ok=True)
    rows, instances = [], []
    for image_id, objects in images.items():
        photo = Image.fromarray(photo_of(image_id, size))
        photo.save(root / f"JPEGImages/{image_id}.jpg", quality=95)
        found = [_instance(image_id, k, o, bins) for k, o in enumerate(objects, start=1)]
        instances += found
        rows.append(
            {
                "image_id": image_id, "split": "val", "source": "drawn",
                "source_image_id": image_id, "file_name": f"{image_id}.jpg",
                "width": size[1], "height": size[0],
                "sha256_of": "file", "labels": sorted({o.class_id for o in objects}),
                "void_rle": encode_mask(box(0, size[1] - 1, size[0], 1, size)),
                **{f"n_{s}": sum(row["size"] == s for row in found) for s in bins.names},
            }
        )  # fmt: skip
    manifest = make_manifest(
        "pets",
        pa.Table.from_pylist(rows, images_schema(bins)),
        pa.Table.from_pylist(instances, INSTANCES_SCHEMA),
        classes,
        bins,
        {"synthetic": False, **header},
    )
    write_set(manifest, root)
    return open_set(root)


def _instance(image_id: str, number: int, drawn: Drawn, bins: SizeBins) -> dict[str, Any]:
    ys, xs = np.flatnonzero(drawn.mask.any(1)), np.flatnonzero(drawn.mask.any(0))
    area = int(drawn.mask.sum())
    return {
        "image_id": image_id, "instance_id": number, "source": drawn.source,
        "source_annotation_id": f"{image_id}-{number}", "class_id": drawn.class_id,
        "class_name": CLASSES.name_of(drawn.class_id), "area": area,
        "area_fraction": area / drawn.mask.size, "bbox_x": int(xs[0]), "bbox_y": int(ys[0]),
        "bbox_w": int(xs[-1] - xs[0]) + 1, "bbox_h": int(ys[-1] - ys[0]) + 1,
        "size": bins.name_of(area), "components": 1,
        "touches_border": bool(ys[0] == 0 or xs[0] == 0), "is_difficult": False,
        "rle": encode_mask(drawn.mask),
    }  # fmt: skip


def score_shifted(
    opened: EvaluationSet,
    home: Path,
    name: str,
    change: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]],
    leave_out: Sequence[str] = (),
    **options: Any,
) -> SavedScore:
    """Predict changed class maps of the truth below ``home/predictions``, and score them."""
    folder = home / "predictions" / name
    for image_id in opened:
        if image_id not in leave_out:
            truth = opened.class_map(image_id)
            truth[truth == 255] = 0
            write_index_png(folder / f"{image_id}.png", change(truth))
    settings = ScoreOptions(**{"resamples": 0, "allow_missing": bool(leave_out), **options})
    scored = score_folder(folder, truth_from_set(opened.root), settings, name=name)
    return read_saved_score(write_result(scored, home / "scores"))


def right(pixels: int) -> Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]:
    """Return a function that moves a map to the right, and predicts classes on the void there."""

    def change(truth: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        moved = np.roll(truth, pixels, axis=1)
        moved[:50, -1], moved[50:, -1] = 1, 2
        return moved

    return change


def without(class_id: int) -> Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]:
    """Return a function that removes a class from a map."""
    return lambda truth: np.where(truth == class_id, 0, truth).astype(np.uint8)
