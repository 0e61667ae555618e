"""The list trainaug and image-level labels, against sets counted by hand."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from sbdata.errors import InputError
from sbdata.recipe import SourceSpec
from sbdata.sources import open_source
from sbdata.sources.derived import (
    classes_of_xml,
    derive_image_labels,
    derive_train_aug,
)
from sbdata.sources.voc import train_aug
from sbdata.taxonomy import VOC20
from sbdata.weak_labels.labels import read_labels
from tests.sources.miniatures import LABELS, TRAIN_AUG, sbd_files, voc_files


def write(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


@pytest.fixture
def roots(tmp_path: Path) -> tuple[Path, Path]:
    return write(tmp_path / "voc", voc_files()), write(tmp_path / "sbd", sbd_files())


def test_the_counts_of_the_published_lists_give_10582() -> None:
    """Lists of the published sizes and overlaps, ids drawn at random.

    VOC: 1,464 train and 1,449 val. SBD: 8,498 and 2,857. Together they name 12,031 images.
    """
    ids = [f"{2007 + i % 5}_{i:06}" for i in range(12_031)]
    random.Random(0).shuffle(ids)
    train, val, rest = ids[:1464], ids[1464 : 1464 + 1449], ids[1464 + 1449 :]
    augmented = rest + random.Random(1).sample(train + val, 8498 + 2857 - len(rest))
    found = train_aug(train, val, augmented)
    assert len(found) == 10_582
    assert list(found) == sorted(set(found))
    assert not set(found) & set(val)
    assert set(found) | set(val) == set(ids)


def test_train_aug_of_unpacked_archives(roots: tuple[Path, Path]) -> None:
    derived = derive_train_aug(*roots)
    assert derived.path == "VOCdevkit/VOC2012/ImageSets/Segmentation/trainaug.txt"
    assert derived.text == "".join(f"{image_id}\n" for image_id in TRAIN_AUG)
    assert derived.count == len(TRAIN_AUG) == 6


def test_the_reader_of_voc_derives_the_same_list(roots: tuple[Path, Path]) -> None:
    """It looks for SBD beside the devkit; a list that was written is read as it is."""
    voc, sbd = roots
    (sbd / "benchmark_RELEASE").rename(voc / "benchmark_RELEASE")
    spec = SourceSpec("voc", ("trainaug",))
    derived = derive_train_aug(voc, voc)
    source = open_source(spec, "trainaug", voc)
    assert [member.source_image_id for member in source.members()] == list(TRAIN_AUG)
    (voc / derived.path).write_text(derived.text)
    (voc / "benchmark_RELEASE").rename(sbd / "benchmark_RELEASE")
    assert open_source(spec, "trainaug", voc).members() == source.members()


def test_labels_are_the_classes_of_the_objects(roots: tuple[Path, Path]) -> None:
    derived = derive_image_labels(roots[0])
    assert derived.path == "VOCdevkit/VOC2012/image_labels.csv"
    expected = "".join(f"{image_id},{labels}\n" for image_id, labels in LABELS.items())
    assert derived.text == "image_id,classes\n" + expected
    assert derived.count == len(LABELS)


def test_labels_are_read_where_labels_are_taken(roots: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text(derive_image_labels(roots[0]).text)
    found = read_labels(tmp_path / "labels.csv", VOC20, TRAIN_AUG)
    of_xml = read_labels(roots[0] / "VOCdevkit/VOC2012/Annotations", VOC20, TRAIN_AUG)
    assert found == of_xml
    assert set(found) == set(TRAIN_AUG)


def test_an_object_of_no_class_and_a_broken_file_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text("<a><object><name>unicorn</name></object></a>")
    with pytest.raises(InputError, match=r"a.xml: 'unicorn' is not a class of VOC"):
        classes_of_xml(tmp_path / "a.xml")
    (tmp_path / "b.xml").write_text("<a><object>")
    with pytest.raises(InputError, match=r"b.xml: not a readable VOC annotation"):
        classes_of_xml(tmp_path / "b.xml")


@pytest.mark.parametrize(
    ("tree", "name", "said"),
    [
        (0, "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt", "not a readable list"),
        (1, "benchmark_RELEASE/dataset/train.txt", "not a readable list"),
    ],
)
def test_a_missing_or_empty_list_is_named(
    roots: tuple[Path, Path], tree: int, name: str, said: str
) -> None:
    path = roots[tree] / name
    path.write_text("\n")
    with pytest.raises(InputError, match="the list is empty"):
        derive_train_aug(*roots)
    path.unlink()
    with pytest.raises(InputError, match=said):
        derive_train_aug(*roots)


def test_a_folder_that_is_no_devkit(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no VOC devkit"):
        derive_image_labels(tmp_path)
    (tmp_path / "ImageSets" / "Segmentation").mkdir(parents=True)
    with pytest.raises(InputError, match="no XML annotations"):
        derive_image_labels(tmp_path)
