"""``sbdata sources`` as a user meets it, with every host on this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sbdata import dataset_cache as collection
from sbdata.cli import sources as module
from sbdata.cli.sources import sources
from sbdata.errors import InputError
from sbdata.fetch import trees
from tests.sources.miniatures import Site, publish, serving


@pytest.fixture(autouse=True)
def no_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bringing all files of the machine to the disk may take seconds."""
    monkeypatch.setattr(trees, "_flush", lambda: None)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with serving(publish(tmp_path / "published")) as found:
        yield found


class User:
    """Somebody at a command line."""

    def __init__(self, site: Site, root: Path) -> None:
        self.site, self.root = site, root

    def says(self, command: str, *arguments: str, status: int = 0, answer: str = "") -> Result:
        options = ["--root", str(self.root), "--registry", str(self.site.registry)]
        if command != "list":
            options += ["--workers", "1", "--mirror", f"https://={self.site.address}"]
            options += ["--mirror", f"http://={self.site.address}"]
        given = [command, *arguments, *options]
        done = CliRunner().invoke(sources, given, input=answer, catch_exceptions=True)
        if isinstance(done.exception, InputError):
            assert status == 2, done.exception
        else:
            assert done.exit_code == status, (done.output, done.exception)
        return done

    def json(self, command: str, *arguments: str, status: int = 0):
        return json.loads(self.says(command, *arguments, "--json", status=status).stdout)


def states(folder: Path) -> dict[Path, tuple[int, int]]:
    """Return what changes when a file is touched, of every file that a user sees."""
    files = (path for path in folder.rglob("*") if path.is_file() and ".sbdata" not in path.parts)
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


@pytest.fixture
def user(site: Site, tmp_path: Path) -> User:
    return User(site, tmp_path / "sources")


def test_list_says_what_it_costs_and_what_is_here(user: User) -> None:
    said = user.says("list").output
    for part in ("voc", "sbd", "coco-2014", "lvis", "licence: ", "cite: Lin et al."):
        assert part in said
    states = {row["name"]: row["state"] for row in user.json("list")}
    assert set(states.values()) == {"-"}
    user.says("fetch", "coco")
    rows = {row["name"]: row for row in user.json("list")}
    assert {name for name, row in rows.items() if row["state"] == "here"} == {"coco"}
    assert rows["coco-2014"]["folder"] == rows["coco"]["folder"] == str(user.root / "coco")
    assert rows["lvis"]["files"][0]["urls"][0].startswith("https://dl.fbaipublicfiles.com/")


def test_the_bundled_registry_is_listed() -> None:
    done = CliRunner().invoke(sources, ["list", "--root", "/no/such/folder"])
    assert done.exit_code == 0
    for part in ("2.0 GB", "1.4 GB", "253 MB", "414 MB", "19.3 GB", "Flickr", "CC BY 4.0"):
        assert part in done.output


def test_a_mirror_that_is_no_address_is_named(user: User) -> None:
    rows = {row["name"]: row for row in user.json("list")}
    url = rows["sbd"]["files"][0]["urls"][0]
    failed = user.says("fetch", "sbd", "--mirror", f"{url}=mirror/sbd", status=2)
    assert "mirror/sbd: only http and https URLs are fetched" in str(failed.exception)


def test_fetch_verify_damage_repair(user: User) -> None:
    said = user.says("fetch", "voc", "sbd").output
    assert "VOCtrainval_11-May-2012.tar: " in said
    assert f"61.4 kB from {user.site.address.split('/')[2]}" in said, "the mirror that is asked"
    assert "Flickr terms" in said
    assert "trainaug.txt: derived, 6 images" in said
    assert "image_labels.csv: derived, 8 images" in said
    assert "were expected" not in said
    assert "is as it was unpacked" in user.says("verify").output
    assert user.json("verify", "voc")["good"] is True

    photo = user.root / "voc/VOCdevkit/VOC2012/JPEGImages/2007_000033.jpg"
    listed = user.root / "voc/VOCdevkit/VOC2012/ImageSets/Segmentation/trainaug.txt"
    whole = photo.read_bytes(), listed.read_bytes()
    photo.write_bytes(b"")
    listed.unlink()
    said = user.says("verify", "voc", "sbd", status=1).output
    assert f"{photo}: wrong_size: 0 bytes instead of {len(whole[0]):,}" in said
    assert f"{listed}: missing_file" in said
    assert "verify --repair voc sbd" in said
    found = user.json("verify", "voc", status=1)["damages"]
    assert {damage["path"] for damage in found} == {str(photo), str(listed)}

    before = states(user.root)
    user.site.asked.clear()
    said = user.says("verify", "voc", "--repair").output
    assert "1 damaged file replaced" in said
    assert (photo.read_bytes(), listed.read_bytes()) == whole
    after = states(user.root)
    assert {path for path in after if before.get(path) != after[path]} == {photo, listed}
    assert user.site.asked == []
    assert user.json("verify")["good"] is True


def test_fetch_again_repairs_too(user: User) -> None:
    user.says("fetch", "lvis")
    (user.root / "lvis" / "lvis_v1_val.json").unlink()
    said = user.json("fetch", "lvis")
    assert [one["repaired"] for one in said["fetched"]] == [[], ["lvis_v1_val.json"]]
    assert sum(one["received"] for one in said["fetched"]) == 0
    assert "was there already" in user.says("fetch", "lvis").output


def test_verify_of_what_was_never_fetched(user: User) -> None:
    said = user.says("verify", "coco", status=1).output
    assert "was not fetched" in said
    assert "sbdata sources fetch coco downloads them" in said
    done = user.says("verify", status=2)
    assert "holds no dataset" in str(done.exception)


def test_a_gigabyte_is_asked_for(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collection, "ASK_FROM", 1000)
    done = user.says("fetch", "coco", status=2)
    assert "would be downloaded; confirm it by --yes" in str(done.exception)
    assert user.site.asked == []
    monkeypatch.setattr(module, "_is_asked", lambda: True)
    done = user.says("fetch", "coco", answer="n\n", status=2)
    assert "Download " in done.output
    assert "nothing was downloaded, as you chose; run the command again" in str(done.exception)
    assert user.site.asked == []
    assert "unpacked" in user.says("fetch", "coco", answer="y\n").output
    user.says("fetch", "coco", answer="n\n")  # nothing to download, nothing to ask
    user.says("fetch", "lvis", "--yes", answer="n\n")
    assert "would be downloaded" in str(user.says("fetch", "voc", "--json", status=2).exception)


def test_an_unknown_size_is_asked_for_and_an_unknown_hash_is_said(tmp_path: Path) -> None:
    with serving(publish(tmp_path / "p", sha256=None, md5=None, size=None)) as site:
        user = User(site, tmp_path / "sources")
        assert "size unknown" in user.says("list").output
        done = user.says("fetch", "coco", status=2)
        assert "size unknown would be downloaded" in str(done.exception)
        said = user.says("fetch", "coco", "--yes").output
        assert "its SHA-256 was not published. Recorded " in said
        assert site.address in said
        assert "nobody published" not in user.says("fetch", "coco", "--yes").output


def test_a_root_that_is_a_file(user: User) -> None:
    user.root.touch()
    done = user.says("fetch", "coco", status=2)
    assert f"{user.root / 'archives'}: cannot be used" in str(done.exception)
    assert user.site.asked == []


@pytest.mark.parametrize("asked_for", [False, True])
def test_redirects_to_http_have_to_be_asked_for(
    user: User, monkeypatch: pytest.MonkeyPatch, asked_for: bool
) -> None:
    real, allowed = collection.download_each, []

    def spy(*arguments: object, **options: Any) -> object:
        allowed.append(options["options"].plain_redirects)
        return real(*arguments, **options)

    monkeypatch.setattr(collection, "download_each", spy)
    user.says("fetch", "coco", *(["--plain-redirects"] if asked_for else []))
    assert allowed == [asked_for]


def test_archives_can_be_dropped(user: User) -> None:
    assert "of archives deleted" in user.says("fetch", "coco", "--drop-archives").output
    assert not list((user.root / "archives").glob("*.zip"))
    assert "is as it was unpacked" in user.says("verify", "coco").output


def test_a_list_that_is_not_as_published_is_said(user: User) -> None:
    text = user.site.registry.read_text()
    user.site.registry.write_text(text + "train_aug_images: 10582\n")
    said = user.says("fetch", "voc", "sbd").output
    assert "derived, 6 images; 10,582 were expected" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("fetch", "imagenet"), "no published source called 'imagenet'"),
        (("fetch", "coco", "--mirror", "https"), "--mirror takes LEFT=RIGHT"),
        (("fetch", "coco", "--mirror", "a=b", "--mirror", "a=c"), "--mirror a is given twice, wi"),
        (("verify", "imagenet"), "no published source called 'imagenet'"),
    ],
)
def test_bad_input_is_one_sentence(user: User, arguments: tuple[str, ...], said: str) -> None:
    assert said in str(user.says(*arguments, status=2).exception)
