"""``sbdata train`` and ``sbdata predict`` as a user meets them."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from sbdata.cli import cli
from sbdata.cli.predict import _scales as scales_of
from sbdata.cli.train import _opened
from sbdata.errors import InputError
from sbdata.masks import read_index_png, write_index_png
from sbdata.sets import open_set
from tests.cli import command

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

TINY = (
    "--option", "model.backbone=mobilenetv3_small_050", "--weights", "none",
    "--option", "optimisation.steps=4", "--option", "optimisation.batch_size=2",
    "--option", "augmentation.crop=64",
)  # fmt: skip


sbdata = partial(command.sbdata, OMP_NUM_THREADS="1")


@pytest.fixture(scope="module")
def trained(shapes_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    done = sbdata(
        "train", "--set", shapes_set, *TINY, "--strategy", "ce", "--strategy", "sb-ewc",
        "--seed", 4, "--out", "runs", cwd=folder,
    )  # fmt: skip
    assert "8 images (synthetic)" in done.stdout
    assert "WARNING: the backbone started from random numbers" in done.stderr
    assert "sb-ewc" in done.stdout
    return folder


def test_train_predict_score(trained: Path, shapes_set: Path) -> None:
    runs = trained / "runs/seed-4"
    assert {path.name for path in runs.iterdir()} == {"first-phase", "ce", "sb-ewc"}
    for _ in range(2):
        done = sbdata("predict", runs / "sb-ewc", "--set", shapes_set, "--out", "p", cwd=trained)
    assert "8 masks, 0 of them written now" in done.stdout
    opened = open_set(shapes_set)
    record = json.loads((trained / "p/.made-by.json").read_text())
    assert record["classes"] == list(opened.taxonomy.classes)
    for image_id in opened:
        assert read_index_png(trained / "p" / f"{image_id}.png").shape == opened.size_of(image_id)
    said = sbdata("score", "p", "--set", shapes_set, "--no-report", "--json", cwd=trained)
    assert 0 <= json.loads(said.stdout)["miou"]["value"] <= 1


def test_predictions_of_two_models_are_not_mixed(trained: Path, shapes_set: Path) -> None:
    runs = trained / "runs/seed-4"
    sbdata("predict", runs / "sb-ewc", "--set", shapes_set, "--out", "q", cwd=trained)
    again = ("predict", runs / "ce", "--set", shapes_set, "--out", "q")
    refused = sbdata(*again, status=2, cwd=trained)
    assert "q: holds predictions made with another model" in refused.stderr
    done = sbdata(*again, "--overwrite", "--json", cwd=trained)
    assert json.loads(done.stdout)["written"] == 8


def test_what_is_there_is_not_trained_again(trained: Path, shapes_set: Path) -> None:
    model = trained / "runs/seed-4/ce/model.pt"
    before = model.stat().st_mtime_ns
    said = sbdata(
        "train", "--set", shapes_set, *TINY, "--strategy", "ce", "--seed", 4, "--out", "runs",
        "--json", cwd=trained,
    )  # fmt: skip
    (run,) = json.loads(said.stdout)
    assert run["seed"] == 4
    assert run["pretrained"] is False
    assert model.stat().st_mtime_ns == before


def test_a_run_that_another_process_trains_is_refused(
    shapes_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Strategies that share a first phase wait for it; others may be trained at the same time."""
    from sbdata.train.devices import DistributedContext
    from sbdata.train.lock import locked_run

    monkeypatch.chdir(tmp_path)
    place = DistributedContext(torch.device("cpu"))

    def train(strategy: str) -> None:
        command = (
            "train",
            "--set",
            str(shapes_set),
            *TINY,
            "--strategy",
            strategy,
            "--out",
            "runs",
        )
        cli.main(list(command), standalone_mode=False)

    seed = Path("runs/seed-0")
    with locked_run("ce", seed, place):
        for strategy, folder in (("ce", "ce"), ("sb-ft", "first-phase")):
            with pytest.raises(InputError, match=f"{seed / folder} is being trained by another"):
                train(strategy)
        with locked_run("sb", seed, place):
            pass
        assert not (seed / "sb").exists()
    assert not Path("runs").exists()
    train("ce")
    with locked_run("ce", seed, place):
        train("sb-ft")  # the first phase is finished
        with pytest.raises(InputError, match=f"{seed / 'ce'} is being trained by another"):
            train("ce")


def rows_of(folder: Path) -> list[dict[str, float]]:
    with (folder / "log.csv").open() as log:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(log)]


def test_torchrun_in_two_processes_is_one_process(shapes_set: Path, tmp_path: Path) -> None:
    """The penalty is above 0 after the switch, and all is as in one process, up to float order."""
    arguments = (
        "train", "--set", str(shapes_set), *TINY, "--option", "optimisation.checkpoint_every=1",
        "--option", "optimisation.lr=1e-4", "--strategy", "sb-ewc", "--device", "cpu",
    )  # fmt: skip
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        "-m", "sbdata", *arguments, "--out", "two",
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("8 images (synthetic)") == 1
    about = json.loads((tmp_path / "two/seed-0/sb-ewc/run.json").read_text())
    assert about["environment"]["processes"] == 2
    sbdata(*arguments, "--out", "one", cwd=tmp_path)
    both, one = (rows_of(tmp_path / name / "seed-0/sb-ewc") for name in ("two", "one"))
    assert [row["step"] for row in both] == [1, 2, 3, 4]
    assert [row["penalty"] > 0 for row in both] == [False, False, False, True]
    for ours, alone in zip(both, one, strict=True):
        assert ours["loss"] == pytest.approx(alone["loss"], rel=1e-4)
        assert ours["penalty"] == pytest.approx(alone["penalty"], rel=1e-2)
    states = [
        torch.load(tmp_path / name / "seed-0/sb-ewc/model.pt", weights_only=True)["model"]
        for name in ("two", "one")
    ]
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name], rtol=0, atol=2e-5)


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "1,1e9", "1,,2", "x", ""])
def test_scales_that_no_photo_can_have_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="--scales takes positive numbers, 16 at most, such as"):
        scales_of(text)
    assert scales_of("0.5,1, 16") == (0.5, 1, 16)


def test_a_line_of_ids_is_one_id(tmp_path: Path) -> None:
    """An id may have a space, and a second column is not another id."""
    for name in ("a cat", "a", "1"):
        for folder in ("photos", "masks"):
            write_index_png(tmp_path / folder / f"{name}.png", np.zeros((5, 5), np.uint8))
    photos, masks, ids = tmp_path / "photos", tmp_path / "masks", tmp_path / "ids.txt"
    ids.write_text("a cat\n\n  1 \n")
    found = _opened(None, photos, masks, None, ids)
    assert [row.image_id for row in found.rows] == ["1", "a cat"]
    ids.write_text("a 1\n")
    with pytest.raises(InputError, match=r"photos: no photo called a 1 \(1 of 1 are missing\)"):
        _opened(None, photos, masks, None, ids)


@pytest.mark.parametrize("command", [("train", "--seed"), ("bench", "--first-seed")])
def test_seeds_beyond_the_range_of_generators_are_refused(command: tuple[str, str]) -> None:
    done = CliRunner().invoke(cli, [*command, str(2**64)])
    assert done.exit_code == 2
    assert "is not in the range" in done.output


def test_list(tmp_path: Path) -> None:
    said = json.loads(sbdata("train", "--list", "--json", cwd=tmp_path).stdout)
    assert "wacv24" in said["presets"]
    assert "sb-ewc" in said["strategies"]
    assert "sb-ewc" in sbdata("train", "--list", cwd=tmp_path).stdout


def test_bad_input(
    trained: Path, shapes_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence each; in one process, since PyTorch takes seconds to import."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "weights.pth").write_bytes(b"no weights")
    masks = tmp_path / "masks"
    for image_id in open_set(shapes_set):
        write_index_png(masks / f"{image_id}.png", np.zeros((5, 5), np.uint8))
    model = trained / "runs/seed-4/ce"
    (tmp_path / "names.txt").write_text("one\ntwo\n")
    for arguments, message in (
        (("train",), "give the training images: --set SET, or --images DIR with --masks DIR"),
        (("train", "--set", "none"), "none: no such folder"),
        (("train", "--set", "empty"), "empty: an empty folder"),
        (("train", "--images", "empty", "--masks", "empty"), "empty: holds no photo"),
        (("train", "--images", "empty"), "--images needs --masks"),
        (("train", "--set", shapes_set, "--ids", "x"), "--ids does not go with --set"),
        (("train", "--set", shapes_set, "--masks", masks), "5 x 5 pixels, but"),
        (("train", "--set", shapes_set, "--strategy", "best"), "no strategy called 'best'"),
        (("train", "--set", shapes_set, "--preset", "best"), "no preset called 'best'"),
        (("train", "--set", shapes_set, "--device", "cuda:77"), "--device cuda:77"),
        (("train", "--set", shapes_set, "--weights", "weights.pth"), "weights.pth"),
        (("train", "--set", shapes_set, "--weights", "no.pth"), "no.pth"),
        (("train", "--set", shapes_set, "--preset", "wacv24"), "deeplabv1_resnet101-coco.pth"),
        (("predict", model, "--out", "p"), "--set SET or --images DIR"),
        (("predict", "empty", "--images", "empty", "--out", "p"), "model.pt: no such file"),
        (("predict", model, "--images", "empty", "--out", "p"), "empty: holds no photo"),
        (("predict", model, "--images", masks, "--out", "p", "--scales", "0"), "--scales takes"),
        (("predict", model, "--images", masks, "--out", "p", "--scales", "inf"), "--scales takes"),
        (("predict", model, "--images", masks, "--out", "p", "--refine", "x"), "called 'x'"),
    ):  # fmt: skip
        with pytest.raises(InputError) as refused:
            cli.main([str(argument) for argument in arguments], standalone_mode=False)
        assert message in str(refused.value)
        assert "\n" not in str(refused.value)
    done = sbdata("train", "--set", "none", status=2, cwd=tmp_path)
    assert done.stderr.startswith("Error: none: no such folder")
    assert not (tmp_path / "runs").exists()
