"""The figures shown in the README are those of the committed result files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
FIGURES = ("miou", "ia.class_mean", "ia_small.class_mean", "ia_medium.class_mean",
           "ia_large.class_mean", "ia.instance_mean")  # fmt: skip


def cell(figure: dict[str, Any]) -> str:
    spread = "" if figure["std"] is None else f" ± {figure['std']:.3f}"
    return f"{figure['mean']:.3f}{spread}"


@pytest.mark.parametrize("name", ["strategies-shapes", "strategies-photos"])
def test_the_table_of_strategies_is_the_committed_one(name: str) -> None:
    found = json.loads((ROOT / "results" / f"{name}.json").read_text())
    readme = (ROOT / "README.md").read_text()
    for table in found["sets"].values():
        for strategy, figures in table["strategies"].items():
            row = f"| `{strategy}` | {' | '.join(cell(figures[f]) for f in FIGURES)} |"
            assert row in readme, row
    assert found["command"].removeprefix("python ") in readme.replace(" \\\n    ", " ")


@pytest.mark.parametrize("name", ["strategies-shapes", "strategies-photos"])
def test_means_are_those_of_the_seeds(name: str) -> None:
    found = json.loads((ROOT / "results" / f"{name}.json").read_text())
    for table in found["sets"].values():
        for figures in table["strategies"].values():
            for figure in figures.values():
                assert len(figure["values"]) == len(found["seeds"])
                assert figure["mean"] == pytest.approx(sum(figure["values"]) / len(found["seeds"]))


def test_the_boards_are_those_of_the_committed_results() -> None:
    pytest.importorskip("torch", reason="the extra `train` is not installed")
    from sbdata.bench.leaderboard import read_boards
    from sbdata.bench.markdown import write_boards_into_readme

    readme = (ROOT / "README.md").read_text()
    folders = sorted((ROOT / "results").glob("bench-*"))
    assert folders
    assert write_boards_into_readme(readme, read_boards(folders)) == readme


def test_the_table_of_weights_is_the_committed_one() -> None:
    found = json.loads((ROOT / "results" / "weights-shapes.json").read_text())
    readme = (ROOT / "README.md").read_text()
    assert found["synthetic"]
    for name, m in found["masks"].items():
        weights = " / ".join(f"{m['weight'][size]:.2f}" for size in ("small", "medium", "large"))
        title = name if name == "truth" else f"`{name}`"
        row = f"| {title} | {m['components']:.1f} | {100 * m['specks']:.0f} % | {weights} |"
        shares = f"| {100 * m['extra']['small']:.1f} % | {100 * m['extra']['wrong']:.0f} % |"
        assert row + shares[1:] in readme


@pytest.mark.parametrize("photos", ["shapes", "photos"])
def test_the_table_of_rules_is_the_committed_one(photos: str) -> None:
    page = (ROOT / "docs" / "methods.md").read_text()
    where = {"shapes": "generated", "photos": "photos"}[photos]
    titles = {
        "truth": "truth",
        "y-crf": "`bana`'s Y_crf",
        "y-ret": "its Y_ret",
        "agreement": "where they agree",
    }
    rows = 0
    for name in (f"rules-{photos}", f"rules-bana-{photos}"):
        found = json.loads((ROOT / "results" / f"{name}.json").read_text())
        for masks, rules in found["masks"].items():
            small = [rule["objects"]["small"] for rule in rules.values()]
            cells = [str(small[0]["n"]), *(str(of["kept"]) for of in small)]
            row = f"| {where}, {titles.get(masks, f'`{masks}`')} | {' | '.join(cells)} |"
            assert row in page, row
            rows += 1
    assert page.count(f"| {where}, ") == rows
