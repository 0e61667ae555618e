"""The scripts of docs/cluster.md submit every task of a plan, each after those that it needs."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from shutil import which

import pytest

PAGE = Path(__file__).resolve().parent.parent / "docs" / "cluster.md"

PLAN = {
    "tasks": [
        {"id": "aa", "level": 0, "done": True},
        {"id": "bb", "level": 1, "done": False},
        {"id": "cc", "level": 1, "done": False},
        {"id": "dd", "level": 3, "done": False},
    ]
}

SBATCH = """#!/bin/bash
echo "$*" >> "$NOTES/submitted"
shift; after=; [[ $1 == --dependency=* ]] && shift
last=${1#--array=1-}; script=$2; shift 2
for ((n = 1; n <= last; n++)); do SLURM_ARRAY_TASK_ID=$n bash "$script" "$@"; done
echo $((40 + $(wc -l < "$NOTES/submitted")))
"""

SBDATA = """#!/bin/bash
case "$*" in *--dry-run*) cat "$NOTES/given.json";; *) echo "${@: -2}" >> "$NOTES/ran";; esac
"""


@pytest.mark.skipif(which("jq") is None, reason="jq is not installed")
def test_the_array_runs_all_tasks_level_by_level(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, submission = re.findall(r"```bash\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert all(len(script.strip().splitlines()) < 10 for script in (task, submission))
    (tmp_path / "task.sh").write_text(task)
    (tmp_path / "given.json").write_text(json.dumps(PLAN))
    for name, text in (("sbatch", SBATCH), ("sbdata", SBDATA)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("NOTES", str(tmp_path))
    subprocess.run(["bash", "-c", submission], check=True, cwd=tmp_path)
    assert (tmp_path / "ran").read_text().split() == [
        "--only",
        "bb",
        "--only",
        "cc",
        "--only",
        "dd",
    ]
    assert (tmp_path / "submitted").read_text().splitlines() == [
        "--parsable --array=1-2 task.sh bb cc",
        "--parsable --dependency=afterok:41 --array=1-1 task.sh dd",
    ]
