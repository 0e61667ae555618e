from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from sbdata.completion import MARKER, check_marker
from sbdata.errors import InputError
from sbdata.losses import SizeBalancedCrossEntropy
from sbdata.losses.fisher import scaled_fisher
from sbdata.losses.registry import LOSSES
from sbdata.masks import write_index_png
from sbdata.taxonomy import VOC20, Taxonomy
from sbdata.train import strategies
from sbdata.train.checkpoint import about_model, load_model, new_segmenter
from sbdata.train.devices import DistributedContext
from sbdata.train.phase import Phase, run_phase
from sbdata.train.preset import load_preset
from sbdata.train.registry import STRATEGIES, Strategy
from sbdata.train.samples import TrainingImages, images_of_folders
from sbdata.train.strategies import (
    FIRST_PHASE,
    needs_first_phase,
    run_strategy,
)
from tests.train.training_sets import TWO, tiny_preset, write_pictures

CPU = DistributedContext(torch.device("cpu"))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> TrainingImages:
    return write_pictures(tmp_path_factory.mktemp("pictures"))


def run(images: TrainingImages, out: Path, name: str, **more: Any) -> dict[str, Any]:
    changes = {k: more.pop(k) for k in list(more) if "__" in k or k == "switch"}
    return run_strategy(name, images, tiny_preset(**changes), out, CPU, **more)


def rows_of(folder: Path) -> list[dict[str, float]]:
    with (folder / "log.csv").open() as log:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(log)]


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_model(folder)[0].state_dict()


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def finished(
    images: TrainingImages, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """Every strategy, trained in one folder."""
    out = tmp_path_factory.mktemp("finished")
    return out, {name: run(images, out, name) for name in STRATEGIES}


def test_every_strategy_takes_the_same_steps_of_one_schedule(
    finished: tuple[Path, dict[str, Any]],
) -> None:
    out, abouts = finished
    assert {about["total_steps"] for about in abouts.values()} == {6}
    rates = [0.001 * (1 - step / 6) ** 0.9 for step in range(6)]
    for name, about in abouts.items():
        model, taxonomy = load_model(out / name)
        assert taxonomy == TWO
        assert not model.training
        assert not (out / name / "checkpoint.pt").exists()
        assert json.loads((out / name / "run.json").read_text()) == about
        assert about_model(out / name) == about
        assert about["format"] == "sbdata.run.v2"
        assert "random numbers" in about["initialisation"]
        assert about["pretrained"] is False
        assert about["switch_step"] == (3 if name in ("sb-ft", "sb-ewc") else None)
        rows = rows_of(out / name)
        assert rows[-1]["step"] == 6
        assert [r["lr"] for r in rows] == pytest.approx([rates[int(r["step"]) - 1] for r in rows])


def test_the_loss_changes_at_the_switch_and_not_before(
    finished: tuple[Path, dict[str, Any]],
) -> None:
    """The three begin with the same steps, and the penalty is above 0 from there on alone."""
    out, _ = finished
    logs = {name: rows_of(out / name) for name in ("ce", "sb-ft", "sb-ewc")}
    first = [row for row in logs["ce"] if row["step"] <= 3]
    assert [row["step"] for row in first] == [2, 3]
    for rows in logs.values():
        assert rows[:2] == first
        assert rows[2] != logs["ce"][2] or rows is logs["ce"]
    assert [row["penalty"] for row in logs["sb-ft"]] == [0, 0, 0, 0]
    penalties = [row["penalty"] for row in logs["sb-ewc"]]
    assert penalties[:3] == [0, 0, 0]  # also in the first step after it: nothing has moved yet
    assert penalties[3] > 0
    weights = [weights_of(out / name) for name in logs]
    assert not any(same(weights[0], other) for other in weights[1:])
    assert not same(weights[1], weights[2])


def test_sharing_the_first_phase_changes_no_bit(
    images: TrainingImages, finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """``ce`` against the loop without a stop; ``sb-ft`` against the same in a folder of its own."""
    out, _ = finished
    preset = tiny_preset()
    torch.manual_seed(0)
    model = new_segmenter(preset.model, TWO).to(memory_format=torch.channels_last)
    run_phase(model, images, Phase("ce", 0, 6, 0, preset), tmp_path / "x", CPU, identity={})
    assert same(model.state_dict(), weights_of(out / "ce"))
    run(images, tmp_path / "alone", "sb-ft")
    assert same(weights_of(tmp_path / "alone/sb-ft"), weights_of(out / "sb-ft"))


def test_the_first_phase_is_done_once(images: TrainingImages, tmp_path: Path) -> None:
    assert needs_first_phase("ce", tmp_path)
    assert not needs_first_phase("sb", tmp_path)
    run(images, tmp_path, "ce")
    assert not needs_first_phase("sb-ft", tmp_path)
    state = tmp_path / FIRST_PHASE / "switch.pt"
    before = state.stat().st_mtime_ns
    told: list[tuple[str, int, int]] = []
    run(images, tmp_path, "sb-ft", progress=lambda *said: told.append(said))
    assert state.stat().st_mtime_ns == before
    assert told == [("sb-ft", 4, 6), ("sb-ft", 5, 6), ("sb-ft", 6, 6)]


def test_what_is_finished_is_not_done_again(images: TrainingImages, tmp_path: Path) -> None:
    told: list[str] = []
    first = run(images, tmp_path, "sb-ewc")
    again = run(images, tmp_path, "sb-ewc", progress=lambda *said: told.append(said[0]))
    assert again == first
    assert told == []


def test_a_kill_while_a_lost_record_is_made_again(
    images: TrainingImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The former marker lists the model that the new one replaced."""
    run(images, tmp_path, "sb")
    (tmp_path / "sb/run.json").unlink()

    def killed(*given: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(strategies, "write_marker", killed)
        with pytest.raises(KeyboardInterrupt):
            run(images, tmp_path, "sb")
    run(images, tmp_path, "sb")
    assert not check_marker(tmp_path / "sb", verify=True)


def test_what_a_kill_left_is_removed(images: TrainingImages, tmp_path: Path) -> None:
    """Half-written files, and the checkpoint of a run that was finished but for its deletion."""
    left = [
        tmp_path / folder / f".{name}.01234567.part"
        for folder, name in (("ce", "model.pt"), (FIRST_PHASE, "checkpoint.pt"))
    ]
    for path in left:
        path.parent.mkdir()
        path.touch()
    run(images, tmp_path, "ce")
    assert not any(path.exists() for path in left)
    whole = sorted(tmp_path.rglob("*"))
    (tmp_path / "ce" / "checkpoint.pt").touch()
    (tmp_path / "ce" / ".complete.json.01234567.part").touch()
    run(images, tmp_path, "ce")
    assert sorted(tmp_path.rglob("*")) == whole
    (tmp_path / FIRST_PHASE / MARKER).unlink()
    (tmp_path / FIRST_PHASE / ".log.csv.01234567.part").touch()
    assert needs_first_phase("sb-ft", tmp_path)  # to finish it
    run(images, tmp_path, "sb-ft")
    assert sorted((tmp_path / FIRST_PHASE).iterdir()) == [
        path for path in whole if path.parent.name == FIRST_PHASE
    ]


def test_only_the_settings_that_matter_tell_runs_apart(
    images: TrainingImages, tmp_path: Path
) -> None:
    run(images, tmp_path, "ce")
    run(images, tmp_path, "ce", ewc__strength=5.0, size_balance__tau=2.0)
    with pytest.raises(InputError, match=r"another optimisation\.lr; delete it to train again, or"):
        run(images, tmp_path, "ce", optimisation__lr=0.002)
    with pytest.raises(InputError, match="first-phase: holds a run with another switch; delete"):
        run(images, tmp_path, "sb-ft", switch=0.4)
    with pytest.raises(InputError, match="holds a run with another"):
        run(images, tmp_path, "ce", seed=3)
    run(images, tmp_path, "sb-ewc")
    with pytest.raises(InputError, match=r"another ewc\.scale, size_balance\.regions; delete"):
        run(images, tmp_path, "sb-ewc", ewc__scale="none", size_balance__regions="components")


def test_a_loss_of_others_that_takes_size_weights_depends_on_their_settings(
    images: TrainingImages, tmp_path: Path
) -> None:
    """Data workers compute the weights, whatever the name of the loss."""
    LOSSES.register("own", SizeBalancedCrossEntropy)
    STRATEGIES.register("own", Strategy("own", ("own",), "a loss of others"))
    try:
        run(images, tmp_path, "own")
        with pytest.raises(InputError, match=r"own: holds a run with another size_balance\.tau"):
            run(images, tmp_path, "own", size_balance__tau=1.0)
    finally:
        STRATEGIES.unregister("own")
        LOSSES.unregister("own")


def test_a_run_of_version_one_is_refused(images: TrainingImages, tmp_path: Path) -> None:
    run(images, tmp_path, "sb")
    about = tmp_path / "sb/run.json"
    (tmp_path / "sb" / MARKER).unlink()  # that version wrote none
    about.write_text(about.read_text().replace("sbdata.run.v2", "sbdata.run.v1"))
    with pytest.raises(InputError) as refused:
        run(images, tmp_path, "sb")
    assert str(refused.value) == (
        f"{about}: has the format sbdata.run.v1, whose losses and schedule differ from "
        "sbdata.run.v2; delete its folder to train again"
    )
    about.unlink()
    torch.save({"format": "sbdata.checkpoint.v1"}, tmp_path / "sb/checkpoint.pt")
    with pytest.raises(
        InputError, match=r"the kind sbdata\.checkpoint\.v3 but sbdata\.checkpoint\.v1"
    ):
        run(images, tmp_path, "sb")


def test_a_seed_gives_the_same_weights_again(images: TrainingImages, tmp_path: Path) -> None:
    states = []
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(images, tmp_path / folder, "sb-ewc", seed=seed)
        states.append(load_model(tmp_path / folder / "sb-ewc")[0].state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not all(torch.equal(states[0][name], states[2][name]) for name in states[0])


@pytest.mark.parametrize("fisher", ["moving", "sampled"])
def test_strong_ewc_stays_nearer(images: TrainingImages, tmp_path: Path, fisher: str) -> None:
    run(images, tmp_path, "sb-ft")
    run(images, tmp_path, "sb-ewc", ewc__strength=20.0, ewc__fisher=fisher)
    start = torch.load(tmp_path / FIRST_PHASE / "switch.pt", weights_only=True)
    found = start["fisher"]
    if fisher == "sampled":
        found = torch.load(tmp_path / "sb-ewc/fisher.pt", weights_only=True)["fisher"]
    held = scaled_fisher(found, "minmax")

    def moved(name: str) -> float:
        state = weights_of(tmp_path / name)
        return sum(float((held[n] * (state[n] - start["model"][n]) ** 2).sum()) for n in held)

    assert 0 < moved("sb-ewc") < 0.7 * moved("sb-ft")


def test_without_strength_ewc_is_none(images: TrainingImages, tmp_path: Path) -> None:
    run(images, tmp_path, "sb-ft")
    run(images, tmp_path, "sb-ewc", ewc__strength=0.0)
    assert same(weights_of(tmp_path / "sb-ewc"), weights_of(tmp_path / "sb-ft"))


def test_the_stability_limit_is_checked_at_the_switch(
    images: TrainingImages, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """500 * 2 at the biases' 20 times 0.001 * 0.5^0.9; the limit of momentum 0.9 is 3.8."""
    about = run(images, tmp_path / "default", "sb-ewc", optimisation__lr=1e-4)["ewc_stability"]
    assert about["group"] == "head biases"
    assert about["rate_times_curvature"] == pytest.approx(1000 * 20 * 1e-4 * 0.5**0.9)
    assert about["limit"] == pytest.approx(3.8)
    assert about["warning"] is None
    assert not caplog.records
    about = run(images, tmp_path / "high", "sb-ewc", optimisation__lr=4e-4)["ewc_stability"]
    assert about["warning"].startswith(
        "EWC may diverge: learning rate times curvature of the penalty is 4.29 for the head biases"
    )
    assert "limit for this momentum is 3.80; lower ewc.strength" in caplog.text


class Stop(Exception):  # noqa: N818
    pass


def stop_at(phase: str, step: int) -> Any:
    def progress(stage: str, done: int, total: int) -> None:
        if (stage, done) == (phase, step):
            raise Stop

    return progress


@pytest.mark.parametrize("name", ["ce", "sb-ft", "sb-ewc"])
def test_a_stop_in_any_phase_ends_with_the_same_weights(
    images: TrainingImages, finished: tuple[Path, dict[str, Any]], tmp_path: Path, name: str
) -> None:
    """Step 3 is the switch: its checkpoint is written then, but has no name of its own yet."""
    out, _ = finished
    for phase, step in ((FIRST_PHASE, 1), (FIRST_PHASE, 3), (name, 4), (name, 5), (name, 6)):
        with pytest.raises(Stop):
            run(images, tmp_path, name, progress=stop_at(phase, step))
        torch.rand(17)  # whatever else happened in the process
    run(images, tmp_path, name)
    assert same(weights_of(tmp_path / name), weights_of(out / name))
    assert (tmp_path / name / "log.csv").read_text() == (out / name / "log.csv").read_text()


def test_a_stop_while_the_switch_state_is_written(
    images: TrainingImages,
    finished: tuple[Path, dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = torch.save

    def half(values: dict[str, Any], stream: BinaryIO) -> None:
        if values.get("step") == 3:
            stream.write(b"PK half of it")
            raise Stop
        whole(values, stream)

    with monkeypatch.context() as broken:
        broken.setattr(torch, "save", half)
        with pytest.raises(Stop):
            run(images, tmp_path, "sb-ewc")
    assert needs_first_phase("sb-ewc", tmp_path)
    run(images, tmp_path, "sb-ewc")
    assert same(weights_of(tmp_path / "sb-ewc"), weights_of(finished[0] / "sb-ewc"))


def test_a_stop_while_the_fisher_is_sampled(images: TrainingImages, tmp_path: Path) -> None:
    sampled = {"ewc__fisher": "sampled"}
    run(images, tmp_path / "unbroken", "sb-ewc", **sampled)
    for phase, step in (("fisher", 2), ("sb-ewc", 4), ("sb-ewc", 6)):
        with pytest.raises(Stop):
            run(images, tmp_path / "broken", "sb-ewc", progress=stop_at(phase, step), **sampled)
    run(images, tmp_path / "broken", "sb-ewc", **sampled)
    states = [weights_of(tmp_path / name / "sb-ewc") for name in ("unbroken", "broken")]
    assert same(*states)


def test_unknown_strategy_and_too_few_steps(images: TrainingImages, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no strategy called 'adam'; choose from ce, sb, sb-ft"):
        run(images, tmp_path, "adam")
    with pytest.raises(InputError, match="no step is left before or after the switch"):
        run(images, tmp_path, "sb-ft", optimisation__steps=1)
    assert run(images, tmp_path, "ce", optimisation__steps=1)["total_steps"] == 1


def test_phases_that_cannot_be_run_are_refused() -> None:
    for losses, consolidated in (((), False), (("sb", "ce"), False), (("sb",), True)):
        with pytest.raises(InputError, match="strategy 'own': give one loss without EWC, or two"):
            Strategy("own", losses, "", consolidated)
    assert Strategy("own", ("ce", "focal"), "", True).shares_first_phase


def test_the_wacv24_preset_takes_a_step(images: TrainingImages, tmp_path: Path) -> None:
    """ResNet-101 at stride 8 with multi-scale inputs, on small crops and from random numbers."""
    changes = ["model.weights=none", "augmentation.crop=40", "optimisation.steps=1",
               "optimisation.batch_size=2", "optimisation.lr=1e-8"]  # fmt: skip
    about = run_strategy("sb", images, load_preset("wacv24", changes), tmp_path, CPU)
    assert about["total_steps"] == 1
    model, _ = load_model(tmp_path / "sb")
    assert model.scales == (0.5, 0.75)


# --- what a finished run is of ------------------------------------------------------------------


@pytest.fixture
def own(tmp_path: Path) -> TrainingImages:
    """Photos and masks that a test may change."""
    return write_pictures(tmp_path / "own")


def again(images: TrainingImages) -> TrainingImages:
    """Open the folders of photos and masks anew, as another process does."""
    root = images.rows[0].photo.parent.parent
    return images_of_folders(root / "photos", root / "masks", images.taxonomy)


def invert(path: Path) -> None:
    with Image.open(path) as photo:
        Image.fromarray(255 - np.asarray(photo)).save(path)


def test_other_photos_of_the_same_names_are_another_run(
    own: TrainingImages, tmp_path: Path
) -> None:
    run(own, tmp_path / "out", "sb")
    assert run(again(own), tmp_path / "out", "sb")["strategy"] == "sb"
    invert(own.rows[1].photo)
    with pytest.raises(InputError, match=r"sb: holds a run with another photos; delete it to"):
        run(again(own), tmp_path / "out", "sb")


def test_other_masks_and_classes_are_another_run(own: TrainingImages, tmp_path: Path) -> None:
    run(own, tmp_path / "out", "ce")
    others = replace(again(own), taxonomy=Taxonomy("two", ("green", "yellow")))
    with pytest.raises(InputError, match="ce: holds a run with another classes; "):
        run(others, tmp_path / "out", "ce")
    write_index_png(own.rows[0].mask, np.zeros((64, 72), np.uint8))
    with pytest.raises(InputError, match="ce: holds a run with another masks; "):
        run(again(own), tmp_path / "out", "ce")
    with pytest.raises(InputError, match="first-phase: holds a run with another masks; "):
        run(again(own), tmp_path / "out", "sb-ft")


def test_another_weights_file_of_the_same_path_is_another_run(
    images: TrainingImages, tmp_path: Path
) -> None:
    path = tmp_path / "weights.pth"
    for seed in (1, 5):
        torch.manual_seed(seed)
        torch.save(timm.create_model("mobilenetv3_small_050").state_dict(), path)
        if seed == 1:
            run(images, tmp_path / "out", "sb", model__weights=path)
            shutil.copy(path, tmp_path / "moved.pth")
    with pytest.raises(InputError, match=r"holds a run with another model\.weights; "):
        run(images, tmp_path / "out", "sb", model__weights=path)
    run(images, tmp_path / "out", "sb", model__weights=tmp_path / "moved.pth")  # the same content
    path.unlink()
    with pytest.raises(InputError, match=r"weights\.pth: no such weights file"):
        run(images, tmp_path / "out", "sb", model__weights=path)


def test_other_inference_and_other_code_are_another_run(
    images: TrainingImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(images, tmp_path, "sb")
    with pytest.raises(InputError, match=r"holds a run with another inference\.flip; "):
        run(images, tmp_path, "sb", inference__flip=True)
    monkeypatch.setattr(strategies, "code_fingerprint", lambda *modules: "edited")
    with pytest.raises(InputError, match="sb: holds a run with another code; "):
        run(images, tmp_path, "sb")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "", "not a readable JSON file"),
        (lambda text: text[: len(text) // 2], "not a readable JSON file"),
        (lambda text: "[" * 3000, "not a readable JSON file"),
        (lambda text: "3", "not the record of a run"),
        (lambda text: text.replace('"identity": {', '"identity": 3, "x": {'), "unknown key 'x'"),
        (lambda text: text.replace('"identity": {', '"other": {'), "unknown key 'other'"),
        (lambda text: text.replace('"seed": 0', '"seed": "0"', 1), "seed must be int"),
        (lambda text: text.replace('"seconds"', '"second"'), "unknown key 'second'"),
    ],
)
@pytest.mark.parametrize("marked", [True, False])
def test_an_altered_record_is_refused_by_its_name(
    finished: tuple[Path, dict[str, Any]],
    images: TrainingImages,
    tmp_path: Path,
    change: Callable[[str], str],
    message: str,
    marked: bool,
) -> None:
    """Behind its marker any change is seen; without one, whatever cannot be used."""
    shutil.copytree(finished[0] / "sb", tmp_path / "sb")
    path = tmp_path / "sb/run.json"
    path.write_text(change(path.read_text()))
    if not marked:
        (tmp_path / "sb" / MARKER).unlink()
    with pytest.raises(InputError) as refused:
        run(images, tmp_path, "sb")
    said = str(refused.value)
    assert "run.json" in said
    assert "\n" not in said
    assert ("not as recorded" if marked else message) in said
    assert len(said) < 600


def test_a_model_that_was_altered_is_refused(
    finished: tuple[Path, dict[str, Any]], images: TrainingImages, tmp_path: Path
) -> None:
    """Write another model of the same size, with the time of the trained one."""
    shutil.copytree(finished[0] / "sb", tmp_path / "sb")
    path = tmp_path / "sb/model.pt"
    whole, times = bytearray(path.read_bytes()), path.stat()
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(
        InputError, match=r"sb: 1 file is not as recorded \(model\.pt: .*delete the"
    ):
        run(images, tmp_path, "sb")


def test_an_altered_state_of_the_first_phase_is_refused(
    finished: tuple[Path, dict[str, Any]], images: TrainingImages, tmp_path: Path
) -> None:
    shutil.copytree(finished[0] / FIRST_PHASE, tmp_path / FIRST_PHASE)
    path = tmp_path / FIRST_PHASE / "switch.pt"
    values = torch.load(path, weights_only=True)
    next(v for v in values["model"].values() if v.is_floating_point()).mul_(2)
    torch.save(values, path)
    with pytest.raises(InputError, match=r"first-phase: 1 file is not as recorded \(switch\.pt: "):
        run(images, tmp_path, "sb-ft")
    path.unlink()  # is made again
    run(images, tmp_path, "sb-ft")
    assert same(weights_of(tmp_path / "sb-ft"), weights_of(finished[0] / "sb-ft"))


@pytest.mark.parametrize("lost", ["log.csv", MARKER])
def test_what_the_first_phase_lost_is_written_again(
    finished: tuple[Path, dict[str, Any]], images: TrainingImages, tmp_path: Path, lost: str
) -> None:
    shutil.copytree(finished[0] / FIRST_PHASE, tmp_path / FIRST_PHASE)
    folder = tmp_path / FIRST_PHASE
    before = (folder / "log.csv").read_text()
    (folder / lost).unlink()
    told: list[str] = []
    run(images, tmp_path, "sb-ft", progress=lambda *said: told.append(said[0]))
    assert set(told) == {"sb-ft"}
    assert (folder / "log.csv").read_text() == before
    assert not check_marker(folder)


@pytest.mark.parametrize("lost", ["model.pt", "run.json", "log.csv", MARKER])
def test_what_was_lost_is_made_again(
    finished: tuple[Path, dict[str, Any]], images: TrainingImages, tmp_path: Path, lost: str
) -> None:
    for name in ("sb-ft", FIRST_PHASE):
        shutil.copytree(finished[0] / name, tmp_path / name)
    (tmp_path / "sb-ft" / lost).unlink()
    told: list[str] = []
    run(images, tmp_path, "sb-ft", progress=lambda *said: told.append(said[0]))
    assert bool(told) == (lost != "log.csv")  # the model's file has its rows
    assert same(weights_of(tmp_path / "sb-ft"), weights_of(finished[0] / "sb-ft"))
    logs = [(root / "sb-ft/log.csv").read_text() for root in (tmp_path, finished[0])]
    assert logs[0] == logs[1]
    assert not check_marker(tmp_path / "sb-ft")


@pytest.mark.parametrize("name", ["ce", "sb"])
def test_a_kill_between_checkpoint_and_log_loses_no_row(
    images: TrainingImages, finished: tuple[Path, dict[str, Any]], tmp_path: Path, name: str
) -> None:
    """Before the last step, and after it, when nothing is left to be done but to finish."""
    for step in (4, 6):
        with pytest.raises(Stop):
            run(images, tmp_path, name, progress=stop_at(name, step))
        (tmp_path / name / "log.csv").write_text("step,loss,penalty,lr\n")
    run(images, tmp_path, name)
    assert (tmp_path / name / "log.csv").read_text() == (finished[0] / name / "log.csv").read_text()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "the checkpoint has no usable 'identity'"),
        ({"identity": 3}, "the checkpoint has no usable 'identity'"),
        ({"identity": {"seed": 9}}, "the checkpoint has no usable 'step'"),
        ({"model": {"x": torch.zeros(1)}}, r"checkpoint\.pt does not fit this run \("),
        ({"optimizer": {}}, r"checkpoint\.pt does not fit this run \("),
        ({"rng": []}, r"checkpoint\.pt does not fit this run \("),
        ({"rows": [3]}, r"checkpoint\.pt does not fit this run \("),
    ],
)
def test_a_checkpoint_that_cannot_be_gone_on_from_is_named(
    images: TrainingImages, tmp_path: Path, content: dict[str, Any], message: str
) -> None:
    with pytest.raises(Stop):
        run(images, tmp_path, "sb", progress=stop_at("sb", 2))
    path = tmp_path / "sb/checkpoint.pt"
    whole = {} if set(content) <= {"identity"} else torch.load(path, weights_only=True)
    torch.save({"format": "sbdata.checkpoint.v3", **whole, **content}, path)
    with pytest.raises(InputError, match=message) as refused:
        run(images, tmp_path, "sb")
    assert str(path) in str(refused.value)


# --- model files ----------------------------------------------------------------------------------


def test_another_number_of_classes_is_refused(images: TrainingImages, tmp_path: Path) -> None:
    run(images, tmp_path, "ce")
    with pytest.raises(InputError, match=r"trained on 2 classes \(two\), but voc20 has 20"):
        load_model(tmp_path / "ce", VOC20)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(
    finished: tuple[Path, dict[str, Any]], tmp_path: Path, value: float
) -> None:
    values = torch.load(finished[0] / "ce/model.pt", weights_only=True)
    name = next(
        n
        for n, v in values["model"].items()
        if v.is_floating_point() and v.ndim == 1 and len(v) > 9
    )
    values["model"][name][7] = value
    torch.save(values, tmp_path / "model.pt")
    with pytest.raises(
        InputError, match=rf"model\.pt: the weights {name} hold numbers that are not"
    ):
        load_model(tmp_path)


def test_files_that_are_no_model(tmp_path: Path) -> None:
    """They may be anything of the user's, so deleting them is not the remedy."""
    for told in (load_model, about_model):
        with pytest.raises(InputError, match=r"model\.pt: no such file; give a folder that"):
            told(tmp_path)
        photo = tmp_path / "photo.jpg"
        photo.write_bytes(b"a photo")
        torch.save({"format": "sbdata.checkpoint.v3"}, tmp_path / "switch.pt")
        for path in (photo, tmp_path / "switch.pt"):
            with pytest.raises(InputError) as refused:
                told(path)
            assert "delete" not in str(refused.value)
            assert str(refused.value).endswith(
                "; give a folder that 'sbdata train' wrote, or its model.pt"
            )
    (tmp_path / "model.pt").write_bytes(b"not a model")
    with pytest.raises(InputError, match=r"model\.pt: not a readable weights file"):
        load_model(tmp_path)
    torch.save({"weight": torch.zeros(1)}, tmp_path / "model.pt")
    with pytest.raises(InputError, match=r"model\.pt: not a file of the kind sbdata\.segmenter"):
        load_model(tmp_path)
    torch.save({"format": print}, tmp_path / "model.pt")  # would run code if it were unpickled
    with pytest.raises(InputError, match=r"model\.pt: not a readable weights file"):
        load_model(tmp_path)


def test_a_network_changed_for_caffe_weights_is_so_again(tmp_path: Path) -> None:
    from sbdata.train.checkpoint import save_model
    from sbdata.train.preset import ModelSettings
    from sbdata.train.pretrained import become_caffe

    settings = ModelSettings("resnet50", weights="none", output_stride=8)
    model = new_segmenter(settings, TWO).eval()
    become_caffe(model.backbone)
    model.caffe = True
    picture = torch.rand(1, 3, 65, 65)
    before = model(picture)
    save_model(tmp_path / "model.pt", model, settings, TWO, {})
    again = load_model(tmp_path)[0]
    assert again.caffe
    assert torch.equal(again(picture), before)
