"""``sbdata sources fetch`` killed at random moments from its first file to its last, then rerun."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fetch import server
from tests.sources.miniatures import LABELS, TRAIN_AUG, Site, publish

SEED = 20121017
KILLS = 50
NAMES = ("voc", "sbd")
ARCHIVES = {"VOCtrainval_11-May-2012.tar": "voc", "benchmark.tgz": "sbd"}
DEVKIT = "VOCdevkit/VOC2012"

# Runs the command in a fork of its own for each line that it reads, so that the start of Python is
# no part of the work. A step is a block that came, a file that was unpacked, or a name in the
# folder that is opened or changed. At the given step the process gets SIGKILL, or a moment later;
# without one it says how many steps there were before the first archive was unpacked, and after.
STARTER = """
import json, os, signal, sys, threading, time
from sbdata.cli.sources import sources
import sbdata.cli.progress, sbdata.dataset_cache, sbdata.sources.published  # before the first fork
from sbdata.fetch import archives, connections, parts, trees

trees._flush = lambda: None  # of all files of the machine; may take seconds
connections._BLOCK = 2048

def work(order):
    lock, now, steps, downloading = threading.Lock(), threading.Event(), 0, 0
    def step():
        nonlocal steps
        with lock:
            steps += 1
            if steps != order["step"]:
                return
        if order["after"]:
            now.set()
        else:
            os.kill(os.getpid(), signal.SIGKILL)
    def killer():
        now.wait()
        time.sleep(order["after"])
        os.kill(os.getpid(), signal.SIGKILL)
    def hear(event, arguments):
        if event in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir"):
            if str(arguments[0]).startswith(order["root"]):
                step()
    def counted(function):
        def call(*arguments, **options):
            step()
            return function(*arguments, **options)
        return call
    parts.Part.append = counted(parts.Part.append)
    unpack = archives.unpack_archive
    def unpacked(*arguments, **options):
        nonlocal downloading
        downloading = downloading or steps
        return unpack(*arguments, **options)
    trees.unpack_archive = unpacked
    archives._copy = counted(archives._copy)
    threading.Thread(target=killer, daemon=True).start()
    sys.addaudithook(hear)
    sources.main(order["arguments"], standalone_mode=False)
    return downloading, steps - downloading

print("ready", flush=True)
for line in sys.stdin:
    out, into = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(2, 1)
        try:
            os.write(into, json.dumps(work(json.loads(line))).encode())
        finally:
            os._exit(0)
    os.close(into)
    with os.fdopen(out) as stream:
        said = stream.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(json.dumps([status, said]), flush=True)
"""


class Fetching:
    """Runs of ``sbdata sources fetch voc sbd`` into one folder."""

    def __init__(self, process: subprocess.Popen[str], site: Site, root: Path) -> None:
        self._process, self.site, self.root = process, site, root

    def run(self, *, step: int = 0, after: float = 0.0) -> tuple[int, list[int]]:
        """Run it, perhaps to be killed; return its exit status and the numbers of its steps."""
        arguments = ["fetch", *NAMES, "--root", self.root, "--registry", self.site.registry]
        for scheme in ("https", "http"):
            arguments += ["--mirror", f"{scheme}://={self.site.address}/"]
        order = {"arguments": list(map(str, arguments)), "root": str(self.root)}
        self._process.stdin.write(json.dumps({**order, "step": step, "after": after}) + "\n")
        self._process.stdin.flush()
        status, said = json.loads(self._process.stdout.readline())
        return status, json.loads(said) if said else []

    def wrong_files(self, *, finished: bool) -> list[str]:
        """Name what is not as it should be; whatever has a file's name has to be that file."""
        wrong = []
        for name, place in ARCHIVES.items():
            (published,) = self.site.folder.rglob(name)
            wanted = {f"archives/{name}": published.read_bytes()}
            wanted |= {f"{place}/{path}": data for path, data in self.site.contents[name].items()}
            if place == "voc":
                lists = f"voc/{DEVKIT}/ImageSets/Segmentation"
                wanted[f"{lists}/trainaug.txt"] = lines(TRAIN_AUG)
                labels = (f"{image},{names}" for image, names in LABELS.items())
                wanted[f"voc/{DEVKIT}/image_labels.csv"] = lines(["image_id,classes", *labels])
            table = self.root / place / ".sbdata" / f"{name}.files"
            for path, data in wanted.items():
                file = self.root / path
                derived = file.name in ("trainaug.txt", "image_labels.csv")
                needed = finished or (table.exists() and not derived and file.name != name)
                if file.exists() and file.read_bytes() != data:
                    wrong.append(f"{path}: other bytes")
                elif needed and not file.exists():
                    wrong.append(f"{path}: is missing")
            known = {str(self.root / path) for path in wanted}
            wrong += [
                f"{file}: of no archive"
                for file in (self.root / place).rglob("*")
                if file.is_file()
                and ".sbdata" not in file.parts
                and str(file) not in known
                and not (file.name.startswith(".") and file.name.endswith(".part"))
            ]
        if finished:
            wrong += [f"{path}: left over" for path in self.root.rglob("*.part*")]
            wrong += [f"{path}: left over" for path in self.root.rglob("*.unpacking")]
        return wrong

    def phase(self) -> str:
        """Tell how far a killed run came."""
        if not all((self.root / "archives" / name).exists() for name in ARCHIVES):
            return "download"
        tables = [self.root / place / ".sbdata" / f"{n}.files" for n, place in ARCHIVES.items()]
        return "after" if all(table.exists() for table in tables) else "extraction"


def lines(texts) -> bytes:
    return "".join(f"{text}\n" for text in texts).encode()


@pytest.fixture
def fetching(tmp_path: Path) -> Iterator[Fetching]:
    site = publish(tmp_path / "published")
    with server.serving() as served, starting(tmp_path / "said") as process:
        for path in filter(Path.is_file, site.folder.rglob("*")):
            served.put(f"/{path.relative_to(site.folder).as_posix()}", path.read_bytes())
        site.address = served.address
        served.block = 2048
        yield Fetching(process, site, tmp_path / "sources")


@contextmanager
def starting(said: Path) -> Iterator[subprocess.Popen[str]]:
    with (
        said.open("w") as stderr,
        subprocess.Popen(
            [sys.executable, "-c", STARTER],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True,
        ) as process,
    ):  # fmt: skip
        assert process.stdout.readline() == "ready\n"
        yield process
        process.stdin.close()


@pytest.mark.slow
def test_fifty_kills_leave_no_wrong_file(fetching: Fetching) -> None:
    """kill -9 at 50 random moments of download and extraction, seed 20121017, each then rerun."""
    status, steps = fetching.run()
    assert status == 0
    assert fetching.wrong_files(finished=True) == []
    drawn, phases = random.Random(SEED), Counter()
    while phases.total() < KILLS:
        shutil.rmtree(fetching.root)
        step = drawn.randint(1, steps[0])
        if drawn.random() < 0.5:
            step = steps[0] + drawn.randint(1, steps[1])
        status, _ = fetching.run(step=step, after=max(0.0, drawn.uniform(-0.001, 0.001)))
        if status != -signal.SIGKILL:  # it was over before
            continue
        phases[fetching.phase()] += 1
        assert fetching.wrong_files(finished=False) == [], step
        assert fetching.run()[0] == 0
        assert fetching.wrong_files(finished=True) == [], step
    print(f"{KILLS} kills, seed {SEED}, 0 wrong files; they fell into: {dict(phases)}")
    assert min(phases["download"], phases["extraction"]) >= 10, phases


def test_the_check_sees_a_wrong_file(fetching: Fetching) -> None:
    fetching.run()
    photo = fetching.root / "voc" / DEVKIT / "JPEGImages" / "2007_000033.jpg"
    photo.write_bytes(photo.read_bytes()[:-1])
    (fetching.root / "archives" / "benchmark.tgz").unlink()
    (fetching.root / "sbd" / "more.txt").touch()
    (fetching.root / "archives" / "benchmark.tgz.part").touch()
    assert [said.rpartition(": ")[2] for said in fetching.wrong_files(finished=True)] == [
        "other bytes", "is missing", "of no archive", "left over",
    ]  # fmt: skip
