"""Class maps become grey PNGs of the same numbers."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sbdata.app.grey import grey_of_palette, targets_of, write_grey
from sbdata.mask_files import PngError
from sbdata.masks import voc_palette
from sbdata.taxonomy import VOC20, Taxonomy

VALUES = np.array([[0, 1, 2], [20, 255, 7]], np.uint8)


def png(values: np.ndarray, palette: bytes | None = None, **settings: object) -> bytes:
    image = Image.fromarray(values)
    if palette is not None:
        image.putpalette(palette)
    out = io.BytesIO()
    image.save(out, format="PNG", **settings)
    return out.getvalue()


def read(data: bytes) -> tuple[str, np.ndarray]:
    with Image.open(io.BytesIO(data)) as image:
        return image.mode, np.array(image)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_a_palette_png_keeps_its_numbers(height, width, seed):
    values = np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)
    mode, found = read(grey_of_palette(png(values, voc_palette())))
    assert mode == "L"
    assert np.array_equal(found, values)


def test_transparency_and_text_do_not_survive():
    data = png(VALUES, voc_palette(), transparency=0)
    assert b"tRNS" in data
    grey = grey_of_palette(data)
    assert b"tRNS" not in grey
    assert b"PLTE" not in grey
    assert np.array_equal(read(grey)[1], VALUES)


@pytest.mark.parametrize(
    "data",
    [
        png(VALUES),
        png(np.stack([VALUES] * 3, axis=-1)),
        png(np.minimum(VALUES, 1), voc_palette(), bits=1),
        png(VALUES, voc_palette())[:-20],
        png(VALUES, voc_palette())[:40],
        b"GIF89a",
        b"",
    ],
    ids=["grey", "colours", "one bit", "no end", "cut in a chunk", "no png", "empty"],
)
def test_other_files_are_left_alone(data):
    assert grey_of_palette(data) is None


def test_opencv_which_fiftyone_uses_reads_colours_of_the_palette_and_numbers_of_the_grey(tmp_path):
    cv2 = pytest.importorskip("cv2")
    (tmp_path / "palette.png").write_bytes(png(VALUES, voc_palette()))
    path, _ = write_grey(tmp_path / "palette.png", tmp_path / "grey.png", (3, 2), VOC20)
    assert cv2.imread(str(tmp_path / "palette.png"), cv2.IMREAD_UNCHANGED).ndim == 3
    assert np.array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), VALUES)


@pytest.mark.parametrize(
    "kind", ["grey", "palette", "another palette", "reordered", "four bits", "colours"]
)
def test_every_kind_of_class_map_is_written(tmp_path, kind):
    values = np.minimum(VALUES, 7) if kind == "four bits" else VALUES
    colours = np.frombuffer(voc_palette(), np.uint8).reshape(256, 3)
    used = np.unique(values)
    data = {
        "grey": png(values),
        "palette": png(values, voc_palette()),
        "another palette": png(values, bytes(768)),
        # as tools rewrite a palette image: VOC's colours, under the numbers 0, 1, ... of those used
        "reordered": png(
            np.searchsorted(used, values).astype(np.uint8), colours[[*used, *range(99)]].tobytes()
        ),
        "four bits": png(values, voc_palette()[:48], bits=4),
        "colours": png(colours[values]),
    }[kind]
    path, out = tmp_path / "in.png", tmp_path / "deep" / "out.png"
    path.write_bytes(data)
    found, digest = write_grey(path, out, (3, 2), VOC20)
    assert digest == hashlib.sha256(data).hexdigest()
    assert found == (path if kind == "grey" else out)
    assert out.exists() == (kind != "grey")
    assert np.array_equal(read(found.read_bytes())[1], values)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (png(VALUES.T), "2 x 3 pixels"),
        (png(VALUES, voc_palette())[:-20], ""),
        (b"nothing", ""),
        (None, "cannot be read"),
    ],
)
def test_what_is_no_class_map_of_the_image_is_refused(tmp_path, data, said):
    path = tmp_path / "in.png"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(PngError) as caught:
        write_grey(path, tmp_path / "out.png", (3, 2), VOC20)
    assert said in caught.value.detail
    assert not (tmp_path / "out.png").exists()


def test_targets_name_every_number_once():
    named = targets_of(Taxonomy("two", ("circle", "square")))
    assert named == {0: "background", 1: "circle", 2: "square", 255: "void"}
