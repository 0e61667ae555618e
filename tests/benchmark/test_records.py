"""Result files, and which results may be compared."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sbdata.benchmark import records
from sbdata.benchmark.records import (
    Pair,
    PairedDifferences,
    Protocol,
    ResultRecord,
    ScoredSet,
    Training,
    Value,
    read_differences,
    read_result,
    write_differences,
    write_result,
)
from sbdata.errors import InputError
from sbdata.metrics.outcomes import OUTCOMES

PROTOCOL = Protocol((1.0,), False, "none", "val", "random numbers", "abc")
SCORED = ScoredSet(
    "abc", "val", "ia_iou.v2", 3, {"ia": 7}, {"ia": 2},
    {"miou": Value(0.5, (0.25, 0.75)), "ia_small.class_mean": Value(None)}, PROTOCOL, "fff",
)  # fmt: skip
RESULT = ResultRecord(
    method="stripes", paper="Nobody", supervision=("image_labels",), control=False, strategy="ce",
    seed=1, synthetic=True, preset="smoke", method_settings={"masks": {"share": 0.4}},
    training_preset={"name": "tiny"}, training=Training("six", "def", 6, "123", "manifest"),
    initialisation="random numbers", pretrained=False, code={"sbdata": "1", "baseline": "2"},
    environment={"threads": 1}, seconds={"train": 1.5}, pseudo=None, sets={"three": SCORED},
)  # fmt: skip


def test_result_comes_back(tmp_path: Path) -> None:
    path = write_result(tmp_path, RESULT)[0]
    assert re.fullmatch(r"stripes\.ce\.seed1\.[0-9a-f]{8}\.json", path.name)
    assert read_result(path) == RESULT
    assert json.loads(path.read_text())["format"] == "sbdata.result.v2"


def test_what_a_kill_left_half_written_is_removed(tmp_path: Path) -> None:
    found = PairedDifferences("m", 0, "key", ())
    paths = [write_result(tmp_path, RESULT)[0], write_differences(tmp_path, found)]
    for path in paths:
        path.with_name(f".{path.name}.01234567.part").touch()
    other = tmp_path / ".another.json.01234567.part"  # of a bench that may be at work
    other.touch()
    write_result(tmp_path, RESULT)
    write_differences(tmp_path, found)
    assert sorted(tmp_path.iterdir()) == sorted([*paths, other])


def test_further_sets_of_one_run_are_kept(tmp_path: Path) -> None:
    write_result(tmp_path, RESULT)
    other = replace(RESULT, sets={"other": SCORED}, seconds={"train": 9.0})
    path = write_result(tmp_path, other)[0]
    assert list(read_result(path).sets) == ["other", "three"]
    path = write_result(tmp_path, replace(other, pseudo={"figures": {}}))[0]  # other masks
    assert list(read_result(path).sets) == ["other"]
    path.write_text("damaged")
    assert list(read_result(write_result(tmp_path, RESULT)[0]).sets) == ["three"]


@pytest.mark.parametrize(
    ("write", "one", "other", "read", "sets"),
    [
        (
            write_result,
            RESULT,
            replace(RESULT, sets={"other": SCORED}),
            read_result,
            lambda found: list(found.sets),
        ),
        (
            write_differences,
            PairedDifferences("m", 0, "key", (Pair("three", "ce", "sb"),)),
            PairedDifferences("m", 0, "key", (Pair("other", "ce", "sb"),)),
            read_differences,
            lambda found: [pair.set for pair in found.pairs],
        ),
    ],
    ids=["results", "differences"],
)
def test_two_benches_that_write_at_once_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write, one, other, read, sets
) -> None:
    """The second one writes its set after the first has read the file, before it has written it."""
    second = threading.Thread(target=write, args=(tmp_path, other))
    plain = records.write_text

    def interrupted(path: Path, text: str) -> None:
        if second.ident is None:
            second.start()
            second.join(0.5)
        plain(path, text)

    monkeypatch.setattr(records, "write_text", interrupted)
    write(tmp_path, one)
    second.join(60)
    (path,) = tmp_path.iterdir()  # no lock is left
    assert sets(read(path)) == ["other", "three"]


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
        (
            lambda raw: raw["sets"]["three"]["figures"]["miou"].update(value=float("nan")),
            "not a readable JSON",
        ),
        (lambda raw: raw["sets"]["three"].pop("protocol"), "missing key 'protocol'"),
        (
            lambda raw: raw["sets"]["three"]["n_instances"].update(small=3),
            "three: the numbers of instances are not by size",
        ),
        (
            lambda raw: raw["sets"]["three"]["n_instances"].update(ia_small=3),
            "three: the numbers of classes are not of the same sizes as those of instances",
        ),
    ],
)
def test_damaged_results_are_told(tmp_path: Path, change, message: str) -> None:
    path = write_result(tmp_path, RESULT)[0]
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))
    with pytest.raises(InputError, match=rf"stripes\.ce\.seed1\.\w+\.json.*{message}"):
        read_result(path)


def test_outcomes_come_back_and_a_result_of_before_has_none(tmp_path: Path) -> None:
    counts = {"small": dict.fromkeys(OUTCOMES, 0) | {"missed": 7}}
    own = replace(
        SCORED,
        n_instances={"ia": 7, "ia_objects": 7, "ia_small": 7},
        n_classes={"ia": 2, "ia_objects": 1, "ia_small": 1},
        outcomes=counts,
    )
    one = replace(RESULT, sets={"three": own})
    path = write_result(tmp_path, one)[0]
    assert read_result(path).sets["three"].outcomes == counts
    raw = json.loads(path.read_text())
    for change, message in (
        ({"small": {**counts["small"], "found": 1}}, "do not add up to the numbers of instances"),
        ({"small": {**counts["small"], "found": -1, "missed": 8}}, "do not add up"),
        ({**counts, "large": counts["small"]}, "do not add up"),
        ({"small": {"lost": 7}}, r"of 'small' are not found, wrong_class, missed"),
    ):
        raw["sets"]["three"]["outcomes"] = change
        path.write_text(json.dumps(raw))
        with pytest.raises(InputError, match=rf"three: the outcomes .*{message}"):
            read_result(path)
    del raw["sets"]["three"]["outcomes"]
    path.write_text(json.dumps(raw))
    assert read_result(path).sets["three"].outcomes == {}


def test_missing_results_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.json: cannot be read \(No such file"):
        read_result(tmp_path / "none.json")


@pytest.mark.parametrize(
    "change",
    [
        {"training": replace(RESULT.training, logical_hash="another set")},
        {"training": replace(RESULT.training, weak_digest="other labels")},
        {"training": replace(RESULT.training, photos="other photos")},
        {"preset": "paper"},
        {"method_settings": {"masks": {"share": 0.5}}},
        {"training_preset": {"name": "tiny", "optimisation": {"steps": 7}}},
        {"initialisation": "other weights"},
        {"code": {"sbdata": "9", "baseline": "2"}},
        {"code": {"sbdata": "1", "baseline": "9"}},
        {"variant": "hybrid"},
    ],
)
def test_a_result_never_replaces_one_of_another_identity(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    first, other = write_result(tmp_path, RESULT)[0], replace(RESULT, **change)
    second = write_result(tmp_path, other)[0]
    assert first != second
    assert read_result(first) == RESULT
    assert read_result(second) == other
    assert json.loads(first.read_text())["identity"] != json.loads(second.read_text())["identity"]
    assert RESULT.shared_identity != other.shared_identity


@pytest.mark.parametrize(
    "change",
    [
        {"seconds": {"train": 9.0}},
        {"environment": {"threads": 2}},
        {"training_preset": {"name": "tiny", "optimisation": {"checkpoint_every": 7}}},
        {"sets": {}},
        {"synthetic": False},
    ],
)
def test_what_changes_no_value_is_no_identity(tmp_path: Path, change: dict[str, Any]) -> None:
    plain = replace(RESULT, training_preset={"name": "tiny", "optimisation": {}})
    path = write_result(tmp_path, plain)[0]
    assert write_result(tmp_path, replace(plain, **change))[0] == path
    assert read_result(path).sets == RESULT.sets
    assert read_result(path).synthetic


def test_strategies_of_a_run_share_an_identity() -> None:
    assert replace(RESULT, strategy="sb").shared_identity == RESULT.shared_identity
    assert replace(RESULT, seed=2).shared_identity != RESULT.shared_identity


def test_a_result_whose_settings_were_edited_is_refused(tmp_path: Path) -> None:
    path = write_result(tmp_path, RESULT)[0]
    path.write_text(path.read_text().replace('"preset": "smoke"', '"preset": "paper"'))
    with pytest.raises(InputError, match=r"\.json: was edited: its settings do not match its"):
        read_result(path)


def test_differences_come_back_and_are_added_to(tmp_path: Path) -> None:
    figures = {"miou": {"value": 0.1, "interval": [0.0, 0.2], "sign_change": 0.04}, "ia": None}
    first = PairedDifferences("stripes", 1, "key", (Pair("three", "ce", "sb-ewc", figures),))
    path = write_differences(tmp_path, first)
    assert re.fullmatch(r"stripes-seed1-differences\.[0-9a-f]{8}\.json", path.name)
    assert read_differences(path) == first
    second = replace(first, pairs=(Pair("other", "ce", "sb-ewc", {}),))
    write_differences(tmp_path, second)
    assert [p.set for p in read_differences(path).pairs] == ["other", "three"]
    another = write_differences(tmp_path, replace(second, identity="another"))
    assert [p.set for p in read_differences(another).pairs] == ["other"]
    assert [p.set for p in read_differences(path).pairs] == ["other", "three"]
