"""Mask files: one strict reader, whatever the image is, and the evidence of its palette."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sbdata.mask_files import (
    PngError,
    numbers_of_colours,
    read_index_png,
    read_mask,
    voc_palette,
    write_index_png,
)
from sbdata.masks import MaskError
from sbdata.taxonomy import SHAPES8, VOC20, Taxonomy
from tests.mask_examples import png_of_bits

COLOURS = np.frombuffer(voc_palette(), np.uint8).reshape(256, 3)
NUMBERS = np.arange(11 * 17, dtype=np.uint8).reshape(11, 17) % 21


def save_palette(path: Path, indices: np.ndarray, colours: np.ndarray) -> Path:
    image = Image.fromarray(np.asarray(indices, np.uint8))
    image.putpalette(np.asarray(colours, np.uint8).tobytes())
    image.save(path)
    return path


def said(path: Path, **rules: object) -> tuple[str, str]:
    with pytest.raises(PngError) as caught:
        read_mask(path, **rules)  # type: ignore[arg-type]
    assert str(caught.value).startswith(f"{path}: ")
    assert caught.value.detail in str(caught.value)
    return caught.value.kind, caught.value.detail


# --- palette PNGs as sbdata writes them -----------------------------------------------------------


def test_the_palette_is_vocs() -> None:
    """The colours are those of the devkit's published legend."""
    legend = {
        0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 3: (128, 128, 0), 4: (0, 0, 128),
        5: (128, 0, 128), 6: (0, 128, 128), 7: (128, 128, 128), 8: (64, 0, 0), 9: (192, 0, 0),
        10: (64, 128, 0), 11: (192, 128, 0), 12: (64, 0, 128), 13: (192, 0, 128),
        14: (64, 128, 128), 15: (192, 128, 128), 16: (0, 64, 0), 17: (128, 64, 0),
        18: (0, 192, 0), 19: (128, 192, 0), 20: (0, 64, 128), 255: (224, 224, 192),
    }  # fmt: skip
    assert {index: tuple(COLOURS[index].tolist()) for index in legend} == legend


@pytest.mark.realdata
def test_the_palette_is_that_of_the_published_masks(real_data: Path) -> None:
    folder = real_data / "voc2012-mini" / "VOCdevkit" / "VOC2012" / "SegmentationClass"
    with Image.open(sorted(folder.iterdir())[0]) as image:
        assert bytes(image.getpalette()) == voc_palette()


def test_indices_come_back_from_a_png(tmp_path: Path) -> None:
    indices = np.random.default_rng(0).integers(0, 256, (11, 17), np.uint8)
    path = tmp_path / "new folder" / "mask.png"
    write_index_png(path, np.asfortranarray(indices))
    found = read_index_png(path)
    assert np.array_equal(found, indices)
    assert found.flags.writeable
    assert [p.name for p in path.parent.iterdir()] == ["mask.png"]
    with Image.open(path) as image:
        assert image.mode == "P"
        assert bytes(image.getpalette()) == voc_palette()


def test_every_colour_has_its_number() -> None:
    numbers, unknown = numbers_of_colours(COLOURS)
    assert numbers.tolist() == list(range(256))
    assert not unknown.any()
    everything = np.indices((32, 32, 32)).reshape(3, -1).T.astype(np.uint8) * 8
    numbers, unknown = numbers_of_colours(everything)
    known = {tuple(colour) for colour in COLOURS.tolist()}
    assert [tuple(c) in known for c in everything.tolist()] == (~unknown).tolist()
    assert (COLOURS[numbers[~unknown]] == everything[~unknown]).all()


# --- bit depths -----------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("palette", [voc_palette(), bytes(range(200, 248))])
def test_palettes_of_few_bits_are_read_as_indices(tmp_path, depth, palette) -> None:
    values = NUMBERS % min(2**depth, 16)
    (tmp_path / "a.png").write_bytes(png_of_bits(values, depth, 3, palette[: 3 * 2**depth]))
    for classes in (VOC20, None):
        found = read_mask(tmp_path / "a.png", classes=classes)
        assert (found.values == values).all()
        assert not found.by_colour
    assert (read_index_png(tmp_path / "a.png") == values).all()


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("instances", [False, True])
def test_grey_of_few_bits_is_never_scaled(tmp_path, depth, instances) -> None:
    (tmp_path / "a.png").write_bytes(png_of_bits(NUMBERS % 2**depth, depth, 0))
    kind, detail = said(tmp_path / "a.png", instances=instances)
    assert kind == "mode"
    assert detail.startswith(f"a {depth}-bit grey image; write ")
    with pytest.raises(MaskError, match=f"{depth}-bit grey"):
        read_index_png(tmp_path / "a.png")


def test_grey_is_read_and_sixteen_bits_where_they_are_wanted(tmp_path: Path) -> None:
    Image.fromarray(NUMBERS).save(tmp_path / "a.png")
    assert (read_mask(tmp_path / "a.png", classes=VOC20).values == NUMBERS).all()
    wide = np.array([[0, 1001, 2001, 65535]], np.uint16)
    Image.fromarray(wide).save(tmp_path / "b.png")
    found = read_mask(tmp_path / "b.png", instances=True, sixteen_bits=True).values
    assert found.dtype == np.uint16
    assert (found == wide).all()
    assert (
        "a 16-bit grey image; write instance numbers as 8-bit grey or palette"
        in (said(tmp_path / "b.png", instances=True)[1])
    )


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "I;16", "1"])
def test_images_that_hold_no_numbers(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (4, 3)).save(tmp_path / "mask.png")
    with pytest.raises(MaskError, match=r"mask\.png: an? \d+-bit .* image"):
        read_index_png(tmp_path / "mask.png")


# --- palettes -------------------------------------------------------------------------------------


@given(st.permutations(range(21)), st.integers(0, 2**32 - 1))
def test_vocs_colours_in_any_order_tell_the_classes(tmp_path_factory, order, seed) -> None:
    path = tmp_path_factory.getbasetemp() / "reordered.png"
    mask = np.random.default_rng(seed).integers(0, 21, (7, 9))
    place = np.argsort(order)  # where each colour stands in the palette
    save_palette(path, place[mask], COLOURS[order])
    found = read_mask(path, classes=VOC20)
    assert (found.values == mask).all()
    assert found.by_colour == (place[mask] != mask).any()
    assert (read_index_png(path) == place[mask]).all()  # as it stands, for whoever asks for that


def test_void_under_another_number(tmp_path: Path) -> None:
    path = save_palette(tmp_path / "a.png", NUMBERS % 3, COLOURS[[0, 255, 15]])
    wanted = np.array([0, 255, 15], np.uint8)[NUMBERS % 3]
    assert (read_mask(path, classes=VOC20).values == wanted).all()
    instances = read_mask(path, instances=True)
    assert (instances.values == wanted).all()
    assert instances.by_colour


@pytest.mark.parametrize(
    "colours",
    [
        np.zeros((256, 3)),  # a palette left black
        COLOURS[[0, 2, 2]],  # two numbers of one colour
        np.repeat(np.arange(256), 3).reshape(256, 3),  # the ramp of a grey image
        [(0, 0, 0), (64, 64, 64), (128, 128, 128)],  # greys of VOC's far numbers
        [(0, 0, 0), (128, 0, 0), (255, 0, 0)],  # one colour is not VOC's
        COLOURS[[0, 21, 2]],  # a number that no class has
        COLOURS,
    ],
)
def test_other_palettes_tell_nothing(tmp_path: Path, colours: object) -> None:
    path = save_palette(tmp_path / "a.png", NUMBERS % 3, np.asarray(colours))
    for classes in (VOC20, SHAPES8):
        found = read_mask(path, classes=classes)
        assert (found.values == NUMBERS % 3).all()
        assert not found.by_colour


def test_a_palette_that_ends_before_the_numbers_in_use_tells_nothing(tmp_path: Path) -> None:
    short = COLOURS[[0, 15]].tobytes()
    (tmp_path / "a.png").write_bytes(png_of_bits(NUMBERS % 3, 2, 3, short))
    assert (read_mask(tmp_path / "a.png", classes=VOC20).values == NUMBERS % 3).all()


def test_colours_of_a_users_own_classes_are_refused_until_told(tmp_path: Path) -> None:
    path = save_palette(tmp_path / "a.png", NUMBERS % 3, COLOURS[[0, 2, 1]])
    own = Taxonomy("own", ("tree", "house"))
    kind, detail = said(path, classes=own, remedy="add --colours")
    assert kind == "palette"
    assert detail == (
        "a palette with VOC's colours under other numbers (1 has the colour of 2), so that either "
        "may be the classes; if the numbers are, write them as 8-bit grey; if the colours are, add "
        "--colours"
    )
    found = read_mask(path, classes=own, decode_colours=True)
    assert (found.values == np.array([0, 2, 1])[NUMBERS % 3]).all()
    assert (read_mask(path).values == NUMBERS % 3).all()


# --- colours --------------------------------------------------------------------------------------


def test_colour_images_are_decoded_when_that_is_asked_for(tmp_path: Path) -> None:
    Image.fromarray(COLOURS[NUMBERS]).save(tmp_path / "a.png")
    assert (read_mask(tmp_path / "a.png", decode_colours=True).values == NUMBERS).all()
    assert said(tmp_path / "a.png", classes=VOC20, remedy="add --x") == (
        "mode",
        "an 8-bit RGB image in VOC's colours; add --x",
    )


def test_panoptic_ids_and_photos_are_told_from_vocs_colours(tmp_path: Path) -> None:
    ids = np.array([[0, 3226956, 6979964], [5922408, 17, 3226956]])
    panoptic = np.stack([ids & 255, ids >> 8 & 255, ids >> 16], axis=-1).astype(np.uint8)
    Image.fromarray(panoptic).save(tmp_path / "a.png")
    for decode in (False, True):
        kind, detail = said(tmp_path / "a.png", decode_colours=decode)
        assert kind == ("colours" if decode else "mode")
        assert "panoptic" in detail
        assert "(76, 61, 49) in 2 pixels" in detail
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "b.png")
    assert "colours that are not VOC's, as of a photo" in said(tmp_path / "b.png")[1]


# --- sizes and damage -----------------------------------------------------------------------------


def test_another_size_is_named_with_both(tmp_path: Path) -> None:
    write_index_png(tmp_path / "a.png", NUMBERS)
    assert read_mask(tmp_path / "a.png", size=(17, 11)).values.shape == (11, 17)
    kind, detail = said(tmp_path / "a.png", size=(320, 240))
    assert kind == "size"
    assert detail.startswith("17 x 11 pixels, its image has 320 x 240;")


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"<!DOCTYPE html><title>404</title>", "a web page"),
        (b"\xff\xd8\xff\xe0", "a JPEG file"),
        (b"\x93NUMPY\x01\0", "a NumPy file"),
        (b'{"images": []}', "a JSON file"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "a PostScript file"),
        (b"RIFF....WEBPVP8 ", "a WebP file"),
        (b"plain", "something else"),
    ],
)
def test_other_files_are_named(tmp_path: Path, data: bytes, kind: str) -> None:
    (tmp_path / "mask.png").write_bytes(data)
    assert said(tmp_path / "mask.png") == ("unreadable", f"not a PNG file but {kind}")


def test_damage_is_found_and_named(tmp_path: Path) -> None:
    write_index_png(tmp_path / "a.png", NUMBERS)
    good = (tmp_path / "a.png").read_bytes()
    place = good.index(b"IDAT") + 6
    for data in (good[: len(good) // 2], b"", good[:place] + b"\x7f" + good[place + 1 :]):
        (tmp_path / "a.png").write_bytes(data)
        assert said(tmp_path / "a.png")[0] == "unreadable"
    with pytest.raises(MaskError, match=r"none\.png: not a readable PNG \(No such file"):
        read_index_png(tmp_path / "none.png")


def test_an_error_passes_from_a_worker_process() -> None:
    passed = pickle.dumps(PngError(Path("a.png"), "mode", "a 4-bit grey image"))
    error = pickle.loads(passed)  # noqa: S301 - our own
    assert str(error) == "a.png: a 4-bit grey image"
    assert error.kind == "mode"
