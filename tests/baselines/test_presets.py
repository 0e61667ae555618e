from __future__ import annotations

from importlib import import_module, resources
from pathlib import Path
from typing import Any

import pytest
from sbdata_baselines.presets import presets_of

from sbdata.benchmark.baseline import Baseline
from sbdata.benchmark.stage import in_order
from sbdata.errors import InputError
from tests.baselines.weak_examples import last_stage

METHODS = {
    "advcam": "advcam:BASELINE",
    "amn": "amn:BASELINE",
    "bana": "bana:BASELINE",
    "bbam": "bbam:BASELINE",
    "cam": "cam:BASELINE",
    "cda": "cda:BASELINE",
    "drs": "drs:BASELINE",
    "edam": "edam:BASELINE",
    "eps": "eps:BASELINE",
    "irn": "irn:BASELINE",
    "labels-only": "controls:LABELS_ONLY",
    "mctformer": "mctformer:BASELINE",
    "nsrom": "nsrom:BASELINE",
    "rib": "rib:BASELINE",
    "seam": "seam:BASELINE",
}


def baseline(name: str) -> Baseline:
    module, _, attribute = METHODS[name].partition(":")
    found = getattr(import_module(f"sbdata_baselines.methods.{module}"), attribute)
    assert isinstance(found, Baseline)
    return found


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_all_presets_and_says_what_differs(name: str) -> None:
    method = baseline(name)
    assert method.name == name
    assert set(method.presets) == {"paper", "photos", "smoke"}
    assert method.differences or method.control
    for preset in method.presets:
        stages = list(in_order(last_stage(method, preset)))
        assert stages[-1].name == "masks"


def test_a_part_is_taken_over_from_another_preset() -> None:
    assert presets_of("cda")["paper"]["irn"] == presets_of("irn")["paper"]


def test_a_preset_builds_on_another() -> None:
    photos, smoke = presets_of("rib")["photos"], presets_of("rib")["smoke"]
    assert photos["classifier"]["network"] == {**smoke["classifier"]["network"], "frozen": 5}
    assert photos["classifier"]["schedule"] == {"epochs": 8, "batch_size": 16}
    assert photos["classifier"]["optimiser"] == smoke["classifier"]["optimiser"]
    assert photos["seeds"] == smoke["seeds"]
    assert presets_of("cda")["photos"]["irn"] == presets_of("irn")["photos"]


@pytest.mark.parametrize(
    ("name", "override", "message"),
    [
        ("cam", "classifier.optimiser.lr=-1", "optimiser: lr, poly_power, head and weight_decay"),
        ("cam", "classifier.optimiser.head=-1", "optimiser: lr, poly_power, head and weight_decay"),
        ("cam", "classifier.optimiser.momentum=1", "optimiser: momentum must lie in 0..1"),
        ("cam", "classifier.optimiser={lr: 1, nesterov: true}", "above 0 for nesterov"),
        ("amn", "pixels.optimiser.weight_decay=-1e-4", "optimiser: lr, head and weight_decay must"),
        ("drs", "refining.optimiser.lr=-1e-4", "optimiser: lr, head and weight_decay must not be"),
    ],
)
def test_impossible_optimisers_are_refused_before_anything_runs(
    name: str, override: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        baseline(name).resolved("smoke", (override,))


def test_a_base_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.smoke.yaml").write_text("base: yours.smoke\n")
    monkeypatch.setattr(resources, "files", lambda name: tmp_path)
    with pytest.raises(InputError, match=r"mine\.smoke.*in this folder, not 'yours\.smoke'"):
        presets_of("mine")


def test_paper_constants() -> None:
    """Against baselines' own source, for the constants that a typing error would hide in."""
    paper: Any = presets_of("irn")["paper"]
    assert paper["boundary"]["radius"] == 10
    assert paper["walk"] == {"radius": 5, "beta": 10, "steps": 2**8, "power": 1.0}
    assert paper["classifier"]["views"]["long_side"] == [320, 640]
    assert presets_of("amn")["paper"]["walk"]["power"] == 1.3
    assert presets_of("seam")["paper"]["walk"]["steps"] == 2**6
    # PSA's affinity network sees photos at their own size, in SEAM's code and in MCTformer's.
    views = [presets_of(name)["paper"]["pairwise"]["views"] for name in ("seam", "mctformer")]
    assert views[0] == views[1] == {"crop": 448, "flip": True, "jitter": [0.3, 0.3, 0.3, 0.1]}


def test_cam_irn_cda_and_amn_share_the_first_classifier() -> None:
    def first(name: str, preset: str) -> Any:
        return next(iter(in_order(last_stage(baseline(name), preset)))).settings

    for preset in ("paper", "photos", "smoke"):
        assert len({first(name, preset) for name in ("cam", "irn", "cda", "amn")}) == 1


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(InputError, match="unknown key 'radios'"):
        last_stage(baseline("irn"), "smoke", ("walk.radios=5",))


def test_the_methods_of_the_paper_are_marked() -> None:
    """The methods here that are among the ten of Mun et al. (WACV 2024) are marked, no others."""
    ten = {"irn", "cda", "nsrom", "drs", "eps", "edam", "advcam", "rib", "bana", "bbam"}
    assert {name for name in METHODS if baseline(name).of_paper} == ten & set(METHODS)
