"""SBD's MATLAB files: as SciPy reads them, and what is refused."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat

from sbdata.errors import InputError
from sbdata.masks import decode_mask
from sbdata.recipe import SourceSpec
from sbdata.sources import open_source
from sbdata.sources.mat_files import MatError, read_mat_struct
from sbdata.sources.sbd import SbdSource
from tests.sources.miniatures import SBD_TRAIN, SBD_VAL, mat, sbd_files

SPEC = SourceSpec("sbd", ("train", "val"))
FIELDS = ("Segmentation", "Categories")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, data in sbd_files().items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path


def test_masks_come_as_published(root: Path) -> None:
    source = open_source(SPEC, "val", root)
    images, rejections = source.read(source.chunks(10)[0])
    assert [image.image_id for image in images] == list(SBD_VAL)
    assert not rejections
    two = images[0]
    assert [(o.annotation_id, o.category) for o in two.objects] == [("1", "person"), ("2", "train")]
    assert decode_mask(two.objects[1].rle, two.height, two.width)[10:40, 60:90].all()
    assert two.void is None
    assert source.image_bytes(two.file_name)


def _changed(root: Path, folder: str, data: bytes) -> tuple[list, list]:
    (root / "benchmark_RELEASE/dataset" / folder / f"{SBD_VAL[1]}.mat").write_bytes(data)
    source = open_source(SPEC, "val", root)
    return source.read(source.chunks(10)[0])


def test_pixels_of_another_class_in_cls_become_void(root: Path) -> None:
    classes = np.zeros((100, 120), np.uint8)
    classes[12:40, 10:40] = 4
    images, (note,) = _changed(root, "cls", mat("GTcls", Segmentation=classes))
    assert note.reason == "maps_disagree"
    assert "60 pixels" in note.detail
    (boat,) = images[1].objects
    assert decode_mask(boat.rle, 100, 120).sum() == 28 * 30


SQUARE = np.ones((4, 5), np.uint8)
OTHERS = {
    "hdf5": (b"MATLAB 7.3 MAT-file".ljust(512) + b"\x89HDF\r\n\x1a\n", "MATLAB 7.3"),
    "not a mat file": (b"\x89PNG", "not a MATLAB 5 file"),
    "variable": (mat("GTcls", Segmentation=SQUARE), "holds 'GTcls', not 'GTinst'"),
    "field": (mat("GTinst", Segmentation=SQUARE), "no field Categories"),
    "cell": (
        mat("GTinst", Segmentation=np.array([[SQUARE, 1]], object), Categories=1),
        "not an array",
    ),
    "type": (mat("GTinst", Segmentation=SQUARE * 1.5, Categories=1), "float64 of 4 x 5, not uint8"),
    "size": (mat("GTinst", Segmentation=SQUARE, Categories=1), "5 x 4 pixels, but the class mask"),
    "categories": (
        mat("GTinst", Segmentation=np.full((100, 120), 3, np.uint8), Categories=[[1], [2]]),
        "3 objects, whose Categories are 2 numbers",
    ),
    "cut": (mat("GTinst", Segmentation=SQUARE, Categories=1)[:-20], "damaged or cut"),
    "empty": (b"", "not a MATLAB 5 file"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_files_are_left_out_with_the_reason(root: Path, kind: str) -> None:
    data, said = OTHERS[kind]
    images, (rejection,) = _changed(root, "inst", data)
    assert len(images) == 1
    assert said in rejection.detail
    assert rejection.file == f"inst/{SBD_VAL[1]}.mat"


def test_what_unfolds_without_measure_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sbdata.sources.mat_files.MAX_MAT_BYTES", 100_000)
    path = tmp_path / "a.mat"
    path.write_bytes(mat("GTinst", Segmentation=np.zeros((1000, 1000), np.uint8), Categories=1))
    assert path.stat().st_size < 100_000
    with pytest.raises(MatError, match="unfolds to more than"):
        read_mat_struct(path, "GTinst", FIELDS)


def test_damaged_files_are_read_or_refused(tmp_path: Path) -> None:
    """SciPy ends the process on some of these."""
    packed = mat("GTinst", Segmentation=np.eye(30, dtype=np.uint8), Categories=[[1]])
    good = packed[:128] + zlib.decompress(packed[136:])
    path, rng = tmp_path / "a.mat", np.random.default_rng(0)
    read, refused = 0, 0
    for _ in range(400):
        data = bytearray(good)
        for place in rng.integers(126, 600, 4):
            data[place] = rng.integers(256)
        path.write_bytes(data)
        try:
            read_mat_struct(path, "GTinst", FIELDS)
            read += 1
        except MatError:
            refused += 1
    assert read
    assert refused


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda root: None, "no SBD there"),
        (lambda root: (root / "cls").mkdir() or (root / "inst").mkdir(), "no such list"),
    ],
)
def test_a_wrong_folder_is_refused(tmp_path: Path, make: object, said: str) -> None:
    make(tmp_path)  # type: ignore[operator]
    with pytest.raises(InputError, match=said):
        open_source(SPEC, "val", tmp_path)


def test_a_list_that_is_empty_or_names_an_image_twice_is_refused(root: Path) -> None:
    path = root / "benchmark_RELEASE/dataset/train.txt"
    for text, said in (("", "empty"), (f"{SBD_TRAIN[0]}\n" * 2, "twice")):
        path.write_text(text)
        with pytest.raises(InputError, match=said):
            open_source(SPEC, "train", root)


@pytest.mark.realdata
def test_real_files_are_as_scipy_reads_them(real_data: Path) -> None:
    source = open_source(SPEC, "val", real_data / "sbd-mini")
    assert isinstance(source, SbdSource)
    images, rejections = source.read(source.chunks(10)[0])
    assert not rejections
    names = [[o.category for o in image.objects] for image in images]
    assert names == [
        ["bottle", "bottle", "chair", "person", "person"],
        ["boat", "boat", "person", "person", "person"],
    ]
    for image in images:
        truth = loadmat(source.root / "inst" / f"{image.image_id}.mat")["GTinst"][0, 0]
        for number, one in enumerate(image.objects, start=1):
            mask = decode_mask(one.rle, image.height, image.width)
            assert (mask == (truth["Segmentation"] == number)).all()
