"""The folders of class masks of a bench, and the commands that name them."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from sbdata.benchmark.cache import Cache
from sbdata.benchmark.markers import STAGE_MARKER
from sbdata.benchmark.stage_masks import stage_masks
from sbdata.benchmark.tasks import Input, Task
from sbdata.cli import cli
from sbdata.errors import InputError
from sbdata.masks import write_index_png
from sbdata.sets import open_set
from tests.benchmark.conftest import Sets


def task_of(sets: Sets, *parts: str) -> Task:
    opened = open_set(sets.training)
    return Task(
        "0" * 16,
        "pseudo",
        "part: import:some, seed 3: score of the pseudo-masks",
        {"truth": opened.logical_hash},
        {part: Input(part, f"stages/{k}") for k, part in enumerate(parts)},
        context={"training": str(sets.training), "training_hash": opened.logical_hash},
    )


def write_stage(sets: Sets, folder: Path, kind: str) -> Path:
    """Write the folder of a finished stage: of class masks, of grey maps, or of nothing."""
    folder.mkdir(parents=True)
    opened = open_set(sets.training)
    for image_id in opened if kind else ():
        values = opened.class_map(image_id)
        if kind == "masks":
            write_index_png(folder / f"{image_id}.png", values)
        else:
            Image.fromarray(values).save(folder / f"{image_id}.png")
    (folder / STAGE_MARKER).touch()
    return folder


def test_stages_with_masks_are_found_in_order(sets: Sets, tmp_path: Path) -> None:
    task = task_of(sets, "seeds", "maps", "saliency", "masks", "late", "segmenter")
    stages = tmp_path / "stages"
    for number, kind in ((0, "masks"), (1, ""), (2, "grey"), (3, "masks"), (5, "masks")):
        write_stage(sets, stages / str(number), kind)
    (one,) = stage_masks([task], Cache(tmp_path))
    assert one.name == "part: import:some, seed 3"
    assert (one.training, one.masks) == (sets.training, stages / "5")
    assert list(one.earlier.items()) == [("seeds", stages / "0"), ("masks (stage)", stages / "3")]
    (stages / "5" / STAGE_MARKER).unlink()
    assert stage_masks([task], Cache(tmp_path))[0].masks is None, "it is not done"


def test_printed_commands_score_the_masks_of_a_bench(
    sets: Sets, preset_file: Path, benched: Path, tmp_path: Path
) -> None:
    def call(*words: object) -> str:
        done = CliRunner().invoke(cli, list(map(str, words)), catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    asked = [
        "bench", "--train-set", sets.training, "--set", sets.scored, "--strategy", "ce",
        "--train-preset", preset_file, "--method", "stripes", "--stages", "--work",
    ]  # fmt: skip
    title, command = call(*asked, benched / "work").splitlines()
    assert title == "# stripes, seed 0"
    program, *words = shlex.split(command)
    assert program == "sbdata"
    scored = json.loads(call(*words, "--resamples", "0", "--json"))
    (result,) = (benched / "results").glob("stripes.ce.seed0.*.json")
    assert scored["losses"] == json.loads(result.read_text())["pseudo"]["losses"]
    (plain,) = json.loads(call(*asked, benched / "work", "--json"))
    assert (plain["set"], plain["masks"]) == (str(sets.training), words[2])
    nothing = call(*asked, tmp_path / "empty")
    assert nothing == (
        "# stripes, seed 0: no pseudo-masks yet; the same command without --stages makes them\n"
    )
    assert not (tmp_path / "empty").exists()
    asked[asked.index("stripes")] = "full"
    with pytest.raises(InputError, match="no method of this call makes pseudo-masks"):
        call(*asked, benched / "work")
