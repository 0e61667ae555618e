"""Result files, and which results may be compared."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sbdata.bench.result import (
    Differences,
    Figure,
    Pair,
    Protocol,
    Result,
    ScoredSet,
    Training,
    protocol_differences,
    protocol_of,
    read_differences,
    read_result,
    read_results,
    write_differences,
    write_result,
)
from sbdata.errors import InputError

PROTOCOL = Protocol((1.0,), False, "none", "val", "random numbers", "abc")
SCORED = ScoredSet(
    "abc", "val", "ia_iou.v2", 3, {"ia": 7}, {"ia": 2},
    {"miou": Figure(0.5, (0.25, 0.75)), "ia_small.class_mean": Figure(None)}, PROTOCOL, "fff",
)  # fmt: skip
RESULT = Result(
    method="stripes", paper="Nobody", supervision=("image_labels",), control=False, strategy="ce",
    seed=1, synthetic=True, preset="smoke", method_settings={"masks": {"share": 0.4}},
    training_preset={"name": "tiny"}, training=Training("six", "def", 6, "123", "manifest"),
    initialisation="random numbers", pretrained=False, code={"sbdata": "1", "baseline": "2"},
    environment={"threads": 1}, seconds={"train": 1.5}, pseudo=None, sets={"three": SCORED},
)  # fmt: skip


def test_result_comes_back(tmp_path: Path) -> None:
    path = write_result(tmp_path, RESULT)
    assert path.name == "stripes.ce.seed1.json"
    assert read_result(path) == RESULT
    assert read_results(tmp_path) == [RESULT]
    assert json.loads(path.read_text())["format"] == "sbdata.result.v2"


def test_further_sets_of_one_run_are_kept(tmp_path: Path) -> None:
    write_result(tmp_path, RESULT)
    other = replace(RESULT, sets={"other": SCORED}, seconds={"train": 9.0})
    path = write_result(tmp_path, other)
    assert list(read_result(path).sets) == ["other", "three"]
    path = write_result(tmp_path, replace(other, preset="paper"))
    assert list(read_result(path).sets) == ["other"]
    path.write_text("damaged")
    assert list(read_result(write_result(tmp_path, RESULT)).sets) == ["three"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw.pop("seed"), "missing key 'seed'"),
        (lambda raw: raw.update(extra=1), "unknown key 'extra'"),
        (lambda raw: raw.update(seed="one"), "seed must be int"),
        (lambda raw: raw.update(format="sbdata.result.v1"), "made with ia_iou.v1 and sb_ce.v1"),
        (lambda raw: raw.update(format="sbdata.other.v2"), "not a file of the format"),
        (lambda raw: raw["sets"]["three"].update(logical_hash="x"), "two different hashes"),
        (lambda raw: raw["sets"]["three"]["figures"]["miou"].update(interval=[0.1]), "two ends"),
        (lambda raw: raw["sets"]["three"]["figures"]["miou"].update(value=float("nan")), "NaN"),
        (lambda raw: raw["sets"]["three"].pop("protocol"), "missing key 'protocol'"),
    ],
)
def test_damaged_results_are_told(tmp_path: Path, change, message: str) -> None:
    path = write_result(tmp_path, RESULT)
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))
    with pytest.raises(InputError, match=f"stripes.ce.seed1.json.*{message}"):
        read_result(path)


def test_missing_results_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_result(tmp_path / "none.json")
    with pytest.raises(InputError, match="no results"):
        read_results(tmp_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("scales", (0.5, 1.0)), ("flip", True), ("refine", "crf"), ("split", "test"),
        ("initialisation", "ImageNet"), ("set_hash", "xyz"),
    ],
)  # fmt: skip
def test_results_of_another_protocol_are_flagged(field: str, value: object) -> None:
    assert protocol_of(RESULT) == {"three": PROTOCOL}
    assert protocol_differences(RESULT, RESULT) == {}
    changed = replace(PROTOCOL, **{field: value})
    other = replace(RESULT, sets={"three": replace(SCORED, protocol=changed), "four": SCORED})
    assert protocol_differences(RESULT, other) == {"three": (field,)}


def test_differences_come_back_and_are_added_to(tmp_path: Path) -> None:
    figures = {"miou": {"value": 0.1, "interval": [0.0, 0.2], "sign_change": 0.04}, "ia": None}
    first = Differences("stripes", 1, "key", (Pair("three", "ce", "sb-ewc", figures),))
    path = write_differences(tmp_path, first)
    assert path.name == "stripes-seed1-differences.json"
    assert read_differences(path) == first
    second = replace(first, pairs=(Pair("other", "ce", "sb-ewc", {}),))
    write_differences(tmp_path, second)
    assert [p.set for p in read_differences(path).pairs] == ["other", "three"]
    write_differences(tmp_path, replace(second, training="another"))
    assert [p.set for p in read_differences(path).pairs] == ["other"]
