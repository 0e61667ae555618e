"""``.eval_results/*.yaml`` against huggingface_hub's own parser."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
import yaml

from sbdata.benchmark.entries import read_records
from sbdata.errors import InputError
from sbdata.report.eval_results import datasets_of, eval_results
from sbdata.report.hub_results import HubResult, result_of_record
from tests.benchmark.result_examples import result, write

HASH = "0123456789abcdef" * 4


def records_of(root: Path, *results: object) -> list[HubResult]:
    records = read_records([write(root, results, compared=False)])[0]  # type: ignore[arg-type]
    return list(map(result_of_record, records))


def test_the_files_are_those_that_the_hub_reads(tmp_path: Path) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="the extra `hf` is not installed")
    one = result("irn", "ce", 3, miou=0.4375, small=0.1875, protocol={"set_hash": HASH})
    other = result("drs", "sb-ewc", 3, protocol={"set_hash": HASH}, synthetic=True)
    records = records_of(tmp_path, one, other)
    files, notes = eval_results(records, {"pets-b": "lab/pets-b"})
    assert notes == []
    assert [path.parts[1:] for path in files] == [(".eval_results", "pets-b.yaml")] * 2
    assert {path.parts[0] for path in files} == {path.stem for path in tmp_path.iterdir()}
    (text,) = (text for path, text in files.items() if path.parts[0].startswith("irn"))
    raw = yaml.safe_load(text)
    entries = hub.parse_eval_result_entries(raw)
    assert hub.eval_result_entries_to_yaml(entries) == raw, "no key that the Hub does not know"
    assert {entry.dataset_id for entry in entries} == {"lab/pets-b"}
    assert {entry.task_id: entry.value for entry in entries} == {
        "val_miou_v2_01234567": 0.4375,
        "val_ia_v2_01234567": 0.5,
        "val_ia_small_v2_01234567": 0.1875,
        "val_ia_medium_v2_01234567": 0.5,
        "val_ia_large_v2_01234567": 0.75,
    }
    assert entries[2].notes == (
        "ia_small.class_mean of ia_iou.v2, between 0 and 1; set pets-b, split val, logical hash "
        f"{HASH}: 100 images, 10 instances of 2 classes; irn, ce, seed 3, trained on pets-train; "
        "scales [1.0], flip false, refinement none"
    )
    (text,) = (text for path, text in files.items() if path.parts[0].startswith("drs"))
    assert all(entry["notes"].startswith("synthetic: ") for entry in yaml.safe_load(text))


def test_undefined_values_are_left_out(tmp_path: Path) -> None:
    records = records_of(tmp_path, result("irn", "ce", small=None))
    files, (note,) = eval_results(records, {"pets-b": "lab/pets-b"})
    (text,) = files.values()
    assert "ia_small" not in text.replace("ia_small.", "")
    assert len(yaml.safe_load(text)) == 4
    assert note.endswith("undefined values are left out: ia_small.class_mean")


def test_each_set_has_its_dataset(tmp_path: Path) -> None:
    records = records_of(tmp_path, result("irn", "ce"), result("drs", "ce", scored="cats"))
    given = ("pets-b=lab/pets", "cats=lab/cats")
    datasets = datasets_of(given, records)
    assert datasets == {"pets-b": "lab/pets", "cats": "lab/cats"}
    files, _ = eval_results(records, {"cats": "lab/cats"})
    assert [path.name for path in files] == ["cats.yaml"]
    for texts, message in (
        (("lab/pets",), "of 2 sets; write --dataset-id cats=lab/pets"),
        (("dogs=lab/dogs",), "not the set of a result; the sets are cats, pets-b"),
        (("cats=lab/a", "cats=lab/b"), "given twice"),
        (("cats=lab",), "--dataset-id 'lab': not ORG/NAME"),
    ):
        with pytest.raises(InputError, match=message):
            datasets_of(texts, records)


def test_two_sets_of_one_name_are_refused(tmp_path: Path) -> None:
    one, other = result("irn", "ce"), result("drs", "ce", protocol={"set_hash": "h1"})
    with pytest.raises(InputError, match="of 2 sets called 'pets-b', with different"):
        datasets_of(("lab/pets",), records_of(tmp_path, one, other))


def test_a_result_on_several_splits_is_refused(tmp_path: Path) -> None:
    one = result("irn", "ce", protocol={"split": "train, val"})
    records = records_of(tmp_path, one, result("irn", "ce", seed=1, scored="cats"))
    with pytest.raises(InputError, match=r"irn\.ce\.seed0.*'pets-b' has several splits"):
        eval_results(records, {"pets-b": "lab/pets-b"})
    assert len(eval_results(records, {"cats": "lab/cats"})[0]) == 1


@pytest.mark.parametrize("name", ["../evil", "/evil", ".hidden", "a/b"])
def test_no_name_leads_out_of_the_folder(name: str, tmp_path: Path) -> None:
    (record,) = records_of(tmp_path, result("irn", "ce"))
    with pytest.raises(InputError, match="names no file"):
        eval_results([replace(record, scored=name)], {name: "lab/pets"})


def test_two_results_of_one_name_are_refused(tmp_path: Path) -> None:
    (record,) = records_of(tmp_path, result("irn", "ce"))
    path = PurePosixPath(record.name, ".eval_results", "pets-b.yaml")
    assert list(eval_results([record, record], {"pets-b": "lab/pets"})[0]) == [path]
    with pytest.raises(InputError, match="another result has this name"):
        eval_results([record, replace(record, about=())], {"pets-b": "lab/pets"})


def test_background_is_no_class_of_the_instances(tmp_path: Path) -> None:
    """The class mean of IA has it as a class, but no instance is of it."""
    (record,) = records_of(tmp_path, result("irn", "ce", protocol={"set_hash": HASH}))
    for n, said in ((3, "60 instances of 3 classes; irn"), (2, "of 2 classes, and background;")):
        numbers = {**record.n_classes, "ia_objects": n}
        files, _ = eval_results([replace(record, n_classes=numbers)], {"pets-b": "lab/pets-b"})
        (text,) = files.values()
        notes = {at["dataset"]["task_id"]: at["notes"] for at in yaml.safe_load(text)}
        assert said in notes["val_ia_v2_01234567"]
        assert "10 instances of 2 classes;" in notes["val_ia_small_v2_01234567"]
