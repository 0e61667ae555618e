"""Croissant metadata (MLCommons, version 1.1) of a set, as JSON-LD.

It is written without ``mlcroissant``, which has heavy dependencies; the tests validate the result
with ``mlcroissant``. Address, publisher and date of publication, which the format asks for, are
unknown when a set is built and left to whoever publishes it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from sbdata.curate.card import limits_of
from sbdata.curate.responsible_ai import RAI, responsible_ai
from sbdata.labelmap import LABELMAP_FILE
from sbdata.manifest import (
    IMAGES_FILE,
    INSTANCES_FILE,
    INSTANCES_SCHEMA,
    Manifest,
    images_schema,
    labels_schema,
)
from sbdata.storage import sha256_of

CITATION = (
    "Mun, Lee, Uh, Choe, Byun. Small Objects Matters in Weakly-Supervised Semantic Segmentation. "
    "WACV 2024."
)

_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}

_PARQUET = "application/x-parquet"

_FILE_SETS = (
    ("image-files", "JPEGImages/*.jpg", "image/jpeg", "The images."),
    ("class-masks", "SegmentationClass/*.png", "image/png", "Class numbers; 255 is void."),
    ("instance-masks", "SegmentationObject/*.png", "image/png", "Instance numbers; 255 is void."),
)

_DESCRIPTIONS = {
    "image_id": "Name of the image and of its masks, without suffix.",
    "source": "Dataset that the image or the annotation comes from.",
    "sha256": "Hash of the image file, or of its RGB pixels if sha256_of is 'pixels'.",
    "labels": "Numbers of the classes in the image: its weak label.",
    "void_rle": "COCO compressed RLE of the pixels that are never counted.",
    "area": "Visible mask pixels at the image's own resolution.",
    "size": "Size by area, half-open intervals.",
    "rle": "COCO compressed RLE of the visible mask.",
}


def croissant(manifest: Manifest, folder: Path) -> dict[str, Any]:
    """Describe a set as Croissant metadata.

    Args:
        manifest: Manifest of the set.
        folder: Root folder of the set; sizes and hashes of the tables are taken from the files
            there.

    Returns:
        JSON-LD as plain values.
    """
    recipe = manifest.meta["recipe"]
    licences = sorted({text for text in manifest.images["license"].to_pylist() if text})
    labels_only = manifest.labels_only
    # Croissant has no type for a list of boxes.
    images = (
        labels_schema().remove(len(labels_schema()) - 1)
        if labels_only
        else images_schema(manifest.bins)
    )
    tables = ((IMAGES_FILE, "images-table"), (INSTANCES_FILE, "instances-table"))
    labelmaps = [path for path in [folder / LABELMAP_FILE] if path.is_file()]
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.1", RAI],
        "name": manifest.name,
        "description": recipe["description"] or f"Evaluation set {manifest.name}.",
        "version": f"{manifest.meta['version']}.0.0",
        "license": licences or ["see the license column of images.parquet"],
        "identifier": f"sha256:{manifest.logical_hash}",
        "citeAs": CITATION,
        **responsible_ai(manifest, limits_of(manifest)),
        "distribution": [
            *(_file_object(folder / file, name, _PARQUET) for file, name in tables),
            *(_file_object(path, "label-map", "text/plain") for path in labelmaps),
            *(_file_set(*described) for described in _FILE_SETS[: 1 if labels_only else None]),
        ],
        "recordSet": [
            _record_set("images", "images-table", images, ["image_id"]),
            _record_set(
                "instances", "instances-table", INSTANCES_SCHEMA, ["image_id", "instance_id"]
            ),
        ],
    }


def _file_object(path: Path, name: str, encoding: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": path.name,
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": encoding,
        "sha256": sha256_of(path),
    }


def _file_set(name: str, includes: str, encoding: str, description: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": name,
        "name": name,
        "description": description,
        "encodingFormat": encoding,
        "includes": includes,
    }


def _record_set(name: str, table: str, schema: pa.Schema, key: list[str]) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "key": [{"@id": f"{name}/{column}"} for column in key],
        "field": [_field(name, table, field) for field in schema],
    }


def _field(records: str, table: str, field: pa.Field) -> dict[str, Any]:
    kind = field.type.value_type if pa.types.is_list(field.type) else field.type
    described: dict[str, Any] = {
        "@type": "cr:Field",
        "@id": f"{records}/{field.name}",
        "name": field.name,
        "dataType": _data_type(kind),
        "source": {"fileObject": {"@id": table}, "extract": {"column": field.name}},
    }
    if field.name in _DESCRIPTIONS:
        described["description"] = _DESCRIPTIONS[field.name]
    if pa.types.is_list(field.type):
        described["repeated"] = True
    if records == "instances" and field.name == "image_id":
        described["references"] = {"field": {"@id": "images/image_id"}}
    return described


def _data_type(kind: pa.DataType) -> str:
    if pa.types.is_boolean(kind):
        return "sc:Boolean"
    if pa.types.is_integer(kind):
        return "sc:Integer"
    if pa.types.is_floating(kind):
        return "sc:Float"
    return "sc:Text"
