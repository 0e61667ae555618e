"""Images from outside are opened in one place, by JPEG and PNG alone."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from sbdata.images import DAMAGE, kind_of_file, open_image, orientation_of

ROOT = Path(__file__).resolve().parent.parent
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 3\n%%EndComments\nshowpage\n"


def encoded(format_: str, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.zeros((3, 4, 3), np.uint8)).save(stream, format_, **options)
    return stream.getvalue()


def test_nothing_else_opens_images() -> None:
    readers = re.compile(r"\bImage\.open\(|\bimread\(|decode_(jpeg|png|image)\(|read_image\(")
    allowed = "sbdata/images.py"
    files = [*(ROOT / "sbdata").rglob("*.py"), *(ROOT / "baselines").rglob("*.py")]
    assert len(files) > 100
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in files
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1)
        if readers.search(line) and "def " not in line and "_read_image(" not in line
    ]
    assert [place.split(":")[0] for place in found] == [allowed], found


@pytest.mark.parametrize("format_", ["JPEG", "PNG"])
def test_photos_are_opened(format_: str) -> None:
    with open_image(io.BytesIO(encoded(format_))) as image:
        assert image.format == format_
        assert image.size == (4, 3)


@pytest.mark.parametrize("format_", ["GIF", "BMP", "TIFF", "PPM", "TGA", "ICO"])
def test_other_formats_are_not(tmp_path: Path, format_: str) -> None:
    (tmp_path / "photo.jpg").write_bytes(encoded(format_))
    with pytest.raises(UnidentifiedImageError):
        open_image(tmp_path / "photo.jpg")


def test_postscript_starts_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    (tmp_path / "photo.jpg").write_bytes(EPS)
    with pytest.raises(DAMAGE):
        open_image(tmp_path / "photo.jpg").load()
    assert not (tmp_path / "ran").exists()
    assert kind_of_file(EPS) == "a PostScript file"


def test_a_bomb_stays_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5)
    with pytest.raises(Image.DecompressionBombError):
        open_image(io.BytesIO(encoded("PNG")))


@pytest.mark.parametrize("format_", ["JPEG", "PNG"])
@pytest.mark.parametrize("turn", [1, 3, 6, 8])
def test_the_orientation_tag_is_read_from_the_header(format_: str, turn: int) -> None:
    tags = Image.Exif()
    tags[0x0112] = turn
    with open_image(io.BytesIO(encoded(format_, exif=tags.tobytes()))) as image:
        assert orientation_of(image) == turn


@pytest.mark.parametrize("raw", [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"junk"])
def test_damaged_tags_are_upright(raw: bytes) -> None:
    image = Image.new("RGB", (2, 2))
    image.info["exif"] = raw
    assert orientation_of(image) == 1
