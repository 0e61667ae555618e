"""JSON files as people write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sbdata.errors import InputError
from sbdata.json_files import decode_json, read_json


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[{"id": 1}]', encoding="utf-8-sig")
    assert read_json(path, "x") == [{"id": 1}]
    assert decode_json(path, list[dict[str, int]], "x") == [{"id": 1}]


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("[1]", encoding="utf-16")
    for read in (lambda: read_json(path, "save it again"), lambda: decode_json(path, list, "x")):
        with pytest.raises(InputError, match=r"a.json: not .*JSON file"):
            read()
