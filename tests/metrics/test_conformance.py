"""The conformance cases, run with the package and with the slow reference."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from sbdata.metrics import Accumulator, ImageTruth, MetricOptions, score_image
from sbdata.sizes import SizeBins
from tests.reference import ia_iou as reference

CASES = json.loads(
    (Path(__file__).parents[1] / "conformance" / "cases.json").read_text(encoding="utf-8")
)["cases"]
by_name = pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])


def read_map(value):
    if isinstance(value, list):
        return np.array(value)
    drawn = np.zeros((value["height"], value["width"]), np.int64)
    for x, y, width, height, number in value["boxes"]:
        drawn[y : y + height, x : x + width] = number
    return drawn


def agrees(got, wanted):
    """Compare a figure, or a dict or list of them, with what the case says."""
    if isinstance(wanted, dict):
        return all(agrees(got[key], value) for key, value in wanted.items())
    if isinstance(wanted, list):
        return len(got) == len(wanted) and all(map(agrees, got, wanted))
    if isinstance(wanted, str) and not isinstance(got, str):
        return got is not None and float(got) == pytest.approx(
            float(Fraction(wanted)), rel=1e-12, abs=1e-12
        )
    return got == wanted


def run(case):
    options = MetricOptions(**case["options"])
    accumulator = Accumulator(case["n_classes"], options)
    for image in case["images"]:
        truth = ImageTruth(
            read_map(image["class_map"]).astype(np.uint8),
            read_map(image["instance_map"]),
            np.array([row["instance_id"] for row in image["instances"]], np.int32),
            np.array([row["class_id"] for row in image["instances"]], np.uint8),
        )
        score = score_image(read_map(image["prediction"]), truth, case["n_classes"], options)
        accumulator.update(image["image_id"], score)
    return accumulator


def rows_of(columns):
    return [
        dict(zip(columns, row, strict=True))
        for row in zip(*(np.asarray(c).tolist() for c in columns.values()), strict=True)
    ]


def test_there_are_enough_cases():
    assert len(CASES) >= 25
    assert len({case["name"] for case in CASES}) == len(CASES)
    assert all(len(case["why"]) > 10 for case in CASES)


@by_name
def test_rows(case):
    bins = SizeBins(tuple(case["bins"]["edges"]), tuple(case["bins"]["names"]))
    names = [f"class {c}" for c in range(1, case["n_classes"] + 1)]
    tables = run(case).tables()
    expected = case["expected"]
    assert agrees(rows_of(tables.instance_columns(bins, names)), expected["instances"])
    if "components" in expected:
        got = rows_of(tables.component_columns(bins, names))
        for row in expected["components"]:
            match = next((r for r in got if agrees(r, row)), None)
            assert match is not None, (row, got)
            got.remove(match)
        assert got == []


@by_name
def test_figures(case):
    bins = SizeBins(tuple(case["bins"]["edges"]), tuple(case["bins"]["names"]))
    summary = run(case).compute(bins).as_dict()
    summary["class_iou"] = {str(row["class_id"]): row["iou"] for row in summary["classes"]}
    summary["class_ia"] = {str(row["class_id"]): row["ia"]["ia"] for row in summary["classes"]}
    by_class = {str(row["class_id"]): row["orphans"] for row in summary["classes"]}
    summary["orphans"] = {"total": summary["orphans"], **by_class}
    summary["absent"] = list(summary["absent"])
    for name, wanted in case["expected"].items():
        if name not in ("instances", "components"):
            assert agrees(summary[name], wanted), (name, summary[name], wanted)


@by_name
def test_reference_agrees_with_the_cases(case):
    expected = case["expected"]
    rows, components, confusion = [], [], 0
    for image in case["images"]:
        classes = {row["instance_id"]: row["class_id"] for row in image["instances"]}
        found = reference.score(
            read_map(image["prediction"]).tolist(),
            read_map(image["class_map"]).tolist(),
            read_map(image["instance_map"]).tolist(),
            classes,
            case["n_classes"],
            connectivity=case["options"]["connectivity"],
            share=case["options"]["share"],
        )
        rows += [found["instances"][i] for i in sorted(classes)]
        components += found["components"]
        confusion = confusion + np.array(found["confusion"])
    for got, wanted in zip(rows, expected["instances"], strict=True):
        assert {k: v for k, v in wanted.items() if k not in ("image_id", "size")} == {
            k: str(v) if isinstance(v, Fraction) else v for k, v in got.items()
        }
    if "components" in expected:
        assert len(components) == len(expected["components"])
    if "miou" in expected:
        value, _ = reference.mean_iou(confusion.tolist())
        assert (None if value is None else str(value)) == expected["miou"]
    if "ia" in expected:
        means = reference.class_and_instance_mean([(r["class_id"], r["ia_iou"]) for r in rows])
        wanted = expected["ia"]["ia"]
        assert [None if m is None else str(m) for m in means] == [
            wanted["class_mean"],
            wanted["instance_mean"],
        ]
