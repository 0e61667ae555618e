"""The prediction contract: everything that can be wrong with a folder, said by file."""

from __future__ import annotations

import csv
import os
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sbdata.errors import InputError
from sbdata.mask_files import PngError
from sbdata.masks import voc_palette
from sbdata.score.inputs import (
    PredictionFormat,
    ProblemsError,
    list_predictions,
    read_prediction,
    write_problems,
)
from sbdata.score.run import ScoreOptions, score_folder
from sbdata.score.truth import truth_from_set
from sbdata.taxonomy import VOC20
from tests.score.conftest import Dataset, save

SIZE = (17, 13)
VALUES = np.arange(13 * 17, dtype=np.uint8).reshape(13, 17) % 21
PLAIN = PredictionFormat(VOC20)


def complaint(path: Path, contract: PredictionFormat = PLAIN) -> tuple[str, str]:
    with pytest.raises(PngError) as caught:
        read_prediction(path, SIZE, contract)
    return caught.value.kind, caught.value.detail


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, colour: int, pixels: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(pixels))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("palette", [True, False])
def test_palette_and_grey_are_read_as_they_are(tmp_path, palette) -> None:
    save(tmp_path / "a.png", VALUES, palette=palette)
    values, _ = read_prediction(tmp_path / "a.png", SIZE, PLAIN)
    assert (values == VALUES).all()


def test_few_bits_of_palette_are_read_and_of_grey_refused(tmp_path) -> None:
    few = VALUES % 4
    image = Image.fromarray(few)
    image.putpalette(voc_palette())
    image.save(tmp_path / "a.png", bits=2)
    assert (tmp_path / "a.png").read_bytes()[24] == 2
    assert (read_prediction(tmp_path / "a.png", SIZE, PLAIN)[0] == few).all()
    # Pillow would read the 1 of a 4-bit grey image as 17, a class.
    rows = b"".join(b"\0" + b"\x11" * 9 for _ in range(13))
    (tmp_path / "b.png").write_bytes(png(17, 13, 4, 0, rows))
    assert complaint(tmp_path / "b.png")[0] == "mode"
    assert "4-bit grey" in complaint(tmp_path / "b.png")[1]


def test_modes_that_hold_no_class_numbers(tmp_path) -> None:
    for mode in ("RGB", "RGBA", "LA", "1"):
        Image.fromarray(VALUES).convert(mode).save(tmp_path / "a.png")
        kind, detail = complaint(tmp_path / "a.png")
        assert kind == "mode", mode
        assert "--decode-palette" not in detail
    Image.fromarray(VALUES).convert("RGBA").save(tmp_path / "a.png")
    assert complaint(tmp_path / "a.png", PredictionFormat(VOC20, decode_palette=True))[0] == "mode"


def test_colours_are_decoded_only_when_asked_and_known(tmp_path) -> None:
    contract = PredictionFormat(VOC20, decode_palette=True, predicted_void=True)
    values = np.where(VALUES == 3, 255, VALUES).astype(np.uint8)
    colours = np.frombuffer(voc_palette(), np.uint8).reshape(256, 3)[values]
    save(tmp_path / "a.png", colours, palette=False)
    assert complaint(tmp_path / "a.png") == (
        "mode",
        "an 8-bit RGB image in VOC's colours; add --decode-palette",
    )
    assert (read_prediction(tmp_path / "a.png", SIZE, contract)[0] == values).all()
    save(tmp_path / "p.png", values)  # a palette image is taken by its indices all the same
    assert (read_prediction(tmp_path / "p.png", SIZE, contract)[0] == values).all()
    wrong = colours.copy()
    wrong[0, :2] = (1, 2, 3)
    save(tmp_path / "a.png", wrong, palette=False)
    kind, detail = complaint(tmp_path / "a.png", contract)
    assert kind == "colours"
    assert "(1, 2, 3) in 2 pixels" in detail


def test_every_colour_of_the_palette_has_its_index(tmp_path) -> None:
    all_of_them = np.frombuffer(voc_palette(), np.uint8).reshape(16, 16, 3)
    save(tmp_path / "a.png", all_of_them, palette=False)
    contract = PredictionFormat(VOC20, decode_palette=True)
    with pytest.raises(PngError) as caught:
        read_prediction(tmp_path / "a.png", (16, 16), contract)
    assert caught.value.detail.startswith("values 21 (1 pixels), 22 (1 pixels)")


def test_values_out_of_range(tmp_path) -> None:
    values = VALUES.copy()
    values[0, 0], values[1, 1:4] = 21, 200
    save(tmp_path / "a.png", values)
    assert complaint(tmp_path / "a.png") == (
        "values",
        "values 21 (1 pixels), 200 (3 pixels); voc20 has 0..20, map them to classes",
    )


def test_colours_that_were_turned_to_grey_are_recognised(tmp_path) -> None:
    image = Image.fromarray(VALUES)
    image.putpalette(voc_palette())
    image.convert("RGB").convert("L").save(tmp_path / "a.png")
    kind, detail = complaint(tmp_path / "a.png")
    assert kind == "values"
    assert detail.endswith("map them to classes; they are VOC's colours turned to grey")


def test_predicted_void_only_when_allowed(tmp_path) -> None:
    values = VALUES.copy()
    values[0] = 255
    save(tmp_path / "a.png", values)
    kind, detail = complaint(tmp_path / "a.png")
    assert kind == "void"
    assert "255 in 17 pixels" in detail
    assert "--pred-void" in detail
    allowed = PredictionFormat(VOC20, predicted_void=True)
    assert (read_prediction(tmp_path / "a.png", SIZE, allowed)[0] == values).all()
    values[2, 2] = 99
    save(tmp_path / "a.png", values)
    assert complaint(tmp_path / "a.png", allowed)[0] == "values"


def test_size_is_refused_before_decoding_so_a_bomb_costs_nothing(tmp_path) -> None:
    bomb = png(50_000, 20_000, 8, 0, bytes(100_000))
    (tmp_path / "a.png").write_bytes(bomb)
    kind, detail = complaint(tmp_path / "a.png")
    assert kind == "size"
    assert detail.startswith("50000 x 20000 pixels, its image has 17 x 13")


def test_a_file_far_too_long_is_not_read_whole(tmp_path) -> None:
    save(tmp_path / "a.png", VALUES)
    with (tmp_path / "a.png").open("r+b") as stream:
        stream.truncate(1 << 33)  # sparse: it takes no room
    assert complaint(tmp_path / "a.png") == (
        "unreadable",
        "a file of more than 1049044 bytes for 17 x 13 pixels",
    )


def test_damaged_files(tmp_path) -> None:
    path = tmp_path / "a.png"
    save(path, VALUES)
    good = path.read_bytes()
    start = good.index(b"IDAT") + 4

    def said(data: bytes) -> str:
        path.write_bytes(data)
        kind, detail = complaint(path)
        assert kind == "unreadable"
        return detail

    length = int.from_bytes(good[start - 8 : start - 4], "big")
    crc = start + length
    flipped = bytes([good[crc] ^ 1])
    assert "checksum (CRC) of its 'IDAT' chunk" in said(good[:crc] + flipped + good[crc + 1 :])
    assert "checksum (CRC) of its header" in said(good[:29] + b"abcd" + good[33:])
    assert "cut off after" in said(good[: start + 9])
    assert "cut off after" in said(good[:-12])
    assert said(b"") == "an empty file"
    assert said(good[:20]) == "a PNG file without a header, or cut off in it"
    assert said(b"\xff\xd8\xff\xe0 photo") == "not a PNG file but a JPEG file"
    assert said(b"hello") == "not a PNG file but something else"
    assert "cannot be decoded" in said(png(17, 13, 8, 0, bytes(20)))
    assert "a header that no PNG has" in said(png(17, 13, 8, 5, bytes(20)))


@given(st.data())
def test_no_damage_of_one_byte_passes_as_another_prediction(tmp_path_factory, data) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.png"
    save(path, VALUES)
    good = path.read_bytes()
    place = data.draw(st.integers(0, len(good) - 1))
    bits = data.draw(st.integers(1, 255))
    path.write_bytes(good[:place] + bytes([good[place] ^ bits]) + good[place + 1 :])
    with pytest.raises(PngError):
        read_prediction(path, SIZE, PLAIN)


def test_links_folders_and_pipes(tmp_path) -> None:
    save(tmp_path / "there" / "x.png", VALUES)
    (tmp_path / "a.png").symlink_to(tmp_path / "there" / "x.png")
    assert (read_prediction(tmp_path / "a.png", SIZE, PLAIN)[0] == VALUES).all()
    (tmp_path / "b.png").symlink_to(tmp_path / "nowhere.png")
    assert complaint(tmp_path / "b.png") == ("unreadable", "a broken link")
    (tmp_path / "c.png").mkdir()
    assert "a folder, pipe or device" in complaint(tmp_path / "c.png")[1]
    os.mkfifo(tmp_path / "d.png")
    assert "a folder, pipe or device" in complaint(tmp_path / "d.png")[1]


# --- names ----------------------------------------------------------------------------------------


def touched(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def problems(folder: Path, ids: list[str]) -> list[tuple[str, str, str]]:
    return [(p.file, p.kind, p.detail) for p in list_predictions(folder, ids).problems]


def test_missing_and_extra(tmp_path) -> None:
    folder = touched(tmp_path / "p", "a.png", "z.png", "note.txt", ".DS_Store", "Thumbs.db")
    (folder / "deeper").mkdir()
    assert problems(folder, ["a", "b"]) == [
        ("deeper", "extra", "a folder, but predictions must lie in one folder; remove it"),
        ("note.txt", "extra", "not a PNG; predictions are <image_id>.png, remove it"),
        ("z.png", "extra", "not an image of the set; remove it"),
        ("b.png", "missing", "no such file"),
    ]
    listing = list_predictions(folder, ["a", "b"], allow_missing=True)
    assert listing.missing == ("b",)
    assert {p.kind for p in listing.problems} == {"extra"}
    assert listing.path("a") == folder / "a.png"
    assert listing.path("b") is None


@pytest.mark.parametrize(
    ("file", "image_id"),
    [
        ("139.png", "000000000139"),
        ("000000000139.png", "139"),
        ("0139.png", "000000000139"),
        ("2007_000032_pred.png", "2007_000032"),
        ("pred_2007_000032.png", "2007_000032"),
        ("COCO_val2014_000000000139.png", "000000000139"),
        ("139.png", "COCO_val2014_000000000139"),
        ("000000000139.PNG", "000000000139"),
        ("000000000139.npy", "000000000139"),
        ("Street-7.png", "street-07"),
    ],
)
def test_names_that_nearly_fit_are_matched(tmp_path, file, image_id) -> None:
    folder = touched(tmp_path / "p", file, "unlike.png")
    ids = [image_id, "000000000285", "2007_000033"]
    found = {(f, kind): detail for f, kind, detail in problems(folder, ids)}
    assert f"did you mean {image_id}.png?" in found[file, "extra"]
    assert f"if {file} is meant, rename it" in found[f"{image_id}.png", "missing"]
    assert found["unlike.png", "extra"].endswith("remove it")
    assert found["000000000285.png", "missing"] == "no such file"


def test_no_guess_where_two_fit(tmp_path) -> None:
    folder = touched(tmp_path / "p", "7.png")
    assert "remove it" in problems(folder, ["cat_7", "dog_7"])[0][2]
    folder = touched(tmp_path / "q", "07.png", "007.png")
    assert all("did you mean" not in detail for _, _, detail in problems(folder, ["7"]))


def test_names_that_do_not_print_stay_on_one_line(tmp_path) -> None:
    folder = touched(tmp_path / "p", "a.png", "two\nlines.png")
    (found,) = problems(folder, ["a"])
    assert found[0] == r"two\nlines.png"


def test_thousands_of_names_are_matched_in_no_time(tmp_path) -> None:
    import time

    folder = touched(tmp_path / "p", *(f"{k}_pred.png" for k in range(1000)))
    start = time.process_time()
    found = problems(folder, [f"{k:012d}" for k in range(1000)])
    assert time.process_time() - start < 1
    assert all("did you mean" in detail for _, kind, detail in found if kind == "extra")


def test_what_is_no_folder_of_predictions(tmp_path) -> None:
    def said(path: Path) -> str:
        with pytest.raises(InputError) as caught:
            list_predictions(path, ["a"])
        return str(caught.value)

    assert "no such folder" in said(tmp_path / "none")
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        archive.writestr("a.png", b"")
    assert "a zip archive; unpack it" in said(tmp_path / "p.zip")
    assert "a file; give the folder" in said(touched(tmp_path, "a.txt") / "a.txt")
    assert "an empty folder" in said(touched(tmp_path / "empty"))
    touched(tmp_path / "above")
    touched(tmp_path / "above" / "masks", "a.png")
    assert f"give {tmp_path / 'above' / 'masks'}" in said(tmp_path / "above")


def test_predictions_of_images_that_are_left_out_are_ignored(tmp_path) -> None:
    folder = touched(tmp_path / "p", "a.png", "b.png")
    listing = list_predictions(folder, ["a"], left_out={"b", "c"})
    assert (listing.problems, listing.ignored) == ((), ("b",))


# --- the whole folder -----------------------------------------------------------------------------


def test_all_problems_of_all_folders_come_at_once(dataset: Dataset, tmp_path) -> None:
    truth = truth_from_set(dataset.manifest)
    first, second = (dataset.predict(tmp_path / name) for name in "pq")
    names = sorted(path.name for path in first.iterdir())
    (first / names[0]).unlink()
    (first / names[1]).write_bytes(b"")
    save(first / names[2], np.full((130, 170), 40, np.uint8))
    save(first / names[3], np.zeros((5, 5), np.uint8))
    save(first / "0.png", VALUES)
    Image.fromarray(VALUES).convert("RGB").resize((170, 130)).save(second / names[4])
    for name in names[5:35]:
        save(second / name, np.full((130, 170), 255, np.uint8))
    with pytest.raises(ProblemsError) as caught:
        score_folder(first, truth, ScoreOptions(), against=[second], workers=2)
    found = caught.value.problems
    assert [(p.file, p.kind) for p in found[:5]] == [
        ("0.png", "extra"),
        (names[0], "missing"),
        (names[1], "unreadable"),
        (names[2], "values"),
        (names[3], "size"),
    ]
    assert [p.folder for p in found] == [str(first)] * 5 + [str(second)] * 31
    lines = str(caught.value).splitlines()
    assert (
        "36 problems (extra 1, missing 1, mode 1, size 1, unreadable 1, values 1, void 30)"
        in (lines[0])
    )
    assert len(lines) == 22
    assert lines[-1] == "  ... and 16 more"
    write_problems(tmp_path / "problems.csv", found)
    with (tmp_path / "problems.csv").open() as stream:
        written = list(csv.DictReader(stream))
    assert len(written) == 36
    assert written[3]["detail"] == "values 40 (22100 pixels); voc20 has 0..20, map them to classes"


def test_one_file_is_not_the_prediction_of_two_images(tmp_path: Path) -> None:
    """Ids in two Unicode forms would both find the file, whatever its form is."""
    save(tmp_path / "caf\xe9.png", VALUES)
    assert list_predictions(tmp_path, ["cafe\u0301"]).found == {"cafe\u0301"}
    with pytest.raises(InputError, match="one file would be taken for both; rename one"):
        list_predictions(tmp_path, ["caf\xe9", "cafe\u0301"])
