from __future__ import annotations

import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sbdata_baselines.stages.maps import (
    ClassMaps,
    max_normalised,
    minmax_normalised,
    read_maps,
    write_maps,
)

from sbdata.errors import InputError


def random_maps(count: int = 2, background: bool = False) -> ClassMaps:
    generator = np.random.default_rng(3)
    return ClassMaps(
        classes=tuple(range(2, 2 + count)),
        maps=generator.random((count, 7, 9), np.float32),
        background=generator.random((7, 9), np.float32) if background else None,
        normalisation="softmax" if background else "minmax",
    )


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_what_was_written_is_read(tmp_path: Path, count: int, background: bool) -> None:
    maps = random_maps(count, background)
    path = write_maps(tmp_path, "2007_000032", maps)
    again = read_maps(tmp_path, "2007_000032")
    assert path == tmp_path / "2007_000032.npz"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert again.classes == maps.classes
    assert again.size == (7, 9)
    assert again.normalisation == maps.normalisation
    assert again.maps.dtype == np.float32
    np.testing.assert_allclose(again.maps, maps.maps, atol=2.5e-4)
    if maps.background is None:
        assert again.background is None
    else:
        assert again.background is not None
        np.testing.assert_allclose(again.background, maps.background, atol=2.5e-4)


def test_equal_maps_give_equal_bytes(tmp_path: Path) -> None:
    first, second = (
        write_maps(tmp_path, "a", random_maps()),
        write_maps(tmp_path, "b", random_maps()),
    )
    assert first.read_bytes() == second.read_bytes()


def test_the_values_are_stored_as_float16(tmp_path: Path) -> None:
    with np.load(write_maps(tmp_path, "a", random_maps())) as stored:
        assert stored["maps"].dtype == np.float16


@pytest.mark.parametrize("image_id", ["../a", "a/b", "", ".hidden", "a\n"])
def test_an_id_that_is_no_file_name(tmp_path: Path, image_id: str) -> None:
    with pytest.raises(InputError, match="cannot name a file"):
        write_maps(tmp_path / "maps", image_id, random_maps())
    with pytest.raises(InputError, match="cannot name a file"):
        read_maps(tmp_path / "maps", image_id)
    assert list(tmp_path.iterdir()) == []


def test_missing_maps(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.npz does not exist"):
        read_maps(tmp_path, "a")


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    path = write_maps(tmp_path, "a", random_maps())
    whole = path.read_bytes()
    for end in range(0, len(whole), 97):
        path.write_bytes(whole[:end])
        with pytest.raises(InputError, match=r"a\.npz: not a readable file of class maps"):
            read_maps(tmp_path, "a")


def test_a_changed_byte_of_the_values_is_noticed(tmp_path: Path) -> None:
    path = write_maps(tmp_path, "a", random_maps())
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        place = archive.getinfo("maps.npy").header_offset + 120
    data[place] ^= 0xFF
    path.write_bytes(bytes(data))
    with pytest.raises(InputError, match="not a readable file"):
        read_maps(tmp_path, "a")


class _Hostile:
    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return (Path.touch, (Path("hostile"),))


def test_pickles_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.npz").write_bytes(pickle.dumps(_Hostile()))
    np.savez(tmp_path / "b.npz", classes=np.array([_Hostile()]), maps=np.zeros((1, 2, 2)))
    for image_id in "ab":
        with pytest.raises(InputError, match="not a readable file"):
            read_maps(tmp_path, image_id)
    assert not (tmp_path / "hostile").exists()


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"classes": np.array([1]), "maps": np.zeros((1, 2, 2))},
        {"classes": np.array(1), "maps": np.zeros((1, 2, 2)), "normalisation": "max"},
        {"classes": np.array([1, 2]), "maps": np.zeros((1, 2, 2)), "normalisation": "max"},
        {"classes": np.array([1]), "maps": np.full((1, 2, 2), np.nan), "normalisation": "max"},
        {"classes": np.array([1]), "maps": np.array([["a"]]), "normalisation": "max"},
    ],
)
def test_other_contents(tmp_path: Path, arrays: dict[str, object]) -> None:
    np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="not a readable file"):
        read_maps(tmp_path, "a")


def test_a_plain_array_is_no_file_of_maps(tmp_path: Path) -> None:
    with (tmp_path / "a.npz").open("wb") as stream:
        np.save(stream, np.zeros((1, 2, 2), np.float16))
    with pytest.raises(InputError, match="not a readable file"):
        read_maps(tmp_path, "a")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"classes": (3, 2)}, "ascending"),
        ({"classes": (2, 2)}, "ascending"),
        ({"classes": (0, 2)}, "outside 1..254"),
        ({"classes": (2, 255)}, "outside 1..254"),
        ({"classes": (2,)}, "give one a class"),
        ({"maps": np.zeros((2, 7, 9))}, "float32"),
        ({"maps": np.zeros((2, 7), np.float32)}, "shape"),
        ({"maps": np.full((2, 7, 9), 1.01, np.float32)}, "outside"),
        ({"maps": np.full((2, 7, 9), np.nan, np.float32)}, "outside"),
        ({"background": np.zeros((9, 7), np.float32)}, "background"),
        ({"background": np.full((7, 9), -0.1, np.float32)}, "background"),
        ({"normalisation": "l2"}, "normalised by 'l2'"),
    ],
)
def test_parts_that_do_not_fit(change: dict[str, object], match: str) -> None:
    with pytest.raises(InputError, match=match):
        replace(random_maps(), **change)  # type: ignore[arg-type]


def test_normalisers() -> None:
    maps = np.array([[[-2.0, 0.0, 3.0]], [[0.0, 0.0, 0.0]], [[5.0, 5.0, 5.0]]])
    by_max, by_range = max_normalised(maps), minmax_normalised(maps)
    expected = np.array([[[0, 0, 3 / 3.00001]], [[0, 0, 0]], [[5 / 5.00001] * 3]])
    np.testing.assert_allclose(by_max, expected, rtol=1e-6)
    expected = np.array([[[0, 2 / 5.00001, 5 / 5.00001]], [[0, 0, 0]], [[0, 0, 0]]])
    np.testing.assert_allclose(by_range, expected, rtol=1e-6)
    assert by_max.dtype == by_range.dtype == np.float32
    assert np.isfinite(max_normalised(maps, eps=0)).all()
    assert np.isfinite(minmax_normalised(maps, eps=0)).all()
    assert max_normalised(maps[:0]).shape == minmax_normalised(maps[:0]).shape == (0, 1, 3)
