"""The figures shown in the docs are those of the committed result files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


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
