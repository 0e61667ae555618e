"""Image-level labels from files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sbdata.errors import InputError
from sbdata.taxonomy import COCO80, VOC20, Taxonomy
from sbdata.weak_labels.labels import classes_in, read_labels

TWO = Taxonomy("two", ("red", "dark blue"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()), ("red", (1,)), ("2 1", (1, 2)), ("red red 1", (1,)),
        ("dark blue red", (1, 2)), ("  dark   blue ", (2,)),
    ],
)  # fmt: skip
def test_names_and_numbers(text: str, expected: tuple[int, ...]) -> None:
    assert classes_in(text, TWO) == expected


@pytest.mark.parametrize(
    ("name", "text"),
    [("labels.csv", "image_id,classes\na,1\n"), ("labels.json", '{"a": [1]}'), ("l.txt", "a 1")],
)
def test_a_number_that_is_another_classs_name_is_refused(
    tmp_path: Path, name: str, text: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    digits = Taxonomy("digits", ("0", "1", "2"))
    with pytest.raises(
        InputError, match=r"'1' is the name of a class .* number of another \('0'\)"
    ):
        read_labels(path, digits, ["a"])
    counted = Taxonomy("counted", ("1", "2", "3"))
    assert read_labels(path, counted, ["a"]) == {"a": (1,)}


def test_any_classes_of_coco_come_back() -> None:
    for first in range(1, 81):
        pair = {first, (first * 7) % 80 + 1}
        assert classes_in(" ".join(COCO80.name_of(c) for c in pair), COCO80) == tuple(sorted(pair))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["image,classes"], "line 1: must be the header image_id,classes"),
        (["image_id,classes", "a,red", "a,red"], "line 3: image 'a' is also in line 2"),
        (["image_id,classes", "a,green"], "line 2: 'green' is not a class of two; .* 1..2"),
        (["image_id,classes", "a,dark"], "line 2: 'dark' is not a class"),
        (["image_id,classes", "a,3"], "line 2: '3' is not a class"),
        (["image_id,classes", "a,0"], "line 2: '0' is not a class"),
        (["image_id,classes", "a,red,blue"], "line 2: has 3 columns"),
        (["image_id,classes", "other,green"], "line 2: 'green'"),
    ],
)
def test_faults_name_file_and_line(tmp_path: Path, lines: list[str], message: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match=f"labels.csv, {message}"):
        read_labels(path, TWO, ["a"])


def test_a_line_of_text_is_separated_by_spaces_or_tabs(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("a red\nb\tred\tdark blue\nc\n")
    assert read_labels(path, TWO, ["a", "b", "c"]) == {"a": (1,), "b": (1, 2), "c": ()}


def test_other_images_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("\ufeffimage_id,classes\r\na,red\r\n\r\nb,2\r\nc,\r\n", encoding="utf-8")
    assert read_labels(path, TWO, ["a", "c", "d"]) == {"a": (1,), "c": ()}
    with pytest.raises(InputError, match="no such file; --labels takes"):
        read_labels(tmp_path / "none.csv", TWO, ["a"])


def test_xml_of_voc(tmp_path: Path) -> None:
    def write(image_id: str, *names: str) -> None:
        objects = "".join(
            f"<object><name>{n}</name><part><name>head</name></part></object>" for n in names
        )
        (tmp_path / f"{image_id}.xml").write_text(f"<annotation>{objects}</annotation>")

    write("a", "dog", "cat", "dog")
    write("b")
    assert read_labels(tmp_path, VOC20, ["a", "b", "c"]) == {"a": (8, 12), "b": ()}
    write("a", "unicorn")
    with pytest.raises(InputError, match=r"a.xml: 'unicorn' is not a class of voc20"):
        read_labels(tmp_path, VOC20, ["a"])
    (tmp_path / "a.xml").write_text("<annotation>")
    with pytest.raises(InputError, match=r"a.xml: not a readable VOC annotation"):
        read_labels(tmp_path, VOC20, ["a"])


# --- NumPy files of vectors -----------------------------------------------------------------------


def vectors(path: Path, found: object) -> Path:
    np.save(path, np.array(found, dtype=object), allow_pickle=True)
    return path


@pytest.mark.parametrize(
    "spell", [str, lambda i: i.replace("_", ""), lambda i: int(i.replace("_", ""))]
)
def test_vectors_of_methods_code_are_read_by_any_spelling_of_the_id(
    tmp_path: Path, spell: Callable[[str], object]
) -> None:
    wanted = {"2007_000032": (1, 15), "2007_000039": (20,), "2008_000001": ()}
    found = {
        spell(image_id): np.isin(np.arange(1, 21), classes).astype(np.float32)
        for image_id, classes in {**wanted, "2011_000003": (7,)}.items()
    }
    path = vectors(tmp_path / "cls_labels.npy", found)
    assert read_labels(path, VOC20, [*wanted, "2009_000009"]) == wanted


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"a": np.zeros(20, np.float32)}, r"\(20,\), not a vector of 2 \(two\)"),
        ({"a": [0, 1]}, "list, not a vector of 2"),
        ({"a": np.array([0.2, 0.8])}, "numbers other than 0 and 1"),
        ({"a": np.array([np.nan, 1.0])}, "numbers other than 0 and 1"),
        ({"7": np.array([0, 1]), 7: np.array([0, 1])}, "belongs to image 07, like '7'"),
        ([1, 2], "not a dictionary"),
    ],
)
def test_other_vectors_are_refused(tmp_path: Path, found: object, message: str) -> None:
    path = vectors(tmp_path / "labels.npy", found)
    with pytest.raises(InputError, match=rf"labels\.npy.*{message}"):
        read_labels(path, TWO, ["a", "07"])


def test_a_pickle_that_asks_for_more_is_not_run(tmp_path: Path) -> None:
    class Touch:
        def __reduce__(self) -> tuple[object, ...]:
            return open, (str(tmp_path / "touched"), "w")

    path = vectors(tmp_path / "labels.npy", {"a": Touch()})
    with pytest.raises(InputError, match=r"a pickle that is refused: it asks for io\.open"):
        read_labels(path, TWO, ["a"])
    assert not (tmp_path / "touched").exists()
