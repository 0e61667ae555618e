"""Published datasets fetched, verified and repaired, from archives in miniature on this machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from sbdata.curate.build import build_set
from sbdata.curate.inputs import Inputs
from sbdata.dataset_cache import (
    FetchReport,
    PublishedCollection,
    archive_status,
    derive_files,
    fetch_archives,
    fetched_roots,
    remove_archives,
    verify_archives,
    verify_derived,
)
from sbdata.errors import InputError
from sbdata.fetch import trees
from sbdata.fetch.download import DownloadOptions
from sbdata.recipe import load_recipe
from sbdata.sources.published import load_registry
from tests.sources.miniatures import IMAGES, TRAIN_AUG, Site, publish, serving

QUICK = DownloadOptions(attempts=1, pause=0.01)


@pytest.fixture(autouse=True)
def no_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bringing all files of the machine to the disk may take seconds."""
    monkeypatch.setattr(trees, "_flush", lambda: None)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with serving(publish(tmp_path / "published")) as found:
        yield found


@pytest.fixture
def here(tmp_path: Path, site: Site) -> PublishedCollection:
    return PublishedCollection(tmp_path / "sources", load_registry(site.registry))


def fetch(here: PublishedCollection, site: Site, *names: str, **options) -> list[FetchReport]:
    holdings = verify_archives(here, names)
    mirrors = {"https://": site.address, "http://": site.address}
    return fetch_archives(here, holdings, mirrors=mirrors, options=QUICK, **options)


def unpacked(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and ".sbdata" not in path.parts
    }


# --- fetching ------------------------------------------------------------------------------------


def test_sources_come_under_their_real_layouts(here: PublishedCollection, site: Site) -> None:
    done = fetch(here, site, "voc", "sbd", "coco", "coco-2014", "lvis")
    assert [one.holding.file.name for one in done] == [
        "VOCtrainval_11-May-2012.tar",
        "benchmark.tgz",
        "annotations_trainval2017.zip",
        "annotations_trainval2014.zip",
        "lvis_v1_train.json.zip",
        "lvis_v1_val.json.zip",
    ]
    for name in ("voc", "sbd", "coco", "lvis"):
        expected: dict[str, bytes] = {}
        for source in here.registry.sources:
            if source.place == name and source.name != "coco-val2017":
                for file in source.files:
                    expected |= site.contents[file.name]
        assert unpacked(here.root / name) == dict(sorted(expected.items()))
    assert all(holding.whole for holding in verify_archives(here, ["voc", "coco", "lvis"]))
    assert all(one.received == one.holding.file.size for one in done)
    assert not any(one.recorded for one in done)


def test_what_is_here_is_verified_and_not_asked_for(here: PublishedCollection, site: Site) -> None:
    fetch(here, site, "coco")
    site.asked.clear()
    (done,) = fetch(here, site, "coco")
    assert (done.received, done.url, done.repaired) == (0, "", ())
    assert done.holding.whole
    assert site.asked == []


def test_progress_counts_millions_of_bytes(here: PublishedCollection, site: Site) -> None:
    shown: dict[str, list[tuple[int, int]]] = {}
    fetch(
        here,
        site,
        "lvis",
        progress=lambda stage, done, total: shown.setdefault(stage, []).append((done, total)),
    )
    for name in ("lvis_v1_train.json.zip", "lvis_v1_val.json.zip"):
        assert shown[f"{name} (MB)"][-1] == (1, 1)
        assert shown[f"unpack {name} (MB)"][-1] == (1, 1)
    assert shown["all downloads (MB)"][-1][0] == shown["all downloads (MB)"][-1][1]


def test_an_unknown_source(here: PublishedCollection) -> None:
    with pytest.raises(InputError, match="no published source called 'imagenet'; choose from voc,"):
        archive_status(here, ["imagenet"])


def test_a_wrong_archive_is_never_unpacked(here: PublishedCollection, site: Site) -> None:
    """It stops no other, though: a dead host is no reason to do without the rest."""
    (path,) = site.folder.rglob("lvis_v1_val.json.zip")
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    said = r"lvis_v1_val.json.zip could not be downloaded .*; unpacked: lvis_v1_train.json.zip$"
    with pytest.raises(InputError, match=said):
        fetch(here, site, "lvis")
    assert unpacked(here.root / "lvis") == site.contents["lvis_v1_train.json.zip"]
    assert not (here.archives / "lvis_v1_val.json.zip").exists()


def test_looking_says_what_would_be_downloaded(here: PublishedCollection, site: Site) -> None:
    (holding,) = archive_status(here, ["coco"])
    assert (holding.missing, holding.downloaded, holding.whole) == (holding.file.size, False, False)
    assert [damage.kind for damage in holding.damages] == ["not_fetched"]
    fetch(here, site, "coco")
    (holding,) = archive_status(here, ["coco"])
    assert (holding.missing, holding.downloaded, holding.whole) == (0, True, True)


def test_archives_put_there_by_hand_are_compared_and_unpacked(
    here: PublishedCollection, site: Site
) -> None:
    """As where there is no network."""
    here.archives.mkdir(parents=True)
    for name in ("benchmark.tgz", "annotations_trainval2017.zip"):
        (path,) = site.folder.rglob(name)
        (here.archives / name).write_bytes(path.read_bytes())
    fetch(here, site, "sbd", "coco")
    assert site.asked == []
    assert unpacked(here.root / "sbd") == site.contents["benchmark.tgz"]
    assert unpacked(here.root / "coco") == site.contents["annotations_trainval2017.zip"]


def test_a_refused_archive_stops_no_other(here: PublishedCollection, site: Site) -> None:
    (here.root / "voc").mkdir(parents=True)
    (here.root / "voc" / "VOCdevkit").touch()
    with pytest.raises(
        InputError, match=r"remove the conflicting file.*; unpacked: benchmark.tgz$"
    ):
        fetch(here, site, "voc", "sbd")
    assert unpacked(here.root / "sbd") == site.contents["benchmark.tgz"]


@pytest.mark.parametrize("harm", ["cut", "changed"])
def test_a_damaged_archive_counts_as_a_download(
    here: PublishedCollection, site: Site, harm: str
) -> None:
    """So that it is asked for before a gigabyte comes anew."""
    fetch(here, site, "coco")
    path = here.archives / "annotations_trainval2017.zip"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] if harm == "cut" else whole[:-1] + b"?")
    (holding,) = verify_archives(here, ["coco"])
    assert (holding.whole, holding.missing) == (True, 0), "nothing has to be taken out of it"
    (here.root / "coco" / "annotations" / "instances_val2017.json").unlink()
    (holding,) = verify_archives(here, ["coco"])
    assert holding.missing == len(whole)
    (done,) = fetch(here, site, "coco")
    assert done.received == len(whole)
    assert path.read_bytes() == whole


# --- hashes that nobody published ----------------------------------------------------------------


@pytest.fixture
def unknown(tmp_path: Path) -> Iterator[tuple[PublishedCollection, Site]]:
    published = publish(tmp_path / "unknown", sha256=None, md5=None, size=None)
    with serving(published) as found:
        yield PublishedCollection(tmp_path / "own", load_registry(found.registry)), found


@pytest.mark.parametrize("sent", ["half", "page", "nothing"])
def test_what_is_no_archive_is_not_recorded_and_leaves_the_way_free(
    unknown: tuple[PublishedCollection, Site], sent: str
) -> None:
    here, site = unknown
    source = here.registry.source("voc")
    (file,) = source.files
    served = site.folder / file.urls[0].partition("://")[2]
    whole = served.read_bytes()
    served.write_bytes({"half": whole[: len(whole) // 2], "page": b"<html>log in"}.get(sent, b""))
    for _ in range(2):
        with pytest.raises(InputError, match=file.name):
            fetch(here, site, "voc")
        assert not (here.archives / "recorded.json").is_file()
        assert not (here.archives / file.name).is_file()
    served.write_bytes(whole)
    (done,) = fetch(here, site, "voc")
    assert done.recorded == hashlib.sha256(whole).hexdigest()


def test_a_first_download_is_recorded(unknown: tuple[PublishedCollection, Site]) -> None:
    here, site = unknown
    (holding,) = archive_status(here, ["coco"])
    assert holding.missing is None
    (done,) = fetch(here, site, "coco")
    (path,) = site.folder.rglob("annotations_trainval2017.zip")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert done.recorded == digest
    recorded = json.loads((here.archives / "recorded.json").read_text())
    size = path.stat().st_size
    assert recorded == {
        "annotations_trainval2017.zip": {"sha256": digest, "size": size, "url": done.url}
    }
    (again,) = fetch(here, site, "coco")
    assert again.recorded == ""


def test_a_later_download_must_equal_the_record(unknown: tuple[PublishedCollection, Site]) -> None:
    here, site = unknown
    done = fetch(here, site, "coco")
    remove_archives(here, done)
    (here.root / "coco" / "annotations" / "instances_val2017.json").unlink()
    (path,) = site.folder.rglob("annotations_trainval2017.zip")
    whole = path.read_bytes()
    path.write_bytes(whole + b"replaced on the server")
    with pytest.raises(InputError, match=r"annotations_trainval2017.zip"):
        fetch(here, site, "coco")
    path.write_bytes(whole)
    (mended,) = fetch(here, site, "coco")
    assert mended.repaired == ("annotations/instances_val2017.json",)


def test_a_record_of_one_is_kept_beside_that_of_another(
    unknown: tuple[PublishedCollection, Site],
) -> None:
    here, site = unknown
    fetch(here, site, "coco")
    done = fetch(here, site, "lvis", "coco")
    assert [bool(one.recorded) for one in done] == [True, True, False]
    assert len(json.loads((here.archives / "recorded.json").read_text())) == 3


def test_a_damaged_record_is_said_to_be(unknown: tuple[PublishedCollection, Site]) -> None:
    here, site = unknown
    here.archives.mkdir(parents=True)
    (here.archives / "recorded.json").write_text('{"a.zip": 5}')
    with pytest.raises(InputError, match=r"recorded.json: not a record"):
        fetch(here, site, "coco")


# --- damage --------------------------------------------------------------------------------------


def test_a_repair_replaces_only_what_is_damaged(here: PublishedCollection, site: Site) -> None:
    fetch(here, site, "voc")
    tree = here.root / "voc"
    photo = tree / "VOCdevkit/VOC2012/JPEGImages/2008_000002.jpg"
    xml = tree / "VOCdevkit/VOC2012/Annotations/2007_000039.xml"
    photo.write_bytes(photo.read_bytes()[:-1] + b"?")
    xml.unlink()
    before = {path: path.stat().st_mtime_ns for path in tree.rglob("*") if path.is_file()}
    (holding,) = verify_archives(here, ["voc"], workers=2)
    assert {(d.path, d.kind) for d in holding.damages} == {
        (photo, "changed_file"), (xml, "missing_file")
    }  # fmt: skip
    site.asked.clear()
    (done,) = fetch(here, site, "voc")
    assert site.asked == []
    assert set(done.repaired) == {path.relative_to(tree).as_posix() for path in (photo, xml)}
    after = {path: path.stat().st_mtime_ns for path in tree.rglob("*") if path.is_file()}
    changed = {path for path in after if before.get(path) != after[path]}
    assert {path for path in changed if ".sbdata" not in path.parts} == {photo, xml}
    assert unpacked(tree) == dict(sorted(site.contents["VOCtrainval_11-May-2012.tar"].items()))


def test_a_repair_without_the_archive_fetches_it(here: PublishedCollection, site: Site) -> None:
    done = fetch(here, site, "sbd")
    assert remove_archives(here, done) == done[0].holding.file.size
    lists = here.root / "sbd" / "benchmark_RELEASE" / "dataset" / "train.txt"
    lists.write_text("cut")
    (done,) = fetch(here, site, "sbd")
    assert done.repaired == ("benchmark_RELEASE/dataset/train.txt",)
    assert done.received > 0
    assert (
        lists.read_bytes() == site.contents["benchmark.tgz"]["benchmark_RELEASE/dataset/train.txt"]
    )


def test_a_tree_that_was_not_finished_is_named_and_finished(
    here: PublishedCollection, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(trees, "_move", killed)
        with pytest.raises(KeyboardInterrupt):
            fetch(here, site, "lvis")
    first, second = verify_archives(here, ["lvis"])
    assert [d.kind for d in first.damages + second.damages] == ["not_unpacked", "not_unpacked"]
    assert "not completely unpacked" in first.damages[0].detail
    site.asked.clear()
    fetch(here, site, "lvis")
    assert site.asked == []
    assert all(holding.whole for holding in verify_archives(here, ["lvis"]))


def test_a_damaged_table_is_made_anew(here: PublishedCollection, site: Site) -> None:
    fetch(here, site, "coco")
    table = here.root / "coco" / ".sbdata" / "annotations_trainval2017.zip.files"
    whole = table.read_bytes()
    table.write_bytes(whole[:-9])
    (holding,) = verify_archives(here, ["coco"])
    assert [(d.path, d.kind) for d in holding.damages] == [(table, "table")]
    fetch(here, site, "coco")
    assert table.read_bytes() == whole


def test_a_tree_of_another_archive_than_the_registrys(
    here: PublishedCollection, site: Site, tmp_path: Path
) -> None:
    fetch(here, site, "coco")
    text = site.registry.read_text()
    (sha256,) = [f.sha256 for f in here.registry.source("coco").files]
    site.registry.write_text(text.replace(str(sha256), "a" * 64))
    other = PublishedCollection(here.root, load_registry(site.registry))
    (holding,) = archive_status(other, ["coco"])
    assert holding.table is None
    assert "another version of annotations_trainval2017.zip" in holding.damages[0].detail


# --- what is derived -----------------------------------------------------------------------------


def test_train_aug_and_labels_are_derived(here: PublishedCollection, site: Site) -> None:
    assert derive_files(here) == []
    fetch(here, site, "voc")
    assert [made.path for made in derive_files(here)] == ["VOCdevkit/VOC2012/image_labels.csv"]
    fetch(here, site, "sbd")
    labels, train_aug = derive_files(here)
    assert (labels.count, train_aug.count) == (8, len(TRAIN_AUG))
    assert (here.root / "voc" / train_aug.path).read_text().split() == list(TRAIN_AUG)
    assert verify_derived(here, ["voc", "sbd"]) == []


def test_a_damaged_derived_file_is_named_and_made_again(
    here: PublishedCollection, site: Site
) -> None:
    fetch(here, site, "voc", "sbd")
    _, train_aug = derive_files(here)
    path = here.root / "voc" / train_aug.path
    path.write_text("2007_000032\n")
    (damage,) = verify_derived(here, ["voc"])
    assert (damage.path, damage.kind) == (path, "wrong_size")
    derive_files(here)
    assert path.read_text() == train_aug.text
    table = here.root / "voc" / ".sbdata" / "derived.files"
    table.write_text("{}")
    (damage,) = verify_derived(here, ["voc"])
    assert (damage.path, damage.kind) == (table, "table")
    derive_files(here)
    assert verify_derived(here, ["voc"]) == []


def test_a_list_of_the_users_is_not_replaced_by_the_derived_one(
    here: PublishedCollection, site: Site
) -> None:
    fetch(here, site, "voc", "sbd")
    mine = here.root / "voc/VOCdevkit/VOC2012/ImageSets/Segmentation/trainaug.txt"
    mine.write_text("2007_000032\n")
    with pytest.raises(InputError, match=r"trainaug\.txt: a file of your own .* move it away"):
        derive_files(here)
    assert mine.read_text() == "2007_000032\n"
    mine.write_text("".join(f"{image_id}\n" for image_id in TRAIN_AUG))  # the same list
    derive_files(here)
    assert verify_derived(here, ["voc"]) == []


@pytest.mark.parametrize(
    ("path", "repair"),
    [
        ("voc/VOCdevkit/VOC2012/Annotations/2007_000033.xml", "voc"),
        ("voc/VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt", "voc"),
        ("sbd/benchmark_RELEASE/dataset/train.txt", "sbd"),
    ],
)
@pytest.mark.parametrize("harm", ["gone", "cut"])
def test_nothing_is_derived_of_damaged_files(
    here: PublishedCollection, site: Site, path: str, repair: str, harm: str
) -> None:
    """A list of too few images, or labels of too few, would be taken for good ones."""
    fetch(here, site, "voc", "sbd")
    derive_files(here)
    before = unpacked(here.root)
    (here.root / path).unlink() if harm == "gone" else (here.root / path).write_text("2007_000032")
    with pytest.raises(InputError, match=rf"{path}.*verify --repair {repair}'$"):
        derive_files(here)
    fetch(here, site, "voc", "sbd")
    derive_files(here)
    assert unpacked(here.root) == before


# --- builds --------------------------------------------------------------------------------------


def test_a_recipe_finds_what_was_fetched(here: PublishedCollection, site: Site) -> None:
    recipe = load_recipe("pascal-b")
    assert fetched_roots(recipe, here.root) == {}
    fetch(here, site, "coco", "sbd")
    assert fetched_roots(recipe, here.root) == {"coco": here.root / "coco"}
    fetch(here, site, "lvis", "voc")
    names = ["coco", "lvis", "voc"]
    assert fetched_roots(recipe, here.root) == {name: here.root / name for name in names}
    assert fetched_roots(load_recipe("shapes-b"), here.root) == {}


def test_pascal_b_is_built_of_what_was_fetched(
    here: PublishedCollection, site: Site, tmp_path: Path
) -> None:
    """Annotations from the archives, the chosen photos singly by their COCO addresses."""
    fetch(here, site, "voc", "sbd", "coco", "lvis")
    derive_files(here)
    site.asked.clear()
    recipe = load_recipe("pascal-b", ["select.quota=2"])
    roots = fetched_roots(recipe, here.root)
    inputs = Inputs(roots=roots, mirrors={"http://": site.address}, workers=2)
    built = build_set(recipe, tmp_path / "set", inputs)
    rows = built.manifest.images.to_pylist()
    assert 0 < len(rows) <= sum(map(len, IMAGES.values()))
    assert sorted(site.asked) == sorted(
        f"/images.cocodataset.org/{row['file_name']}" for row in rows
    )
    (check,) = built.manifest.meta["leakage"]
    assert check["checked"]
    assert (check["members"], check["hashed"]) == (len(TRAIN_AUG), len(TRAIN_AUG))
    (compared,) = built.manifest.meta["compared"]
    assert compared["set"] == "voc-val"
    assert compared["statistics"]["images"] == 2
    areas = {row["area"] for row in built.manifest.instances.to_pylist()}
    assert 14 * 12 in areas, "LVIS's mask of a box of 12 x 10, one pixel wider on each side"
