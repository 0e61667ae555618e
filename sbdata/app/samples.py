"""Convert one image of a set to the fields of a FiftyOne sample, using only the manifest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sbdata.app.info import field_name
from sbdata.masks import decode_mask
from sbdata.sets import EvaluationSet

if TYPE_CHECKING:
    import fiftyone as fo

IMAGE_ID = "sbdata_image_id"
TRUTH = "ground_truth"
INSTANCES = "instances"
OBJECTS = f"{INSTANCES}.detections"


def count_field(size: str) -> str:
    """Return the name of the sample field that counts the objects of a size.

    >>> count_field("small")
    'n_small'
    """
    return f"n_{field_name(size)}"


def declare_fields(dataset: fo.Dataset, sizes: tuple[str, ...]) -> None:
    """Declare all sample fields of a set in a dataset, so that none depends on the first sample.

    Args:
        dataset: Dataset that holds or will hold a set.
        sizes: Names of the set's sizes.
    """
    import fiftyone as fo

    def declare(name: str, kind: Any, description: str, document: Any = None) -> None:
        dataset.add_sample_field(name, kind, embedded_doc_type=document, description=description)

    declare(IMAGE_ID, fo.StringField, "The image's id in the set")
    declare("split", fo.StringField, "The image's split")
    declare("source", fo.StringField, "The published dataset that the image comes from")
    declare("url", fo.StringField, "URL at which the image was published")
    declare("license", fo.StringField, "Its licence")
    for size in sizes:
        declare(count_field(size), fo.IntField, f"Number of {size} objects in the image")
    document = fo.EmbeddedDocumentField
    declare(TRUTH, document, "The class of every pixel", fo.Segmentation)
    declare(INSTANCES, document, "The annotated objects", fo.Detections)
    declare(f"{OBJECTS}.area", fo.IntField, "Visible pixels")
    declare(f"{OBJECTS}.area_fraction", fo.FloatField, "Visible share of the image's pixels")
    declare(f"{OBJECTS}.size", fo.StringField, "Size of the object by its area")
    declare(f"{OBJECTS}.source", fo.StringField, "The published dataset of the annotation")


def sample_fields(
    opened: EvaluationSet, row: dict[str, Any], photo: Path, truth: Path
) -> dict[str, Any]:
    """Return the fields of one image.

    Width and height come from the manifest, so no image is read.

    Args:
        opened: Set of the image.
        row: Row of the set's images table.
        photo: Path of the image file.
        truth: Path of the image's class map as a grey PNG.

    Returns:
        All fields declared by :func:`declare_fields`, and ``filepath`` and ``metadata``.
    """
    import fiftyone as fo

    width, height = row["width"], row["height"]
    found = []
    for instance in opened.instances_of(row["image_id"]).to_pylist():
        x, y, w, h = (instance[f"bbox_{side}"] for side in "xywh")
        mask = decode_mask(instance["rle"], height, width)[y : y + h, x : x + w]
        found.append(
            fo.Detection(
                label=instance["class_name"],
                bounding_box=[x / width, y / height, w / width, h / height],
                mask=mask,
                index=instance["instance_id"],  # FiftyOne reserves the name instance_id
                area=instance["area"],
                area_fraction=instance["area_fraction"],
                size=instance["size"],
                source=instance["source"],
            )
        )
    return {
        "filepath": str(photo),
        "metadata": fo.ImageMetadata(width=width, height=height),
        IMAGE_ID: row["image_id"],
        "split": row["split"],
        "source": row["source"],
        "url": row["url"],
        "license": row["license"],
        **{count_field(size): row[f"n_{size}"] for size in opened.bins.names},
        TRUTH: fo.Segmentation(mask_path=str(truth)),
        INSTANCES: fo.Detections(detections=found),
    }
