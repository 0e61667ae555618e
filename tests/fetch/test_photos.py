"""Which bytes count as an image."""

from __future__ import annotations

import io
import warnings

import imagehash
import numpy as np
import pytest
from PIL import Image

from sbdata.fetch.photos import PhotoError, decode_photo, open_photo, perceptual_hash


def scene(seed: int = 0, size: tuple[int, int] = (90, 60)) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "JPEG", **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def refusal(data: bytes, size=None) -> tuple[str, str]:
    with pytest.raises(PhotoError) as caught:
        decode_photo(data, size)
    return caught.value.reason, caught.value.detail


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 30}])
def test_jpegs_of_all_modes_are_decoded(mode, options):
    image = decode_photo(encoded(scene().convert(mode), **options), (90, 60))
    assert (image.mode, image.size) == (mode, (90, 60))
    assert len(perceptual_hash(image)) == 16


def test_a_jpeg_with_further_pictures_behind_is_a_jpeg():
    data = encoded(scene(), "MPO", save_all=True, append_images=[scene(1)])
    image = decode_photo(data, (90, 60))
    first = decode_photo(encoded(scene()))
    assert np.array_equal(np.asarray(image), np.asarray(first))


def test_the_orientation_tag_is_ignored():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode_photo(encoded(scene(), exif=exif), (90, 60)).size == (90, 60)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_file_cut_anywhere_is_unreadable(progressive):
    data = encoded(scene(), progressive=progressive)
    for length in range(0, len(data) - 2, 37):
        assert refusal(data[:length])[0] == "unreadable_image", length


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (b"", "an empty file"),
        (b"\n<!DOCTYPE html><html><body>404</body></html>", "a web page, not an image"),
        (b"<HTML>", "a web page, not an image"),
        (b"\0" * 5000, "not an image file"),
    ],
)
def test_what_is_no_image_is_unreadable_and_named(data, detail):
    assert refusal(data) == ("unreadable_image", detail)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "BMP", "TIFF"])
def test_other_formats_are_refused_by_name(kind):
    reason, detail = refusal(encoded(scene(), kind))
    assert reason == "image_format"
    assert detail.lower().startswith(f"a {kind.lower()} file")


def test_a_document_is_refused_by_name():
    assert refusal(b"%PDF-1.4")[0] == "image_format"
    assert refusal(b"%PDF-1.4")[1].startswith("a PDF file")


def test_another_size_is_refused_before_decoding():
    data = encoded(scene())
    assert refusal(data, (60, 90)) == ("image_size", "90 x 60 pixels, but annotated as 60 x 90")
    head = data[: len(data) // 2]
    assert refusal(head, (60, 90))[0] == "image_size"
    assert open_photo(head, (90, 60)).size == (90, 60)


def test_a_decompression_bomb_is_unreadable():
    header = bytearray(encoded(scene(0), optimize=False))
    start = header.index(b"\xff\xc0") + 5  # height and width in the frame header
    header[start : start + 4] = b"\xff\xff\xff\xff"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reason, detail = refusal(bytes(header))
    assert reason == "unreadable_image"
    assert "decompression bomb" in detail


def test_the_hash_is_the_librarys():
    image = scene(3)
    assert imagehash.hex_to_hash(perceptual_hash(image)) == imagehash.phash(image)
