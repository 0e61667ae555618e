"""Arrays and files with a palette as predictions: what is read, what is refused, before what."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sbdata.mask_files import PngError, voc_palette
from sbdata.score.inputs import PredictionFormat, list_predictions, read_prediction
from sbdata.score.palettes import find_palette
from sbdata.taxonomy import VOC20, Taxonomy
from tests.mask_examples import png_of_bits

SIZE = (17, 13)
VALUES = np.arange(13 * 17, dtype=np.uint8).reshape(13, 17) % 21
PLAIN = PredictionFormat(VOC20)
FARM = Taxonomy("farm", ("fox", "hen"))


def npy(path: Path, values: object, **options: object) -> Path:
    np.save(path, values, **options)
    return path


def complaint(path: Path, contract: PredictionFormat = PLAIN) -> tuple[str, str]:
    with pytest.raises(PngError) as caught:
        read_prediction(path, SIZE, contract)
    return caught.value.kind, caught.value.detail


# --- arrays ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["u1", "i1", "<u2", ">u2", "<i4", ">i4", "<i8", ">u8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_kind_of_integer_is_read(tmp_path: Path, dtype: str, order: str) -> None:
    path = npy(tmp_path / "a.npy", np.array(VALUES, dtype, order=order))
    values, digest = read_prediction(path, SIZE, PLAIN)
    assert values.dtype == np.uint8
    assert (values == VALUES).all()
    assert len(digest) == 64


def test_arrays_that_are_no_class_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    for values, said in (
        (VALUES.astype(float), "an array of 'float64'; write class numbers as integers"),
        (VALUES > 3, "an array of 'bool'"),
        (VALUES.astype(complex), "an array of 'complex128'"),
        (VALUES.astype("S2"), "an array of '|S2'"),
        (VALUES.astype("M8[s]"), "an array of 'datetime64[s]'"),
        (VALUES.astype([("x", "u1")]), "write class numbers as integers"),
        (np.array({"a": VALUES}, object), "an array of objects, which are never unpickled"),
    ):
        npy(path, values, allow_pickle=True)
        kind, detail = complaint(path)
        assert kind == "mode"
        assert said in detail


def test_arrays_of_other_shapes(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    for values in (VALUES[None], VALUES.T, VALUES[:-1], VALUES.ravel(), VALUES[0, 0], VALUES[:0]):
        npy(path, values)
        kind, detail = complaint(path)
        assert kind == "size"
        assert detail.startswith("an array of shape (")
        assert detail.endswith("its image needs (13, 17) (height, width)")


def test_values_of_an_array(tmp_path: Path) -> None:
    values = VALUES.astype(np.int64)
    values[0, :2], values[1, 0], values[2, 0] = -1, 21, 2**40
    path = npy(tmp_path / "a.npy", values)
    assert complaint(path) == (
        "values",
        "values -1 (2 pixels), 21 (1 pixels), 1099511627776 (1 pixels); voc20 has 0..20, map them "
        "to classes",
    )
    only_below = np.where(values == -1, -1, 0)
    assert "values -1 (2 pixels)" in complaint(npy(path, only_below))[1]
    assert complaint(npy(path, np.where(values == -1, 255, 0)))[0] == "void"
    voids = PredictionFormat(VOC20, predicted_void=True)
    assert read_prediction(path, SIZE, voids)[0].max() == 255


def header(text: str, version: int = 1, length: int | None = None) -> bytes:
    size = len(text) if length is None else length
    return b"\x93NUMPY" + bytes([version, 0]) + size.to_bytes(2 * version, "little") + text.encode()


GOOD = "{'descr': '|u1', 'fortran_order': False, 'shape': (13, 17), }\n"


def test_a_header_is_bounded_before_anything_is_allocated(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(header(GOOD) + VALUES.tobytes())
    assert (read_prediction(path, SIZE, PLAIN)[0] == VALUES).all()
    huge = GOOD.replace("13", "1" + "0" * 12)
    for data, kind in (
        (header(huge) + VALUES.tobytes(), "size"),
        (header(GOOD) + VALUES.tobytes()[:-1], "unreadable"),
        (header(GOOD) + VALUES.tobytes() + b"\0", "unreadable"),
        (header(GOOD, 2) + VALUES.tobytes(), ""),
        (header(GOOD, 2, 2**31) + VALUES.tobytes(), "unreadable"),
        (header(GOOD + " " * 5000) + VALUES.tobytes(), "unreadable"),
        (header("{" * 3000) + VALUES.tobytes(), "unreadable"),
        (header("~" * 300 + "1") + VALUES.tobytes(), "unreadable"),
        (header(GOOD, 3) + VALUES.tobytes(), "unreadable"),
        (header(GOOD.replace("'|u1'", "'|O'")) + b"cos\nsystem\n", "mode"),
        (header(GOOD.replace("13", "-13")) + VALUES.tobytes(), "size"),
        (b"\x93NUMPY", "unreadable"),
        (b"", "unreadable"),
        (b"\x80\x04K\x01.", "unreadable"),
    ):
        path.write_bytes(data)
        if not kind:
            assert (read_prediction(path, SIZE, PLAIN)[0] == VALUES).all()
            continue
        assert complaint(path)[0] == kind, data[:80]


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.npy")
    assert complaint(tmp_path / "a.npy") == ("unreadable", "a folder, pipe or device, not a file")


# --- 16 bits --------------------------------------------------------------------------------------


def test_sixteen_bit_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(VALUES.astype(np.uint16)).save(path)
    assert path.read_bytes()[24] == 16
    values, _ = read_prediction(path, SIZE, PLAIN)
    assert values.dtype == np.uint8
    assert (values == VALUES).all()
    Image.fromarray(VALUES.astype(np.uint16) * 257).save(path)  # what a scaling tool makes of them
    kind, detail = complaint(path)
    assert kind == "values"
    assert detail.startswith("values 257 (")
    Image.fromarray(np.where(VALUES == 3, 255, VALUES).astype(np.uint16)).save(path)
    assert complaint(path)[0] == "void"


# --- palettes -------------------------------------------------------------------------------------

COLOURS = np.array([[0, 0, 0], [10, 20, 30], [200, 0, 7]], np.uint8)


@pytest.fixture
def farm(tmp_path: Path) -> PredictionFormat:
    file = tmp_path / "farm.txt"
    file.write_text("background: 0 0 0\nfox: 10 20 30\nhen: 200 0 7\n")
    return PredictionFormat(FARM, palette=find_palette(str(file), FARM))


def test_colours_of_a_palette_file(tmp_path: Path, farm: PredictionFormat) -> None:
    numbers, path = VALUES % 3, tmp_path / "a.png"
    Image.fromarray(COLOURS[numbers]).save(path)
    assert (read_prediction(path, SIZE, farm)[0] == numbers).all()
    order = np.array([2, 0, 1])  # a palette PNG in an order of its own
    image = Image.fromarray(np.argsort(order).astype(np.uint8)[numbers])
    image.putpalette(COLOURS[order].tobytes())
    for bits in (2, 8):
        image.save(path, bits=bits)
        assert (read_prediction(path, SIZE, farm)[0] == numbers).all()


def test_an_unknown_colour_is_named_with_its_place(tmp_path: Path, farm: PredictionFormat) -> None:
    pixels = COLOURS[VALUES % 3]
    pixels[2, 5] = (10, 20, 31)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    kind, detail = complaint(tmp_path / "a.png", farm)
    assert kind == "colours"
    assert detail.startswith("colour [10, 20, 31] at x = 5, y = 2 is not in palette ")
    assert "(1 such pixels in all)" in detail


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "1", "I;16"])
def test_other_modes_have_no_colours(tmp_path: Path, mode: str, farm: PredictionFormat) -> None:
    image = Image.fromarray(VALUES % 3)
    wide = Image.fromarray((VALUES % 3).astype(np.uint16))
    (wide if mode == "I;16" else image.convert(mode)).save(tmp_path / "a.png")
    kind, detail = complaint(tmp_path / "a.png", farm)
    assert kind == "mode"
    assert "farm.txt is of colours" in detail


def test_equal_channels_are_colours_like_others(tmp_path: Path, farm: PredictionFormat) -> None:
    Image.fromarray(VALUES % 3).convert("RGB").save(tmp_path / "a.png")
    assert "colour [1, 1, 1]" in complaint(tmp_path / "a.png", farm)[1]
    kind, detail = complaint(tmp_path / "a.png")
    assert kind == "mode"
    assert "equal channels, as of numbers that were saved in colour" in detail


def test_an_index_beyond_the_files_own_palette(tmp_path: Path, farm: PredictionFormat) -> None:
    (tmp_path / "a.png").write_bytes(png_of_bits(VALUES % 4, 8, 3, COLOURS.tobytes()))
    assert complaint(tmp_path / "a.png", farm) == (
        "palette",
        "index 3 of 3 colours; write it again",
    )


def test_size_is_compared_before_the_pixels_are_decoded(
    tmp_path: Path, farm: PredictionFormat
) -> None:
    Image.new("RGB", (18, 13)).save(tmp_path / "a.png")
    assert complaint(tmp_path / "a.png", farm)[0] == "size"
    assert complaint(npy(tmp_path / "a.npy", VALUES), farm)[0] == "mode"


def test_numbers_of_a_palette_file(tmp_path: Path) -> None:
    file = tmp_path / "ids.txt"
    file.write_text("background: 0\nfox: 26000\nhen: 7\n")
    contract = PredictionFormat(FARM, palette=find_palette(str(file), FARM))
    ids = np.array([0, 26000, 7])[VALUES % 3]
    Image.fromarray(ids.astype(np.uint16)).save(tmp_path / "a.png")
    assert (read_prediction(tmp_path / "a.png", SIZE, contract)[0] == VALUES % 3).all()
    for dtype in ("<i8", ">u2", "f4"):
        path = npy(tmp_path / "a.npy", ids.astype(dtype))
        if dtype == "f4":
            assert complaint(path, contract)[0] == "mode"
        else:
            assert (read_prediction(path, SIZE, contract)[0] == VALUES % 3).all()
    Image.fromarray(np.where(ids == 7, 8, 0).astype(np.uint8)).save(tmp_path / "a.png")
    kind, detail = complaint(tmp_path / "a.png", contract)
    assert kind == "values"
    assert detail.startswith("number 8 at x = 2, y = 0 is not in palette")
    Image.fromarray(COLOURS[VALUES % 3]).save(tmp_path / "a.png")
    assert "ids.txt is of numbers" in complaint(tmp_path / "a.png", contract)[1]


# --- names ----------------------------------------------------------------------------------------


def test_arrays_are_found_if_they_are_asked_for(tmp_path: Path) -> None:
    for name in ("a.npy", "b.png", "c.npy", "c.png", "d.npy"):
        (tmp_path / name).write_bytes(b"")
    found = list_predictions(tmp_path, ["a", "b", "c", "e"], arrays=True)
    assert found.found == {"a", "b", "c"}
    assert [found.path(i).name for i in "abc"] == ["a.npy", "b.png", "c.png"]
    assert [(p.file, p.kind, p.detail) for p in found.problems] == [
        ("c.npy", "extra", "a second prediction of the image of c.png; keep one"),
        ("d.npy", "extra", "not an image of the set; remove it"),
        ("e.png", "missing", "no such file"),
    ]
    without = list_predictions(tmp_path, ["a", "b"])
    assert without.missing == ("a",)
    only = list_predictions(tmp_path, ["a", "pred_d"], arrays=True)
    assert ("pred_d.npy", "missing") in [(p.file, p.kind) for p in only.problems]


@given(
    st.integers(1, 6),
    st.integers(1, 6),
    st.sampled_from(["u1", ">u2", "<i4", "i8"]),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_what_numpy_writes_is_read_back(height, width, dtype, fortran, random) -> None:
    values = np.array([[random.randrange(21) for _ in range(width)] for _ in range(height)])
    stream = io.BytesIO()
    np.save(stream, np.array(values, dtype, order="F" if fortran else "C"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.npy"
        path.write_bytes(stream.getvalue())
        assert (read_prediction(path, (width, height), PLAIN)[0] == values).all()


def test_vocs_palette_by_its_name(tmp_path: Path) -> None:
    contract = PredictionFormat(VOC20, palette=find_palette("voc", VOC20))
    colours = np.frombuffer(voc_palette(), np.uint8).reshape(256, 3)
    Image.fromarray(colours[VALUES]).save(tmp_path / "a.png")
    assert (read_prediction(tmp_path / "a.png", SIZE, contract)[0] == VALUES).all()
    Image.fromarray(colours[VALUES + 21]).save(tmp_path / "a.png")
    assert complaint(tmp_path / "a.png", contract)[0] == "colours"
