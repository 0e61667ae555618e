"""``sbdata score`` as a user meets it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from sbdata.cli import cli
from sbdata.metrics import Accumulator, score_image, truth_from_maps
from sbdata.score.write import check_place
from tests.cli.command import sbdata
from tests.sources.label_map_examples import EVALUATED, LABELS, cityscapes, street

HEIGHT, WIDTH = 110, 150


def save(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Truth of 12 images with a large cat and a small dog, perfect predictions, and bad ones."""
    root = tmp_path_factory.mktemp("score")
    rng = np.random.default_rng(0)
    for k in range(12):
        classes, objects = np.zeros((2, HEIGHT, WIDTH), np.uint8)
        classes[:100, :100], objects[:100, :100] = 8, 1
        y = rng.integers(0, 90)
        classes[y : y + 10, 110 : 120 + k], objects[y : y + 10, 110 : 120 + k] = 12, 2
        name = f"{k:04d}.png"
        save(root / "classes" / name, classes)
        save(root / "objects" / name, objects)
        save(root / "perfect" / name, classes)
        save(root / "large_only" / name, np.where(classes == 12, 0, classes))
    return root


TRUTH = ("--class-masks", "classes", "--instance-masks", "objects")


def test_what_is_printed_and_written(folder: Path) -> None:
    said = sbdata(
        "score", "large_only", *TRUTH, "--against", "perfect", "--per-class", "--resamples", 50,
        cwd=folder,
    ).stdout  # fmt: skip
    cells = {line.split()[0]: line.split() for line in said.splitlines() if line.strip()}
    assert (cells["IA_S"][1], cells["IA_S"][-2:]) == ("0.000", ["12", "1"])
    assert (cells["IA_L"][1], cells["IA_L"][-2:]) == ("1.000", ["12", "1"])
    assert cells["IA_M"] == ["IA_M", *"––––", "0", "0"]
    assert cells["dog"][1:] == ["0.000", "0.000", "(12)", "0.000", "(12)", *"–", "(0)", "–", "(0)",
                                "0"]  # fmt: skip
    assert "mIoU and IA count background as a class; IA_objects and sizes do not; 18 of 21" in said
    assert "large_only minus perfect" in said
    assert cells["IA_S,"][3:6] == ["0.000", "1.000", "−1.000"]
    result = folder / "scores" / "large_only"
    assert said.splitlines()[-1].startswith("scores/large_only: confusion.parquet, figures, ")
    assert sorted(path.name for path in result.iterdir()) == [
        "confusion.parquet", "figures", "images.parquet", "instances.parquet", "regions.parquet",
        "report.html", "summary.json",
    ]  # fmt: skip


def test_json_is_the_summary_and_figures_are_the_metrics(folder: Path) -> None:
    done = sbdata(
        "score", "large_only", *TRUTH, "--json", "--name", "again", "--out", "out", "--no-report",
        "--resamples", 20, cwd=folder,
    )  # fmt: skip
    said = json.loads(done.stdout)
    assert done.stderr == ""
    assert said.pop("result") == "out/again"
    written = json.loads((folder / "out" / "again" / "summary.json").read_text())
    assert written.pop("files") == [
        "confusion.parquet", "images.parquet", "instances.parquet", "regions.parquet",
    ]  # fmt: skip
    assert said == written
    counted = Accumulator(20)
    for path in sorted((folder / "large_only").iterdir()):
        maps = [np.array(Image.open(folder / kind / path.name)) for kind in ("classes", "objects")]
        counted.update(
            path.stem, score_image(np.array(Image.open(path)), truth_from_maps(*maps), 20)
        )
    summary = counted.compute()
    assert said["miou"]["value"] == summary.miou
    assert said["ia"]["ia"]["class_mean"]["value"] == summary.ia["ia"].class_mean


def test_conditions_are_judged_after_all_is_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    call = (*TRUTH, "--resamples", "50", "--no-report", "--out", "judged")
    done = CliRunner().invoke(cli, [
        "score", "large_only", *call, "--json", "--fail-under", "ia_small=0.2",
        "--fail-under", "miou=0.1", "--fail-under", "ia_medium.instance_mean=0",
        "--fail-worse-than", "perfect",
    ])  # fmt: skip
    assert done.exit_code == 1
    assert (folder / "judged" / "large_only" / "summary.json").exists()
    assert done.stderr.splitlines() == [
        "Failed: ia_small.class_mean is 0.000, below 0.2 (--fail-under).",
        "Failed: ia_medium.instance_mean is undefined, because the truth has nothing to measure "
        "it on (--fail-under).",
        *(
            f"Failed: {name} minus that of perfect is {values}, wholly below zero "
            "(--fail-worse-than)."
            for name, values in (
                ("ia_small.class_mean", "−1.000, 95 % interval −1.000 to −1.000"),
                ("ia_objects.class_mean", "−0.500, 95 % interval −0.500 to −0.500"),
            )
        ),
        done.stderr.splitlines()[-1],
    ]
    assert done.stderr.splitlines()[-1].startswith("Failed: miou minus that of perfect is −")
    said = json.loads(done.stdout)["conditions"]
    assert [verdict["result"] for verdict in said] == ["failed", "passed", *["failed"] * 4]

    better = CliRunner().invoke(cli, [
        "score", "perfect", *call, "--fail-worse-than", "judged/large_only",
        "--fail-under", "ia_small=1",
    ])  # fmt: skip
    assert better.exit_code == 0
    assert "perfect minus large_only" in better.stdout
    assert "Failed" not in better.stderr


def test_problems_are_listed_and_nothing_is_scored(folder: Path) -> None:
    for k in range(30):
        save(folder / "bad" / f"{k}.png", np.zeros((4, 4)))
    done = sbdata("score", "bad", *TRUTH, cwd=folder, status=2)
    assert done.stdout == ""
    assert "bad: 42 problems (extra 30, missing 12), nothing was scored" in done.stderr
    assert "  0.png: not an image of the set; did you mean 0000.png?" in done.stderr
    assert "... and 22 more" in done.stderr
    assert [path.name for path in (folder / "scores" / "bad").iterdir()] == ["problems.csv"]
    lines = (folder / "scores" / "bad" / "problems.csv").read_text().splitlines()
    assert len(lines) == 43
    said = json.loads(sbdata("score", "bad", *TRUTH, "--json", cwd=folder, status=2).stdout)
    assert len(said["problems"]) == 42


def test_problems_do_not_lie_beside_a_former_result(folder: Path, tmp_path: Path) -> None:
    """The former result stays as it was, and what it says is not about the new predictions."""
    shutil.copytree(folder / "perfect", folder / "turned")
    arguments = ("score", "turned", *TRUTH, "--out", tmp_path, "--no-report")
    sbdata(*arguments, cwd=folder)
    result = tmp_path / "turned"
    before = {path.name: path.read_bytes() for path in result.iterdir()}
    prediction = folder / "turned" / "0003.png"
    whole = prediction.read_bytes()
    prediction.unlink()
    done = sbdata(*arguments, cwd=folder, status=2)
    assert {path.name: path.read_bytes() for path in result.iterdir()} == before
    listed = tmp_path / "turned.problems.csv"
    assert str(listed) in done.stderr
    assert len(listed.read_text().splitlines()) == 2
    prediction.write_bytes(whole)
    sbdata(*arguments, cwd=folder)
    assert [path.name for path in tmp_path.iterdir()] == ["turned"]


KILLED = """
import os, sys
from pathlib import Path
from sbdata.cli import main

def wrapped(call):
    def moved(source, target, **more):
        if Path(target).name == "perfect" and Path(source).is_dir():
            os._exit(9)  # the former result is out of the way, and the new one not in its place
        return call(source, target, **more)
    return moved

os.rename, os.replace = wrapped(os.rename), wrapped(os.replace)
sys.argv = sys.argv[1:]
main()
"""


def test_a_kill_while_a_result_is_replaced_loses_neither(folder: Path, tmp_path: Path) -> None:
    arguments = ["score", "perfect", *TRUTH, "--out", str(tmp_path), "--no-report"]
    sbdata(*arguments, cwd=folder)
    before = (tmp_path / "perfect" / "summary.json").read_bytes()
    command = [sys.executable, "-c", KILLED, "sbdata", *arguments, "--seed", "7"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 9, done.stderr
    restored = check_place(tmp_path, "perfect")  # as the next call does first
    assert (restored / "summary.json").read_bytes() == before
    sbdata(*arguments, "--seed", 7, cwd=folder)
    assert json.loads((restored / "summary.json").read_bytes())["provenance"]["seed"] == 7


def test_workers_are_said_to_be_what_they_are(folder: Path) -> None:
    said = " ".join(sbdata("score", "--help", cwd=folder).stdout.split())
    assert "Processes for reading and scoring, and with --coco for drawing the truth" in said


def test_shards_are_merged_to_what_one_call_writes(folder: Path) -> None:
    call = ("score", "perfect", *TRUTH, "--no-report", "--taxonomy", "voc20")
    for shard in ("1/2", "2/2"):
        done = sbdata(*call, "--shard", shard, "--out", "shards", "--json", cwd=folder)
        assert Path(json.loads(done.stdout)["shard"]).name == f"perfect.shard-{shard[0]}-of-2.npz"
    sbdata("score", "--merge", "shards", "--no-report", "--out", "merged", cwd=folder)
    sbdata(*call, "--out", "whole", cwd=folder)
    for file in (folder / "whole" / "perfect").iterdir():
        assert (folder / "merged" / "perfect" / file.name).read_bytes() == file.read_bytes()
    said = sbdata("score", "--merge", "shards", "--seed", 3, cwd=folder, status=2).stderr
    assert "--seed does not go with --merge" in said


def test_shards_of_other_formats_are_merged(tmp_path: Path) -> None:
    streets = {f"000000_{k:06d}": street(k) for k in range(4)}
    root = cityscapes(tmp_path / "data", streets)
    trainids = np.full(1 << 16, 255, np.uint8)
    for train, name in enumerate(EVALUATED):
        label = next(k for k, other in LABELS.items() if other == name)
        trainids[[label, *range(1000 * label, 1000 * label + 1000)]] = train
    for name, ids in streets.items():
        save(tmp_path / f"mine/ulm_{name}_leftImg8bit.png", trainids[ids])
    truth = ("--cityscapes", root, "--palette", "cityscapes-trainids", "--pred-void")
    runner, call = CliRunner(), ("score", str(tmp_path / "mine"), *map(str, truth), "--no-report")
    for more in (
        ("--shard", "1/2", "--out", "shards"),
        ("--shard", "2/2", "--out", "shards"),
        ("--out", "whole"),
    ):
        done = runner.invoke(cli, [*call, *more[:-1], str(tmp_path / more[-1])])
        assert done.exit_code == 0, done.output
    merged = ["score", "--merge", str(tmp_path / "shards"), "--no-report"]
    done = runner.invoke(cli, [*merged, "--out", str(tmp_path / "merged")])
    assert done.exit_code == 0, done.output
    assert "note: predictions were decoded through palette cityscapes-trainids" in done.output
    for file in (tmp_path / "whole" / "mine").iterdir():
        assert (tmp_path / "merged/mine" / file.name).read_bytes() == file.read_bytes()
    summary = json.loads((tmp_path / "whole/mine/summary.json").read_text())
    assert summary["provenance"]["options"]["palette"] == "cityscapes-trainids"
    assert summary["miou"]["value"] == 1


def test_missing_predictions_when_allowed(folder: Path) -> None:
    save(folder / "few" / "0003.png", np.zeros((HEIGHT, WIDTH)))
    said = sbdata(
        "score", "few", *TRUTH, "--allow-missing", "--no-report", "--resamples", 5, cwd=folder
    ).stdout
    assert "note: few: 11 of 12 predictions missing, counted as background" in said


def test_components_as_instances(folder: Path) -> None:
    said = sbdata(
        "score", "perfect", "--class-masks", "classes", "--instances", "components",
        "--no-report", "--name", "parts", "--bins", "500,2000", "--resamples", 5, cwd=folder,
    ).stdout  # fmt: skip
    assert "note: the truth has no instance masks" in said
    assert "note: sizes" not in said  # such a truth has no sizes of its own


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give one ground truth"),
        ((*TRUTH, "--voc", "classes"), "--voc and --class-masks was given"),
        (("--voc", "classes", "--taxonomy", "voc20"), "--taxonomy does not go with --voc"),
        (("--class-masks", "classes"), "needs either --instance-masks, or --instances components"),
        ((*TRUTH, "--instances", "components"), "needs either --instance-masks"),
        ((*TRUTH, "--bins", "12"), "--bins takes two areas"),
        ((*TRUTH, "--bins", "9,4"), "must be positive and increase"),
        (
            (*TRUTH, "--fail-under", "ia_tiny=0.5"),
            "no value 'ia_tiny'; it has miou, pixel_accuracy",
        ),
        ((*TRUTH, "--fail-under", "miou=high"), "takes NAME=VALUE, such as ia_small=0.4, not"),
        ((*TRUTH, "--fail-under", "miou=0", "--shard", "1/2"), "a shard has no values to judge"),
        ((*TRUTH, "--fail-worse-than", "perfect", "--resamples", "0"), "judges by intervals"),
        ((*TRUTH, "--name", "../x"), "cannot name a result"),
        (("--set", "none"), "none: no such folder"),
        (("--coco", "none.json"), "none.json: no such file"),
        ((*TRUTH, "--against", "nowhere"), "nowhere: no such folder"),
        (("--cityscapes", "classes", "--photos", "x"), "--photos does not go with --cityscapes"),
        (("--ade20k", "classes"), "no folder annotations_instance in it"),
        ((*TRUTH, "--palette", "voc", "--decode-palette"), "exclude each other"),
        ((*TRUTH, "--palette", "nope"), "nope: not a readable list of palette entries"),
    ],
)
def test_bad_usage(folder: Path, arguments: tuple[str, ...], message: str) -> None:
    done = sbdata("score", "perfect", *arguments, cwd=folder, status=2)
    assert message in done.stderr
    assert not (folder / "scores" / "perfect").exists()


def test_a_synthetic_set_is_called_so(folder: Path) -> None:
    built = folder / "set"
    sbdata(
        "dataset", "build", "shapes-b", "--out", built, "--workers", 1,
        "--set", "sources.0.options={seed: 0, pool: 40, train: 8}", "--set", "select.quota=2",
        cwd=folder,
    )  # fmt: skip
    masks = built / "SegmentationClass"
    said = sbdata("score", masks, "--set", built, "--name", "masks", cwd=folder).stdout
    assert said.startswith("masks on shapes-b (synthetic): ")
    assert "synthetic" in (folder / "scores" / "masks" / "report.html").read_text()
