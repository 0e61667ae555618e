"""The table of a study from hand-made results: values, intervals, differences, what is missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sbdata.benchmark.methods import find_methods
from sbdata.benchmark.records import ResultRecord
from sbdata.benchmark.study import Part, Study
from sbdata.benchmark.study_table import read_tables
from sbdata.report.study_text import caption_of, rows_of, study_markdown, study_page, titles_of
from sbdata.sets import open_set
from sbdata.settings import as_plain
from sbdata.storage import sha256_of
from sbdata.supervision import LABELS_ONLY
from tests.benchmark.conftest import Sets
from tests.benchmark.result_examples import result, write

STUDY = Study(
    name="pets",
    methods=("irn", "eps"),
    strategies=("ce", "sb-ewc"),
    seeds=(0, 1),
    parts={"pets": Part("x/pets-train", ("x/pets-b", "x/pets-val"))},
    description="a|b <i>",
)


def record(method: str, strategy: str, seed: int, miou: float) -> ResultRecord:
    """Return a result with the settings of the study."""
    (config,) = STUDY.configs(Path())
    stages = find_methods(config, Path())[method].stages
    settings = {name: as_plain(stage.settings) for name, stage in stages.items()}
    preset = config.segmenter_preset().as_dict()
    return result(method, strategy, seed, miou, settings=settings, preset=preset)


def test_values_intervals_and_differences(tmp_path: Path) -> None:
    made = [record("irn", "ce", 0, 0.5), record("irn", "ce", 1, 0.25)]
    made += [record("irn", "sb-ewc", 0, 0.75), record("irn", "sb-ewc", 1, 0.5)]
    made += [record("eps", "ce", 0, 0.5)]
    strange = replace(record("eps", "sb-ewc", 0, 0.9), method_settings={"masks": {"share": 1}})
    others = [record("irn", "ce", 2, 0.9), result("cam", "ce", 0, 0.9)]
    (table,) = read_tables(STUDY, [write(tmp_path, [*made, strange, *others])], tmp_path)
    by_name = {(row.method, row.strategy): row.cells for row in table.rows}
    assert list(by_name) == [(m, s) for m in ("irn", "eps") for s in ("ce", "sb-ewc")]
    ce, ewc = (by_name["irn", s]["pets-b"] for s in ("ce", "sb-ewc"))
    assert (ce.seeds, ce.values["miou"].value) == ((0, 1), 0.375)
    # Student's t for one degree of freedom at 97.5 %: 12.706; s / sqrt(2) = 0.125
    assert ce.values["miou"].interval == pytest.approx((0.375 - 1.5883, 0.375 + 1.5883), abs=1e-3)
    assert ce.values["miou"].change is None
    change = ewc.values["miou"].change
    assert change is not None
    assert (change.value, change.interval) == (0.25, (0.25, 0.25))
    (only,) = by_name["eps", "ce"].values()
    assert only.values["miou"].interval == (0.375, 0.625)  # of the bootstrap
    assert by_name["eps", "sb-ewc"] == {}  # that result is of other settings
    assert table.notes[0] == "1 result with other settings than the study's left out."

    assert "pets-b: 100 images, logical hash h0 (IA: 60 instances, 3 classes; IA_S: " in caption_of(
        table
    )
    assert "pets-val: not run." in caption_of(table)
    assert len(titles_of(table, " ")) == 3 + 2 * 5
    rows = rows_of(table, "<br>")
    assert rows[1][:3] == ["irn", "sb-ewc", "0–2 of 2"]
    assert rows[1][3].startswith("0.625<br>")
    assert rows[1][3].endswith("<br>Δ +0.250 (+0.250 to +0.250)")
    assert rows[1][8] == "not run"
    assert rows[3][3] == "not run"
    text = study_markdown(STUDY, [table])
    assert "a\\|b &lt;i>" in text
    assert "| eps | sb-ewc | 0 of 2 | not run |" in text
    page = study_page(STUDY, [table])
    assert "a|b &lt;i&gt;" in page
    assert page.count("not run") >= 5


def test_results_of_other_weak_labels_are_not_the_studys(tmp_path: Path) -> None:
    """Labels and saliency maps are files of a part; a result says which it used."""
    labels = tmp_path / "noisy.csv"
    labels.write_text("image_id,classes\n")
    origin = f"csv noisy.csv, SHA-256 {sha256_of(labels)}"
    seen = ("image_labels", "saliency")
    own = record("eps", "ce", 0, 0.5)
    own = replace(own, supervision=seen)

    def of(said: str, saliency: str | None) -> ResultRecord:
        return replace(own, training=replace(own.training, labels=said, saliency=saliency))

    cases = {
        "manifest": of("manifest", None),
        "labels only": of(f"manifest; {LABELS_ONLY}", None),
        "labels": of(origin, None),
        "saliency": of("manifest", "maps, SHA-256 0"),
        "both": of(origin, "maps, SHA-256 0"),
        "edited": of("csv noisy.csv, SHA-256 0", "maps, SHA-256 0"),
    }
    (part,) = STUDY.parts.values()
    for changes, wanted in (
        ({}, {"manifest", "labels only"}),
        ({"labels": str(labels)}, {"labels"}),
        ({"saliency": "x/maps"}, {"saliency"}),
        ({"labels": str(labels), "saliency": "x/maps"}, {"both"}),
        ({"labels": "elsewhere/noisy.csv", "saliency": "x/maps"}, {"both", "edited"}),
    ):  # fmt: skip
        study = replace(STUDY, parts={"pets": replace(part, **changes)})
        for name, made in cases.items():
            folder = write(tmp_path / "results" / name, [made])
            (table,) = read_tables(study, [folder], tmp_path)
            shown = [row for row in table.rows if row.cells]
            assert bool(shown) == (name in wanted), (changes, name)
            assert ("1 result with other settings" in table.notes[0]) != bool(shown)


def test_results_on_sets_that_were_built_anew_are_left_out(tmp_path: Path, sets: Sets) -> None:
    """A result names a set and its content; only the content tells which set it was."""
    hashes = [open_set(root).logical_hash for root in (sets.training, sets.scored)]
    study = replace(STUDY, parts={"pets": Part(str(sets.training), (str(sets.scored),))})

    def on(training: str, scored: str) -> ResultRecord:
        own = record("irn", "ce", 0, 0.5)
        ((_, values),) = own.sets.items()
        protocol = replace(values.protocol, set_hash=scored)
        values = replace(values, logical_hash=scored, protocol=protocol)
        about = replace(own.training, set="six", logical_hash=training)
        return replace(own, training=about, sets={"three": values})

    for k, (held, shown) in enumerate(
        ((hashes, True), ((hashes[0], "h0"), False), (("t0", hashes[1]), False))
    ):
        folder = write(tmp_path / str(k), [on(*held)])
        (table,) = read_tables(study, [folder], tmp_path)
        assert any(row.cells for row in table.rows) == shown, held
        said = "1 result left out, because sets of the study were built anew since"
        assert any(note.startswith(said) for note in table.notes) != shown


@pytest.mark.parametrize(
    ("wanted", "used", "shown"),
    [("auto", "auto", True), ("auto", "none", False), ("none", "own.pth", False),
     ("a/own.pth", "b/own.pth", True)],
)  # fmt: skip
def test_results_from_other_initial_weights_are_not_the_studys(
    tmp_path: Path, wanted: str, used: str, shown: bool
) -> None:
    """A path to weights may differ between machines; named weights are a setting."""
    study = replace(STUDY, options=(f"model.weights={wanted}",))
    own = record("irn", "ce", 0, 0.5)
    model = {**own.training_preset["model"], "weights": used}
    own = replace(own, training_preset={**own.training_preset, "model": model})
    (table,) = read_tables(study, [write(tmp_path, [own])], tmp_path)
    assert any(row.cells for row in table.rows) == shown
