"""Lists that people write, in the encodings of their editors."""

from __future__ import annotations

from pathlib import Path

import pytest

from sbdata.errors import InputError
from sbdata.taxonomy import Taxonomy, named_taxonomy
from sbdata.text_files import read_lines

NAMES = ["hen", "œuf", "nest box"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_first_name_is_what_it_is_meant_to_be(tmp_path: Path, encoding: str, end: str) -> None:
    path = tmp_path / "farm.txt"
    path.write_bytes(end.join([*NAMES, ""]).encode(encoding))
    assert read_lines(path, "class names") == NAMES
    assert named_taxonomy(str(path)) == Taxonomy("farm", tuple(NAMES))


def test_other_encodings_are_refused(tmp_path: Path) -> None:
    (tmp_path / "farm.txt").write_bytes("œuf\nhühner\n".encode("cp1252"))
    with pytest.raises(InputError, match=r"farm\.txt: not a list of class names .* in UTF-8"):
        read_lines(tmp_path / "farm.txt", "class names")
    with pytest.raises(InputError, match=r"none\.txt: not a readable list of image ids \(No such"):
        read_lines(tmp_path / "none.txt", "image ids")


def test_half_a_character_is_no_name() -> None:
    with pytest.raises(InputError, match=r"'a\\ud800' holds control characters"):
        Taxonomy("own", ("a\ud800",))
