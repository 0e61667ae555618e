"""``sbdata dataset export`` as a user meets it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sbdata.cli import cli
from sbdata.cli.export import FORMATS
from sbdata.curate.materialise import write_set
from sbdata.errors import InputError
from sbdata.export import export_set, push
from sbdata.manifest import make_manifest, read_manifest


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["dataset", "export", *map(str, arguments)])


def test_the_formats_are_those_of_the_package() -> None:
    assert sorted(FORMATS) == sorted(export_set.FORMATS)


@pytest.mark.parametrize("form", FORMATS)
def test_it_says_what_was_written_and_where(
    shapes_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.chdir(tmp_path)
    said = run(shapes_set, "--to", form, "--workers", 1)
    assert said.exit_code == 0, said.output
    assert f"exports/shapes-train-{form}: 8 images and " in said.output
    assert "of shapes-train (synthetic)" in said.output
    assert (tmp_path / f"exports/shapes-train-{form}/export.json").is_file()


def test_json(shapes_set: Path, tmp_path: Path) -> None:
    said = run(shapes_set, "--to", "yolo", "--out", tmp_path / "out", "--json")
    found = json.loads(said.stdout)
    assert said.stderr == ""
    assert (found["format"], found["images"], found["synthetic"]) == ("yolo", 8, True)
    assert (found["export"], found["notes"]) == (str(tmp_path / "out"), [])
    assert found["pushed"] is None


def test_push_is_for_hf_and_checked_before_anything_is_written(
    shapes_set: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for arguments, message in (
        (("--to", "coco", "--push", "lab/x"), "add --to hf"),
        (("--to", "hf", "--push", "x"), "not ORG/NAME"),
    ):
        said = run(shapes_set, *arguments, "--out", out)
        assert isinstance(said.exception, InputError)
        assert message in str(said.exception)
    assert not out.exists()


def test_a_name_leads_out_of_no_folder(
    shapes_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = read_manifest(shapes_set)
    tables = of.images, of.instances, of.taxonomy, of.bins
    root = Path(shutil.copytree(shapes_set, tmp_path / "here/set"))
    write_set(make_manifest("../../evil", *tables, {"synthetic": True}), root)
    monkeypatch.chdir(tmp_path / "here")
    said = run(root, "--to", "coco")
    assert isinstance(said.exception, InputError)
    assert "its name '../../evil' names no folder; give one by --out" in str(said.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["here"]
    assert run(root, "--to", "coco", "--out", "out").exit_code == 0


def test_push(shapes_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Hub:
        def create_repo(self, name: str, **_: object) -> str:
            return f"https://hub.invalid/{name}"

        def upload_folder(self, **named: object) -> None:
            assert named["folder_path"] == tmp_path / "out"

    monkeypatch.setattr(push, "open_hub", Hub)
    arguments = (shapes_set, "--to", "hf", "--out", tmp_path / "out", "--push", "lab/x")
    assert "uploaded to https://hub.invalid/lab/x" in run(*arguments).output
    found = json.loads(run(*arguments, "--json").stdout)["pushed"]
    assert found == {"repository": "lab/x", "url": "https://hub.invalid/lab/x", "photos": True}
