"""What a score offers in Python: its tables, its page, and a notebook's view."""

from __future__ import annotations

import subprocess
import sys
from html.parser import HTMLParser

import pytest

from sbdata.errors import InputError
from sbdata.report.score_page import report_html
from sbdata.score.result import ScoreResult
from sbdata.score.write import tables_of
from tests.score.scored_examples import example_images, scored_from


@pytest.fixture(scope="module")
def scored() -> ScoreResult:
    images = example_images()
    return scored_from(images, image_sizes=dict.fromkeys(images, (60, 48)))


def test_values_have_a_row_for_each_metric(scored: ScoreResult) -> None:
    frame = scored.to_pandas()
    assert frame.index.name == "metric"
    assert list(frame.index) == list(scored.summary.headline())
    for key, value in scored.summary.headline().items():
        interval = scored.intervals[key]
        expected = [value, interval and interval.low, interval and interval.high]
        shown = [None if v != v else v for v in frame.loc[key].tolist()]
        assert shown == expected


@pytest.mark.parametrize("name", ["instances", "regions", "images", "confusion"])
def test_tables_are_those_of_the_files(scored: ScoreResult, name: str) -> None:
    assert scored.to_pandas(name).equals(tables_of(scored)[f"{name}.parquet"].to_pandas())


def test_another_table_is_refused(scored: ScoreResult) -> None:
    with pytest.raises(InputError, match="no table called 'pixels'; choose values, instances"):
        scored.to_pandas("pixels")


def test_without_pandas_the_extra_is_named(
    scored: ScoreResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"pip install 'sbdata\[pandas\]'"):
        scored.to_pandas()


def test_a_notebook_shows_the_page_in_a_frame(scored: ScoreResult) -> None:
    images = example_images()
    assert scored.to_html() == report_html(scored, None)
    assert "data:image/jpeg" in scored.to_html(images.__getitem__)
    frames = []

    class Frames(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            frames.append((tag, dict(attrs)))

    Frames().feed(scored._repr_html_())
    ((tag, attributes),) = frames
    assert tag == "iframe"
    assert attributes["srcdoc"] == scored.to_html()
    assert attributes["sandbox"] is None  # present, and allows nothing


def test_a_plot_is_a_figure_of_the_report(scored: ScoreResult) -> None:
    page = scored.to_html()
    for kind in ("area", "classes", "precision"):
        assert str(scored.plot(kind)) in page
    with pytest.raises(
        InputError, match="no figure called 'pie'; choose from area, classes, precision"
    ):
        scored.plot("pie")  # type: ignore[arg-type]


def test_a_result_loads_neither_templates_nor_drawings() -> None:
    code = (
        "import sys; import sbdata.score.result; "
        "print({'jinja2', 'pandas', 'sbdata.report', 'sbdata.drawing'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
