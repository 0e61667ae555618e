"""docs/extending/metric.md is all that one needs to add a column."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sbdata.benchmark.values import figures_of
from sbdata.cli.leaderboard import _print_board
from sbdata.cli.score import _print_scored
from sbdata.formatting import metrics_as_markdown, percent
from sbdata.metrics.registry import METRICS
from sbdata.report.leaderboard_markdown import markdown_of
from sbdata.report.leaderboard_page import page_of
from sbdata.report.score_page import report_html
from sbdata.score.result import ScoreResult
from sbdata.score.write import summary_as_dict
from tests.benchmark.result_examples import result, the_board, write
from tests.score.scored_examples import example_images, scored_from

PAGE = Path(__file__).parents[2] / "docs" / "extending" / "metric.md"


@pytest.fixture
def scored() -> Iterator[ScoreResult]:
    """A score after the page's code has run."""
    (block,) = re.findall(r"(?s)```python\n(.*?)```", PAGE.read_text("utf-8"))
    before = dict(METRICS)
    exec(block, {})  # noqa: S102
    try:
        images = example_images()
        yield scored_from(images, against=example_images(loss=0.8))
    finally:
        METRICS.clear()
        METRICS.update(before)


def test_the_value_and_its_interval_are_computed(scored: ScoreResult) -> None:
    found = true = 0
    for _, class_map, _, prediction in example_images().values():
        objects = (class_map > 0) & (class_map < 255)
        true += int(objects.sum())
        found += int((objects & (class_map == prediction)).sum())
    value = scored.summary.further["object_recall"]
    assert value == pytest.approx(found / true)
    interval = scored.intervals["object_recall"]
    assert interval is not None
    assert interval.low < found / true < interval.high
    assert scored.compared[0].differences["object_recall"] is not None
    assert summary_as_dict(scored)["further"]["object_recall"]["value"] == value
    assert figures_of(scored)["object_recall"].value == value


def test_every_table_has_the_column(
    scored: ScoreResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    value = scored.summary.further["object_recall"]
    shown = percent(value)
    _print_scored(scored, per_class=False)
    assert f"object recall {shown}" in " ".join(capsys.readouterr().out.split())
    page = report_html(scored, None)
    assert re.search(rf'<th scope="row" class="words">object recall</th><td><strong>{shown}', page)
    assert "| object recall | `object_recall` | higher | 50.0 % |" in metrics_as_markdown()

    one = result("irn", "ce")
    ((name, of_set),) = one.sets.items()
    figures = {**of_set.figures, "object_recall": figures_of(scored)["object_recall"]}
    one = replace(one, sets={name: replace(of_set, figures=figures)})
    board = the_board(write(tmp_path, [one, result("seam", "ce")]))
    titles, _, irn, seam = [line.split(" | ") for line in markdown_of(board).splitlines()[2:6]]
    assert titles[-1] == "object recall |"
    assert (irn[-1], seam[-1]) == (f"{shown} |", "– |")
    assert f"<strong>{shown}</strong>" in page_of([board])
    assert 'title="Share of the pixels of all foreground classes' in page_of([board])
    _print_board(board)
    assert shown in capsys.readouterr().out


def test_the_other_values_are_the_same(scored: ScoreResult) -> None:
    METRICS.pop("object_recall")
    plain = scored_from(example_images())
    assert plain.summary.further == {}
    assert plain.summary == replace(scored.summary, further={})
    assert all(scored.intervals[key] == found for key, found in plain.intervals.items())
    assert np.isfinite(scored.summary.miou)
