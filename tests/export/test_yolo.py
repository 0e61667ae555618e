"""An export to Ultralytics, read as its documentation says and by its own dataset class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from sbdata.errors import InputError
from sbdata.export.export_set import export_set
from sbdata.manifest import Manifest
from sbdata.sets import EvaluationSet, open_set
from tests.export.sets import NAMES, classes_of, with_columns


@pytest.fixture(scope="module")
def out(pets: EvaluationSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("yolo") / "out"
    assert export_set(pets, "yolo", folder) == []
    return folder


def test_the_documented_layout(pets: EvaluationSet, out: Path) -> None:
    """``masks_dir`` takes the place of ``images`` in the path of a photo; 255 is ignored."""
    data = yaml.safe_load((out / "data.yaml").read_text())
    assert data["names"] == dict(enumerate(["background", *NAMES]))
    classes, seen = classes_of(pets.root), {}
    for key in ("train", "val"):
        (folder,) = data[key]
        for photo in sorted((out / folder).iterdir()):
            place = folder.replace("images", data["masks_dir"], 1)
            with Image.open(out / place / f"{photo.stem}.png") as mask:
                assert mask.mode == "L"
                values = np.array(mask)
            assert np.array_equal(values, classes[photo.stem])
            assert set(np.unique(values).tolist()) <= {*data["names"], 255}
            assert photo.read_bytes() == pets.image_path(photo.stem).read_bytes()
            assert not photo.samefile(pets.image_path(photo.stem))
            seen[photo.stem] = key
    columns = (pets.manifest.images[name].to_pylist() for name in ("image_id", "split"))
    assert seen == dict(zip(*columns, strict=True))


def test_a_set_without_a_training_split_has_nothing_to_train_on(
    one_split: Path, tmp_path: Path
) -> None:
    (note,) = export_set(open_set(one_split), "yolo", tmp_path / "out")
    assert note == "no split's name begins with 'train': data.yaml has no photos to train on"
    data = yaml.safe_load((tmp_path / "out/data.yaml").read_text())
    assert (data["train"], data["val"]) == (None, ["images/val"])


def test_a_split_called_images_is_refused(one_split: Path, tmp_path: Path) -> None:
    root = with_columns(one_split, tmp_path / "set", split=["images"] * 6)
    with pytest.raises(InputError, match="a split called 'images', in which Ultralytics would not"):
        export_set(open_set(root), "yolo", tmp_path / "out")


def test_a_name_adds_no_keys(pets: EvaluationSet, tmp_path: Path) -> None:
    """Ultralytics runs what stands under "download"."""
    of = pets.manifest
    hostile = {**of.meta, "name": "pets\ndownload: import os"}
    opened = EvaluationSet(pets.root, Manifest(of.images, of.instances, hostile))
    export_set(opened, "yolo", tmp_path / "out")
    data = yaml.safe_load((tmp_path / "out/data.yaml").read_text())
    assert sorted(data) == ["masks_dir", "names", "train", "val"]


def test_ultralytics_reads_it(
    pets: EvaluationSet, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("YOLO_OFFLINE", "true")
    pytest.importorskip("ultralytics", reason="Ultralytics is not installed")
    from ultralytics.data.dataset import SemanticDataset
    from ultralytics.data.utils import check_det_dataset

    export_set(pets, "yolo", tmp_path / "own")  # it writes a cache beside the masks
    data = check_det_dataset(str(tmp_path / "own/data.yaml"))
    assert data["names"] == dict(enumerate(["background", *NAMES]))
    classes, seen = classes_of(pets.root), set()
    for key in ("train", "val"):
        read = SemanticDataset(img_path=data[key], data=data, augment=False, task="semantic")
        for place, label in enumerate(read.labels):
            name = Path(label["mask_file"]).stem
            assert np.array_equal(read.load_mask(place), classes[name])
            seen.add(name)
    assert seen == set(classes)
