"""Photos with an orientation tag keep their pixels, and no reader turns them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from sbdata.export.photos import photo_bytes, place_photo, turn_note

XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-'
    b'syntax-ns#"><rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" '
    b'tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)


def save(path: Path, **options: object) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (24, 40, 3), np.uint8)
    Image.fromarray(pixels).save(path, quality=95, **options)
    return path


def tagged(path: Path, tag: int) -> Path:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = tag, "a camera"
    return save(path, exif=exif)


def with_fill_byte(path: Path) -> Path:
    data = tagged(path, 6).read_bytes()
    path.write_bytes(data[:2] + b"\xff" + data[2:])
    return path


def stored(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image)


def shown(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.array(ImageOps.exif_transpose(image))


@pytest.mark.parametrize("make", ["exif 3", "exif 6", "xmp", "fill"])
def test_a_turned_photo_is_shown_as_stored(tmp_path: Path, make: str) -> None:
    path = tmp_path / "a.jpg"
    if make == "xmp":
        save(path, xmp=XMP)
    elif make == "fill":
        with_fill_byte(path)
    else:
        tagged(path, int(make[-1]))
    before = path.read_bytes()
    assert not np.array_equal(shown(before), stored(before)), "a reader turns it"
    data, turned = photo_bytes(path)
    assert turned
    assert np.array_equal(shown(data), stored(before))
    assert place_photo(path, tmp_path / "b.jpg", link=True)
    assert (tmp_path / "b.jpg").read_bytes() == data
    assert path.read_bytes() == before


@pytest.mark.parametrize("tag", [None, 1])
def test_other_photos_keep_their_bytes(tmp_path: Path, tag: int | None) -> None:
    path = tagged(tmp_path / "a.jpg", tag) if tag else save(tmp_path / "a.jpg", xmp=b"<a/>")
    assert photo_bytes(path) == (path.read_bytes(), False)
    assert not place_photo(path, tmp_path / "b.jpg", link=True)
    assert (tmp_path / "b.jpg").samefile(path)


def test_a_link_is_to_the_photo_and_not_to_a_link(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").symlink_to(save(tmp_path / "real.jpg"))
    place_photo(tmp_path / "a.jpg", tmp_path / "b.jpg", link=True)
    assert not (tmp_path / "b.jpg").is_symlink()
    assert (tmp_path / "b.jpg").samefile(tmp_path / "real.jpg")


def test_the_note_counts() -> None:
    assert turn_note([False, False]) == []
    assert turn_note([True, False])[0].startswith("1 photo has an orientation tag")
    assert turn_note([True, True])[0].startswith("2 photos have an orientation tag")
