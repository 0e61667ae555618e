"""Compare the speed and memory of this checkout with those of an earlier commit.

    make perf              # against the last tag v*, or HEAD~1 while there is none
    make perf BASE=abc123  # against any commit

Every script of this folder that has ``--quick`` measures both: the script is that of this checkout
in both cases, so that the work is the same; only sbdata differs. The earlier commit is checked out
into a temporary worktree and runs with the same Python and packages. Rounds of both alternate; the
smallest values of all rounds are compared. If one is more than 1.25 times the earlier one, its
script runs for as many rounds again, since other programs may have caused that; if it still is, the
exit status is 1. Peers do not run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 1.25
LEFT_OUT = {
    "app.py": "needs MongoDB, and fills databases for minutes",
    "download.py": "times the disk and the network by the clock",
    "gpu.py": "needs a GPU",
    "rehearsal.py": "takes more than minutes",
    "steps.py": "trains for minutes",
    "training_input.py": "trains for minutes",
}
Values = dict[tuple[str, str], float]  # by figure and unit


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--base", help="commit to compare with [the last tag v*, else HEAD~1]")
    parser.add_argument("--rounds", type=int, default=3, help="of each side [3]")
    parser.add_argument("--only", nargs="*", metavar="SCRIPT", help="such as scan.py")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the ratios here, too")
    options = parser.parse_args()
    base = options.base or _last_release()
    name = _git("describe", "--always", "--tags", base)
    print(f"this checkout against {name}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    rows: list[dict[str, Any]] = []
    with _checked_out(base) as earlier, tempfile.TemporaryDirectory() as folder:
        for script in sorted((ROOT / "benchmarks").glob("*.py")):
            if options.only and script.name not in options.only:
                continue
            if script.name in ("harness.py", "perf.py"):
                continue
            if (reason := _reason_to_leave_out(script)) is not None:
                print(f"{script.name}: {reason}", flush=True)
                continue
            if not (earlier / "benchmarks" / script.name).is_file():
                print(f"{script.name} is new since {name}; it measures the code of both")
            rows += _compare(script, earlier, options.rounds, Path(folder) / "figures.json")
    worst = max((row["ratio"] for row in rows), default=0.0)
    if options.json is not None:
        told = {"base": name, "commit": _git("describe", "--always", "--dirty=+"), "rows": rows}
        options.json.write_text(json.dumps(told, indent=1) + "\n")
    print(f"largest ratio {worst:.2f}, at most {LIMIT} is allowed")
    sys.exit(worst > LIMIT)


def _compare(script: Path, earlier: Path, rounds: int, out: Path) -> list[dict[str, Any]]:
    """Measure both sides in turn, print their ratios and return them."""
    least: dict[Path, Values] = {earlier: {}, ROOT: {}}
    for turn in range(2 * rounds):
        for tree in list(least)[:: -1 if turn % 2 else 1]:
            found = _measured(script, tree, out)
            if isinstance(found, str):
                print(f"{script.name} does not run with {tree.name}: {found}", flush=True)
                return []
            for key, value in found.items():
                least[tree][key] = min(value, least[tree].get(key, value))
        if turn >= rounds - 1 and not _over(least[ROOT], least[earlier]):
            break
    rows = []
    for key in sorted(least[ROOT].keys() & least[earlier].keys()):
        before, now = least[earlier][key], least[ROOT][key]
        figure, unit = key
        rows.append({"script": script.name, "figure": figure, "unit": unit, "before": before,
                     "now": now, "ratio": now / before})  # fmt: skip
        mark = "  SLOWER" if now / before > LIMIT else ""
        print(
            f"{script.name:>16}  {figure:32} {before:10.3f} -> {now:10.3f} {unit:11} "
            f"{now / before:6.2f}x{mark}",
            flush=True,
        )
    for figure, unit in sorted(least[ROOT].keys() - least[earlier].keys()):
        print(f"{script.name:>16}  {figure:32} {unit} is new")
    return rows


def _over(now: Values, before: Values) -> bool:
    return any(now[key] > LIMIT * before[key] for key in now.keys() & before.keys())


def _measured(script: Path, tree: Path, out: Path) -> Values | str:
    """Return what a script measures with the code of a tree, or why it measures nothing."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, (tree, tree / "baselines"))),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, script, "--quick", "--ours", "--repeat", "1", "--json"]
    out.unlink(missing_ok=True)
    done = subprocess.run(
        [*map(str, command), str(out)],
        cwd=out.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode or not out.is_file():
        return (done.stderr.strip().splitlines() or ["it wrote no figures"])[-1]
    told: Any = json.loads(out.read_text())
    if not isinstance(told, dict) or "figures" not in told:
        return "its JSON has no figures of the harness"
    values: Values = {
        (figure["name"], unit): figure[unit]
        for figure in told["figures"]
        for unit in ("cpu_seconds", "peak_mb")
        if figure["package"] == "sbdata" and figure[unit]
    }
    return values


def _reason_to_leave_out(script: Path) -> str | None:
    if script.name in LEFT_OUT:
        return f"left out: it {LEFT_OUT[script.name]}"
    text = script.read_text()
    has_it = "harness.parser(" in text or '"--quick"' in text
    return None if has_it else "left out: it has no --quick"


@contextmanager
def _checked_out(commit: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "earlier"
        _git("worktree", "add", "--detach", "--quiet", str(tree), commit)
        try:
            yield tree
        finally:
            _git("worktree", "remove", "--force", str(tree))


def _last_release() -> str:
    tags = _git("tag", "--list", "v*", "--merged", "HEAD", "--sort=-version:refname").split()
    return tags[0] if tags else "HEAD~1"


def _git(*arguments: str) -> str:
    return subprocess.check_output(["git", *arguments], cwd=ROOT, text=True).strip()


if __name__ == "__main__":
    main()
