"""Install a built wheel into an empty environment and try its first commands there.

    python tests/try_wheel.py dist/sbdata-0.2.0-py3-none-any.whl

The environment has the core's dependencies alone. Exit status 1 and a sentence if a command fails.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

COMMANDS = (
    ("-W", "error", "-c", "import sbdata; print(sbdata.__version__)"),
    ("-m", "sbdata", "--version"),
    ("-m", "sbdata", "quickstart"),
    ("-m", "sbdata", "doctor"),
    ("-m", "sbdata", "bench", "--list"),
    ("-m", "sbdata", "dataset", "build", "shapes-b", "--set", "select.quota=3", "--out", "shapes"),
    ("-m", "sbdata", "dataset", "verify", "shapes"),
    ("-m", "sbdata", "score", "shapes/SegmentationClass", "--set", "shapes", "--out", "scores"),
)


def main(wheel: Path) -> int:
    with tempfile.TemporaryDirectory(prefix="sbdata-wheel-") as made:
        folder = Path(made)
        venv.create(folder / "venv", with_pip=True)
        python = folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
        run(python, ("-m", "pip", "install", "--quiet", str(wheel.resolve())), folder)
        for command in COMMANDS:
            run(python, command, folder)
    print(f"{wheel.name}: installed into an empty environment; {len(COMMANDS)} commands ran")
    return 0


def run(python: Path, command: tuple[str, ...], folder: Path) -> None:
    ended = subprocess.run([python, *command], cwd=folder, capture_output=True, text=True)
    if ended.returncode:
        sys.exit(f"{' '.join(command)}: exit status {ended.returncode}\n{ended.stderr[-2000:]}")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
