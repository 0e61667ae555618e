"""The scripts for the findings compute what they say."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock, Timeout

from sbdata.benchmark.records import write_result
from sbdata.benchmark.steps.scores import SetScore
from sbdata.errors import InputError
from sbdata.masks import read_index_png, write_index_png
from sbdata.metrics import Accumulator, score_image
from sbdata.score.truth import truth_from_set
from sbdata.sets import open_set
from sbdata.sizes import SizeBins
from sbdata.taxonomy import VOC20, Taxonomy
from tests.benchmark.result_examples import result

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def run(script: str, *arguments: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(EXAMPLES / script), run_name="__main__")
    assert ended.value.code == 0


BAD = {
    "loss_share.py": (["nowhere", "--result", "r"], "nowhere: no SegmentationClass/*.png"),
    "compare_strategies.py": (["nowhere", "nowhere", "--result", "r"], "nowhere: "),
    "rules_that_lose.py": (["nowhere", "--masks", "a=b", "--result", "r"], "nowhere: "),
    "where_weights_go.py": (["nowhere", "--masks", "a", "--result", "r"], "nowhere: "),
    "erase_small.py": (["nowhere", "out"], "nowhere: "),
    "draw_ia_iou.py": ([], "Missing argument 'FOLDER'"),
    "minutes.py": (["nowhere"], "nowhere: no results *.seed*.json"),
    "animals/compare_folders.py": (["x", "--folder", "a=b", "--result", "r"], "x: "),
    "animals/shared_photos.py": (["nowhere", "--result", "r"], "nowhere: "),
    "animals/keep_tables.py": (["nowhere"], "Missing argument 'RESULTS'"),
    "animals/findings.py": (["nowhere", "page.md"], "page.md: "),
}
"""Arguments of each script that it refuses, and what its message contains."""


def _is_refused(script: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a script, and check that it ends with the status of bad input."""
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(EXAMPLES / script), run_name="__main__")
    assert ended.value.code == 2


@pytest.mark.parametrize(
    "script",
    sorted(path.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.rglob("*.py")),
)
def test_bad_input_ends_with_one_sentence(
    script: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("torch", reason="the extra `train` is not installed")
    arguments, said = BAD[script]
    monkeypatch.chdir(tmp_path)
    _is_refused(script, arguments, monkeypatch)
    message = capsys.readouterr().err
    assert said in message
    assert message.startswith(("Error: ", "Usage: "))
    assert "unexpected" not in message
    assert not list(tmp_path.iterdir())


def test_masks_of_another_set_are_named(
    shapes_set: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("torch", reason="the extra `train` is not installed")
    first = sorted(open_set(shapes_set))[0]
    for folder in ("SegmentationClass", "SegmentationObject", "m"):
        side = 3 if folder != "SegmentationObject" else 4
        write_index_png(tmp_path / folder / f"{first}.png", np.ones((side, side), np.uint8))
    monkeypatch.chdir(tmp_path)
    for script, given, named in (
        ("loss_share.py", ["."], f"SegmentationObject/{first}.png"),
        ("where_weights_go.py", [str(shapes_set), "--masks", "m=m"], f"m/{first}.png"),
    ):
        _is_refused(script, [*given, "--result", "r"], monkeypatch)
        assert f"Error: {named}: differs in size" in capsys.readouterr().err


@pytest.fixture
def masks(shapes_set: Path, tmp_path: Path) -> dict[str, Path]:
    """Masks of some photos only, eroded by noise; 255 at some pixels."""
    opened, rng = open_set(shapes_set), np.random.default_rng(0)
    folders = {name: tmp_path / name for name in ("first", "second")}
    for name, lacking in (("first", 0), ("second", 1)):
        for place, image_id in enumerate(opened):
            mask = np.array(opened.class_map(image_id))
            mask[rng.random(mask.shape) < 0.1] = 0
            mask[rng.random(mask.shape) < 0.05] = 255
            if place != lacking:
                write_index_png(folders[name] / f"{image_id}.png", mask)
    return folders


def test_masks_are_compared_on_the_photos_that_all_folders_have(
    shapes_set: Path, masks: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = [x for name, at in masks.items() for x in ("--masks", f"{name}={at}")]
    out = tmp_path / "shared.json"
    run("animals/shared_photos.py", shapes_set, *given, "--result", out, monkeypatch=monkeypatch)
    found: dict[str, Any] = json.loads(out.read_text())
    truth = truth_from_set(shapes_set)
    shared = list(truth.image_ids)[2:]
    assert found["n_images"] == len(shared) > 0
    for name, folder in masks.items():
        counted = Accumulator(len(truth.taxonomy))
        for image_id in shared:
            mask = np.array(read_index_png(folder / f"{image_id}.png"))
            mask[mask == 255] = 0
            image = score_image(mask, truth.load(image_id).truth, len(truth.taxonomy))
            counted.update(image_id, image)
        summary = counted.compute(SizeBins())
        assert found["masks"][name]["values"] == pytest.approx(summary.headline(), abs=1e-12)
        assert found["masks"][name]["outcomes"] == summary.outcomes


def test_tables_are_kept_of_the_score_with_the_values_of_the_result(tmp_path: Path) -> None:
    """Another score is of the same masks, on a set that was built anew with other truth."""
    keep = runpy.run_path(str(EXAMPLES / "animals/keep_tables.py"))["main"]
    one = result("irn", "ce", miou=0.5)
    path, _ = write_result(tmp_path / "results", one)
    plain = json.loads(path.read_text())["sets"]["pets-b"]
    for name, miou in (("a", 0.25), ("b", 0.5), ("c", 0.75)):
        folder = tmp_path / "work" / "score" / name
        folder.mkdir(parents=True)
        (folder / "tables.npz").write_text(name)
        values = {key: plain[key] for key in SetScore.__dataclass_fields__}
        values["figures"] = {**plain["figures"], "miou": {"value": miou, "interval": None}}
        if name == "b":
            values["figures"] = plain["figures"]
        (folder / "values.json").write_text(json.dumps(values))
    keep(tmp_path / "work", tmp_path / "results")
    assert (tmp_path / "results" / "tables" / f"{path.stem}.npz").read_text() == "b"


def test_masks_with_the_numbers_of_voc_are_read_by_name() -> None:
    numbers = runpy.run_path(str(EXAMPLES / "animals/shared_photos.py"))["_numbers"]
    own = Taxonomy("own", ("sheep", "cat"))
    table = numbers(own, VOC20)
    assert table[VOC20.id_of("sheep")] == 1
    assert table[VOC20.id_of("cat")] == 2
    assert table[255] == 255
    assert np.count_nonzero(table) == 3


# --- loss_share.py --------------------------------------------------------------------------------


def strict(text: str) -> Any:
    """Read JSON as other languages do: NaN is an error."""

    def refused(name: str) -> None:
        pytest.fail(f"{name} is no JSON")

    return json.loads(text, parse_constant=refused)


def test_a_size_without_objects_has_null_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One medium object on background; one photo that is all void."""
    pytest.importorskip("torch", reason="the extra `train` is not installed")
    mask = np.zeros((80, 80), np.uint8)
    mask[10:60, 10:60] = 1
    for kind in ("Class", "Object"):
        write_index_png(tmp_path / f"Segmentation{kind}/a.png", mask)
        write_index_png(tmp_path / f"Segmentation{kind}/b.png", np.full((9, 9), 255, np.uint8))
    out = tmp_path / "share.json"
    run("loss_share.py", tmp_path, "--result", out, monkeypatch=monkeypatch)
    found = strict(out.read_text())
    whole = found["strides"]["1"]["definitions"]["v2"]
    assert whole["weight"] == {"background": 1, "small": None, "medium": 1, "large": None}
    assert whole["share"] == {"background": 0.609375, "small": 0, "medium": 0.390625, "large": 0}
    assert "0.0000 (x –)" in capsys.readouterr().out
    draw = runpy.run_path(str(EXAMPLES / "animals/findings.py"))["_loss_share"]
    assert "0.0 %" in draw(found)


def test_masks_of_void_alone_have_null_shares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="the extra `train` is not installed")
    for kind in ("Class", "Object"):
        write_index_png(tmp_path / f"Segmentation{kind}/b.png", np.full((9, 9), 255, np.uint8))
    out = tmp_path / "share.json"
    run("loss_share.py", tmp_path, "--result", out, monkeypatch=monkeypatch)
    found = strict(out.read_text())
    at_one = found["strides"]["1"]
    assert set(at_one["pixels"].values()) == {None}
    assert at_one["definitions"]["v2"]["scale"] is None
    assert at_one["outlines_against_components"] == {"masks": 0, "pixels": None}
    draw = runpy.run_path(str(EXAMPLES / "animals/findings.py"))["_loss_share"]
    assert "–" in draw(found)


# --- compare_strategies.py ------------------------------------------------------------------------

TINY = [
    x
    for option in ("model.backbone=mobilenetv3_small_050", "model.weights=none",
                   "augmentation.crop=64", "optimisation.steps=2", "optimisation.batch_size=2")
    for x in ("--option", option)
]  # fmt: skip


def test_a_row_is_predicted_with_its_own_settings(
    shapes_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="the extra `train` is not installed")
    rows, out = tmp_path / "rows.yaml", tmp_path / "result.json"
    rows.write_text(
        "rows:\n  ce: {strategy: ce}\n  turned: {strategy: ce, changes: [inference.flip=true]}\n"
        "pairs: [[turned, ce]]\n"
    )
    shared = ["--rows", rows, "--runs", tmp_path / "runs", "--result", out]
    run("compare_strategies.py", shapes_set, shapes_set, *TINY, *shared, monkeypatch=monkeypatch)
    for folder, flip in (("turned/seed-0/ce", True), ("seed-0/ce", False)):
        record = tmp_path / "runs" / folder / shapes_set.name / ".made-by.json"
        assert json.loads(record.read_text())["flip"] is flip
    assert json.loads(out.read_text())["rows"]["turned"]["changes"] == ["inference.flip=true"]


def test_calls_that_divide_the_rows_of_a_seed_lock_its_first_phase(
    shapes_set: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("torch", reason="the extra `train` is not installed")

    def trained(name: str, images: object, preset: object, out: Path, *_: object, **more: object):
        for folder in (name, "first-phase"):
            with pytest.raises(Timeout), FileLock(out / f"{folder}.lock", blocking=False):
                pass
        raise InputError("both were locked")

    monkeypatch.setattr("sbdata.train.strategies.run_strategy", trained)
    options = [*TINY, "--row", "ce", "--runs", tmp_path / "runs", "--result", tmp_path / "r.json"]
    arguments = ["compare_strategies.py", shapes_set, shapes_set, *options]
    monkeypatch.setattr(sys, "argv", list(map(str, arguments)))
    with pytest.raises(SystemExit):
        runpy.run_path(str(EXAMPLES / "compare_strategies.py"), run_name="__main__")
    assert "Error: both were locked" in capsys.readouterr().err


def test_a_kill_leaves_no_half_of_a_copied_first_phase(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="the extra `train` is not installed")
    script = runpy.run_path(str(EXAMPLES / "compare_strategies.py"))
    shared, out = tmp_path / "shared", tmp_path / "own"
    (shared / "first-phase").mkdir(parents=True)
    (shared / "first-phase/complete.json").touch()

    def killed(_: Path, to: Path) -> None:
        to.mkdir(parents=True)
        raise KeyboardInterrupt

    row = script["Row"]("sb-ft", ("size_balance.tau=2",))
    with monkeypatch.context() as patched:
        patched.setattr("shutil.copytree", killed)
        with pytest.raises(KeyboardInterrupt):
            script["_copy_first_phase"](row, shared, out)
    assert not (out / "first-phase").exists()
    script["_copy_first_phase"](row, shared, out)
    assert (out / "first-phase/complete.json").is_file()
