"""The scanner against the standard library's JSON parser."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sbdata.errors import InputError
from sbdata.sources import json_spans
from sbdata.sources.json_spans import MISSING, find_spans

ARRAYS = ("images", "annotations")
FIELDS = ("id", "image_id")

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
    found = find_spans(path, ARRAYS, FIELDS)
    data = path.read_bytes()
    assert set(found) == {key for key in ARRAYS if key in content}
    for key, spans in found.items():
        assert len(spans) == len(content[key])
        for i, element in enumerate(content[key]):
            text = data[spans.start[i] : spans.stop[i]]
            assert (text[:1], text[-1:]) == (b"{", b"}")
            assert json.loads(text) == element
            for field in FIELDS:
                assert spans.fields[field][i] == expected_field(element, field)


@settings(max_examples=150, deadline=None)
@given(
    content=files,
    indent=st.sampled_from([None, 0, 3, "\t"]),
    ascii_only=st.booleans(),
    compact=st.booleans(),
    block=st.integers(1, 40),
)
def test_elements_are_found_in_any_file(
    tmp_path_factory: pytest.TempPathFactory, content: dict, indent: int | str | None,
    ascii_only: bool, compact: bool, block: int,
) -> None:  # fmt: skip
    path = tmp_path_factory.getbasetemp() / "file.json"
    separators = (",", ":") if compact else None
    text = json.dumps(content, indent=indent, ensure_ascii=ascii_only, separators=separators)
    path.write_bytes(text.encode(errors="surrogatepass"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_spans, "_BLOCK", block)  # so that every token is cut somewhere
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
    assert find_spans(path, ARRAYS, FIELDS)["images"].fields["id"].tolist() == [2, MISSING]


def test_only_fields_of_the_element_itself_count(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text('{"images": [{"a": {"id": 1}, "b": [{"id": 2}], "c": "\\"id\\": 3"}]}')
    assert find_spans(path, ARRAYS, FIELDS)["images"].fields["id"].tolist() == [MISSING]


@pytest.mark.parametrize(
    "element",
    [r'{"id\"": 1}', r'{"id\\": 1}', '{"idd": 1}', '{"i": 1}', '{"id": 9999999999999999999}',
     '{"id": 1e3}', '{"id": 1.0}', '{"id": "1"}', '{"id": true}', '{"id": [1]}', '{"id": {}}'],
)  # fmt: skip
def test_nothing_else_is_taken_for_an_integer_field(tmp_path: Path, element: str) -> None:
    path = tmp_path / "file.json"
    path.write_text(f'{{"images": [{element}]}}')
    assert find_spans(path, ARRAYS, FIELDS)["images"].fields["id"].tolist() == [MISSING]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "it is empty"),
        ("   \n", "it is empty"),
        ("<html>", "'<' at byte 0 is not expected"),
        ("[1, 2]", r"'\[' at byte 0 is not expected"),
        ('{"images": [{"id": 1}, {"id"', "it ends in the middle, at byte 28"),
        ('{"images": [{"id": 1}]', "ends in the middle"),
        ('{"info": "never closed', "ends in the middle"),
        ('{"images": [{"id": [1, 2}]}', "'}' at byte 24 closes another kind of bracket"),
        ('{"info": {"a": 1], "images": []}', r"'\]' at byte 16 closes another kind"),
        ('{"images": [{"id": 1} {"id": 2}]}', "'{' at byte 22 is not expected"),
        ('{"images": [{"id": 1},]}', "element at byte 22 is not an object"),
        ('{"images": [1, 2]}', "element at byte 12 is not an object"),
        ('{"images": {"id": 1}}', "at byte 11 must be an array of objects"),
        ('{"images": null}', "at byte 11 must be an array of objects"),
        ('{"images" [{"id": 1}]}', "is not expected"),
        ('{"a": , "images": []}', "',' at byte 6 is not expected"),
        ('{"a": 1 2}', "'2' at byte 8 is not expected"),
        ('{"a": 1,}', "'}' at byte 8 is not expected"),
        ('{"images": []} trailing', "'t' at byte 15 is not expected"),
        ('{"images": [], "images": []}', "'images' is given twice"),
        ('{"a": ' + "[" * 300 + "]" * 300 + "}", "nest deeper than 256"),
        ("\x00\x01", "byte 0x00 at byte 0"),
    ],
)
def test_what_is_no_json_is_named_with_its_place(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "instances.json"
    path.write_text(text)
    with pytest.raises(InputError, match=problem) as caught:
        find_spans(path, ARRAYS, FIELDS)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(deadline=None)
@given(cut=st.integers(0, 10_000))
def test_every_truncation_is_noticed(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    content = {"info": {"y": [1]}, "images": [{"id": 1, "s": 'a"}'}], "annotations": [{"id": 5}]}
    whole = json.dumps(content).encode()
    path = tmp_path_factory.getbasetemp() / "cut.json"
    path.write_bytes(whole[: cut % len(whole)])
    with pytest.raises(InputError, match="not a complete JSON file"):
        find_spans(path, ARRAYS, FIELDS)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        find_spans(tmp_path, ARRAYS, FIELDS)


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
