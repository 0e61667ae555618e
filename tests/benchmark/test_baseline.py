"""Methods are found by their packages' entry points."""

from __future__ import annotations

from pathlib import Path

import pytest

from sbdata.benchmark.baseline import BASELINES, Baseline, find_baseline
from sbdata.benchmark.stage import in_order
from sbdata.errors import InputError
from tests.baselines.weak_examples import last_stage


def test_method_of_another_package_is_found(third_party: Path) -> None:
    assert "stripes" in BASELINES
    found = find_baseline("stripes")
    assert found.year == 2026
    assert [stage.name for stage in in_order(last_stage(found, "smoke"))] == ["marks", "masks"]
    last = last_stage(found, "wide", ("marks.start=0.1",))
    assert last.settings.share == 0.8
    assert last.after[0].settings.start == 0.1


def test_unknown_names_are_told(third_party: Path) -> None:
    with pytest.raises(InputError, match=r"no method called 'magic'; choose from .*stripes"):
        find_baseline("magic")
    with pytest.raises(InputError, match=r"method 'broken': stripes.marks:marks is not a Baseline"):
        find_baseline("broken")
    stripes = find_baseline("stripes")
    with pytest.raises(InputError, match="no preset 'huge'; choose from smoke, wide"):
        last_stage(stripes, "huge")
    with pytest.raises(InputError, match="unknown key 'width'; valid keys: share"):
        last_stage(stripes, "smoke", ("masks.width=1",))
    with pytest.raises(InputError, match="share must be float"):
        last_stage(stripes, "smoke", ("masks.share=wide",))


def test_supervision_must_be_known() -> None:
    with pytest.raises(InputError, match="supervision 'masks' is not in"):
        Baseline("cheat", "", None, dict, {}, print, ("masks",))  # type: ignore[arg-type]
