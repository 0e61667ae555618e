"""``sbdata sources fetch`` killed at random moments from its first file to its last, then rerun."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fetch import server
from tests.killing import Ended, Order, Starter, starting
from tests.sources.miniatures import LABELS, TRAIN_AUG, Site, publish

SEED = 20121017
KILLS = 50
NAMES = ("voc", "sbd")
ARCHIVES = {"VOCtrainval_11-May-2012.tar": "voc", "benchmark.tgz": "sbd"}
DEVKIT = "VOCdevkit/VOC2012"


class Fetching:
    """Runs of ``sbdata sources fetch voc sbd`` into one folder."""

    def __init__(self, starter: Starter, site: Site, root: Path) -> None:
        self._starter, self.site, self.root = starter, site, root

    def run(self, *, step: int = 0, after: float = 0.0) -> Ended:
        """Run it, perhaps to be killed."""
        arguments = ["sources", "fetch", *NAMES, "--root", self.root]
        arguments += ["--registry", self.site.registry]
        for scheme in ("https", "http"):
            arguments += ["--mirror", f"{scheme}://={self.site.address}/"]
        return self._starter.run(Order([*map(str, arguments)], str(self.root), step, after))

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
    modules = ("sbdata.cli.sources", "sbdata.cli.progress", "sbdata.sources.published",
               "sbdata.dataset_cache")  # fmt: skip
    with server.serving() as served, starting(tmp_path / "said", *modules) as starter:
        for path in filter(Path.is_file, site.folder.rglob("*")):
            served.put(f"/{path.relative_to(site.folder).as_posix()}", path.read_bytes())
        site.address = served.address
        served.block = 2048
        yield Fetching(starter, site, tmp_path / "sources")


@pytest.mark.slow
def test_fifty_kills_leave_no_wrong_file(fetching: Fetching) -> None:
    """kill -9 at 50 random moments of download and extraction, seed 20121017, each then rerun."""
    whole = fetching.run()
    assert whole.status == 0
    assert fetching.wrong_files(finished=True) == []
    labels = [label for label, _ in whole.steps]
    unpacking = labels.index("sbdata.fetch.trees:unpack_archive")
    drawn, phases = random.Random(SEED), Counter()
    while phases.total() < KILLS:
        shutil.rmtree(fetching.root)
        step = drawn.randint(1, unpacking)
        if drawn.random() < 0.5:
            step = drawn.randint(unpacking + 1, len(labels))
        ended = fetching.run(step=step, after=max(0.0, drawn.uniform(-0.001, 0.001)))
        if not ended.killed:  # it was over before
            continue
        phases[fetching.phase()] += 1
        assert fetching.wrong_files(finished=False) == [], step
        assert fetching.run().status == 0
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
