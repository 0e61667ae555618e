"""What a message tells the user to do can be done: the options and commands that it names exist."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from sbdata.cli import cli
from sbdata.errors import InputError
from sbdata.mask_files import voc_palette, write_index_png
from tests.sources.miniatures import voc_files

COLOURS = np.frombuffer(voc_palette(), np.uint8).reshape(256, 3)


def command_of(words: list[str]) -> click.Command:
    found: click.Command = cli
    for word in words:
        if isinstance(found, click.Group):
            inner = found.get_command(click.Context(found), word)
            assert inner is not None, word
            found = inner
    return found


def options_of(words: list[str]) -> set[str]:
    return {option for p in command_of(words).params for option in p.opts}


def colours(path: Path, values: Any) -> None:
    Image.fromarray(COLOURS[values]).save(path)


def reordered(path: Path, values: Any) -> None:
    image = Image.fromarray((values > 0).astype(np.uint8))
    image.putpalette([0, 0, 0, *COLOURS[15].tolist(), *COLOURS[1].tolist()])
    image.save(path)


def void(path: Path, values: Any) -> None:
    write_index_png(path, np.full_like(values, 255))


def beyond(path: Path, values: Any) -> None:
    write_index_png(path, np.full_like(values, 99))


def cut(path: Path, values: Any) -> None:
    write_index_png(path, values[:-1])


def nothing(path: Path, values: Any) -> None:
    path.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("remedies")
    for name, data in voc_files().items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    built = root / "set"
    arguments = ["dataset", "build", "voc-val", "--source-root", f"voc={root}", "--out", str(built)]
    assert CliRunner().invoke(cli, [*arguments, "--workers", "1"]).exit_code == 0
    names = root / "farm.txt"
    names.write_text("".join(f"kind {k}\n" for k in range(20)))
    photos = root / "photos"
    photos.mkdir()
    for photo in (built / "JPEGImages").iterdir():
        (photos / photo.name).write_bytes(photo.read_bytes())
    ids = root / "ids.txt"
    ids.write_text("".join(f"{photo.stem}\n" for photo in sorted(photos.iterdir())))
    return {"set": str(built), "farm": str(names), "photos": str(photos), "ids": str(ids)}


COMMANDS = {
    "score": "score {bad} --set {set} --out {out}",
    "score-truth": "score {good} --class-masks {bad} --instances components --out {out}",
    "score-own-truth": "score {good} --class-masks {bad} --instances components --taxonomy {farm} "
    "--out {out}",
    "score-instances": "score {good} --class-masks {good} --instance-masks {bad} --out {out}",
    "pseudo score": "pseudo score {bad} --set {set}",
    "train-set": "train --set {set} --masks {bad} --option model.weights=none --out {out}",
    "train": "train --images {photos} --masks {bad} --option model.weights=none --out {out}",
    "train-own": "train --images {photos} --masks {bad} --taxonomy {farm} --out {out}",
    "pseudo import": "pseudo import {bad} --list {ids} --photos {photos} --out {out} "
    "--supervision image_labels",
}
KINDS = (colours, reordered, void, beyond, cut, nothing)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", COMMANDS)
def test_options_and_commands_that_are_named_exist(
    places: dict[str, str], tmp_path: Path, name: str, kind: Callable[[Path, Any], None]
) -> None:
    if name.startswith("train"):
        pytest.importorskip("torch", reason="the extra `train` is not installed")
    values = np.zeros((100, 120), np.uint8)
    values[10:40, 10:40] = 15
    for folder, write in (("good", write_index_png), ("bad", kind)):
        (tmp_path / folder).mkdir()
        for image_id in Path(places["ids"]).read_text().split():
            if image_id != "2007_000042":
                write_index_png(tmp_path / folder / f"{image_id}.png", values)
            else:
                write(tmp_path / folder / f"{image_id}.png", values)
    if "train" in name and kind not in (colours, beyond, nothing):
        pytest.skip("it may be read, and trained on")
    if "import" in name and kind is not beyond:
        pytest.skip("it may be read")
    own = {place: str(tmp_path / place) for place in ("good", "bad", "out")}
    words = COMMANDS[name].format(**places, **own).split()
    result = CliRunner().invoke(cli, [*words, "--json"] if words[0] == "score" else words)
    error = result.exception if isinstance(result.exception, InputError) else ""
    said = f"{result.output} {error}".replace("\n", " ")
    if result.exit_code:
        assert error or "problems" in said, said
    command = words[:2] if words[0] == "pseudo" else words[:1]
    for quoted in re.findall(r"[`']sbdata ([a-z ]+)", said):
        assert command_of(quoted.split()).name, quoted
    advice = re.sub(r"[`'][^`']*[`']", " ", said.rpartition(";")[2])
    for option in re.findall(r"--[a-z-]+", advice):
        assert option in options_of(command), (option, said)
        if option == "--taxonomy" or option == "--ids":
            assert "--set" not in words, "it does not go with --set"
