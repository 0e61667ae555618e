"""Where a set keeps its files: the folders of the VOC devkit."""

from __future__ import annotations

from pathlib import Path

IMAGES_FOLDER = "JPEGImages"
CLASSES_FOLDER = "SegmentationClass"
OBJECTS_FOLDER = "SegmentationObject"
LISTS_FOLDER = "ImageSets/Segmentation"
SOURCES_MARKER = ".sources.json"
"""Fingerprints of the annotation files that the set was built from."""


def image_path(root: Path, image_id: str) -> Path:
    """Return where a set keeps an image."""
    return root / IMAGES_FOLDER / f"{image_id}.jpg"


def class_path(root: Path, image_id: str) -> Path:
    """Return where a set keeps an image's class map."""
    return root / CLASSES_FOLDER / f"{image_id}.png"


def object_path(root: Path, image_id: str) -> Path:
    """Return where a set keeps an image's object map."""
    return root / OBJECTS_FOLDER / f"{image_id}.png"
