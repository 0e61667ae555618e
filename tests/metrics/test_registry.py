"""Metrics are declared once, and every table follows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sbdata.errors import InputError
from sbdata.formatting import caption, explanation, metrics_as_markdown
from sbdata.metrics import Accumulator, Metric, register_metric
from sbdata.metrics.registry import METRICS, metric_of
from sbdata.metrics.summary import summarise
from sbdata.sizes import SizeBins

PAGE = Path(__file__).parents[2] / "docs" / "definitions" / "metric.md"


def test_the_page_has_the_table_of_all_metrics() -> None:
    text = PAGE.read_text("utf-8")
    (table,) = re.findall(r"(?s)<!-- metrics:begin -->\n(.*?)\n<!-- metrics:end -->", text)
    assert table == metrics_as_markdown(), "paste sbdata.formatting.metrics_as_markdown()"


def test_every_headline_value_belongs_to_a_metric() -> None:
    bins = SizeBins((9, 99), ("tiny", "small", "6th"))
    for key in summarise(Accumulator(2).tables(), bins).headline():
        metric, size, mean = metric_of(key)
        assert metric in METRICS.values()
        assert key == metric.key.replace("{size}", size) + (f".{mean}" if mean else "")
        assert explanation(key)


def test_names_of_sizes_are_kept_unless_they_are_usual() -> None:
    assert [caption(f"ia_{size}") for size in ("small", "tiny", "{letter}")] == [
        "IA_S", "IA_tiny", "IA_{letter}",
    ]  # fmt: skip


def test_a_key_is_declared_once() -> None:
    with pytest.raises(InputError, match="a metric 'miou' already exists"):
        register_metric(METRICS["miou"])


@pytest.mark.parametrize("key", ["ia_small", "ia_dark", "ia_small.class_mean"])
def test_a_value_has_one_metric(key: str, monkeypatch) -> None:
    """The later metric replaced the value of the earlier one."""
    monkeypatch.setattr("sbdata.metrics.registry.METRICS", dict(METRICS))
    compute = METRICS["miou"].compute
    means = compute if "." in key else {"class_mean": compute}
    register_metric(Metric(key, key, "", "higher", 3, "", means))
    tables = Accumulator(2).tables()
    other = SizeBins((9,), ("low", "high"))
    assert f"{key}{'' if '.' in key else '.class_mean'}" in summarise(tables, other).headline()
    bins = SizeBins((9, 99), ("dark", "small", "large"))
    with pytest.raises(InputError, match=rf"two metrics have a value '{key}"):
        summarise(tables, bins)


def test_a_value_of_no_metric_is_its_own_caption() -> None:
    assert caption("of_another_version.class_mean") == "of another version, class mean"
