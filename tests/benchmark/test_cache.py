"""What a bench keeps is used as it was written, made again if it was lost, or refused."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sbdata import file_hashes
from sbdata.benchmark.cache import Cache
from sbdata.benchmark.config import BenchmarkConfig
from sbdata.benchmark.graph import CODE
from sbdata.benchmark.records import read_differences, read_result
from sbdata.benchmark.run import run_bench
from sbdata.benchmark.run_task import run_task
from sbdata.benchmark.steps import scores
from sbdata.errors import InputError
from sbdata.file_hashes import FileHashes
from sbdata.masks import read_index_png, write_index_png
from sbdata.metrics.bootstrap import bootstrap, compare
from sbdata.score.run import ScoreOptions, score_folder
from sbdata.score.truth import truth_from_set
from tests.benchmark.conftest import Sets, both, planned, without_times
from tests.test_fingerprints import TASKS

OLD = 10**18  # ns: files that are not fresh need not be hashed again to be trusted


def again(benched: Path, plan: BenchmarkConfig, **options: Any) -> list[Path]:
    work, results = benched / "work", benched / "results"
    return list(run_bench(plan, work, results, device="cpu", threads=1, **options))


def repainted(path: Path) -> None:
    write_index_png(path, (read_index_png(path) + 1) % 5)


def results_of(root: Path) -> dict[str, Any]:
    return {path.name: without_times(path) for path in sorted((root / "results").iterdir())}


# --- once -----------------------------------------------------------------------------------------


def test_each_set_is_scored_once_a_strategy(plan, tmp_path, monkeypatch) -> None:
    scored = []

    def counted(predictions: Path, *rest: Any, **more: Any) -> Any:
        scored.append(predictions.name.split("-")[1])
        return score_folder(predictions, *rest, **more)

    monkeypatch.setattr(scores, "score_folder", counted)
    asked = plan(strategies=("ce", "sb", "dice"))
    again(tmp_path, asked)
    assert scored == ["ce", "sb", "dice"]
    again(tmp_path, asked)
    assert len(scored) == 3
    (path,) = (tmp_path / "results").glob("*-differences.*")
    pairs = read_differences(path).pairs
    assert [(p.first, p.second) for p in pairs] == [("dice", "ce"), ("sb", "ce")]


def test_a_comparison_is_that_of_the_predictions(benched: Path, sets: Sets) -> None:
    """Against both folders scored anew, and their paired bootstrap."""
    work = benched / "work" / "predict"
    (first,), (second,) = (list(work.glob(f"stripes-{s}-*[0-9a-f]")) for s in ("sb", "ce"))
    truth = truth_from_set(sets.scored)
    drawn = []
    for folder in (first, second):
        tables = score_folder(folder, truth, ScoreOptions(resamples=0)).tables
        drawn.append(bootstrap(tables, truth.bins))
    (path,) = (benched / "results").glob("stripes-*differences.*")
    (pair,) = read_differences(path).pairs
    for name, wanted in compare(*drawn).items():
        given = pair.differences[name]
        assert (given is None) == (wanted is None)
        if given is not None and wanted is not None:
            assert given["value"] == wanted.value
            assert given["sign_change"] == wanted.sign_change
            ends = None if wanted.interval is None else [wanted.interval.low, wanted.interval.high]
            assert given["interval"] == ends


def test_photos_are_hashed_once_and_not_by_a_later_bench(
    plan: Callable[..., BenchmarkConfig],
    sets: Sets,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    copied = {}
    for name in ("training", "scored"):
        copied[name] = tmp_path / name / "set"
        shutil.copytree(getattr(sets, name), copied[name])
        for path in copied[name].rglob("*.*"):
            os.utime(path, ns=(OLD, OLD))
    counted: Counter[str] = Counter()
    record_file = file_hashes.record_file

    def recorded(path: Path) -> Any:
        if path.suffix == ".jpg":
            counted[str(path)] += 1
        return record_file(path)

    monkeypatch.setattr(file_hashes, "record_file", recorded)
    changes = {"training": copied["training"], "sets": (copied["scored"],)}
    again(tmp_path, both(plan, **changes))
    assert len(counted) == 6 + 3
    assert set(counted.values()) == {1}
    again(tmp_path, both(plan, strategies=("ce", "dice"), **changes))
    assert set(counted.values()) == {1}
    known = FileHashes(tmp_path / "work" / "hashes.json")  # what a process of --jobs begins with
    for path in copied["training"].glob("JPEGImages/*"):
        known.sha256(path)
    assert set(counted.values()) == {1}
    again(tmp_path, both(plan, **changes), verify=True)
    assert set(counted.values()) == {2}


# --- lost -----------------------------------------------------------------------------------------

LOST = {
    "a prediction": "predict/stripes-ce-three-*/*.png",
    "all of a prediction's marker": "predict/stripes-ce-three-*/.complete.json",
    "a pseudo-mask": "stages/masks-*/*.png",
    "a file of an earlier stage": "stages/marks-*/*.txt",
    "a model": "train/*/ce/model.pt",
    "a log": "train/*/ce/log.csv",
    "tables": "score/stripes-ce-*/tables.npz",
    "values": "score/stripes-ce-*/values.json",
    "figures of the pseudo-masks": "pseudo/stripes-*/figures.json",
    "a linked photo": "weak/*/*.jpg",
    "the hashes of photos": "hashes.json",
}


@pytest.mark.parametrize("what", LOST)
def test_what_was_lost_is_made_again(
    benched: Path, plan: Callable[..., BenchmarkConfig], what: str
) -> None:
    before = results_of(benched)
    path = sorted((benched / "work").glob(LOST[what]))[0]
    content = None if path.suffix in (".json", ".pt") else path.read_bytes()
    path.unlink()
    shutil.rmtree(benched / "results")
    again(benched, both(plan))
    assert results_of(benched) == before
    assert path.is_file()
    assert content is None or path.read_bytes() == content


# --- altered --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "named"),
    [
        ("stages/masks-*/*.png", "masks-"),
        ("predict/stripes-ce-three-*/*.png", "three-"),
    ],
)
def test_altered_masks_are_refused(
    benched: Path, plan: Callable[..., BenchmarkConfig], where: str, named: str
) -> None:
    """Also by a strategy that is new, whose result would tell of the former ones."""
    path = sorted((benched / "work").glob(where))[0]
    repainted(path)
    for strategies in (("ce", "sb"), ("ce", "dice")):
        with pytest.raises(InputError) as refused:
            again(benched, both(plan, strategies=strategies))
        said = str(refused.value)
        assert "1 file is not as recorded" in said
        assert named in said
        assert path.name in said
        assert "delete the folder to have it made again" in said
        assert "--out" not in said
    shutil.rmtree(path.parent)
    before = results_of(benched)
    again(benched, both(plan))
    assert results_of(benched) == before


@pytest.mark.parametrize(
    "where",
    [
        "train/stripes-*/sb/model.pt",
        "train/stripes-*/sb/run.json",
        "score/stripes-sb-*/tables.npz",
        "score/stripes-sb-*/values.json",
        "pseudo/stripes-*/figures.json",
        "stages/masks-*/.stage.json",
    ],
)
@pytest.mark.parametrize("content", [b"", b"[" * 3000, b"3"])
def test_other_altered_files_are_refused_by_name(
    benched: Path, plan: Callable[..., BenchmarkConfig], where: str, content: bytes
) -> None:
    (path,) = sorted((benched / "work").glob(where))
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"{path.parent.name}.*{path.name}"):
        again(benched, both(plan))


def test_an_altered_file_of_the_same_size_and_time_is_seen_by_verify(
    benched: Path, plan: Callable[..., BenchmarkConfig]
) -> None:
    again(benched, both(plan))  # records times that are no longer fresh
    path = sorted((benched / "work").glob("stages/masks-*/*.png"))[0]
    whole, times = bytearray(path.read_bytes()), path.stat()
    whole[-20] ^= 1
    path.write_bytes(whole)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    again(benched, both(plan))
    with pytest.raises(InputError, match=rf"{path.name}: the right size, other bytes"):
        again(benched, both(plan), verify=True)


@pytest.fixture
def copied(sets: Sets, tmp_path: Path) -> tuple[Path, Path]:
    """Copies of the training set and of the scored one, to be altered."""
    shutil.copytree(sets.training, tmp_path / "training")
    shutil.copytree(sets.scored, tmp_path / "scored")
    return tmp_path / "training", tmp_path / "scored"


@pytest.mark.parametrize("folder", ["SegmentationClass", "SegmentationObject"])
def test_altered_truth_is_neither_trained_on_nor_scored_against(
    copied: tuple[Path, Path], plan: Callable[..., BenchmarkConfig], tmp_path: Path, folder: str
) -> None:
    """``full`` trains on the class masks; the pseudo-masks are held against the instances."""
    path = sorted((copied[0] / folder).iterdir())[0]
    repainted(path)
    methods = ("full",) if folder == "SegmentationClass" else ("stripes",)
    asked = plan(methods=methods, training=copied[0])
    with pytest.raises(InputError, match=rf"{path.name}: not the file that the set was built with"):
        again(tmp_path, asked)
    assert not list(tmp_path.glob("results/*"))


@pytest.mark.parametrize("which", [0, 1])
def test_altered_photos_are_refused(
    copied: tuple[Path, Path], plan: Callable[..., BenchmarkConfig], tmp_path: Path, which: int
) -> None:
    asked = plan(training=copied[0], sets=(copied[1],))
    again(tmp_path, asked)
    path = sorted((copied[which] / "JPEGImages").iterdir())[0]
    with Image.open(path) as photo:
        Image.fromarray(255 - np.asarray(photo)).save(path)
    with pytest.raises(InputError, match=rf"{path.name}: not the file that the set was built with"):
        again(tmp_path, asked)


# --- other settings, code and inputs --------------------------------------------------------------


def test_results_of_other_settings_lie_beside_each_other(
    benched: Path, plan: Callable[..., BenchmarkConfig]
) -> None:
    before = results_of(benched)
    for changes in (
        {"training_overrides": ("inference.flip=true",)},
        {"training_overrides": ("optimisation.lr=0.002",)},
        {"method_overrides": ("stripes:masks.share=0.6",)},
    ):
        files = again(benched, plan(**changes))
        assert not {path.name for path in files} & set(before)
    after = results_of(benched)
    assert {name: after[name] for name in before} == before
    assert len([name for name in after if name.startswith("stripes.ce.")]) == 4


def test_other_inference_predicts_again_and_trains_nothing(
    benched: Path, plan: Callable[..., BenchmarkConfig]
) -> None:
    models = {p: p.stat().st_mtime_ns for p in (benched / "work").rglob("*.pt")}
    (file,) = again(benched, plan(training_overrides=("inference.flip=true",)))
    assert {p: p.stat().st_mtime_ns for p in (benched / "work").rglob("*.pt")} == models
    assert read_result(file).sets["three"].protocol.flip is True


def test_every_kind_of_task_has_a_key_of_its_code(
    plan: Callable[..., BenchmarkConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each kind, and of those that come after it."""
    from sbdata import fingerprints

    code = fingerprints.code_fingerprint
    assert {kind: (module,) for kind, module in CODE.items()} == {
        kind: TASKS[kind][0] for kind in CODE
    }

    def keys() -> dict[str, str]:
        tasks = planned(plan(), tmp_path).values()
        return {task.kind: task.id for task in tasks if task.kind != "stage"}

    before = keys()
    for kind, changed in {
        "pseudo": {"pseudo", "result"},
        "train": {"train", "predict", "score", "result", "compare"},
        "predict": {"predict", "score", "result", "compare"},
        "score": {"score", "result", "compare"},
        "result": {"result"},
        "compare": {"compare"},
    }.items():
        with monkeypatch.context() as edited:
            edited.setattr(
                fingerprints,
                "code_fingerprint",
                lambda *m, of=CODE[kind]: "edited" if m == (of,) else code(*m),
            )
            now = keys()
        assert {name for name in before if now[name] != before[name]} == changed


def test_a_process_of_edited_code_is_refused(
    plan: Callable[..., BenchmarkConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sbdata import fingerprints

    task, *_ = planned(plan(), tmp_path).values()
    run_task(task, Cache(tmp_path / "work"), "cpu")
    monkeypatch.setattr(fingerprints, "code_fingerprint", lambda *modules: "edited")
    with pytest.raises(InputError, match="source of sbdata or of a method was edited while the be"):
        run_task(task, Cache(tmp_path / "work"), "cpu")


def test_a_training_of_another_number_of_processes_is_another(
    plan: Callable[..., BenchmarkConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def key() -> str:
        return planned(plan(), tmp_path)["stripes, seed 0, ce: train"].id

    alone = key()
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert key() != alone


def test_another_weights_file_of_the_same_path_is_trained_anew(
    plan: Callable[..., BenchmarkConfig], tmp_path: Path
) -> None:
    path = tmp_path / "weights.pth"
    keys = []
    for content in (1, 2, 1):
        torch.save({"w": torch.tensor(content)}, path)
        asked = plan(training_overrides=(f"model.weights={path}",))
        keys.append(planned(asked, tmp_path)["stripes, seed 0, ce: train"].id)
    assert keys[0] == keys[2] != keys[1]


def test_a_model_that_was_made_anew_with_other_weights_predicts_again(
    benched: Path, plan: Callable[..., BenchmarkConfig]
) -> None:
    """As a training on a GPU does, whose bits may differ: nothing of the former one is mixed in."""
    from sbdata.completion import read_marker, write_marker

    (run,) = (benched / "work" / "train").glob("stripes-*/ce")
    values = torch.load(run / "model.pt", weights_only=True)
    for value in values["model"].values():
        if value.is_floating_point() and value.ndim == 4:
            value.mul_(-1)
    torch.save(values, run / "model.pt")
    marker = read_marker(run)
    assert marker is not None
    write_marker(run, list(marker.files))
    (folder,) = (benched / "work").glob("predict/stripes-ce-three-*[0-9a-f]")
    before = {path.name: path.read_bytes() for path in folder.glob("*.png")}
    sorted(folder.glob("*.png"))[0].unlink()
    (file, *_) = again(benched, both(plan))
    after = {path.name: path.read_bytes() for path in folder.glob("*.png")}
    assert after.keys() == before.keys()
    assert after != before
    truth = truth_from_set(both(plan).sets[0])
    wanted = score_folder(folder, truth, ScoreOptions(resamples=0)).summary.miou
    assert read_result(file).sets["three"].figures["miou"].value == wanted
