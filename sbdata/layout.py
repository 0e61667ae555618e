"""File layout of a set: the folders of the VOC devkit."""

from __future__ import annotations

from pathlib import Path

IMAGES_FOLDER = "JPEGImages"
CLASSES_FOLDER = "SegmentationClass"
OBJECTS_FOLDER = "SegmentationObject"
LISTS_FOLDER = "ImageSets/Segmentation"
PREDICTIONS_RECORD = ".made-by.json"
"""How the masks in a folder of ``sbdata predict`` were made, and of which classes."""
IMPORT_RECORD = "import.json"
"""Origin and classes of imported pseudo-masks, beside their folder."""
IMPORTED_MASKS = "masks"
"""Folder of imported pseudo-masks, beside their record."""
SOURCES_MARKER = ".sources.json"
"""Fingerprints of the annotation files that the set was built from."""


def image_path(root: Path, image_id: str) -> Path:
    """Return the path of an image in a set."""
    return root / IMAGES_FOLDER / f"{image_id}.jpg"


def class_path(root: Path, image_id: str) -> Path:
    """Return the path of an image's class map in a set."""
    return root / CLASSES_FOLDER / f"{image_id}.png"


def object_path(root: Path, image_id: str) -> Path:
    """Return the path of an image's object map in a set."""
    return root / OBJECTS_FOLDER / f"{image_id}.png"
