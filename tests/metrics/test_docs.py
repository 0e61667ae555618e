"""docs/definitions/metric.md says what the code does."""

from __future__ import annotations

import doctest
from pathlib import Path

from sbdata.metrics.bootstrap import FEW, RESAMPLES
from sbdata.metrics.image import FP_ATTRIBUTIONS, METRIC, ROUNDINGS
from sbdata.metrics.outcomes import OUTCOMES

METRIC_PAGE = Path(__file__).parents[2] / "docs" / "definitions" / "metric.md"


def test_every_example_gives_what_the_page_shows():
    failed, tried = doctest.testfile(str(METRIC_PAGE), module_relative=False, encoding="utf-8")
    assert tried > 40
    assert failed == 0


def test_the_page_names_the_version_and_every_option():
    text = METRIC_PAGE.read_text(encoding="utf-8")
    assert METRIC in text.splitlines()[0]
    for name in (*FP_ATTRIBUTIONS, *ROUNDINGS):
        assert f"`{name}`" in text
    for kind in OUTCOMES:
        assert f"| `{kind}` |" in text
    assert f"{RESAMPLES:,} draws" in text
    assert f"fewer than {FEW} instances" in text
