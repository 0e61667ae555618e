"""Counts of what a source left out, in words."""

from __future__ import annotations

from sbdata.sources import Rejection
from sbdata.sources.rejections import describe_rejections


def test_what_keeps_its_image_is_not_said_to_be_left_out() -> None:
    found = [
        Rejection("voc", "SegmentationClass/a.png", "palette_order", "colours decide", "a"),
        Rejection("voc", "SegmentationObject/b.png", "unassigned_pixels", "3 pixels", "b"),
        Rejection("voc", "SegmentationClass/c.png", "missing_mask", "no such file", "c"),
    ]
    assert describe_rejections(found).startswith(
        "missing_mask 1, palette_order 1 (masks kept, read by their colours), "
        "unassigned_pixels 1 (images kept, with these pixels void) ("
    )
