"""Measurement and output of the scripts in this folder.

A *side* is a function that does the work of one program, sbdata or a peer. Each runs in a fresh
process; the sides take turns, ``--repeat`` times, and the smallest values are reported, to reduce
the influence of other programs. CPU seconds are those of the side's process and of the processes
that it waited for, user and system, from its first line (its imports count) or from its call of
:func:`begin`. Peak memory is that of the process with everything it has loaded, or of the sum over
the process and its descendants, sampled twenty times a second, if that is more; pages that
processes share count once for each of them.

Every script that uses this module has ``--quick`` (what ``make perf`` runs), ``--scale``,
``--repeat``, ``--ours`` and ``--json OUT``. The JSON has the command, the commit, versions, cores
and load beside the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

OURS = "sbdata"
_BASICS = ("sbdata", "numpy", "numba", "pyarrow")
_SAMPLES = 0.05  # seconds between two looks at the memory
_began = (0.0, 0.0)


@dataclass(frozen=True)
class Side:
    """One side of a comparison.

    Attributes:
        work: Function of the prepared folder; its return value, as JSON, becomes the figure's
            ``said``.
        package: Distribution that does the work; if it is not installed, the side is left out.
    """

    work: Callable[[Path], Any]
    package: str = OURS


@dataclass(frozen=True)
class Figure:
    """The smallest values of one side over its repetitions.

    Attributes:
        name: Name of the side.
        package: Distribution that did the work; ``make perf`` compares those of sbdata.
        cpu_seconds: CPU seconds.
        wall_seconds: Wall seconds.
        peak_mb: Peak resident memory in units of 10^6 bytes; None if sides share a process.
        runs: CPU seconds of every repetition.
        said: What the side returned.
    """

    name: str
    package: str
    cpu_seconds: float
    wall_seconds: float
    peak_mb: float | None
    runs: tuple[float, ...]
    said: Any = None


def parser(doc: str | None, *, quick: float, repeat: int = 3) -> argparse.ArgumentParser:
    """Return a parser with the options that all scripts have.

    Args:
        doc: Docstring of the script.
        quick: Scale of ``--quick``.
        repeat: Usual number of repetitions.
    """
    made = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    size = made.add_mutually_exclusive_group()
    size.add_argument("--scale", type=float, default=1.0, help="share of the full size")
    size.add_argument(
        "--quick", dest="scale", action="store_const", const=quick, help=f"the same as {quick:g}"
    )
    made.add_argument("--repeat", type=int, default=repeat, help=f"of each side [{repeat}]")
    made.add_argument("--ours", action="store_true", help="sbdata alone, without its peers")
    made.add_argument("--json", type=Path, metavar="OUT", help="write the figures here, too")
    made.add_argument("--side", help=argparse.SUPPRESS)
    made.set_defaults(commit=_commit())  # now: it may change while the sides run
    made.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return made


def begin() -> None:
    """Restart the clocks: everything so far is preparation and does not count."""
    global _began
    _began = (cpu_seconds(), time.perf_counter())


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and of those that it waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


# --- sides in processes of their own --------------------------------------------------------------


def compare(
    options: argparse.Namespace,
    sides: Mapping[str, Side],
    prepare: Callable[[Path], object] = lambda folder: None,
    after: Callable[[Path], object] | None = None,
) -> list[Figure]:
    """Run the sides in turn, each in a fresh process, and return their figures.

    The script calls itself with ``--side`` for that; such a call does not return from here.

    Args:
        options: Options from :func:`parser`.
        sides: Sides by name.
        prepare: Called once with a new folder, which the sides get and which is removed.
        after: Called with it when all sides have run, to compare what they wrote.
    """
    if options.side is not None:
        begin()
        said = sides[options.side].work(options.folder)
        cpu, wall = cpu_seconds() - _began[0], time.perf_counter() - _began[1]
        print(json.dumps({"cpu": cpu, "wall": wall, "peak": _own_peak(), "said": said}))
        sys.exit()
    chosen = {name: side for name, side in sides.items() if _takes_part(name, side, options.ours)}
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in chosen}
    with tempfile.TemporaryDirectory(prefix="sbdata-benchmark-") as folder:
        prepare(Path(folder))
        for turn in range(options.repeat):
            for name in list(chosen)[:: -1 if turn % 2 else 1]:
                runs[name].append(_run_side(name, Path(folder)))
        if after is not None:
            after(Path(folder))
    return [
        Figure(
            name,
            side.package,
            min(run["cpu"] for run in runs[name]),
            min(run["wall"] for run in runs[name]),
            min(run["peak"] for run in runs[name]) / 1e6,
            tuple(round(run["cpu"], 4) for run in runs[name]),
            runs[name][-1]["said"],
        )
        for name, side in chosen.items()
    ]


def _takes_part(name: str, side: Side, ours: bool) -> bool:
    if installed(side.package) is None and side.package != OURS:
        print(f"{name} is left out: {side.package} is not installed")
        return False
    return side.package == OURS or not ours


def _run_side(name: str, folder: Path) -> dict[str, Any]:
    command = [sys.executable, *sys.argv, "--side", name, "--folder", str(folder)]
    sampled = 0
    with (
        tempfile.TemporaryFile("w+") as output,
        subprocess.Popen(command, stdout=output, stderr=subprocess.PIPE, text=True) as process,
    ):
        while True:
            sampled = max(sampled, sum(map(_resident_bytes, _family(process.pid))))
            with suppress(subprocess.TimeoutExpired):
                errors = process.communicate(timeout=_SAMPLES)[1]
                break
        output.seek(0)
        lines = output.read().splitlines()
    if process.returncode:
        sys.exit(f"{name} failed:\n{errors}")
    found: dict[str, Any] = json.loads(lines[-1])
    return {**found, "peak": max(found["peak"], sampled)}


def _own_peak() -> int:
    """Return the peak of this process; getrusage gives its parent's if that was higher."""
    status = Path("/proc/self/status").read_text().split()
    return int(status[status.index("VmHWM:") + 1]) * 1024


def _family(process: int) -> list[int]:
    """Return a process and its descendants."""
    found = [process]
    for parent in found:
        with suppress(OSError):  # it has just ended
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


def _resident_bytes(process: int) -> int:
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


# --- sides in this process ------------------------------------------------------------------------


def alternate(
    sides: Mapping[str, Callable[[], object]], turns: int, packages: Mapping[str, str] | None = None
) -> list[Figure]:
    """Run short pieces of work in turn in this process, after one warm-up, and return the figures.

    Args:
        sides: Pieces of work by name.
        turns: Number of repetitions.
        packages: Distribution of each piece that is not sbdata's.
    """
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for turn in range(-1, turns):
        for name in list(sides)[:: -1 if turn % 2 else 1]:
            start = cpu_seconds(), time.perf_counter()
            sides[name]()
            spent = cpu_seconds() - start[0], time.perf_counter() - start[1]
            if turn >= 0:
                taken[name].append(spent)
    return [
        Figure(
            name,
            (packages or {}).get(name, OURS),
            min(cpu for cpu, _ in spent),
            min(wall for _, wall in spent),
            None,
            tuple(round(cpu, 6) for cpu, _ in spent),
        )
        for name, spent in taken.items()
    ]


# --- what is printed and written ------------------------------------------------------------------


def installed(package: str) -> str | None:
    """Return the version of a distribution, or None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def report(options: argparse.Namespace, figures: Sequence[Figure], **more: Any) -> None:
    """Print the figures against the first one of sbdata's, and write them if ``--json`` says so.

    Args:
        options: Options from :func:`parser`.
        figures: Measured values.
        more: Further content of the JSON: sizes, bars, checks.
    """
    against = next((figure for figure in figures if figure.package == OURS), None)
    load = [round(value, 2) for value in os.getloadavg()]
    packages = sorted({*_BASICS, *(figure.package for figure in figures)})
    versions = {name: found for name in packages if (found := installed(name)) is not None}
    versions["python"] = ".".join(map(str, sys.version_info[:3]))
    print(", ".join(f"{name} {found}" for name, found in versions.items()))
    print(f"{os.cpu_count()} cores, load {load[0]} (1 min); smallest of {options.repeat} in turn")
    for figure in figures:
        memory = "" if figure.peak_mb is None else f" {figure.peak_mb:8,.0f} MB"
        ratio = ""
        if against is not None and figure is not against:
            ratio = f"   {figure.cpu_seconds / against.cpu_seconds:.2f}x the CPU time"
            if figure.peak_mb and against.peak_mb:
                ratio += f", {figure.peak_mb / against.peak_mb:.2f}x the memory"
            ratio += f" of {against.name}"
        print(
            f"{figure.name:>32} {figure.cpu_seconds:10.4f} CPU s {figure.wall_seconds:10.4f} s"
            f"{memory}{ratio}"
        )
    if options.json is None:
        return
    from sbdata.storage import write_bytes

    # Folders of this machine are of no use elsewhere.
    given = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]]
    told = {
        "command": " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *given]),
        "commit": options.commit,
        "versions": versions,
        "cores": os.cpu_count(),
        "load": load,
        "scale": options.scale,
        **more,
        "figures": [asdict(figure) for figure in figures],
    }
    write_bytes(options.json, (json.dumps(told, indent=1) + "\n").encode())


def _commit() -> str | None:
    """Return the commit that was measured, with a + if files differ from it; None outside git."""
    import sbdata

    git = ["git", "-C", str(Path(sbdata.__file__).parent)]
    with suppress(OSError, subprocess.CalledProcessError):
        known = subprocess.check_output([*git, "describe", "--always", "--dirty=+"], text=True)
        return known.strip()
    return None
