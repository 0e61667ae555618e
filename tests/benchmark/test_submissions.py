"""Submitted results: what a study wrote passes, and each kind of fault is named."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sbdata.benchmark import submissions
from sbdata.benchmark.records import IDENTITY, read_result, result_file
from sbdata.benchmark.submissions import check_submission, known_sets
from sbdata.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
STUDY = ROOT / "results" / "drs-nsrom-bbam"
MANIFESTS = ROOT / "manifests"
(FILE,) = STUDY.glob("bbam.ce.seed0.*.json")

KNOWN = known_sets(MANIFESTS)

Change = Callable[[dict[str, Any]], object]


def submitted(folder: Path, change: Change) -> Path:
    """Write a changed result under the name that its content has."""
    raw = json.loads(FILE.read_text())
    change(raw)
    del raw[IDENTITY]
    path = folder / FILE.name
    path.write_text(json.dumps(raw))
    with contextlib.suppress(InputError, OSError):  # the name is wrong, too
        path = path.rename(result_file(folder, read_result(path)))
    return path


def of_set(raw: dict[str, Any]) -> dict[str, Any]:
    return raw["sets"]["shapes-b"]


def figure(raw: dict[str, Any], key: str) -> dict[str, Any]:
    return of_set(raw)["figures"][key]


def test_the_results_of_a_study_pass() -> None:
    found = check_submission([STUDY], KNOWN)
    assert found.problems == ()
    assert (found.results, found.differences, found.skipped) == (8, 4, ())
    assert len(check_submission([ROOT / "results"]).skipped) > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: figure(r, "miou").update(value=1.5), "miou or its interval is not between"),
        (lambda r: figure(r, "ia.class_mean").update(interval=[0.9, 0.1]), "in the wrong order"),
        (lambda r: figure(r, "ia_small.instance_mean").update(value=0.99), "weighted by their"),
        (lambda r: figure(r, "ia_objects.instance_mean").update(value=0.5), "ia_objects differ"),
        (lambda r: figure(r, "ia.class_mean").update(value=0.99), "no IA of background between"),
        (lambda r: figure(r, "ia_small.class_mean").update(value=None, interval=None), "null if"),
        (lambda r: of_set(r)["figures"].pop("ia_large.class_mean"), "lacks ia_large.class_mean"),
        (lambda r: of_set(r)["figures"].update(accuracy={"value": 0.5}), "'accuracy' is not a"),
        (lambda r: of_set(r).update(metric="ia_iou.v3"), "the metric is 'ia_iou.v3', and this"),
        (lambda r: of_set(r)["n_instances"].update(ia_small=1), "do not add up to that of all"),
        (lambda r: of_set(r)["n_classes"].update(ia_small=999), "more classes than instances"),
        (lambda r: of_set(r)["n_classes"].update(ia=30), "must be those of ia_objects, and"),
        (lambda r: of_set(r).update(n_images=0), "images, instances or classes is too small"),
        (lambda r: of_set(r).update(split="test"), "names two different splits"),
        (lambda r: of_set(r).update(n_images=220), "number of images is 220, but 221 in the known"),
        (lambda r: r.update(synthetic=False), "the known set is synthetic, and the result does"),
        (lambda r: r.update(sets={}), "has no scored set"),
        (lambda r: r.update(seed=-1), "seed and number of training images"),
        (lambda r: r["training"].update(logical_hash="x"), "logical hash of the training set"),
        (lambda r: r.update(strategy="../../ce"), "the name '../../ce' is no plain name"),
        (lambda r: r["pseudo"]["figures"]["miou"].update(value=7), "pseudo-masks: miou or its"),
        (lambda r: r.update(method=7), "method must be str, not 7"),
        (lambda r: r.update(format="sbdata.result.v9"), "has the format 'sbdata.result.v9', not"),
        (lambda r: r.pop("format"), "has the format None, not"),
    ],
)  # fmt: skip
def test_each_fault_is_named_with_its_file(change: Change, message: str, tmp_path: Path) -> None:
    path = submitted(tmp_path, change)
    found = check_submission([tmp_path], KNOWN)
    assert any(message in problem for problem in found.problems), found.problems
    assert all(problem.startswith(str(path)) for problem in found.problems)
    assert all("\n" not in problem for problem in found.problems)


def test_a_set_must_be_the_known_one(tmp_path: Path) -> None:
    def change(raw: dict[str, Any]) -> None:
        of_set(raw)["logical_hash"] = of_set(raw)["protocol"]["set_hash"] = "0" * 64

    submitted(tmp_path, change)
    assert check_submission([tmp_path]).problems == ()
    (problem,) = check_submission([tmp_path], KNOWN).problems
    assert "is of no known set (shapes-b)" in problem
    with pytest.raises(InputError, match="no subfolder has a manifest"):
        known_sets(tmp_path)


def test_a_file_has_the_name_of_its_content(tmp_path: Path) -> None:
    other = FILE.name.replace("seed0", "seed1")
    shutil.copy(FILE, tmp_path / other)
    (problem,) = check_submission([tmp_path]).problems
    assert problem.startswith(f"{tmp_path / other}: its content belongs to the file name")
    (differences,) = STUDY.glob("bbam-*.json")
    shutil.copy(differences, tmp_path / "bbam-seed9-differences.12345678.json")
    assert len(check_submission([tmp_path]).problems) == 2


def test_links_and_large_files_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(FILE, tmp_path / "in")
    (tmp_path / "in/link.json").symlink_to(FILE)
    (tmp_path / "in/more").symlink_to(STUDY)
    found = check_submission([tmp_path / "in"])
    assert len(found.problems) == 2
    assert all("a link; submit the file itself" in problem for problem in found.problems)
    monkeypatch.setattr(submissions, "MAX_BYTES", 100)
    assert "larger than 100 bytes" in check_submission([tmp_path / "in" / FILE.name]).problems[0]


def test_files_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    def change(raw: dict[str, Any]) -> None:
        raw["code"]["sbdata"] = "other"
        figure(raw, "miou")["value"] = 0.5

    submitted(tmp_path, change)
    shutil.copy(FILE, tmp_path)
    (problem,) = check_submission([tmp_path]).problems
    assert "different values on shapes-b" in problem


def test_nothing_to_check_is_a_problem(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        assert len(check_submission([path]).problems) == 1
