"""The reader of records against the standard library's JSON parser."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sbdata.errors import InputError
from sbdata.sources.json_records import MISSING, find_records, read_records

ARRAYS = ("images", "annotations")
FIELDS = ("id", "image_id", "category_id")

# Keys and strings full of what could mislead a scanner.
texts = st.one_of(
    st.sampled_from(["id", "image_id", "images", "annotations", "", '"', "\\", '\\"', "}{][,:"]),
    st.text(max_size=6),
)
values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(10**20), 10**20),
        st.floats(allow_nan=False, allow_infinity=False), texts,
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)
    ),
    max_leaves=6,
)  # fmt: skip
elements = st.dictionaries(texts, values, max_size=5)
files = st.tuples(
    st.dictionaries(texts.filter(lambda key: key not in ARRAYS), values, max_size=3),
    st.dictionaries(st.sampled_from(ARRAYS), st.lists(elements, max_size=4)),
    st.booleans(),
).map(lambda t: {**t[0], **t[1]} if t[2] else {**t[1], **t[0]})


def expected_field(element: dict, field: str) -> int:
    value = element.get(field)
    # Numbers of 19 digits and more may not fit 64 bits; they are not ids.
    fits = type(value) is int and abs(value) < 10**18
    return value if fits else MISSING


def check(path: Path, content: dict) -> None:
    found = find_records(path, ARRAYS)
    data = path.read_bytes()
    assert set(found) == {key for key in ARRAYS if key in content}
    for key, records in found.items():
        assert len(records) == len(content[key])
        for i, element in enumerate(content[key]):
            text = data[slice(*records.span[i])]
            assert (text[:1], text[-1:]) == (b"{", b"}")
            assert json.loads(text) == element
            for field in FIELDS:
                assert getattr(records, field)[i] == expected_field(element, field)


@settings(max_examples=150, deadline=None)
@given(
    content=files,
    indent=st.sampled_from([None, 0, 3, "\t"]),
    ascii_only=st.booleans(),
    compact=st.booleans(),
)
def test_elements_are_found_in_any_file(
    tmp_path_factory: pytest.TempPathFactory, content: dict, indent: int | str | None,
    ascii_only: bool, compact: bool,
) -> None:  # fmt: skip
    path = tmp_path_factory.getbasetemp() / "file.json"
    separators = (",", ":") if compact else None
    text = json.dumps(content, indent=indent, ensure_ascii=ascii_only, separators=separators)
    path.write_bytes(text.encode(errors="surrogatepass"))
    check(path, content)


def test_windows_line_ends_and_a_byte_order_mark_do_no_harm(tmp_path: Path) -> None:
    content = {"images": [{"id": 1}, {"id": -2}], "annotations": []}
    text = json.dumps(content, indent=2).replace("\n", "\r\n")
    path = tmp_path / "file.json"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode() + b"\r\n")
    check(path, content)


def test_a_later_value_of_the_same_field_counts(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text('{"images": [{"id": 1, "id": 2}, {"id": 3, "id": null}]}')
    assert find_records(path, ARRAYS)["images"].id.tolist() == [2, MISSING]


def test_only_fields_of_the_element_itself_count(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text('{"images": [{"a": {"id": 1}, "b": [{"id": 2}], "c": "\\"id\\": 3"}]}')
    assert find_records(path, ARRAYS)["images"].id.tolist() == [MISSING]


@pytest.mark.parametrize(
    "element",
    [r'{"id\"": 1}', r'{"id\\": 1}', '{"idd": 1}', '{"i": 1}', '{"id": 9999999999999999999}',
     '{"id": 1e3}', '{"id": 1.0}', '{"id": "1"}', '{"id": true}', '{"id": [1]}', '{"id": {}}'],
)  # fmt: skip
def test_nothing_else_is_taken_for_an_integer_field(tmp_path: Path, element: str) -> None:
    path = tmp_path / "file.json"
    path.write_text(f'{{"images": [{element}]}}')
    assert find_records(path, ARRAYS)["images"].id.tolist() == [MISSING]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "it is empty"),
        ("   \n", "it is empty"),
        ("<html>", "invalid character at byte 0"),
        ("[1, 2]", "no object with arrays is at its top"),
        ('{"images": [{"id": 1}, {"id"', "it ends in the middle, at byte 28"),
        ('{"images": [{"id": 1}]', "ends in the middle"),
        ('{"info": "never closed', "ends in the middle"),
        ('{"images": [{"id": [1, 2}]}', "expected ',' or ']' at byte 24"),
        ('{"info": {"a": 1], "images": []}', "expected ',' or '}' at byte 16"),
        ('{"images": [{"id": 1} {"id": 2}]}', "expected ',' or ']' at byte 22"),
        ('{"images": [{"id": 1},]}', "trailing comma in array at byte 22"),
        ('{"images": [1, 2]}', "element at byte 12 is not an object"),
        ('{"images": {"id": 1}}', "at byte 11 must be an array of objects"),
        ('{"images": null}', "at byte 11 must be an array of objects"),
        ('{"images" [{"id": 1}]}', "expected ':' at byte 10"),
        ('{"a": , "images": []}', "invalid character at byte 6"),
        ('{"a": 1 2}', "expected ',' or '}' at byte 8"),
        ('{"a": 1,}', "trailing comma in object at byte 8"),
        ('{"images": []} trailing', "trailing characters at byte 15"),
        ('{"images": [], "images": []}', "'images' is given twice"),
        ('{"a": ' + "[" * 256 + "]" * 256 + "}", "nest deeper than 256"),
        ('{"a": ' + '{"b":' * 256 + "0" + "}" * 257, "nest deeper than 256"),
        ('{"images": [{"a": ' + "[" * 254 + "]" * 254 + "}]}", "nest deeper than 256"),
        ('{"images": [{"a": ' + "[" * 9999 + "]" * 9999 + "}]}", "nest deeper than 256"),
        ('{"images": [{"a": ' + "[" * 99999, "nest deeper than 256"),
        ('{"images": []}\0', "trailing characters at byte 14"),
        ("\x00\x01", "invalid character at byte 0"),
    ],
)
def test_what_is_no_json_is_named_with_its_place(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "instances.json"
    path.write_text(text)
    with pytest.raises(InputError, match=problem) as caught:
        find_records(path, ARRAYS)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": ' + "[" * 255 + "]" * 255 + "}",
        '{"images": [{"a": ' + "[" * 253 + "]" * 253 + "}]}",
        '{"images": [{"a": ["' + "[{" * 300 + '"' + ', {"]": "\\""}' * 300 + "]}]}",
    ],
)
def test_as_many_brackets_may_nest(tmp_path: Path, text: str) -> None:
    path = tmp_path / "file.json"
    path.write_text(text)
    check(path, json.loads(text))


def test_what_pythons_json_writes_beyond_the_standard_is_read(tmp_path: Path) -> None:
    """No numbers and halves of characters, beside texts that only look like them."""
    odd = {"a": [math.nan, -math.inf, math.inf], "b": "NaN \\ud800 \ud800", "c\udfff\\": "\\"}
    records = [{**odd, "id": 1}, {"id": math.nan, **odd}, {"id": "\ud800"}, {"id": -math.inf}]
    content = {"\ud800": odd, "images": [*records, {"id": 7, "NaN": "é"}], "annotations": [{}]}
    path = tmp_path / "file.json"
    path.write_text(json.dumps(content))
    found = find_records(path, ARRAYS)
    assert found["images"].id.tolist() == [1, *[MISSING] * 3, 7]
    again = list(read_records(path, found["images"].span))
    assert json.dumps(again) == json.dumps(content["images"])
    path.write_text(json.dumps(content).replace("-Infinity}", "-Infinity)"))
    with pytest.raises(InputError, match=r"not valid JSON, expected ',' or '}' at byte \d+;"):
        find_records(path, ARRAYS)


@settings(deadline=None)
@given(cut=st.integers(0, 10_000))
def test_every_truncation_is_noticed(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    content = {"info": {"y": [1]}, "images": [{"id": 1, "s": 'a"}'}], "annotations": [{"id": 5}]}
    whole = json.dumps(content).encode()
    path = tmp_path_factory.getbasetemp() / "cut.json"
    path.write_bytes(whole[: cut % len(whole)])
    with pytest.raises(InputError, match="not a complete JSON file"):
        find_records(path, ARRAYS)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        find_records(tmp_path, ARRAYS)


@pytest.mark.realdata
@pytest.mark.parametrize(
    "file",
    [
        "coco128/annotations/instances_train2017.json",
        "lvis-sample/annotations/lvis_v0.5_val_100.json",
    ],
)
def test_published_files(real_data: Path, file: str) -> None:
    check(real_data / file, json.loads((real_data / file).read_bytes()))
