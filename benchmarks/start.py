"""Measure `sbdata score` from the start of its process, against the mean IoU of a peer.

    python benchmarks/start.py SET PREDICTIONS --repeat 5

Each repetition runs every side once, in turn, so that other programs disturb all sides alike; the
smallest CPU seconds (user and system, children included) are reported. The first start compiles the
kernels and templates in a copy of the package whose folders for compiled code are empty. hotcoco
counts a confusion matrix only, without instances, intervals or report.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
_LIBRARIES = ("numpy", "pyarrow", "pillow", "numba", "hotcoco")
_HOTCOCO = """
import sys
from hotcoco.semantic import SemanticEval
evaluation = SemanticEval(int(sys.argv[3]), ignore_index=255)
evaluation.update_folders(sys.argv[1], sys.argv[2])
evaluation.summarize()
"""


def cpu_seconds(
    command: list[str], environment: dict[str, str], folder: Path
) -> tuple[float, float]:
    """Run a command in a folder; return its CPU and wall seconds.

    The folder has no package in it: ``python -m`` looks there before it looks at PYTHONPATH.
    """
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, check=False
    )
    after, seconds = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - begun
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:6])}: {done.stderr.strip()[-400:]}")
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used, seconds


def measure(root: Path, predictions: Path, repeat: int) -> dict[str, Any]:
    """Run all sides in turn and return the smallest values of each."""
    python, root, predictions = sys.executable, root.resolve(), predictions.resolve()
    with tempfile.TemporaryDirectory(prefix="sbdata-start-") as folder:
        place = Path(folder)
        call = [python, "-m", "sbdata", "score", str(predictions), "--set", str(root)]
        call += ["--out", str(place / "scores")]
        ours = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        fresh = {**ours, "PYTHONPATH": str(place / "copy"), "PYTHONPYCACHEPREFIX": ""}
        sides = {
            "python": ([python, "-c", "pass"], ours),
            "numpy": ([python, "-c", "import numpy"], ours),
            "numba": ([python, "-c", "import numba"], ours),
            "sbdata, warm": (call, ours),
            "sbdata, warm, no report": ([*call, "--no-report"], ours),
            "sbdata, warm, numba kernels": (call, {**ours, "SBDATA_KERNELS": "numba"}),
            "sbdata, first start": (call, fresh),
        }
        if _version("hotcoco"):
            truth, classes = str(root / "SegmentationClass"), str(_classes(root) + 1)
            mean_iou = [python, "-c", _HOTCOCO, truth, str(predictions), classes]
            sides["hotcoco, mIoU only"] = (mean_iou, ours)
        best = {name: [float("inf"), float("inf")] for name in sides}
        for _ in range(repeat):
            for name, (command, environment) in sides.items():
                if environment is fresh:
                    _empty_copy(place / "copy")
                found = cpu_seconds(command, environment, place)
                best[name] = [min(a, b) for a, b in zip(best[name], found, strict=True)]
    return {name: {"cpu_s": cpu, "wall_s": wall} for name, (cpu, wall) in best.items()}


def _empty_copy(target: Path) -> None:
    """Copy the package with Python's bytecode, as an installation has it, and nothing else."""
    shutil.rmtree(target, ignore_errors=True)
    ignored = shutil.ignore_patterns("*.so", "*.j2c", "*.nbi", "*.nbc")
    shutil.copytree(ROOT / "sbdata", target / "sbdata", ignore=ignored)


def _classes(root: Path) -> int:
    from sbdata.sets import open_set

    return len(open_set(root).manifest.taxonomy.classes)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def main() -> None:
    """Parse the command line, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("set", type=Path)
    parser.add_argument("predictions", type=Path)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--out", type=Path, help="JSON file of the figures")
    arguments = parser.parse_args()
    load = os.getloadavg()
    found = measure(arguments.set, arguments.predictions, arguments.repeat)
    images = sum(path.suffix == ".png" for path in arguments.predictions.iterdir())
    unit = found["sbdata, warm"]["cpu_s"]
    print(f"{images} images; smallest of {arguments.repeat}, load before {load[0]:.1f}")
    for name, one in found.items():
        print(
            f"{name:30} {one['cpu_s']:6.2f} CPU s  {one['wall_s']:6.2f} s  "
            f"{one['cpu_s'] / unit:5.2f}x of sbdata, warm"
        )
    if arguments.out is None:
        return
    content = {
        "command": f"python benchmarks/start.py SET PREDICTIONS --repeat {arguments.repeat}",
        "images": images,
        "versions": {"python": sys.version.split()[0], **{n: _version(n) for n in _LIBRARIES}},
        "load": load,
        "cores": os.cpu_count(),
        "found": found,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
