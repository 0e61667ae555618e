"""A set as a PyTorch dataset: what an item holds, and that transforms and workers take it."""

from __future__ import annotations

import pickle
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="the extra `torch` is not installed")
pytest.importorskip("torchvision", reason="the extra `torch` is not installed")

from torch.utils.data import DataLoader  # noqa: E402
from torchvision import tv_tensors  # noqa: E402
from torchvision.transforms import InterpolationMode, v2  # noqa: E402

from sbdata.curate.build import build_set  # noqa: E402
from sbdata.curate.inputs import Inputs  # noqa: E402
from sbdata.errors import InputError  # noqa: E402
from sbdata.metrics import InstanceAwareIoU  # noqa: E402
from sbdata.recipe import recipe_from_dict  # noqa: E402
from sbdata.sets import EvaluationSet, open_set  # noqa: E402

Item = dict[str, Any]


@pytest.fixture(scope="module")
def opened(shapes_set: Path) -> EvaluationSet:
    return open_set(shapes_set)


@pytest.fixture
def labels_only(tmp_path: Path) -> EvaluationSet:
    photos = tmp_path / "root" / "photos"
    photos.mkdir(parents=True)
    for name in ("a", "b"):
        Image.new("RGB", (20, 12), (9, 8, 7)).save(photos / f"{name}.jpg")
    (tmp_path / "root" / "labels.csv").write_text("image_id,classes\na,red hen fox\nb,\n")
    classes = ["fox", "cow", "red hen"]
    source = {"name": "yard", "format": "labels", "splits": ["train"], "images": "photos",
              "annotations": "labels.csv"}  # fmt: skip
    raw = {"name": "yard", "version": "v1", "taxonomy": classes, "sources": [source]}
    inputs = Inputs(roots={"yard": tmp_path / "root"})
    build_set(recipe_from_dict(raw, "test"), tmp_path / "set", inputs)
    return open_set(tmp_path / "set")


def assert_same(found: Item, wanted: Item) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert type(found[name]) is type(value), name
        same = found[name] == value if isinstance(value, str) else found[name].equal(value)
        assert same, name


def test_an_item_is_the_image_with_its_masks_and_labels(opened: EvaluationSet) -> None:
    dataset = opened.as_torch()
    assert dataset.image_ids == opened.image_ids
    assert len(dataset) == len(opened)
    for image_id, item in zip(opened, dataset, strict=True):
        assert type(item["image"]) is tv_tensors.Image
        with Image.open(opened.image_path(image_id)) as photo:
            assert np.array_equal(item["image"].permute(1, 2, 0).numpy(), np.asarray(photo))
        assert type(item["class_map"]) is type(item["instance_map"]) is tv_tensors.Mask
        assert np.array_equal(item["class_map"].numpy(), opened.class_map(image_id))
        assert np.array_equal(item["instance_map"].numpy(), opened.instance_map(image_id))
        rows = opened.instances_of(image_id)
        assert item["image_id"] == image_id
        assert item["instance_ids"].tolist() == rows["instance_id"].to_pylist()
        assert item["class_ids"].tolist() == rows["class_id"].to_pylist()
        assert item["class_ids"].dtype == torch.int64
        labelled = [1 + k for k, label in enumerate(item["labels"].tolist()) if label]
        assert tuple(labelled) == opened.labels_of(image_id)
        assert item["labels"].shape == (len(opened.taxonomy),)
    assert_same(dataset[-1], dataset[len(dataset) - 1])
    with pytest.raises(IndexError):
        dataset[len(dataset)]


def test_an_item_belongs_to_the_caller(opened: EvaluationSet) -> None:
    dataset = opened.as_torch()
    item = dataset[0]
    for name in ("image", "class_map", "class_ids", "instance_ids", "labels"):
        item[name].zero_()
    assert dataset[0]["class_ids"].all()
    assert dataset[0]["labels"].any()


def mask_as_photo(item: Item) -> Item:
    return {**item, "image": tv_tensors.Image(item["class_map"].expand(3, -1, -1).clone())}


GEOMETRY = {
    "crop and flip": v2.Compose([v2.RandomCrop(48), v2.RandomHorizontalFlip()]),
    "turned": v2.RandomAffine(30, (0.2, 0.2), (0.7, 1.5), interpolation=InterpolationMode.NEAREST),
    "resized": v2.RandomResizedCrop(40, interpolation=InterpolationMode.NEAREST),
}


@pytest.mark.parametrize("name", GEOMETRY)
def test_photo_and_masks_are_moved_alike(opened: EvaluationSet, name: str) -> None:
    dataset = opened.as_torch(v2.Compose([mask_as_photo, GEOMETRY[name]]))
    torch.manual_seed(0)
    for image_id, item in zip(opened, dataset, strict=True):
        assert item["image"].equal(item["class_map"].expand(3, -1, -1).as_subclass(torch.Tensor))
        before = opened.instances_of(image_id)
        class_of = dict(
            zip(before["instance_id"].to_pylist(), before["class_id"].to_pylist(), strict=True)
        )
        for number in set(item["instance_map"].unique().tolist()) - {0, 255}:
            (its,) = item["class_map"][item["instance_map"] == number].unique().tolist()
            assert its == class_of[number]
        assert item["instance_ids"].tolist() == before["instance_id"].to_pylist()


def test_padding_and_types_differ_by_kind(opened: EvaluationSet) -> None:
    fill = {tv_tensors.Image: 0, tv_tensors.Mask: 255}
    kinds = {tv_tensors.Image: torch.float32, tv_tensors.Mask: torch.int64, "others": None}
    cut = v2.Compose([v2.Pad(7, fill=fill), v2.ToDtype(kinds, scale=True)])
    item = opened.as_torch(cut)[0]
    for name in ("class_map", "instance_map"):
        assert item[name].dtype == torch.int64
        assert (item[name][:7] == 255).all()
        assert np.array_equal(item[name][7:-7, 7:-7], opened.as_torch()[0][name])
    assert item["image"].dtype == torch.float32
    assert 0 < item["image"].max() <= 1
    assert (item["image"][:, :7] == 0).all()
    assert item["labels"].dtype == torch.float32
    assert item["instance_ids"].dtype == torch.int64


def pair(item: Item, side: int) -> tuple[Any, Any]:
    return item["image"][:, :side, :side], item["class_map"][:side, :side]


def test_workers_read_what_the_process_reads(opened: EvaluationSet) -> None:
    dataset = opened.as_torch()
    loader = DataLoader(dataset, batch_size=3, num_workers=2, collate_fn=list)
    items = [item for batch in loader for item in batch]
    assert len(items) == len(dataset)
    for found, wanted in zip(items, dataset, strict=True):
        assert_same(found, wanted)
    pairs = DataLoader(opened.as_torch(partial(pair, side=32)), batch_size=4)
    images, masks = next(iter(pairs))
    assert (images.shape, masks.shape) == ((4, 3, 32, 32), (4, 32, 32))


def test_it_is_pickled_without_the_codes_of_the_masks(opened: EvaluationSet) -> None:
    dataset = opened.as_torch(partial(pair, side=16))
    sent = pickle.dumps(dataset)
    codes = opened.manifest.instances["rle"].to_pylist()
    assert not any(code in sent for code in codes if len(code) > 8)
    again = pickle.loads(sent)  # noqa: S301 - our own
    for found, wanted in zip(again, dataset, strict=True):
        assert found[0].equal(wanted[0])
        assert found[1].equal(wanted[1])


def test_the_metric_takes_its_maps(opened: EvaluationSet) -> None:
    metric = InstanceAwareIoU(len(opened.taxonomy))
    for item in opened.as_torch():
        target, instances = item["class_map"][None], item["instance_map"][None]
        metric.update(torch.where(target == 255, 0, target), target, instances)
    found = metric.compute()
    assert float(found["miou"]) == float(found["ia.class_mean"]) == 1


def test_a_set_with_labels_only_has_no_masks(labels_only: EvaluationSet) -> None:
    dataset = labels_only.as_torch(v2.RandomHorizontalFlip(p=1))
    assert dataset.classes == ("fox", "cow", "red hen")
    assert list(dataset[0]) == ["image", "image_id", "labels"]
    assert [item["labels"].tolist() for item in dataset] == [[1, 0, 1], [0, 0, 0]]
    assert dataset[0]["image"].shape == (3, 12, 20)


@pytest.mark.parametrize("folder", ["JPEGImages", "SegmentationClass", "SegmentationObject"])
def test_a_file_that_was_altered_is_refused(
    opened: EvaluationSet, tmp_path: Path, folder: str
) -> None:
    for path in opened.root.rglob("*"):
        if path.is_file():
            copy = tmp_path / path.relative_to(opened.root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.symlink_to(path)
    altered = sorted((tmp_path / folder).iterdir())[0]
    data = altered.read_bytes()
    altered.unlink()
    altered.write_bytes(data + b"x")
    with pytest.raises(InputError, match=f"{altered.name}: not the file that the set was built"):
        open_set(tmp_path).as_torch()


@pytest.mark.parametrize("package", ["torch", "torchvision"])
def test_without_a_package_it_says_what_to_install(
    opened: EvaluationSet, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    monkeypatch.delitem(sys.modules, "sbdata.train.set_dataset", raising=False)
    with pytest.raises(InputError) as raised:
        opened.as_torch()
    assert str(raised.value) == f"{package} is not installed; run: pip install 'sbdata[torch]'"
