"""The cost model: its constants are as measured, and its work is that of the settings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sbdata.benchmark.baseline import find_baseline
from sbdata.benchmark.costs import (
    CRF,
    GPU,
    SPEEDS,
    gpu_seconds,
    prediction_seconds,
    speed_of,
    stage_seconds,
    training_seconds,
)
from sbdata.benchmark.stage import in_order
from sbdata.benchmark.tasks import Resources
from sbdata.train.preset import load_preset

ROOT = Path(__file__).resolve().parent.parent.parent


def test_the_speeds_are_the_committed_ones() -> None:
    found = json.loads((ROOT / "results" / "steps.json").read_text())
    page = (ROOT / "docs" / "studies.md").read_text()
    assert found["format"] == "sbdata.steps.v1"
    assert found["scale"] == 1
    assert len(found["networks"]) == len(SPEEDS)
    for (backbone, stride), speed in SPEEDS.items():
        measured = found["networks"][f"{backbone}, stride {stride}"]
        assert speed.train == measured["train_seconds_per_megapixel"]
        assert speed.predict == measured["predict_seconds_per_megapixel"]
        assert speed.parameters == measured["parameters"]
        row = f"| {backbone}, stride {stride} | {speed.train:.1f} s | {speed.predict:.1f} s |"
        assert row in page
    assert found["crf_seconds_per_megapixel"] == CRF


def test_a_training_costs_its_pixels() -> None:
    preset = load_preset("wacv24")
    views = 30_000 * 10 * (1 + 0.5**2 + 0.75**2) * 321**2 / 1e6
    whole = training_seconds(preset, "ce", shared=False)
    assert whole == pytest.approx(SPEEDS["resnet101", 8].train * views)
    assert training_seconds(preset, "sb-ft", shared=True) == pytest.approx(whole / 2)
    seconds, refined = prediction_seconds(preset, 100, 0.5)
    assert refined == pytest.approx(100 * 0.5 * CRF)
    network = SPEEDS["resnet101", 8].predict * (1 + 0.5**2 + 0.75**2) * 100 * 0.5
    assert seconds - refined == pytest.approx(network)


def test_a_gpu_shortens_only_the_network() -> None:
    assert gpu_seconds(Resources(gpus=1.0, seconds=10 + 3 * GPU, on_cpu=10)) == pytest.approx(13)
    assert gpu_seconds(Resources(seconds=10)) == 0


def test_a_stage_costs_more_by_its_work() -> None:
    irn = find_baseline("irn")
    smoke, paper = (
        {s.name: s for s in in_order(irn.build(irn.resolved(preset)))}
        for preset in ("smoke", "paper")
    )
    pixels = 320 * 280 / 1e6
    for name, stage in smoke.items():  # as it was measured
        seconds, _ = stage_seconds(stage, stage, 10, pixels)
        assert seconds == pytest.approx(stage.seconds_per_image * 10), name
    trained, _ = stage_seconds(paper["boundary"], smoke["boundary"], 10, pixels)
    ratio = speed_of("resnet50.tv_in1k", 16).train / speed_of("tf_efficientnet_lite0", 16).train
    asked = smoke["boundary"].seconds_per_image * 10 * ratio * (512 / 160) ** 2
    assert trained == pytest.approx(asked)  # as many epochs in both


def test_an_unknown_network_counts_as_another() -> None:
    assert speed_of("resnet101", 32) in (SPEEDS["resnet101", 16], SPEEDS["resnet101", 8])
    assert speed_of("strange", 8) == SPEEDS["resnet50", 16]
