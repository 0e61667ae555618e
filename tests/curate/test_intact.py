"""Altered files of a set are noticed before anything is trained on them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sbdata.completion import Problem
from sbdata.curate import intact, materialise
from sbdata.curate.build import build_set
from sbdata.curate.inputs import Inputs
from sbdata.curate.intact import altered_files, check_intact
from sbdata.curate.materialise import write_checksums, write_set
from sbdata.curate.verify import verify_set
from sbdata.errors import InputError
from sbdata.layout import INTACT_MARKER
from sbdata.manifest import write_manifest
from sbdata.masks import read_index_png, write_index_png
from sbdata.recipe import load_recipe
from sbdata.sets import open_set
from tests.curate.test_verify import GENERATED, IDS, MASK, OBJECTS, PHOTO, jpeg, make, renew

DRAWN = f"JPEGImages/{GENERATED}.jpg"
OLD = 1_700_000_000_000_000_000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "album"
    (folder / "JPEGImages").mkdir(parents=True)
    for place, image_id in enumerate(IDS):
        (folder / "JPEGImages" / f"{image_id}.jpg").write_bytes(jpeg(place))
    write_set(make(), folder)
    return folder


def settle(root: Path) -> None:
    """Let the set's files be old, and be found to be right."""
    for path in sorted(root.rglob("*")):
        if path.is_file() and path.name != INTACT_MARKER:
            os.utime(path, ns=(OLD, OLD))
    check_intact(open_set(root))


def alter(path: Path) -> None:
    """Put something else of the same kind into a file's place."""
    if path.suffix == ".jpg":
        path.write_bytes(jpeg(77))
    else:
        mask = read_index_png(path)
        mask[4, 5] = 2
        write_index_png(path, mask)


def named(root: Path, **options: bool) -> set[tuple[str, str]]:
    return {(problem.name, problem.kind) for problem in altered_files(open_set(root), **options)}


def without_marker(root: Path) -> None:
    """Leave the set as a version left it that wrote no marker."""
    (root / INTACT_MARKER).unlink()


states = pytest.mark.parametrize("state", ["fresh", "settled", "copied", "older"])


def bring_into(state: str, root: Path) -> Path:
    if state in ("settled", "copied"):
        settle(root)
    if state == "copied":
        copy = root.parent / "copy"
        shutil.copytree(root, copy, copy_function=shutil.copyfile)
        return copy
    if state == "older":
        without_marker(root)
    return root


@states
def test_a_set_as_it_was_built_is_intact(root: Path, state: str) -> None:
    root = bring_into(state, root)
    for verify in (False, True):
        check_intact(open_set(root), verify=verify, workers=2)
    assert verify_set(root) == []


@states
@pytest.mark.parametrize("name", [PHOTO, DRAWN, MASK, OBJECTS])
def test_an_altered_file_is_named(root: Path, name: str, state: str) -> None:
    root = bring_into(state, root)
    alter(root / name)
    assert named(root) == {(name, "changed")}
    with pytest.raises(InputError) as caught:
        check_intact(open_set(root))
    said = str(caught.value)
    assert said.startswith(f"{root}: 1 file is not as recorded ({name}: ")
    assert f"run 'sbdata dataset verify {root}'" in said
    assert named(root) == {(name, "changed")}  # and nothing was recorded of it


@states
@pytest.mark.parametrize("name", [PHOTO, DRAWN, MASK, OBJECTS])
def test_a_lost_or_broken_file_is_named(root: Path, name: str, state: str) -> None:
    root = bring_into(state, root)
    (root / name).unlink()
    assert named(root) == {(name, "missing")}
    (root / name).write_bytes(b"<html>")
    kind = "changed" if name.endswith(".jpg") else "unreadable"
    assert named(root) == {(name, kind)}


@pytest.mark.parametrize("name", [MASK, OBJECTS])
def test_a_mask_is_compared_with_the_manifest_and_not_with_the_checksums(
    root: Path, name: str
) -> None:
    without_marker(root)
    alter(root / name)
    write_checksums(root)
    (problem,) = altered_files(open_set(root))
    assert problem == Problem(name, "changed", "1 of 1,200 pixels are not what the manifest draws")


def test_an_image_of_checksums_written_anew_is_known_by_the_marker(root: Path) -> None:
    alter(root / DRAWN)
    write_checksums(root)
    assert named(root) == {(DRAWN, "changed")}


def test_a_generated_image_that_nothing_knows_is_not_taken_on_trust(root: Path) -> None:
    without_marker(root)
    (root / "checksums.txt").unlink()
    (problem,) = altered_files(open_set(root))
    detail = "not listed in checksums.txt, which alone could tell"
    assert problem == Problem(DRAWN, "changed", detail)


def test_masks_of_another_manifest_are_noticed(root: Path) -> None:
    """Manifest, hash and checksums are in order, and so are the marker's sizes and times."""
    settle(root)
    manifest = open_set(root).manifest
    instances = manifest.instances.slice(1)  # the first cat is gone
    renew(root, type(manifest)(manifest.images, instances, manifest.meta))
    write_checksums(root)
    assert named(root) == {(MASK, "changed"), (OBJECTS, "changed")}


def test_the_same_pixels_packed_otherwise_are_the_same_mask(root: Path) -> None:
    with Image.open(root / MASK) as mask:
        mask.load()
        mask.save(root / MASK, compress_level=0)
    check_intact(open_set(root))


def test_same_size_and_time_are_looked_through_on_request(root: Path) -> None:
    settle(root)
    data = bytearray((root / PHOTO).read_bytes())
    data[-20] ^= 1
    (root / PHOTO).write_bytes(data)
    os.utime(root / PHOTO, ns=(OLD, OLD))
    assert named(root) == set()
    assert named(root, verify=True) == {(PHOTO, "changed")}


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]"])
def test_a_damaged_marker_is_no_witness(root: Path, content: bytes) -> None:
    (root / INTACT_MARKER).write_bytes(content)
    check_intact(open_set(root))
    assert (root / INTACT_MARKER).read_bytes() != content
    alter(root / MASK)
    (root / INTACT_MARKER).write_bytes(content)
    assert named(root) == {(MASK, "changed")}


def test_what_is_intact_is_neither_read_nor_drawn_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []
    real = intact.draw_image
    monkeypatch.setattr(intact, "draw_image", lambda row: drawn.append(row.image_id) or real(row))
    without_marker(root)
    settle(root)
    assert drawn == list(IDS)
    monkeypatch.setattr("sbdata.completion.sha256_of", None)
    check_intact(open_set(root))
    assert drawn == list(IDS)


def test_only_images_that_nothing_vouches_for_are_compared(root: Path) -> None:
    settle(root)
    with Image.open(root / MASK) as mask:
        mask.load()
        mask.save(root / MASK, compress_level=0)
    seen: list[tuple[int, int]] = []
    check_intact(open_set(root), progress=lambda *now: seen.append(now))
    assert seen == [(1, 1)]
    check_intact(open_set(root), progress=lambda *now: seen.append(now))
    assert seen == [(1, 1)]


def test_the_marker_and_its_leftovers_are_no_damage_and_in_no_checksums(root: Path) -> None:
    (root / f".{INTACT_MARKER}.0123abcd.part").write_text("half")
    assert verify_set(root) == []
    assert INTACT_MARKER not in (root / "checksums.txt").read_text()
    write_checksums(root)
    assert INTACT_MARKER not in (root / "checksums.txt").read_text()
    deep = root / "JPEGImages" / INTACT_MARKER
    deep.write_text("{}")
    assert [damage.path for damage in verify_set(root)] == [f"JPEGImages/{INTACT_MARKER}"]


def test_a_kill_while_a_set_is_written_leaves_no_marker(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(materialise, "write_manifest", stop)
    with pytest.raises(KeyboardInterrupt):
        write_set(make(), root)
    assert not (root / INTACT_MARKER).exists()


def test_a_built_set_is_intact_where_it_lies(tmp_path: Path) -> None:
    settings = ["sources.0.options={seed: 0, pool: 12, train: 4}", "select.quota=1"]
    built = build_set(load_recipe("shapes-b", settings), tmp_path / "set", Inputs())
    assert (built.root / INTACT_MARKER).is_file()
    check_intact(open_set(built.root))
    first = open_set(built.root).image_ids[0]
    mask = built.root / "SegmentationClass" / f"{first}.png"
    write_index_png(mask, np.full_like(read_index_png(mask), 3))
    assert named(built.root) == {(f"SegmentationClass/{first}.png", "changed")}


def test_a_folder_of_a_manifest_alone_is_no_set(tmp_path: Path) -> None:
    write_manifest(make(), tmp_path)
    with pytest.raises(InputError, match="a manifest without JPEGImages"):
        check_intact(open_set(tmp_path))
