"""Filters: which scanned images may be candidates, with a reason for each rejection."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from sbdata.recipe import Filters
from sbdata.sources import Rejection


def filter_images(images: pa.Table, rules: Filters) -> tuple[list[str], list[Rejection]]:
    """Return the ids of the images that pass, in table order, and a rejection for each other image.

    Args:
        images: Images table of a scan (``sbdata.sources.scan``), with the columns ``crowd_share``
            and ``not_exhaustive``.
        rules: Filters of the recipe; the first one that an image violates is its reason.
    """
    kept: list[str] = []
    rejected: list[Rejection] = []
    columns = ["image_id", "source", "file_name", "crowd_share"]
    rows = images.select(columns).to_pylist()
    unsure = pc.list_value_length(images["not_exhaustive"]).to_pylist()
    instances = pc.list_value_length(images["labels"]).to_pylist()
    for row, unsure_classes, classes in zip(rows, unsure, instances, strict=True):
        reason = detail = ""
        if rules.exhaustive and unsure_classes:
            reason, detail = "not_exhaustive", f"{unsure_classes} classes not fully annotated"
        elif row["crowd_share"] > rules.max_crowd_share:
            share = f"{row['crowd_share']:.3f} of the image, above {rules.max_crowd_share}"
            reason, detail = "crowd_share", f"crowd regions cover {share}"
        elif rules.with_instances and not classes:
            reason, detail = "no_instances", "no instance of the set's classes"
        if reason:
            place = (row["source"], row["file_name"], reason, detail, row["image_id"])
            rejected.append(Rejection(*place))
        else:
            kept.append(row["image_id"])
    return kept, rejected
