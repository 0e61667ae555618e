"""A saved score as a result for the Hub: its values, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sbdata.errors import InputError
from sbdata.report.eval_results import datasets_of, eval_results
from sbdata.report.hub_results import result_of_score
from sbdata.score.run import ScoreOptions, score_folder
from sbdata.score.saved import SavedScore
from sbdata.score.truth import truth_from_set
from sbdata.sets import EvaluationSet, open_set
from tests.report.browse_sets import pets, right, score_shifted, write_drawn


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> EvaluationSet:
    folder = tmp_path_factory.mktemp("pets") / "set"
    write_drawn(folder, pets())
    return open_set(folder)


@pytest.fixture(scope="module")
def score(opened: EvaluationSet) -> SavedScore:
    return score_shifted(opened, opened.root.parent, "moved", right(2), leave_out=("c",))


def test_the_file_has_the_values_of_the_score(opened: EvaluationSet, score: SavedScore) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="the extra `hf` is not installed")
    results = [result_of_score(score.folder)]
    files, notes = eval_results(results, datasets_of(["lab/pets"], results))
    ((path, text),) = files.items()
    assert str(path) == f"moved/.eval_results/{opened.name}.yaml"
    entries = hub.parse_eval_result_entries(yaml.safe_load(text))
    folder = opened.root.parent / "predictions" / "moved"
    options = ScoreOptions(resamples=0, allow_missing=True)
    summary = score_folder(folder, truth_from_set(opened.root), options).summary
    split, digits = opened.manifest.images["split"][0].as_py(), opened.logical_hash[:8]
    values = {"miou": summary.miou} | {
        name: figure.class_mean for name, figure in summary.ia.items() if name != "ia_objects"
    }
    undefined = [name for name, value in values.items() if value is None]
    assert {entry.task_id: entry.value for entry in entries} == {
        f"{split}_{name}_v2_{digits}": value for name, value in values.items() if value is not None
    }
    assert len(notes) == bool(undefined)
    said = entries[0].notes
    assert f"logical hash {opened.logical_hash}: 3 images" in said
    assert f"predictions moved, SHA-256 {score.predictions_hash}" in said
    assert "1 of 3 predictions missing, counted as background" in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rounding": "exact"}, "was scored with --rounding exact, so its values are not those"),
        ({"fp_attribution": "all", "bins": "terciles"}, "--fp-attribution all, --bins, so"),
    ],
)
def test_values_of_other_options_are_refused(
    opened: EvaluationSet, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    found = score_shifted(opened, tmp_path, "moved", right(2), **options)
    with pytest.raises(InputError, match=message):
        result_of_score(found.folder)


def _truth(**changes: object) -> Callable[[dict[str, Any]], None]:
    return lambda raw: raw["provenance"]["truth"].update(changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_truth(kind="voc", name="VOC 2012 val"), "is a score on VOC 2012 val, which is not a set"),
        (_truth(path="/nowhere"), "its set cannot be read, which has the split .*score again"),
        (_truth(sha256="0" * 64), "is no longer the set that was scored"),
        (lambda raw: raw.pop("notes"), "not a readable result of 'sbdata score' .*notes"),
        (lambda raw: raw.update(metric="ia_iou.v1"), r"was scored with ia_iou\.v1"),
    ],
)
def test_what_is_no_score_on_a_set_is_refused(
    score: SavedScore, tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    folder = shutil.copytree(score.folder, tmp_path / "score")
    raw = json.loads((folder / "summary.json").read_text())
    change(raw)
    (folder / "summary.json").write_text(json.dumps(raw))
    with pytest.raises(InputError, match=message):
        result_of_score(folder)
