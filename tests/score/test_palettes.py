"""Palettes: what a file of them says, what is refused, and decoding against a dictionary."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sbdata.errors import InputError
from sbdata.labelmap import labelmap_text
from sbdata.mask_files import voc_palette
from sbdata.score.palettes import PALETTES, Palette, find_palette
from sbdata.taxonomy import CITYSCAPES19, VOC20, Taxonomy
from tests.sources.label_map_examples import LABELS

FARM = Taxonomy("farm", ("fox", "hen house", "void"))


def entries(text: str, taxonomy: Taxonomy, path: Path) -> dict[int, int]:
    path.write_text(text)
    palette = find_palette(str(path), taxonomy)
    return dict(zip(palette.codes.tolist(), palette.classes.tolist(), strict=True))


def test_lines_of_colours(tmp_path: Path) -> None:
    text = (
        "# comment\n\nbackground: 0 0 0\nhen house : 1, 2,3\n fox:255 255\t255\n"
        "fox: 0 0 1  \r\nvoid: 9 9 9"
    )
    assert entries(text, FARM, tmp_path / "p.txt") == {
        0: 0,
        0x010203: 2,
        0xFFFFFF: 1,
        1: 1,
        0x090909: 3,  # a class that is called void
    }


def test_a_labelmap_of_cvat(tmp_path: Path) -> None:
    text = (
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\naeroplane:128,0,0::\n"
        "tvmonitor:0,64,128:screen,stand:on\nvoid:224,224,192::\n"
    )
    found = entries(text, VOC20, tmp_path / "labelmap.txt")
    assert found == {0: 0, 0x800000: 1, 0x004080: 20, 0xE0E0C0: 255}


def test_the_labelmap_of_a_set(tmp_path: Path) -> None:
    found = entries(labelmap_text(VOC20), VOC20, tmp_path / "labelmap.txt")
    voc = find_palette("voc", VOC20)
    assert found == dict(zip(voc.codes.tolist(), voc.classes.tolist(), strict=True))
    bin_of = Taxonomy("bins", ("ignored",))
    assert entries("ignored: 1 2 3\nvoid: 4 5 6", bin_of, tmp_path / "p.txt") == {
        0x010203: 1, 0x040506: 255,
    }  # fmt: skip


def test_lines_of_numbers(tmp_path: Path) -> None:
    palette = tmp_path / "ids.txt"
    assert entries("fox: 26000\nbackground: 0\nbackground: 7", FARM, palette) == {
        26000: 1, 0: 0, 7: 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no entry in it"),
        ("# only: 1 2 3", "no entry in it"),
        ("wolf: 1 2 3", "line 1, 'wolf: 1 2 3': neither a class of farm nor background nor void"),
        ("Fox: 1 2 3", "neither a class of farm"),
        ("fox: 1 2", "no entry; write `name: r g b`"),
        ("fox 1 2 3", "no entry"),
        ("fox: 1 2 256", "0..255 each"),
        ("fox: -1 2 3", "no entry"),
        ("fox: #102030", "no entry"),
        ("fox: 1 2 3\nhen house: 1 2 3", "line 2, 'hen house: 1 2 3': that colour or number has"),
        ("fox: 1\nhen house: 1 2 3", "colours or numbers, not both"),
        ("fox\x1b[2J: 1 2 3", r"'fox\x1b[2J: 1 2 3'"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe".decode("latin-1"), "not a list of palette entries"),
    ],
)
def test_a_file_that_is_no_palette(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "p.txt"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError) as caught:
        find_palette(str(path), FARM)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)
    with pytest.raises(InputError, match="not a readable list of palette entries"):
        find_palette("no-such-palette", FARM)


def test_vocs_colours_are_those_of_the_numbers() -> None:
    palette = find_palette("voc", VOC20)
    colours = np.frombuffer(voc_palette(), np.uint8).reshape(256, 3)
    numbers = [*range(21), 255]
    classes, problem = palette.decode(colours[None, numbers])
    assert classes.tolist() == [numbers]
    assert not problem
    assert palette.decode(colours[None, 20:23])[1].startswith("colour [128, 64, 128] at x = 1")


def test_the_bundled_numbers_of_cityscapes() -> None:
    for name, numbers in (
        ("cityscapes-trainids", {**{k: k + 1 for k in range(19)}, 255: 255}),
        ("cityscapes-labelids",
         {k: CITYSCAPES19.id_of(name) if name else 0 for k, name in LABELS.items()}),
    ):  # fmt: skip
        palette = find_palette(name, CITYSCAPES19)
        found = dict(zip(palette.codes.tolist(), palette.classes.tolist(), strict=True))
        assert found == numbers
        assert not palette.colours
        with pytest.raises(InputError, match="neither a class of voc20"):
            find_palette(name, VOC20)
    assert set(PALETTES) == {"voc", "cityscapes-trainids", "cityscapes-labelids"}


@given(st.data())
def test_decoding_is_looking_up(data: st.DataObject) -> None:
    colours = data.draw(
        st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=2, max_size=9, unique=True)
    )
    *known, strange = colours
    classes = Taxonomy("many", tuple(f"c{k}" for k in range(1, len(known) + 1)))
    palette = _palette(known, classes)
    places = data.draw(st.lists(st.integers(0, len(known) - 1), min_size=1, max_size=12))
    pixels = np.array([[known[k] for k in places]], np.uint8)
    found, problem = palette.decode(pixels)
    assert found.tolist() == [[k + 1 for k in places]]
    assert not problem
    pixels[0, -1] = strange
    _, problem = palette.decode(pixels)
    assert problem.startswith(f"colour {list(strange)} at x = {len(places) - 1}, y = 0 is not in")
    assert "(1 such pixels in all)" in problem


def _palette(known: list[tuple[int, int, int]], classes: Taxonomy) -> Palette:
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        for k, (r, g, b) in enumerate(known, 1):
            file.write(f"c{k}: {r} {g} {b}\n")
        file.flush()
        return find_palette(file.name, classes)


def test_numbers_beyond_any_palette() -> None:
    palette = find_palette("cityscapes-trainids", CITYSCAPES19)
    for dtype, value in (("i8", -1), ("u8", 2**64 - 1), (">i4", 2**31 - 1), ("u2", 19)):
        _, problem = palette.decode(np.array([[0, value]], dtype))
        assert problem.startswith(f"number {value} at x = 1, y = 0 is not in palette")
