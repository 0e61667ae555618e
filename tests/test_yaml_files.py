"""YAML of others: limits, keys given twice, encodings; and what recipes may be called."""

from __future__ import annotations

from pathlib import Path

import pytest

from sbdata.errors import InputError
from sbdata.recipe import load_recipe
from sbdata.settings import overridden
from sbdata.sources.published import load_registry
from sbdata.yaml_files import parse_yaml

RECIPE = """name: pond
version: pond.v1
taxonomy: [fox, hen]
sources: [{name: pond, splits: [a]}]
"""


def recipe(tmp_path: Path, more: str | bytes = "", base: str = RECIPE) -> str:
    path = tmp_path / "pond.yaml"
    path.write_bytes(base.encode() + (more if isinstance(more, bytes) else more.encode()))
    return str(path)


def bomb(levels: int) -> str:
    lines = ["x0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"x{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", "key 'a' is given twice"),
        ("a: {b: 1, b: 1}\n", "key 'b' is given twice"),
        ("[" * 2000, "nested deeper"),
        ("{a: " * 2000, "nested deeper"),
        ("a: &x {b: *x}\n", "alias within its own value"),
        (bomb(7), "under the key 'x4'"),
        ("a: 2021-02-30\n", "not a valid date"),
        ("a: 010\n", "YAML reads 010 as 8; write 8, or a text in quotes"),
        ("a: [1, -007]\n", "YAML reads -007 as -7"),
        ("a: 1:30\n", "YAML reads 1:30 as 90"),
        ("1:30.5: a\n", "YAML reads 1:30.5 as 90.5"),
        ("a: !!bool seven\n", "not valid YAML"),
        ("a: " + "9" * 6000, "not valid YAML"),
        ("a: \x07\n", "not valid YAML"),
    ],
)
def test_what_cannot_be_meant_is_one_short_sentence(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        parse_yaml(text, "pond.yaml")
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()


def test_what_is_meant_stays() -> None:
    text = "a: &x {b: 1, c: [1, 2.5, 1e3, null]}\nd: {<<: *x, b: 2}\ne: *x\nf: 2020-02-29\n"
    text += "g: [0, 0.5, -0, 0x10, 1_000, '010']\n"
    found = parse_yaml(text, "pond.yaml")
    assert found["g"] == [0, 0.5, 0, 16, 1000, "010"]
    assert found["d"] == {"b": 2, "c": [1, 2.5, "1e3", None]}
    assert found["e"] == found["a"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("description: Hühner\n".encode("latin-1"), "not UTF-8 text .* line 5"),
        ("description: x\n".encode("utf-16"), "UTF-8|UTF-16"),
        (b"\x1f\x8b\x08", "UTF-8|gzip"),
    ],
)
def test_other_encodings_are_named(tmp_path: Path, data: bytes, said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_recipe(recipe(tmp_path, data))


def test_whole_files_of_another_kind_are_named(tmp_path: Path) -> None:
    path = tmp_path / "pond.yaml"
    for data, said in (
        (RECIPE.encode("utf-16"), "UTF-16 text; save it as UTF-8"),
        (b"\x1f\x8b\x08\x00", "compressed by gzip; unpack"),
        (b"PK\x03\x04....", "ZIP archive"),
    ):
        path.write_bytes(data)
        with pytest.raises(InputError, match=said):
            load_recipe(str(path))
    path.write_bytes(b"\xef\xbb\xbf" + RECIPE.encode())  # a byte order mark
    assert load_recipe(str(path)).name == "pond"


@pytest.mark.parametrize(
    "name", ["../x", "/srv/x", "a/b", "a\\b", '"a\\e[31m"', "''", ".x", "'a:b'"]
)
@pytest.mark.parametrize("key", ["name", "split"])
def test_a_name_that_becomes_a_path_is_a_plain_one(tmp_path: Path, key: str, name: str) -> None:
    base = RECIPE.replace("name: pond\n", "", 1) if key == "name" else RECIPE
    with pytest.raises(InputError, match=f"{key} must be a plain name") as caught:
        load_recipe(recipe(tmp_path, f"{key}: {name}\n", base))
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("seed: 99999999999999999999\n", "seed must be a whole number of at most 63 bits"),
        ("select: {quota: 100000000000000000000}\n", "quota must be a whole number"),
        ("select: {quota: 5, band: .nan}\n", "band must be a finite number"),
        ("select: {quota: 5, band: .inf}\n", "band must be a finite number"),
        ("select: {quota: 5}\nseed: -1\n", "seed must be a whole number, 0 or more"),
        ('description: "\\ud800"\n', "half of a character"),
        ('compare: ["a\\e[2J-b"]\n', "without control characters"),
        ("near_duplicate_bits: true\n", "must be int, not True"),
        ("description: [" + "x, " * 5000 + "x]\n", "description must be str"),
    ],
)
def test_values_that_cannot_be_right_are_named(tmp_path: Path, more: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        load_recipe(recipe(tmp_path, more))
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("value", ["[" * 3000, "{a: 1, a: 2}", bomb(6), "2021-13-01"])
def test_overrides_have_the_same_limits(value: str) -> None:
    with pytest.raises(InputError, match=r"--set description=.* cannot be set") as caught:
        overridden({}, [f"description={value}"], "recipe pond")
    assert len(str(caught.value)) < 800


def test_a_registry_with_escapes_is_refused(tmp_path: Path) -> None:
    source = (
        'sources:\n- {name: x, purpose: "p", license: l, citation: c, homepage: h,\n'
        '   files: [{name: a.tar, urls: ["http://x/\\e[31m"], size: 10}]}\n'
    )
    path = tmp_path / "registry.yaml"
    path.write_text(source)
    with pytest.raises(InputError, match="control characters"):
        load_registry(path)
    path.write_text(source.replace("\\e[31m", "a.tar").replace('"p"', '"\\e[31mp"'))
    with pytest.raises(InputError, match="control characters"):
        load_registry(path)
