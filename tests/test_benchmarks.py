"""Benchmark scripts of training run in tiny sizes on the CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
ROOT = Path(__file__).resolve().parent.parent


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "benchmarks" / script, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_the_parts_of_the_gpu_benchmark_fail_and_resume_one_by_one(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    common = ("--device", "cpu", "--quick", "--part", "steps", "--out", out)
    late = run("gpu.py", *common, "--minutes", 0.001)
    assert late.returncode == 1, late.stderr
    assert "longer than its share" in json.loads(out.read_text())["parts"]["steps"]["error"]
    done = run("gpu.py", *common, "--minutes", 100)  # a busy machine takes its time
    assert done.returncode == 0, done.stdout + done.stderr
    part = json.loads(out.read_text())["parts"]["steps"]
    assert part["error"] is None
    for name in ("ce 32", "sb 32", "ce bf16", "sb bf16"):
        assert part["values"][name]["images_per_second"] > 0
    elsewhere = run("gpu.py", "--device", "cpu", "--out", out)
    assert "of another machine or size" in elsewhere.stderr


@pytest.mark.slow
def test_the_benchmark_of_the_training_input_runs(tmp_path: Path) -> None:
    out = tmp_path / "input.json"
    done = run("training_input.py", "--quick", "--out", out)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert found["decoders"]["pillow"]["generated_that_differ"] == []
    assert found["views"]["workers_for_that"] >= 1
