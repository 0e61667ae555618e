"""The command line in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def sbdata(
    *arguments: object, status: int = 0, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess:
    """Run a command, which must end with this status and without a traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "sbdata", *map(str, arguments)], capture_output=True, text=True,
        check=False, cwd=cwd, env=os.environ | environment,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done
