"""The doctor: what it says is missing, what it never says, and its exit status."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from click.testing import CliRunner

from sbdata import doctor
from sbdata.cli import cli
from sbdata.doctor import CORE, EXTRAS, diagnose, size_of

PROJECT = Path(__file__).parents[1] / "pyproject.toml"


@pytest.fixture
def core_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name not in CORE:
            raise PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(doctor, "version", version)


def test_the_packages_are_those_of_the_project() -> None:
    tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11")
    project = tomllib.loads(PROJECT.read_text())["project"]

    def names(lines: list[str]) -> set[str]:
        return {re.match(r"[\w-]+", line)[0].lower() for line in lines}

    assert set(CORE) == names(project["dependencies"])
    extras = {k: names(v) - {"sbdata"} for k, v in project["optional-dependencies"].items()}
    assert {name: set(packages) for name, (_, packages) in EXTRAS.items()} == extras


@pytest.mark.usefixtures("core_only")
def test_missing_extras_are_named_with_their_remedy(tmp_path: Path) -> None:
    found = diagnose(tmp_path)
    assert not found.problems
    train = next(m for m in found.missing if m.purpose == "sbdata train, predict and bench")
    assert "timm" in train.needs
    assert train.remedy == "pip install 'sbdata[train]'"
    assert len(found.missing) == len(EXTRAS)
    assert (found.devices, found.device_note) == ((), "PyTorch is not installed")
    said = CliRunner().invoke(cli, ["doctor"])
    assert said.exit_code == 0
    assert "missing: sbdata app needs fiftyone: pip install 'sbdata[app]'" in said.output


@pytest.mark.usefixtures("core_only")
def test_no_value_of_a_variable_and_no_home_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "hunter2"
    monkeypatch.setenv("HOME", str(tmp_path / "home-of-jane"))
    for name in ("HF_HOME", "TORCH_HOME", "NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "TMPDIR"):
        monkeypatch.setenv(name, str(secret))
    secret.mkdir()
    monkeypatch.setenv("FIFTYONE_DATABASE_URI", "mongodb://jane:hunter2@host")
    monkeypatch.setattr(doctor, "version", lambda name: "1.0" if name != "torch" else absent(name))
    for arguments in (["doctor"], ["doctor", "--json"]):
        said = CliRunner().invoke(cli, arguments)
        assert said.exit_code == 0, said.output
        assert "hunter2" not in said.output
        assert "jane" not in said.output
        assert "FIFTYONE_DATABASE_URI" in said.output
        assert "HF_HOME" in said.output


def absent(name: str) -> str:
    raise PackageNotFoundError(name)


@pytest.mark.usefixtures("core_only")
def test_a_broken_core_is_the_only_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def import_module(name: str) -> None:
        if name == "PIL":
            msg = "libjpeg.so.8: cannot open shared object file"
            raise ImportError(msg)

    monkeypatch.setattr(doctor, "import_module", import_module)
    said = CliRunner().invoke(cli, ["doctor", "--json"])
    assert said.exit_code == 1
    found = json.loads(said.output)
    assert not found["works"]
    assert found["problems"] == [
        "pillow cannot be imported (ImportError: libjpeg.so.8: cannot open shared object file); "
        "run: pip install --force-reinstall pillow"
    ]


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys; from pathlib import Path; from sbdata import doctor\n"
        "doctor._ASK_TORCH = 'print(1)'\n"
        "doctor.diagnose(Path())\n"
        "print([m for m in ('torch', 'fiftyone', 'pandas', 'timm', 'ray') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr


def test_pytorch_is_asked_in_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = 'print(\'a warning\'); print(\'{"cuda": ["H1"], "built_for_cuda": "13.0"}\')'
    monkeypatch.setattr(doctor, "_ASK_TORCH", answer)
    assert doctor._devices("2.6") == (("cpu", "cuda:0 H1"), "PyTorch sees 1 CUDA device")
    monkeypatch.setattr(doctor, "_ASK_TORCH", "raise OSError('no libcuda')")
    assert doctor._devices("2.6") == ((), "PyTorch cannot be imported (OSError: no libcuda)")


def test_size_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a").write_bytes(bytes(1000))
    (tmp_path / "b").write_bytes(bytes(24))
    assert size_of(tmp_path) == 1024
