"""Commands that are killed at random moments, and run again: nothing half-taken, nothing lost.

    python -m tests.kills --moments 25 --seed 0 --out results/kills.json

runs ``sbdata dataset build``, ``score``, ``train``, ``bench`` and ``sources fetch``, and ``bench
--study`` if ``--command study`` is given, on tiny data, once undisturbed and then killed (SIGKILL
to the process group) at moments that are spread over the whole run: just before a file is opened,
moved or removed, or after a random part of the time from there to the next such step. After each
kill, what has a final name must be the former result or the new one. The same command run once more
must end well, with the bits of the undisturbed run and no litter.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from sbdata.completion import MARKER, check_marker
from tests.killing import MAIN, Ended, Order, Starter, starting

FORMAT = "sbdata.kills.v1"
COMMANDS = ("build", "score", "train", "bench", "fetch")
ALL = (*COMMANDS, "study")
"""Commands that can be tried; a study takes longest, and only if it is named."""
MARKERS = (MARKER, ".stage.json", ".complete.json")
"""Names of the files that vouch for a folder."""
MOVES = ("os.remove", "os.rename", "os.rmdir", "shutil.rmtree")
"""Steps at which something takes its final name, or goes."""

_PART = re.compile(r"\..+\.part|.+\.part(\..+)?|\..+\.former")
_WEIGHTS = (".pt",)
_DROPPED = ("seconds", "environment", "written")

Tree = dict[str, str]
"""What a folder holds: digests by relative path; folders end in a slash."""


@dataclass(frozen=True)
class Case:
    """A command on tiny data.

    Attributes:
        arguments: of the command line.
        starts: what the place holds before, by name; None for nothing.
        whole: folders that are replaced as a whole.
        open: names (patterns) of what is not finished, beside those of temporary files.
        grows: names of files that hold a beginning of their final lines before the end.
        loose: names of files that only have to be readable: they are no result.
        function: that is called, as ``module:name``.
        modules: that the starter imports.
        warm: arguments of a command that loads everything, run before the first fork.
    """

    arguments: tuple[str, ...]
    starts: Mapping[str, Path | None]
    whole: tuple[str, ...] = ()
    open: str = "$."
    grows: tuple[str, ...] = ()
    loose: tuple[str, ...] = ()
    function: str = MAIN
    modules: tuple[str, ...] = ()
    warm: tuple[str, ...] = ()


@dataclass
class Tried:
    """What came of the kills of one command.

    Attributes:
        command: its name.
        moments: that were tried from each start.
        steps: of the undisturbed run, by start.
        killed: number of kills before the result stood, by start.
        killed_after: number of kills when the result stood already.
        ended: number of runs that were over before the kill.
        faults: what was wrong, with the moment at which it was.
        minutes: that it took.
    """

    command: str
    moments: int
    steps: dict[str, int] = field(default_factory=dict)
    killed: Counter[str] = field(default_factory=Counter)
    killed_after: int = 0
    ended: int = 0
    faults: list[str] = field(default_factory=list)
    minutes: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        return {
            "moments": self.moments * len(self.steps),
            "steps": self.steps,
            "killed_before_the_result_stood": dict(sorted(self.killed.items())),
            "killed_after_the_result_stood": self.killed_after,
            "over_before_the_kill": self.ended,
            "faults": self.faults,
            "minutes": round(self.minutes, 1),
        }


# --- what a folder holds --------------------------------------------------------------------------


def tree_of(root: Path) -> Tree:
    """Return the content of a folder, without times of day and durations."""
    found: Tree = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            found[name] = f"link to {path.readlink()}"
        elif path.is_dir():
            found[f"{name}/"] = "folder"
        else:
            found[name] = _digest(path)
    return found


def _digest(path: Path) -> str:
    data = path.read_bytes()
    try:
        if path.name == "hashes.json":  # which files are old enough to be noted depends on the time
            return f"hashes of version {json.loads(data)['version']}"
        if path.name == "durations.jsonl":  # a log of wall times
            return "durations"
        if path.name in MARKERS:
            content = json.loads(data)
            content["extra"].get("inputs", {}).pop("model", None)  # its file holds durations
            parts = (sorted(content["files"]), content["extra"])
            return " ".join(hashlib.sha256(_plain(part)).hexdigest() for part in parts)
        if path.suffix == ".json":
            data = _plain(json.loads(data))
        elif path.suffix in _WEIGHTS:
            data = _weights(path)
    except Exception as error:  # of whatever kind: it is no whole file
        return f"unreadable: {type(error).__name__}"
    return hashlib.sha256(data).hexdigest()


def _plain(value: Any) -> bytes:
    return json.dumps(_timeless(value), sort_keys=True).encode()


def _timeless(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _timeless(v) for k, v in value.items() if k not in _DROPPED}
    return [_timeless(one) for one in value] if isinstance(value, list | tuple) else value


def _weights(path: Path) -> bytes:
    import torch

    digest = hashlib.sha256()

    def add(value: Any) -> None:
        if torch.is_tensor(value):
            digest.update(str((value.dtype, tuple(value.shape))).encode())
            digest.update(value.detach().contiguous().numpy().tobytes())
        elif isinstance(value, Mapping):
            for key, inner in sorted(value.items(), key=lambda item: str(item[0])):
                if key not in _DROPPED:
                    digest.update(str(key).encode())
                    add(inner)
        elif isinstance(value, list | tuple):
            for inner in value:
                add(inner)
        else:
            digest.update(repr(value).encode())

    add(torch.load(path, map_location="cpu", weights_only=True))
    return digest.digest()


# --- what may stand after a kill ------------------------------------------------------------------


def standing_faults(place: Path, case: Case, former: Tree, final: Tree) -> list[str]:
    """Name what has a final name after a kill and is neither the former result nor the new one."""
    found, faults, known = tree_of(place), [], (former, final)
    for folder in case.whole:
        faults += _folder_faults(found, folder, former, final)
    for name, digest in found.items():
        if _is_open(name, case) or any(_below(name, folder) for folder in case.whole):
            continue
        base = name.rsplit("/", 1)[-1]
        if base in case.loose:
            if digest.startswith("unreadable"):
                faults.append(f"{name}: {digest}")
        elif base in case.grows and name in final:
            lines = (place / name).read_text()
            if lines and not lines.endswith("\n"):
                faults.append(f"{name}: half a line")
        elif name not in former and name not in final:
            faults.append(f"{name}: belongs to no result")
        elif base in MARKERS:  # what it says beside its files may be added a moment later
            if digest.split()[0] not in (tree.get(name, "").partition(" ")[0] for tree in known):
                faults.append(f"{name}: vouches for other files")
        elif digest not in (former.get(name), final.get(name)):
            faults.append(f"{name}: neither the former nor the new one ({digest[:40]})")
    for name in sorted(former.keys() & final.keys() - found.keys()):
        if not any(_below(name, folder) for folder in case.whole):
            faults.append(f"{name}: lost")
    for marker in sorted(p for kind in MARKERS for p in place.rglob(kind)):
        problems = check_marker(marker.parent, verify=True, name=marker.name)
        faults += [f"{marker.relative_to(place)}: vouches for {one}" for one in problems]
    return faults


def _folder_faults(found: Tree, folder: str, former: Tree, final: Tree) -> list[str]:
    """Say what is wrong with a folder that has to be there as a whole, or kept as a whole."""
    parent, _, base = folder.rpartition("/")
    kept = f"{parent}/.{base}.former".lstrip("/")
    seen = [_inside(found, one) for one in (folder, kept)]
    wanted = [_inside(tree, folder) for tree in (former, final)]
    if seen[0] is not None and seen[0] not in wanted:
        return [f"{folder}/: neither the former nor the new one"]
    if seen[0] is None and wanted[0] is not None and seen[1] != wanted[0]:
        return [f"{folder}/: lost, and not kept beside"]
    return []


def _inside(tree: Tree, folder: str) -> Tree | None:
    start = f"{folder}/"
    if start not in tree:
        return None
    return {n.removeprefix(start): d for n, d in tree.items() if n.startswith(start) and n != start}


def _below(name: str, folder: str) -> bool:
    return name.startswith(f"{folder}/")


def _is_open(name: str, case: Case) -> bool:
    parts = name.rstrip("/").split("/")
    return any(_PART.fullmatch(part) or re.fullmatch(case.open, part) for part in parts)


def end_faults(place: Path, temporary: Path, ended: Ended, final: Tree) -> list[str]:
    """Name what is not as the undisturbed run left it."""
    faults = [] if ended.status == 0 else [f"run again, it ended with {ended.status}"]
    found = tree_of(place)
    faults += [f"{name}: left over" for name in found if name not in final]
    faults += [f"{name}: is missing" for name in final if name not in found]
    faults += [f"{name}: other content" for name, d in found.items() if final.get(name, d) != d]
    return faults + [f"{name}: left over in TMPDIR" for name in tree_of(temporary)]


# --- killing --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sandbox:
    """Where a command runs: always the same paths, whatever is there."""

    root: Path
    starter: Starter
    case: Case

    @property
    def place(self) -> Path:
        return self.root / "place"

    @property
    def temporary(self) -> Path:
        return self.root / "temporary"

    def lay(self, start: str) -> Tree:
        """Make the place as it is before the command; return what it holds."""
        for folder in (self.place, self.temporary):
            shutil.rmtree(folder, ignore_errors=True)
        template = self.case.starts[start]
        if template is None:
            self.place.mkdir()
        else:
            shutil.copytree(template, self.place, symlinks=True)
        self.temporary.mkdir()
        return tree_of(self.place)

    def run(self, step: int = 0, after: float = 0.0) -> Ended:
        order = Order(
            self.case.arguments, str(self.root), step, after, str(self.temporary),
            self.case.function,
        )  # fmt: skip
        return self.starter.run(order)


def kill_at_moments(
    box: Sandbox,
    command: str,
    moments: int,
    seed: int,
    told: Callable[[str], None] | None = None,
) -> Tried:
    """Kill a command at random moments, and run it again after each.

    Args:
        box: of the command.
        command: its name.
        moments: at which it is killed, from each start of the case.
        seed: of the moments.
        told: called with a line now and then.
    """
    began, tried = time.monotonic(), Tried(command, moments)
    chance = random.Random(f"{seed}:{command}")
    for start in box.case.starts:
        former = box.lay(start)
        whole = box.run()
        assert whole.status == 0, f"{command}, {start}: the undisturbed run ended {whole.status}"
        final = tree_of(box.place)
        left = tree_of(box.temporary)
        assert not left, f"{command}, {start}: the undisturbed run left {sorted(left)}"
        tried.steps[start] = len(whole.steps)
        drawn = drawn_moments(whole, moments, chance)
        for step, after in drawn:
            box.lay(start)
            ended = box.run(step, after)
            stands = tree_of(box.place) == final
            if not ended.killed:
                tried.ended += 1
            elif stands:
                tried.killed_after += 1
            else:
                tried.killed[start] += 1
            faults = [] if ended.killed or ended.status == 0 else [f"it ended {ended.status}"]
            faults += standing_faults(box.place, box.case, former, final)
            faults += end_faults(box.place, box.temporary, box.run(), final)
            label = whole.steps[step - 1][0]
            moment = f"{start}, step {step} of {len(whole.steps)} ({label}), {after * 1e3:.2f} ms"
            tried.faults += [f"{moment}: {fault}" for fault in faults]
            if faults and told:
                told(f"{command}: {moment}: {'; '.join(faults[:4])}")
        if told:
            told(f"{command}, {start}: {len(drawn)} moments, {len(tried.faults)} faults so far")
    tried.minutes = (time.monotonic() - began) / 60
    return tried


def drawn_moments(whole: Ended, number: int, chance: random.Random) -> list[tuple[int, float]]:
    """Return moments as steps, counted from 1, and seconds after them.

    Half of them are spread over all steps, half over those at which a name is moved or removed; one
    is drawn from each of as many equal parts. Every other one comes a while after its step.
    """
    everything = range(1, len(whole.steps) + 1)
    moves = [n for n in everything if whole.steps[n - 1][0] in MOVES] or everything
    drawn = []
    for steps, share in ((everything, number - number // 2), (moves, number // 2)):
        for part in range(share):
            step = steps[int((part + chance.random()) / share * len(steps))]
            late = chance.random() * _pause(whole, step) + 1e-6
            drawn.append((step, late if chance.random() < 0.5 else 0.0))
    return drawn


def _pause(whole: Ended, step: int) -> float:
    """Return the seconds from a step of the undisturbed run to the next, or to its end."""
    times = [seconds for _, seconds in whole.steps] + [whole.seconds]
    return max(0.0, times[step] - times[step - 1])


# --- the six commands ----------------------------------------------------------------------------


def _built(root: Path, name: str, images: int, seed: int) -> Path:
    from sbdata.curate.build import build_set
    from sbdata.curate.inputs import Inputs
    from sbdata.recipe import load_recipe

    options = [f"sources.0.options={{seed: {seed}, pool: 8, train: {images}}}", f"name={name}"]
    return build_set(load_recipe("shapes-train", options), root / name, Inputs()).root


def _preset(root: Path) -> Path:
    path = root / "tiny.yaml"
    content = {
        "name": "tiny",
        "model": {"backbone": "mobilenetv3_small_050", "weights": "none", "output_stride": 16},
        "augmentation": {"crop": 32, "scales": [0.75, 1.0]},
        "optimisation": {"steps": 4, "batch_size": 2, "lr": 0.001, "checkpoint_every": 1},
        "ewc": {"images": 2},
    }
    path.write_text(yaml.safe_dump(content))
    return path


def _made(root: Path, starter: Starter, arguments: Sequence[str], name: str) -> Path:
    """Run a command once, and keep what it made of the place."""
    place = root / "place"
    ended = starter.run(Order(tuple(arguments), str(root)))
    assert ended.status == 0, f"{name}: {arguments} ended with {ended.status}"
    shutil.copytree(place, root / name, symlinks=True)
    shutil.rmtree(place)
    return root / name


Maker = Callable[[Path, Starter, ExitStack], Case]


def _build_case(root: Path, starter: Starter, stack: ExitStack) -> Case:
    def arguments(out: Path, seed: int) -> tuple[str, ...]:
        options = f"sources.0.options={{seed: {seed}, pool: 40, train: 4}}"
        return (
            "dataset", "build", "shapes-b", "--out", str(out), "--workers", "1",
            "--set", options, "--set", "select.quota=3", "--set", "exclude_overlap_with=[]",
        )  # fmt: skip

    wanted = arguments(root / "place" / "set", 3)
    _warm(starter, arguments(root / "warm" / "set", 3))
    finished = _made(root, starter, wanted, "finished")
    # what a killed build of another recipe left
    starter.run(Order(arguments(root / "place" / "set", 4), str(root / "place"), step=60))
    shutil.copytree(root / "place", root / "other")
    return Case(
        arguments=wanted,
        starts={"empty": None, "begun otherwise": root / "other", "finished": finished},
        whole=("set",),
        open=r"\.set\.(building|lock)",
    )


def _score_case(root: Path, starter: Starter, stack: ExitStack) -> Case:
    from sbdata.masks import write_index_png

    opened = _built(root, "tiny", 4, 3)
    masks = root / "predictions"

    def predict(shift: int) -> None:
        for path in sorted((opened / "SegmentationClass").glob("*.png")):
            values = np.roll(np.array(Image.open(path)), shift, axis=1)
            write_index_png(masks / path.name, np.where(values == 255, 0, values))

    def arguments(out: Path) -> tuple[str, ...]:
        return ("score", str(masks), "--set", str(opened), "--out", str(out), "--resamples", "20",
                "--name", "mine")  # fmt: skip

    predict(9)
    _warm(starter, arguments(root / "warm"))
    former = _made(root, starter, arguments(root / "place" / "scores"), "former")
    predict(4)
    return Case(
        arguments=arguments(root / "place" / "scores"),
        starts={"former result": former, "empty": None},
        whole=("scores/mine",),
        open=r"\.mine\.lock",
    )


def _train_case(root: Path, starter: Starter, stack: ExitStack) -> Case:
    opened, preset = _built(root, "tiny", 4, 3), _preset(root)

    def arguments(out: Path, *strategies: str) -> tuple[str, ...]:
        named = [part for name in strategies for part in ("--strategy", name)]
        return ("train", "--set", str(opened), "--preset", str(preset), "--out", str(out),
                "--device", "cpu", "--threads", "1", *named)  # fmt: skip

    _warm(starter, arguments(root / "warm", "ce", "sb-ewc"))
    former = _made(root, starter, arguments(root / "place", "ce"), "former")
    return Case(
        arguments=arguments(root / "place", "ce", "sb-ewc"),
        starts={"empty": None, "a finished strategy": former},
        open=r"checkpoint\.pt",
        grows=("log.csv",),
    )


def _bench_case(root: Path, starter: Starter, stack: ExitStack) -> Case:
    training, preset = _built(root, "tiny", 3, 3), _preset(root)
    scored, further = _built(root, "scored", 2, 5), _built(root, "further", 2, 6)

    def arguments(place: Path, sets: Sequence[Path]) -> tuple[str, ...]:
        named = [part for one in sets for part in ("--set", str(one))]
        return (
            "bench", "--method", "labels-only", "--strategy", "ce", "--strategy", "sb",
            "--train-set", str(training), "--train-preset", str(preset), *named,
            "--work", str(place / "work"), "--results", str(place / "results"),
            "--device", "cpu", "--threads", "1",
        )  # fmt: skip

    _warm(starter, arguments(root / "warm", [scored]))
    former = _made(root, starter, arguments(root / "place", [scored]), "former")
    return Case(
        arguments=arguments(root / "place", [scored, further]),
        starts={"empty": None, "results of another set": former},
        open=r"checkpoint\.pt|.+\.lock",
        grows=("log.csv",),
        loose=("hashes.json", "durations.jsonl"),
    )


def _fetch_case(root: Path, starter: Starter, stack: ExitStack) -> Case:
    from tests.fetch import server
    from tests.sources.miniatures import publish

    site = publish(root / "published")
    served = stack.enter_context(server.serving())
    for path in filter(Path.is_file, site.folder.rglob("*")):
        served.put(f"/{path.relative_to(site.folder).as_posix()}", path.read_bytes())
    served.block = 2048

    def arguments(out: Path, *names: str) -> tuple[str, ...]:
        mirrors = [part for scheme in ("https", "http")
                   for part in ("--mirror", f"{scheme}://={served.address}/")]  # fmt: skip
        return ("sources", "fetch", *names, "--root", str(out), "--registry", str(site.registry),
                *mirrors)  # fmt: skip

    former = _made(root, starter, arguments(root / "place", "sbd"), "former")
    return Case(
        arguments=arguments(root / "place", "voc", "sbd"),
        starts={"empty": None, "a finished source": former},
        open=r".+\.unpacking|.+\.lock",
    )


def _study_case(root: Path, starter: Starter, stack: ExitStack) -> Case:
    file = root / "tiny-study.yaml"
    generated = {
        name: {
            "recipe": "shapes-train",
            "options": [f"sources.0.options={{seed: {seed}, pool: 2, train: {images}}}"],
        }
        for name, seed, images in (("one", 3, 3), ("two", 4, 3), ("scored", 5, 2))
    }
    content = {
        "name": "tiny-study", "methods": ["labels-only"], "strategies": ["ce", "sb"],
        "seeds": [0], "train_preset": str(_preset(root)), "generated": generated,
        "parts": {name: {"training": name, "sets": ["scored"]} for name in ("one", "two")},
    }  # fmt: skip
    file.write_text(yaml.safe_dump(content))

    def arguments(place: Path) -> tuple[str, ...]:
        return (
            "bench", "--study", str(file), "--work", str(place / "work"),
            "--results", str(place / "results"), "--device", "cpu", "--threads", "1",
        )  # fmt: skip

    _warm(starter, arguments(root / "warm"))
    return Case(
        arguments=arguments(root / "place"),
        starts={"empty": None},
        open=r"checkpoint\.pt|.+\.lock|\..+\.building",
        grows=("log.csv",),
        loose=("hashes.json", "durations.jsonl"),
    )


def _warm(starter: Starter, arguments: Sequence[str]) -> None:
    """Run a command in the starter itself, so that no fork has to load or compile anything."""
    ended = starter.run(Order(tuple(arguments), "", forked=False))
    assert ended.status == 0, f"{arguments} ended with {ended.status}"


MAKERS: Mapping[str, Maker] = {
    "build": _build_case,
    "score": _score_case,
    "train": _train_case,
    "bench": _bench_case,
    "fetch": _fetch_case,
    "study": _study_case,
}
_MODULES = {
    "build": ("sbdata.cli.dataset", "sbdata.curate.build"),
    "score": ("sbdata.cli.score", "sbdata.score.run"),
    "train": ("sbdata.cli.train", "sbdata.train.strategies"),
    "bench": ("sbdata.cli.bench", "sbdata.benchmark.run"),
    "study": ("sbdata.cli.bench", "sbdata.cli.study", "sbdata.benchmark.run",
              "sbdata.curate.build"),
    "fetch": ("sbdata.cli.sources", "sbdata.cli.progress", "sbdata.dataset_cache",
              "sbdata.sources.published", "sbdata.fetch.trees"),
}  # fmt: skip


@contextmanager
def sandbox(command: str, root: Path) -> Iterator[Sandbox]:
    """Give the place of one of the six commands, with all that it needs."""
    root.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        starter = stack.enter_context(starting(root / "said.txt", *_MODULES[command]))
        yield Sandbox(root, starter, MAKERS[command](root, starter, stack))


def kill_command(
    command: str, root: Path, moments: int, seed: int, told: Callable[[str], None] | None = None
) -> Tried:
    """Kill one of the six commands at random moments."""
    with sandbox(command, root) as box:
        return kill_at_moments(box, command, moments, seed, told)


# --- the record -----------------------------------------------------------------------------------


def record(tried: Mapping[str, Mapping[str, Any]], moments: int, seed: int) -> dict[str, Any]:
    """Return what is written of kills; nothing in it names a place of this machine."""
    further = [name for name in tried if name not in COMMANDS]
    named = f"--command {' '.join(tried)} " if further else ""
    packages = ("sbdata", "numpy", "pillow", "pyarrow", "torch")
    return {
        "format": FORMAT,
        "command": f"python -m tests.kills {named}--moments {moments} --seed {seed}",
        "moments": moments,
        "seed": seed,
        "versions": {"python": platform.python_version(), **{p: version(p) for p in packages}},
        "commands": {name: tried[name] for name in ALL if name in tried},
        "faults": sum(len(one["faults"]) for one in tried.values()),
        "minutes": round(sum(one["minutes"] for one in tried.values()), 1),
    }


def _former(path: Path, moments: int, seed: int) -> dict[str, Any]:
    """Return what a file says of further commands, tried alike."""
    try:
        content = json.loads(path.read_text())
        same = (content["format"], content["moments"], content["seed"]) == (FORMAT, moments, seed)
        return dict(content["commands"]) if same else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _told(line: str) -> None:
    print(line, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--command", nargs="+", choices=ALL, default=COMMANDS)
    parser.add_argument(
        "--moments",
        type=int,
        default=25,
        help="of each command, from each state of its folder that it is begun in [25]",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON file; what it says of others is kept")
    args = parser.parse_args()
    tried = _former(args.out, args.moments, args.seed) if args.out else {}
    faults = 0
    for command in args.command:
        with tempfile.TemporaryDirectory(prefix="kills-") as folder:
            one = kill_command(command, Path(folder) / "box", args.moments, args.seed, _told)
        tried[command] = one.as_dict()
        faults += len(one.faults)
        for fault in one.faults[:20]:
            _told(f"{command}: {fault}")
        if args.out:
            args.out.parent.mkdir(parents=True, exist_ok=True)
            found = record(tried, args.moments, args.seed)
            args.out.write_text(json.dumps(found, indent=2) + "\n")
    count = sum(tried[command]["moments"] for command in args.command)
    _told(f"{len(args.command)} commands at {count} moments: {faults} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
