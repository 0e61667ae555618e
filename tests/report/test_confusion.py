"""The confusion matrix of the report."""

from __future__ import annotations

import numpy as np

from sbdata.report.confusion import MOST_OPEN, ConfusionCell, confusion_matrix
from sbdata.report.score_page import report_html
from tests.report.test_score_page import Page
from tests.score.scored_examples import TAXONOMY, example_images, scored_from


def test_rows_are_shares_of_the_true_class() -> None:
    counts = np.array([[999, 1, 0, 0], [30, 60, 10, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    found = confusion_matrix(counts, ("cat", "dog", "cow"))
    assert found.columns == ("background", "cat", "dog")  # a cow is neither true nor predicted
    assert found.rows == (
        ("background", 1000, (ConfusionCell("100", 9), ConfusionCell("<1", 0), EMPTY)),
        ("cat", 100, (ConfusionCell("30", 3), ConfusionCell("60", 6), ConfusionCell("10", 1))),
    )
    assert [(c.true, c.predicted, c.share, c.pixels) for c in found.largest] == [
        ("cat", "background", 0.3, 30), ("cat", "dog", 0.1, 10), ("background", "cat", 0.001, 1),
    ]  # fmt: skip
    assert not found.folded


EMPTY = ConfusionCell("", None)


def test_a_confusion_is_never_shown_as_none() -> None:
    """Half a per cent is rounded to the even number, which is 0."""
    found = confusion_matrix(np.array([[199, 1], [0, 0]]), ("cat",))
    assert [cell.text for cell in found.rows[0][2]] == ["100", "<1"]


def test_a_wide_matrix_is_folded() -> None:
    for classes in (MOST_OPEN - 1, MOST_OPEN):  # and background
        names = [f"class {c}" for c in range(classes)]
        assert confusion_matrix(np.eye(classes + 1, dtype=np.int64), names).folded == (
            classes == MOST_OPEN
        )


def test_a_perfect_prediction_and_an_empty_one() -> None:
    perfect = confusion_matrix(np.diag([5, 0, 2]), ("a", "b"))
    assert (perfect.largest, [row[0] for row in perfect.rows]) == ((), ["background", "b"])
    assert confusion_matrix(np.zeros((3, 3), np.int64), ("a", "b")).rows == ()


def test_the_page_has_the_matrix() -> None:
    scored = scored_from(example_images())
    page = Page(report_html(scored, None))
    rows = page.table("Pixels of each true class")
    counts = scored.tables.confusion
    assert list(rows) == ["true class", "background", "disc", "square"]  # no true star
    assert rows["true class"] == [[n] for n in ("background", *TAXONOMY.classes, "pixels")]
    share = 100 * counts[1] / counts[1].sum()
    assert rows["disc"] == [
        *([f"{value:.0f}"] if value else [] for value in share), [f"{counts[1].sum():,}"],
    ]  # fmt: skip
    assert next(iter(page.table("The largest confusions").values()))[0] == ["predicted as"]
    (details,) = [a for a in page.all("details") if "open" in a]
    assert details
