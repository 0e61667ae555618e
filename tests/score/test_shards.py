"""Workers and shards: any division of the images gives the bytes of one run."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from sbdata.errors import InputError
from sbdata.score import run
from sbdata.score.run import ScoreOptions, score_folder, task_of
from sbdata.score.shards import find_shards, merge_shards, parse_shard, write_shard
from sbdata.score.truth import truth_from_coco, truth_from_set, truth_from_voc
from sbdata.score.write import write_result
from tests.score.conftest import shifted, without_small
from tests.score.test_panoptic import IDS, SEGMENTS, write

FEW = ScoreOptions(resamples=20)


@pytest.fixture
def predictions(dataset, tmp_path) -> list[Path]:
    changes = {"p": shifted, "q": without_small}
    return [dataset.predict(tmp_path / name, change) for name, change in changes.items()]


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def shards_of(task, folder: Path, total: int, options=FEW) -> Path:
    for number in range(1, total + 1):
        write_shard(folder, "p", (number, total), task, options, {"any": "values"})
    return folder


@pytest.mark.parametrize("kind", ["set", "voc"])
def test_workers_and_shards_give_the_bytes_of_one_run(
    dataset, predictions, tmp_path, kind, monkeypatch
) -> None:
    monkeypatch.setattr(run, "_CHUNK", 3)
    monkeypatch.setattr(run, "_FEW", 0)
    truth = truth_from_set(dataset.manifest) if kind == "set" else truth_from_voc(dataset.devkit)
    first, second = predictions
    wanted = None
    for workers in (1, 2, 3):
        scored = score_folder(first, truth, FEW, against=[second], workers=workers)
        found = content(write_result(scored, tmp_path / f"w{workers}"))
        wanted = wanted or found
        assert found == wanted
    task = task_of(first, truth, FEW, [second])
    for total in (1, 3, len(truth.image_ids)):
        _, paths = find_shards([shards_of(task, tmp_path / f"shards-{total}", total)])
        merged = merge_shards(task, FEW, paths)
        assert content(write_result(merged, tmp_path / f"s{total}")) == wanted


def test_shards_that_are_not_all_of_one_result(dataset, predictions, tmp_path) -> None:
    truth = truth_from_set(dataset.manifest)
    task = task_of(predictions[0], truth, FEW, [])
    folder = shards_of(task, tmp_path / "shards", 3)
    second = folder / "p.shard-2-of-3.npz"
    other = tmp_path / "elsewhere"
    other.mkdir()

    shutil.copy(second, other)
    with pytest.raises(InputError, match="shard 2 is also in"):
        find_shards([folder, other])
    second.unlink()
    with pytest.raises(InputError, match=r"of 3 shards, 2 missing; score them by --shard K/3"):
        find_shards([folder])
    assert len(find_shards([folder, other])[1]) == 3
    shutil.copy(other / second.name, folder / "q.shard-2-of-3.npz")
    with pytest.raises(InputError, match="shards of several results"):
        find_shards([folder])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no shard in it"):
        find_shards([tmp_path / "empty"])


def test_foreign_shards_are_refused(dataset, predictions, tmp_path, monkeypatch) -> None:
    truth = truth_from_set(dataset.manifest)
    task = task_of(predictions[0], truth, FEW, [])
    folder = shards_of(task, tmp_path / "shards", 2)
    paths = find_shards([folder])[1]
    foreign = {
        "options": (task, ScoreOptions(resamples=21)),
        "truth": (task_of(predictions[0], truth_from_voc(dataset.devkit), FEW, []), FEW),
        "predictions": (task_of(predictions[1], truth, FEW, []), FEW),
    }
    names = ("background", *truth.taxonomy.classes)
    (tmp_path / "ids.txt").write_text("".join(f"{n}: {k}\n" for k, n in enumerate(names)))
    told = ScoreOptions(resamples=20, palette=str(tmp_path / "ids.txt"))
    (tmp_path / "one").mkdir()
    write_shard(tmp_path / "one", "p", (1, 1), task_of(predictions[0], truth, told, []), told, {})
    with (tmp_path / "ids.txt").open("a") as file:
        file.write("background: 77\n")
    with pytest.raises(InputError, match="made with other options than"):
        merge_shards(
            task_of(predictions[0], truth, told, []), told, find_shards([tmp_path / "one"])[1]
        )
    for what, (its_task, options) in foreign.items():
        write_shard(folder, "p", (2, 2), its_task, options, {})
        with pytest.raises(InputError, match=rf"shard-2-of-2.npz: made with other {what} than"):
            merge_shards(task, FEW, paths)
    monkeypatch.setattr("sbdata.score.shards.code_fingerprint", lambda *_: "another")
    write_shard(folder, "p", (2, 2), task, FEW, {})
    monkeypatch.undo()
    with pytest.raises(InputError, match="made with other code of sbdata than"):
        merge_shards(task, FEW, paths)
    shutil.copy(paths[0], paths[1])  # under another number
    with pytest.raises(InputError, match="not the images of shard 2 of 2"):
        merge_shards(task, FEW, paths)
    paths[1].write_bytes(b"no archive")
    with pytest.raises(InputError, match="not readable score tables"):
        merge_shards(task, FEW, paths)


def test_predictions_that_changed_since_their_shard_are_refused(
    dataset, predictions, tmp_path
) -> None:
    """The result would be of old and new masks, and its report of new ones."""
    truth = truth_from_set(dataset.manifest)
    task = task_of(predictions[0], truth, FEW, [predictions[1]])
    paths = find_shards([shards_of(task, tmp_path / "shards", 2)])[1]
    merge_shards(task, FEW, paths)
    for folder, image_id in ((predictions[0], truth.image_ids[0]),
                             (predictions[1], truth.image_ids[-1])):  # fmt: skip
        file = folder / f"{image_id}.png"
        before = file.read_bytes()
        for content in (before + b"\0", None):
            file.unlink()
            if content is not None:
                file.write_bytes(content)
            with pytest.raises(InputError, match=rf"{file.name} changed since its shard was"):
                merge_shards(task, FEW, paths)
            file.write_bytes(before)
    merge_shards(task, FEW, paths)


def test_masks_of_the_truth_that_changed_since_their_shard_are_refused(
    dataset, predictions, tmp_path
) -> None:
    """One shard would be of the old truth, and another of the new one."""
    devkit = tmp_path / "devkit"
    shutil.copytree(dataset.devkit, devkit)
    truth = truth_from_voc(devkit)
    task = task_of(predictions[0], truth, FEW, [])
    paths = find_shards([shards_of(task, tmp_path / "shards", 2)])[1]
    merge_shards(task, FEW, paths)
    folder = next(devkit.rglob("SegmentationObject"))
    one = folder / f"{truth.image_ids[0]}.png"
    classes = folder.with_name("SegmentationClass")
    for file in (one, classes / one.name):
        before = file.read_bytes()
        file.write_bytes(before + b"\0")
        with pytest.raises(InputError, match=rf"the truth of {one.stem} changed since its shard"):
            merge_shards(task, FEW, paths)
        file.write_bytes(before)
    merge_shards(task, FEW, paths)


def test_segments_that_changed_since_their_shard_are_refused(tmp_path) -> None:
    images = {"a": (IDS, SEGMENTS), "b": (IDS, SEGMENTS)}
    truth = truth_from_coco(write(tmp_path, images))
    predicted = write(tmp_path, images, name="mine")
    task = task_of(predicted, truth, FEW, [])
    paths = find_shards([shards_of(task, tmp_path / "shards", 2)])[1]
    merge_shards(task, FEW, paths)
    write(tmp_path, {"b": (np.where(IDS == 300, 9, IDS), SEGMENTS)}, name="other")
    shutil.copy(tmp_path / "other" / "b.png", tmp_path / "mine" / "b.png")
    with pytest.raises(InputError, match=r"mine\.json: b changed since its shard was scored"):
        merge_shards(task_of(predicted, truth, FEW, []), FEW, paths)


@pytest.mark.parametrize("text", ["0/2", "3/2", "2", "1/x", "-1/2", ""])
def test_shards_that_there_are_not(text: str) -> None:
    with pytest.raises(InputError, match="--shard takes K/N"):
        parse_shard(text)
