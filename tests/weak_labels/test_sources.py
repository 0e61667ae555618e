"""Weak labels come from the manifest or from files, and a digest needs no link to a photo."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from sbdata.errors import InputError
from sbdata.sets import open_set
from sbdata.weak_labels.sources import WeakSources


@pytest.mark.parametrize("with_boxes", [False, True])
def test_a_plan_and_a_run_see_the_same_labels(sets, tmp_path: Path, with_boxes: bool) -> None:
    opened, sources = open_set(sets.training), WeakSources(with_boxes=with_boxes)
    linked = sources.read(opened, tmp_path / "weak")
    planned = sources.read(opened, None)
    assert planned.digest == linked.digest
    assert all(row.photo.is_relative_to(tmp_path) for row in linked.rows)


def test_sources_are_described_for_a_result(sets, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("image_id,classes\n")
    (tmp_path / "boxes.json").write_text("{}")
    labels, boxes = str(tmp_path / "labels.csv"), str(tmp_path / "boxes.json")
    assert WeakSources().describe() == "manifest"
    assert WeakSources(labels=labels).describe().startswith("csv labels.csv, SHA-256 ")
    assert WeakSources(boxes=boxes).describe() == "manifest"  # of a method that sees none
    said = WeakSources(True, boxes=boxes).describe()
    assert said.startswith("boxes of COCO JSON boxes.json, SHA-256 ")
    said = WeakSources(True, labels, str(tmp_path)).describe()
    assert said.endswith(f"; boxes of VOC XML {tmp_path.name}")
    with pytest.raises(InputError, match=r"labels.csv: has no labels of image .* .6 of 6 images"):
        WeakSources(labels=labels).read(open_set(sets.training), None)


def test_saliency_maps_of_0_and_1_are_refused(sets, tmp_path: Path) -> None:
    opened = open_set(sets.training)
    for image_id in opened:
        Image.new("L", (4, 4), 1).save(tmp_path / f"{image_id}.png")
    sources = WeakSources(saliency=str(tmp_path))
    with pytest.raises(InputError, match=r"its maps hold only 0 and 1.*multiply them by 255"):
        sources.read(opened, None)
    for levels in (0, 255):  # one map suffices to see the range; a black one shows nothing
        Image.new("L", (4, 4), levels).save(tmp_path / f"{opened.image_ids[-1]}.png")
    assert len(sources.read(opened, None).rows) == len(opened)
