"""The figures shown in the docs are those of the committed result files."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from shutil import copyfile

import pytest

from sbdata.errors import InputError

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("photos", ["shapes", "photos"])
def test_the_table_of_rules_is_the_committed_one(photos: str) -> None:
    page = (ROOT / "docs" / "results" / "rules.md").read_text()
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


def test_the_tables_of_strategies_are_the_committed_ones() -> None:
    page = (ROOT / "docs" / "results" / "effect-of-the-loss.md").read_text()
    found = json.loads((ROOT / "results" / "strategies-shapes.json").read_text())
    columns = ("miou", "ia", "ia_objects", "ia_small", "ia_medium", "ia_large")
    names = [name if name == "miou" else f"{name}.class_mean" for name in columns]
    assert found["synthetic"]
    assert found["command"] in page.replace(" \\\n   ", "")
    (table,) = found["sets"].values()
    assert table["metric"] == "ia_iou.v2"
    for name, row in table["rows"].items():
        for value in row.values():
            assert value["mean"] == pytest.approx(sum(value["values"]) / len(found["seeds"]))
        cells = [f"{row[n]['mean']:.3f} ± {row[n]['std']:.3f}" for n in names]
        assert f"| `{name}` | {' | '.join(cells)} |" in page
    for pair, seeds in table["differences"].items():
        first, second = pair.split(" - ")
        line = next(row for row in page.splitlines() if row.startswith(f"| `{first}` − `{second}`"))
        for name, cell in zip(names, line.split(" | ")[1:], strict=True):
            mean = sum(seed[name]["value"] for seed in seeds) / len(seeds)
            assert float(cell.split(" ")[0].replace("−", "-")) == pytest.approx(mean, abs=6e-4)


@pytest.mark.parametrize("year", ["2012", "2007"])
def test_the_shares_of_the_loss_are_the_committed_ones(year: str) -> None:
    page = (ROOT / "docs" / "results" / "effect-of-the-loss.md").read_text()
    found = json.loads((ROOT / "results" / f"loss-share-voc{year}.json").read_text())
    assert found["command"] in page
    for name, values in found["strides"]["8"]["definitions"].items():
        shares = [f"{100 * values['share'][k]:.2f} %"
                  for k in ("background", "small", "medium", "large")]  # fmt: skip
        assert f"| VOC{year}, {name} | {' | '.join(shares)} |" in page


def test_the_table_of_the_rehearsal_is_the_committed_one() -> None:
    page = (ROOT / "docs" / "scale.md").read_text()
    found = json.loads((ROOT / "results" / "rehearsal.json").read_text())
    (scale,) = found["scales"].values()
    assert scale["command"] in page
    for name, step in scale["steps"].items():
        times = f"{step['wall_s']:,.1f} | {step['cpu_s']:,.1f}"
        space = f"{step['peak_mb']:,.0f} | {step['disk_mb']:,.0f}"
        assert f"| {name} | {step['images']:,} | {times} | {space} |" in page
    for ratio in scale["ratios"].values():
        assert f"{ratio:.2f}" in page


def test_the_findings_are_those_of_the_committed_results(tmp_path: Path) -> None:
    page = ROOT / "docs" / "findings.md"
    (tmp_path / "findings.md").write_text(page.read_text())
    write = runpy.run_path(str(ROOT / "examples" / "animals" / "findings.py"))["main"]
    write(ROOT / "results" / "animals", tmp_path / "findings.md")
    written = sorted(path.name for path in tmp_path.iterdir())
    assert written == ["findings-claim.svg", "findings-miou.svg", "findings.md"]
    for name in written:
        assert (tmp_path / name).read_text() == (page.parent / name).read_text()


def test_scores_of_single_images_that_are_another_results_are_refused(tmp_path: Path) -> None:
    read = runpy.run_path(str(ROOT / "examples" / "animals" / "findings.py"))["read_runs"]
    claim = ROOT / "results" / "animals" / "claim"
    one, other = sorted(claim.glob("full.*.json"))[:2]
    (tmp_path / "tables").mkdir()
    copyfile(one, tmp_path / one.name)
    copyfile(claim / "tables" / f"{one.stem}.npz", tmp_path / "tables" / f"{one.stem}.npz")
    assert list(read(tmp_path)) == [("full", "ce", 0)]
    copyfile(claim / "tables" / f"{other.stem}.npz", tmp_path / "tables" / f"{one.stem}.npz")
    with pytest.raises(InputError, match="is not that of its tables; keep the tables again"):
        read(tmp_path)


def test_a_method_counts_once_it_has_every_strategy_and_seed() -> None:
    finished = runpy.run_path(str(ROOT / "examples" / "animals" / "findings.py"))["finished"]
    strategies = ("ce", "sb")
    runs = {(m, s, k): None for m in ("cam", "irn") for s in strategies for k in range(3)}
    assert finished(runs, strategies) == runs
    del runs["cam", "sb", 2]
    assert {method for method, *_ in finished(runs, strategies)} == {"irn"}


def test_pseudo_masks_of_other_photos_are_not_put_beside_each_other(tmp_path: Path) -> None:
    script = ROOT / "examples" / "animals" / "findings.py"
    merged = runpy.run_path(str(script))["on_the_same_photos"]
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    one = {"logical_hash": "1", "images": "2", "metric": "m", "masks": {"irn": 1, "cam": 2}}
    for path, other in zip(files, ({}, {"masks": {"irn": 1, "bana": 3}}), strict=True):
        path.write_text(json.dumps(one | other))
    assert merged(files) == {"bana": 3, "cam": 2, "irn": 1}
    for other in ({"images": "3"}, {"masks": {"irn": 2}}):
        files[1].write_text(json.dumps(one | other))
        with pytest.raises(InputError, match=r"b\.json: not the photos or scores of"):
            merged(files)
