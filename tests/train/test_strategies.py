from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from sbdata.errors import InputError
from sbdata.losses import scaled_fisher
from sbdata.taxonomy import VOC20
from sbdata.train.checkpoint import about_model, load_model, new_segmenter
from sbdata.train.devices import Place
from sbdata.train.loop import Phase, run_phase
from sbdata.train.preset import load_preset
from sbdata.train.samples import TrainingImages
from sbdata.train.strategies import (
    FIRST_PHASE,
    STRATEGIES,
    Strategy,
    needs_first_phase,
    run_strategy,
)
from tests.train.training_sets import TWO, tiny_preset, write_pictures

CPU = Place(torch.device("cpu"))


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


def test_only_the_settings_that_matter_tell_runs_apart(
    images: TrainingImages, tmp_path: Path
) -> None:
    run(images, tmp_path, "ce")
    run(images, tmp_path, "ce", ewc__strength=5.0, inference__flip=True, size_balance__tau=2.0)
    with pytest.raises(InputError, match=r"another optimisation\.lr; choose another --out"):
        run(images, tmp_path, "ce", optimisation__lr=0.002)
    with pytest.raises(InputError, match="first-phase: holds a run with another switch; choose"):
        run(images, tmp_path, "sb-ft", switch=0.4)
    with pytest.raises(InputError, match="holds a run with another"):
        run(images, tmp_path, "ce", seed=3)
    run(images, tmp_path, "sb-ewc")
    with pytest.raises(InputError, match=r"another ewc\.scale, size_balance\.regions; choose"):
        run(images, tmp_path, "sb-ewc", ewc__scale="none", size_balance__regions="components")


def test_a_run_of_version_one_is_refused(images: TrainingImages, tmp_path: Path) -> None:
    run(images, tmp_path, "sb")
    about = tmp_path / "sb/run.json"
    about.write_text(about.read_text().replace("sbdata.run.v2", "sbdata.run.v1"))
    with pytest.raises(InputError) as refused:
        run(images, tmp_path, "sb")
    assert str(refused.value) == (
        f"{tmp_path / 'sb'}: holds a run in the format sbdata.run.v1, whose losses and schedule "
        "are not those of sbdata.run.v2; choose another --out, or delete it"
    )
    about.unlink()
    torch.save({"format": "sbdata.checkpoint.v1"}, tmp_path / "sb/checkpoint.pt")
    with pytest.raises(
        InputError, match=r"the kind sbdata\.checkpoint\.v2 but sbdata\.checkpoint\.v1"
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

    def half(values: dict[str, Any], path: Path) -> None:
        if values.get("step") == 3:
            Path(path).write_bytes(b"PK half of it")
            raise Stop
        whole(values, path)

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
    with pytest.raises(InputError, match="leaves no step before or after the switch"):
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


# --- model files ----------------------------------------------------------------------------------


def test_another_number_of_classes_is_refused(images: TrainingImages, tmp_path: Path) -> None:
    run(images, tmp_path, "ce")
    with pytest.raises(InputError, match=r"trained on 2 classes \(two\), but voc20 has 20"):
        load_model(tmp_path / "ce", VOC20)


def test_files_that_are_no_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model\.pt: no such file"):
        load_model(tmp_path)
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
