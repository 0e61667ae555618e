"""Draw label maps from a manifest's rows: the class map and the instance map of an image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sbdata.manifest import Manifest, ManifestError, check_has_masks
from sbdata.masks import VOID, LabelMap, MaskError, by_rows, draw_masks


@dataclass(frozen=True)
class DrawnRow:
    """Data of one image from a manifest, as needed for drawing.

    Attributes:
        image_id: Stem of the image's files.
        width: Width in pixels.
        height: Height in pixels.
        void_rle: COCO compressed run-length code of the void pixels, or None.
        instance_ids: Instance numbers, 1..254, one per instance.
        class_ids: Class numbers, 1..C, one per instance.
        rles: COCO compressed run-length codes of the visible masks, one per instance.
    """

    image_id: str
    width: int
    height: int
    void_rle: bytes | None
    instance_ids: Sequence[int]
    class_ids: Sequence[int]
    rles: Sequence[bytes]


def drawn_rows(manifest: Manifest) -> Iterator[DrawnRow]:
    """Yield the data to draw for each image, in the manifest's order.

    Raises:
        InputError: If the set has labels only.
    """
    check_has_masks(manifest, f"set {manifest.name}", "drawing")
    instances = manifest.instances
    owners = instances["image_id"].to_pylist()
    numbers = instances["instance_id"].to_pylist()
    classes = instances["class_id"].to_pylist()
    rles = instances["rle"].to_pylist()
    columns = (manifest.images[name].to_pylist() for name in ("width", "height", "void_rle"))
    image_ids = manifest.images["image_id"].to_pylist()
    start = 0
    for image_id, width, height, void_rle in zip(image_ids, *columns, strict=True):
        stop = start
        while stop < len(owners) and owners[stop] == image_id:
            stop += 1
        part = slice(start, stop)
        yield DrawnRow(image_id, width, height, void_rle, numbers[part], classes[part], rles[part])
        start = stop
    if start != len(owners):
        msg = f"the manifest's rows are not sorted by image ({owners[start]}); build it again"
        raise ManifestError(msg)


def draw_image(row: DrawnRow) -> tuple[LabelMap, LabelMap]:
    """Draw the class map and the instance map of an image.

    Returns:
        Two ``(H, W)`` uint8 arrays: class numbers and instance numbers; 0 is background, 255 void.

    Raises:
        MaskError: If a run-length code does not fit the image.
    """
    rles, void = list(row.rles), []
    if row.void_rle is not None:
        rles, void = [*rles, row.void_rle], [VOID]
    canvas = np.empty((row.height, row.width), np.uint8, order="F")
    drawn = []
    try:
        for numbers in (row.class_ids, row.instance_ids):
            canvas[...] = 0
            draw_masks(rles, row.height, row.width, labels=[*numbers, *void], onto=canvas)
            drawn.append(by_rows(canvas))
    except MaskError as error:
        msg = f"image {row.image_id}: {error}; build the manifest again"
        raise MaskError(msg) from error
    return drawn[0], drawn[1]
