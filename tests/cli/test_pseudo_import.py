"""``sbdata pseudo import`` as a user meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from sbdata.cli.pseudo import pseudo
from sbdata.cli.pseudo_import import import_command
from sbdata.errors import InputError
from sbdata.masks import read_index_png
from tests.importers.published import MASKS, build_voc_set, irn, save, save_picture


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set, and maps and masks that were published for it."""
    root = tmp_path_factory.mktemp("import")
    build_voc_set(root / "four")
    for image_id, mask in MASKS.items():
        save(root / "maps" / f"{image_id}.npy", irn(mask))
        save_picture(root / "masks" / f"{image_id}.png", mask, "P")
    return root


def call(*arguments: Any) -> str:
    done = CliRunner().invoke(import_command, list(map(str, arguments)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_maps_are_imported_and_scored(folder: Path, tmp_path: Path) -> None:
    said = call(
        folder / "maps", "--set", folder / "four", "--source", "irn", "--work", tmp_path,
    )  # fmt: skip
    assert "4 .npy files, 4 of them looked into: keys, and one map for each in high_res" in said
    assert "background 0.15 (of IRN, CVPR 2019)" in said
    assert "Warning" not in said
    assert "'sbdata bench --method import:irn' trains on them" in said
    cells = {line.split()[0]: line.split()[1:] for line in said.splitlines() if line.strip()}
    # The truth of each box is an instance, so components and instances are the same.
    assert cells["small"] == ["4", "4", "0", "(0.0", "%)", "0", "(0.0", "%)"]
    masks = tmp_path / "imports" / "irn" / "masks"
    for image_id, mask in MASKS.items():
        np.testing.assert_array_equal(read_index_png(masks / f"{image_id}.png"), mask)
    arguments = ["score", str(masks), "--set", str(folder / "four"), "--resamples", "0", "--json"]
    scored = CliRunner().invoke(pseudo, arguments, catch_exceptions=False)
    figures = json.loads(scored.stdout)["ignored_as_background"]
    assert scored.exit_code == 0
    assert "1.0" in json.dumps(figures)


def test_json_and_a_folder_of_ones_own(folder: Path, tmp_path: Path) -> None:
    text = call(
        folder / "masks", "--set", folder / "four", "--out", tmp_path / "here", "--json",
        "--supervision", "boxes", "--supervision", "saliency", "--url", "https://example.org",
    )  # fmt: skip
    said = json.loads(text)
    assert said["format"] == "sbdata.import.v1"
    assert said["folder"] == str(tmp_path / "here")
    assert (said["name"], said["layout"]) == ("masks", "index-pictures")
    assert said["supervision"] == ["boxes", "saliency"]
    del said["folder"]
    assert json.loads((tmp_path / "here" / "import.json").read_text()) == said
    plain = call(folder / "masks", "--set", folder / "four", "--out", tmp_path / "there")
    assert f"import:{tmp_path / 'there'}/" in plain


def test_a_dry_run_writes_nothing(folder: Path, tmp_path: Path) -> None:
    arguments = (folder / "maps", "--set", folder / "four", "--work", tmp_path, "--dry-run")
    said = call(*arguments)
    assert "Warning: the source was not named: background 0.15" in said
    assert "4 images of four have files, 0 have none; 0 files belong to other images" in said
    found = json.loads(call(*arguments, "--json"))
    assert (found["layout"], found["rule"], found["missing"]) == (
        "keys-high-res", "background 0.15", 0,
    )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_sources_are_listed() -> None:
    said = call("--sources")
    assert "seam" in said
    assert "background 0.26" in said
    rows = json.loads(call("--sources", "--json"))
    assert {row["name"]: row["rule"] for row in rows}["eps"] == "background 0.2"


def test_what_cannot_be(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("2007_000032\n")
    for arguments, said in (
        ((folder / "maps",), "--set, or --list"),
        ((folder / "maps", "--set", folder / "four", "--list", tmp_path / "ids.txt"), "--set, or"),
        ((folder / "maps", "--set", folder / "maps"), "not a set"),
        ((folder / "maps", "--list", tmp_path / "ids.txt", "--taxonomy", "x"), "taxonomy 'x'"),
        ((folder / "maps", "--set", folder / "four", "--photos", folder), "--photos is for --list"),
        ((folder / "maps", "--set", folder / "four", "--taxonomy", "coco80"), "--taxonomy is for"),
        ((), "give the FOLDER"),
    ):
        with pytest.raises(InputError, match=said):
            call(*arguments, "--work", tmp_path / "work")
    assert not (tmp_path / "work").exists()


def test_a_hostile_file_is_one_sentence_and_not_run(folder: Path, tmp_path: Path) -> None:
    marker = tmp_path / "marker"

    class Touch:
        def __reduce__(self) -> Any:
            return (open, (str(marker), "w"))

    for image_id, mask in MASKS.items():
        save(tmp_path / "maps" / f"{image_id}.npy", {**irn(mask), "keys": Touch()})
    code = "import sys; from sbdata.cli.pseudo_import import import_command as c; c(sys.argv[1:])"
    arguments = [str(tmp_path / "maps"), "--set", str(folder / "four"), "--work", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", f"{code}", *arguments], capture_output=True, text=True, check=False
    )
    assert "it asks for io.open" in done.stderr
    assert "2007_000032.npy" in done.stderr
    assert not marker.exists()
    assert not (tmp_path / "imports").exists()


def test_neither_pytorch_nor_its_help_is_needed(folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from sbdata.cli.pseudo_import import import_command as c\n"
        "c(sys.argv[1:], standalone_mode=False)\n"
        "print('torch' in sys.modules)"
    )
    arguments = [str(folder / "maps"), "--set", str(folder / "four"), "--work", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "False"
