"""Types of supervision for a method: image-level labels, boxes, saliency maps."""

from __future__ import annotations

IMAGE_LABELS, BOXES, SALIENCY = "image_labels", "boxes", "saliency"
SUPERVISION = (IMAGE_LABELS, BOXES, SALIENCY)

LABELS_ONLY = "labels only, no pixel truth"
"""Text in a result about the labels of a training set without masks."""
