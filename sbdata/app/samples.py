"""A built set as a FiftyOne dataset, straight from its manifest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sbdata.layout import class_path, image_path
from sbdata.masks import decode_mask
from sbdata.sets import EvaluationSet, open_set

if TYPE_CHECKING:
    import fiftyone as fo


def load_set(root: Path) -> fo.Dataset:
    """Load a set into a FiftyOne dataset of its name; a former one of that name is replaced.

    Every image has its class map (``truth``, read from the set's folder) and its instances
    (``instances``, with mask, area in pixels, area fraction, size and source). Width and height
    come from the manifest, so that no image need be read.

    Raises:
        InputError: if the folder is no set.
    """
    import fiftyone as fo

    opened = open_set(root.resolve())
    dataset = fo.Dataset(opened.name, persistent=True, overwrite=True)
    names = dict(enumerate(opened.taxonomy.classes, start=1))
    dataset.mask_targets = {"truth": {0: "background", **names, 255: "void"}}
    dataset.info = {
        "logical_hash": opened.logical_hash,
        "synthetic": opened.manifest.meta["synthetic"],
    }
    rows = {row["image_id"]: row for row in opened.manifest.images.to_pylist()}
    dataset.add_samples([_sample(opened, rows[image_id]) for image_id in opened], progress=False)
    dataset.add_dynamic_sample_fields()
    return dataset


def _sample(opened: EvaluationSet, row: dict[str, Any]) -> fo.Sample:
    import fiftyone as fo

    image_id, width, height = row["image_id"], row["width"], row["height"]
    found = []
    for instance in opened.instances_of(image_id).to_pylist():
        x, y, w, h = (instance[f"bbox_{side}"] for side in "xywh")
        mask = decode_mask(instance["rle"], height, width)[y : y + h, x : x + w]
        found.append(
            fo.Detection(
                label=instance["class_name"],
                bounding_box=[x / width, y / height, w / width, h / height],
                mask=mask,
                area=instance["area"],
                area_fraction=instance["area_fraction"],
                size=instance["size"],
                source=instance["source"],
            )
        )
    return fo.Sample(
        filepath=str(image_path(opened.root, image_id)),
        metadata=fo.ImageMetadata(width=width, height=height),
        tags=[row["split"]],
        image_id=image_id,
        truth=fo.Segmentation(mask_path=str(class_path(opened.root, image_id))),
        instances=fo.Detections(detections=found),
    )
