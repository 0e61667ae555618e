from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sbdata import sources
from sbdata.curate.leakage import (
    JudgedSet,
    describe_check,
    judged_sets,
    training_duplicates,
    training_members,
)
from sbdata.recipe import Recipe, SourceSpec, load_recipe
from sbdata.sources import Member

HASHES = {"t1": "0" * 16, "t2": "f" * 16}


def row(image_id: str, source: str, number: str) -> dict[str, str]:
    return {
        "image_id": image_id,
        "source": source,
        "source_image_id": number,
        "file_name": f"{image_id}.jpg",
    }


def test_members_are_found_by_the_numbering_of_their_images() -> None:
    judged = JudgedSet("coco-train2017", frozenset({"7"}))
    rows = [
        row("a", "coco", "7"),
        row("b", "lvis", "7"),
        row("c", "voc", "7"),
        row("d", "coco", "8"),
    ]
    found = training_members(rows, judged)
    assert [(r.image_id, r.reason) for r in found] == [
        ("a", "training_member"),
        ("b", "training_member"),
    ]
    assert found[0].detail == "an image of coco-train2017"


def test_near_duplicates_are_found_within_the_distance() -> None:
    judged = JudgedSet("voc-trainaug", frozenset(HASHES), HASHES)
    rows = [row("near", "coco", "1"), row("far", "coco", "2"), row("unhashed", "coco", "3")]
    hashes = {"near": "000000000000000f", "far": "000000000000001f"}
    found = training_duplicates(rows, hashes, judged, bits=4)
    assert [(r.image_id, r.reason, r.detail) for r in found] == [
        ("near", "near_duplicate", "looks like t1 of voc-trainaug")
    ]
    assert len(training_duplicates(rows, hashes, judged, bits=5)) == 2


def test_what_was_not_checked_is_said() -> None:
    absent = describe_check(JudgedSet("voc-trainaug", missing="no list"), 0, 0)
    assert (absent["checked"], absent["result"]) == (False, "not checked: no list")
    part = describe_check(JudgedSet("x-y", frozenset({"t1", "t2", "t3"}), HASHES), 1, 2)
    assert part["checked"]
    assert "3 ids compared, 2 images hashed" in part["result"]
    assert "left out 1 members and 2 near duplicates" in part["result"]
    assert "1 of its images are not at hand" in part["result"]


@dataclass(frozen=True)
class Painted:
    """A training split of two images, one of them absent."""

    name: str
    split: str
    generated: bool = False

    def members(self) -> list[Member]:
        return [Member("1", "one.jpg"), Member("2", "two.jpg")]

    def image_bytes(self, file_name: str) -> bytes | None:
        if file_name == "two.jpg":
            return None
        pixels = np.random.default_rng(1).integers(0, 255, (8, 8, 3), np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).resize((64, 64)).save(stream, "JPEG")
        return stream.getvalue()


def test_judged_sets_are_opened_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        sources.FORMATS, "painted", lambda spec, split, root: Painted(spec.name, split)
    )
    recipe = Recipe(
        name="r", version="r.v1", taxonomy="voc20", sources=(SourceSpec("painted", ("pool",)),),
        judges=("painted-train", "voc-trainaug"),
    )  # fmt: skip
    painted, voc = judged_sets(recipe, {}, tmp_path)
    assert painted.members == {"1", "2"}
    assert set(painted.hashes) == {"1"}
    assert "--source-root voc=PATH" in voc.missing
    again = judged_sets(recipe, {}, tmp_path)[0]
    assert again == painted


def test_the_bundled_recipe_judges_what_the_paper_trains_on() -> None:
    assert load_recipe("pascal-b").judges == ("voc-trainaug",)
    assert "coco-train2017" in load_recipe("pascal-b-val").judges


def test_a_name_is_split_at_its_first_dash() -> None:
    assert JudgedSet("lvis-train").source == "coco"
