from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from sbdata.errors import InputError
from sbdata.taxonomy import VOC20
from sbdata.train.checkpoint import about_model, load_model
from sbdata.train.devices import Place
from sbdata.train.preset import load_preset
from sbdata.train.samples import TrainingImages
from sbdata.train.strategies import FIRST_PHASE, STRATEGIES, run_strategy
from tests.train.training_sets import TWO, tiny_preset, write_pictures

CPU = Place(torch.device("cpu"))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> TrainingImages:
    return write_pictures(tmp_path_factory.mktemp("pictures"))


def run(images: TrainingImages, out: Path, name: str, **more: Any) -> dict[str, Any]:
    changes = {k: more.pop(k) for k in list(more) if "__" in k}
    return run_strategy(name, images, tiny_preset(**changes), out, CPU, **more)


def test_every_strategy_takes_the_same_number_of_steps(
    images: TrainingImages, tmp_path: Path
) -> None:
    abouts = {name: run(images, tmp_path, name) for name in STRATEGIES}
    assert {about["total_steps"] for about in abouts.values()} == {6}
    for name in STRATEGIES:
        model, taxonomy = load_model(tmp_path / name)
        assert taxonomy == TWO
        assert not model.training
        assert not (tmp_path / name / "checkpoint.pt").exists()
        assert json.loads((tmp_path / name / "run.json").read_text()) == abouts[name]
        assert about_model(tmp_path / name) == abouts[name]
        assert "random numbers" in abouts[name]["initialisation"]
        assert abouts[name]["pretrained"] is False
    log = (tmp_path / FIRST_PHASE / "log.csv").read_text().splitlines()
    assert log[-1].startswith("4,")
    penalties = [float(row.split(",")[2]) for row in
                 (tmp_path / "sb-ewc" / "log.csv").read_text().splitlines()[1:]]  # fmt: skip
    assert penalties[0] > 0


def test_two_phase_strategies_share_the_first(images: TrainingImages, tmp_path: Path) -> None:
    run(images, tmp_path, "ce-ft")
    first = (tmp_path / FIRST_PHASE / "model.pt").stat().st_mtime_ns
    told: list[str] = []
    run(images, tmp_path, "sb-ft", progress=lambda stage, done, total: told.append(stage))
    assert (tmp_path / FIRST_PHASE / "model.pt").stat().st_mtime_ns == first
    assert set(told) == {"sb-ft"}


def test_what_is_finished_is_not_done_again(images: TrainingImages, tmp_path: Path) -> None:
    told: list[str] = []
    first = run(images, tmp_path, "sb-ewc")
    again = run(images, tmp_path, "sb-ewc", progress=lambda *said: told.append(said[0]))
    assert again == first
    assert told == []


def test_only_the_settings_that_matter_tell_runs_apart(
    images: TrainingImages, tmp_path: Path
) -> None:
    run(images, tmp_path, "ce-ft")
    run(images, tmp_path, "ce-ft", ewc__strength=5.0, inference__flip=True, size_balance__tau=2.0)
    with pytest.raises(InputError, match="another lr; choose another --out"):
        run(images, tmp_path, "ce", optimisation__lr=0.001) and run(
            images, tmp_path, "ce", optimisation__lr=0.002
        )
    with pytest.raises(InputError, match="holds a run with another"):
        run(images, tmp_path, "ce", seed=3)


def test_a_seed_gives_the_same_weights_again(images: TrainingImages, tmp_path: Path) -> None:
    states = []
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(images, tmp_path / folder, "sb-ewc", seed=seed)
        states.append(load_model(tmp_path / folder / "sb-ewc")[0].state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not all(torch.equal(states[0][name], states[2][name]) for name in states[0])


def test_strong_ewc_stays_nearer(images: TrainingImages, tmp_path: Path) -> None:
    run(images, tmp_path, "sb-ft")
    start = load_model(tmp_path / FIRST_PHASE)[0].state_dict()
    run(images, tmp_path, "sb-ewc", ewc__strength=3000.0)
    fisher = torch.load(tmp_path / "sb-ewc" / "fisher.pt", weights_only=True)["fisher"]

    def moved(name: str) -> float:
        state = load_model(tmp_path / name)[0].state_dict()
        return sum(float((fisher[n] * (state[n] - start[n]) ** 2).sum()) for n in fisher)

    assert moved("sb-ewc") < 0.7 * moved("sb-ft")


def test_a_stop_in_any_phase_ends_with_the_same_weights(
    images: TrainingImages, tmp_path: Path
) -> None:
    class Stop(Exception):  # noqa: N818
        pass

    def stop_at(phase: str, step: int) -> Any:
        def progress(stage: str, done: int, total: int) -> None:
            if (stage, done) == (phase, step):
                raise Stop

        return progress

    run(images, tmp_path / "unbroken", "sb-ewc")
    for phase, step in (("ce-first", 3), ("fisher", 2), ("sb-ewc", 1), ("sb-ewc", 2)):
        with pytest.raises(Stop):
            run(images, tmp_path / "broken", "sb-ewc", progress=stop_at(phase, step))
    run(images, tmp_path / "broken", "sb-ewc")
    states = [
        load_model(tmp_path / name / "sb-ewc")[0].state_dict() for name in ("unbroken", "broken")
    ]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_unknown_strategy_and_too_few_steps(images: TrainingImages, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no strategy called 'adam'; choose from ce, sb, ce-ft"):
        run(images, tmp_path, "adam")
    with pytest.raises(InputError, match="leaves no step for the first phase"):
        run(images, tmp_path, "ce-ft", optimisation__steps=1)


@pytest.mark.parametrize("name", ["paper", "paper-imagenet"])
def test_the_paper_presets_take_a_step(images: TrainingImages, tmp_path: Path, name: str) -> None:
    """ResNet-101 at stride 8 with multi-scale inputs, on small crops and from random numbers."""
    changes = ["model.weights=none", "augmentation.crop=40", "optimisation.steps=1",
               "optimisation.batch_size=2", "optimisation.lr=1e-8"]  # fmt: skip
    about = run_strategy("sb", images, load_preset(name, changes), tmp_path, CPU)
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
    from sbdata.train.checkpoint import new_segmenter, save_model
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
