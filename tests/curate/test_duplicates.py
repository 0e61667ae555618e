"""Near duplicates against imagehash's own distance, and the hashing of a training split."""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass, field
from functools import cache

import imagehash
import numpy as np
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from sbdata.curate import duplicates
from sbdata.curate.duplicates import hash_members, near_duplicates
from sbdata.errors import InputError
from sbdata.fetch.photos import perceptual_hash
from sbdata.sources import Member

BITS = 4  # the recipes' default

hashes = st.integers(0, 2**64 - 1).map(lambda value: f"{value:016x}")


@cache
def photo(seed: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """Return a picture with the spectrum of natural ones: amplitude falls as 1/f."""
    chance = np.random.default_rng(seed)
    width, height = size
    y, x = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :]
    fall = 1 / np.maximum(np.hypot(y, x), 1 / width)
    planes = []
    for _ in range(3):
        wave = np.fft.ifft2(fall * np.fft.fft2(chance.standard_normal((height, width)))).real
        planes.append(np.clip(128 + 50 * wave / wave.std(), 0, 255))
    return Image.fromarray(np.stack(planes, axis=-1).astype(np.uint8))


def encoded(image: Image.Image, quality: int = 90) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()


@dataclass(frozen=True)
class Album:
    """As much of a source as hashing asks for."""

    images: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def image_bytes(self, file_name: str) -> bytes | None:
        self.asked.append(file_name)
        if ".." in file_name:
            raise InputError(file_name)
        return self.images.get(file_name)


# --- distances -----------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1))
@example([0, 2**64 - 1, 1, 2**63])
def test_both_ways_of_counting_bits_agree(values):
    numbers = np.array(values, np.uint64)
    expected = [bin(value).count("1") for value in values]
    assert duplicates._bit_count_by_sums(numbers).tolist() == expected
    assert duplicates._bit_count(numbers).tolist() == expected


def by_brute_force(chosen, training, bits):
    found = {}
    for name in sorted(chosen):
        own = imagehash.hex_to_hash(chosen[name])
        ranked = sorted(
            (own - imagehash.hex_to_hash(code), other) for other, code in training.items()
        )
        if ranked and ranked[0][0] <= bits:
            found[name] = ranked[0][1]
    return found


few = st.integers(0, 255).map(lambda value: f"{value:016x}")  # near one another
ids = st.text("abcdef", min_size=1, max_size=4)


@settings(deadline=None)
@given(st.dictionaries(ids, few), st.dictionaries(ids, few), st.integers(0, 6))
def test_near_duplicates_are_those_of_brute_force(chosen, training, bits):
    found = near_duplicates(chosen, training, bits)
    assert found == by_brute_force(chosen, training, bits)
    assert list(found) == sorted(found)


@pytest.mark.parametrize("pairs", [1, 7, 64])
def test_blocks_change_nothing(monkeypatch, pairs):
    chance = np.random.default_rng(pairs)
    chosen = {f"c{i}": f"{v:016x}" for i, v in enumerate(chance.integers(0, 512, 40))}
    training = {f"j{i}": f"{v:016x}" for i, v in enumerate(chance.integers(0, 512, 50))}
    whole = near_duplicates(chosen, training, 1)
    monkeypatch.setattr(duplicates, "_PAIRS", pairs)
    monkeypatch.setattr(duplicates, "_COLUMNS", 3)
    assert near_duplicates(chosen, training, 1) == whole == by_brute_force(chosen, training, 1)


def test_nothing_to_compare_is_no_duplicate():
    assert near_duplicates({}, {"a": "0" * 16}, 64) == {}
    assert near_duplicates({"a": "0" * 16}, {}, 64) == {}


@pytest.mark.parametrize("code", ["", "0" * 15, "0" * 17, "x" * 16, "0" * 32])
def test_what_is_no_hash_is_refused(code):
    with pytest.raises(InputError, match="16 hex digits"):
        near_duplicates({"a": code}, {"b": "0" * 16}, 4)


def test_two_wrong_lengths_do_not_make_a_right_one():
    with pytest.raises(InputError, match="16 hex digits"):
        near_duplicates({"a": "0" * 15, "b": "0" * 17}, {"c": "0" * 16}, 4)


# --- pictures ------------------------------------------------------------------------------------

COPIES = {
    "smaller": lambda image: image.resize((160, 120)),
    "larger": lambda image: image.resize((500, 375), Image.Resampling.BILINEAR),
    "recompressed": lambda image: Image.open(io.BytesIO(encoded(image, 25))),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.15),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.8),
    "cropped": lambda image: image.crop((1, 1, image.width - 1, image.height - 1)),
    "grey": lambda image: image.convert("L"),
}


@pytest.mark.parametrize("copy", COPIES)
def test_copies_are_found(copy):
    training = {str(seed): perceptual_hash(photo(seed)) for seed in range(20)}
    copies = {f"c{seed}": perceptual_hash(COPIES[copy](photo(seed))) for seed in range(20)}
    found = near_duplicates(copies, training, BITS)
    assert all(twin == name[1:] for name, twin in found.items())
    assert len(found) >= 19


def test_different_pictures_are_not_found():
    training = {str(seed): perceptual_hash(photo(seed, (120, 90))) for seed in range(100)}
    others = {str(seed): perceptual_hash(photo(seed, (120, 90))) for seed in range(100, 200)}
    assert near_duplicates(others, training, BITS) == {}


def sent(thing):
    return pickle.loads(pickle.dumps(thing))  # noqa: S301 - made a moment ago


# --- a training split -----------------------------------------------------------------------------


def members(*names: str) -> list[Member]:
    return [Member(name, f"train/{name}.jpg") for name in names]


@pytest.fixture
def album() -> Album:
    return Album(
        {
            "train/a.jpg": encoded(photo(1)),
            "train/b.jpg": encoded(photo(2)),
            "train/broken.jpg": encoded(photo(3))[:500],
        }
    )


@pytest.mark.parametrize("workers", [1, 3])
def test_images_at_hand_are_hashed_and_the_others_counted(album, workers):
    found = hash_members(
        album, members("b", "gone", "a", "broken", "../out", "far"), workers=workers
    )
    assert found.hashes == {
        name: str(imagehash.phash(Image.open(io.BytesIO(album.images[f"train/{name}.jpg"]))))
        for name in ("a", "b")
    }
    assert found.unreadable == 1


def test_processes_are_sent_little_and_give_the_same(album, tmp_path, monkeypatch):
    """The way to another process and back, without starting one."""
    store = tmp_path / "train.json"
    inline = hash_members(album, members("a", "b", "gone"), cache=store)
    calls = []

    def as_processes(function, items, *, workers, processes, progress):
        calls.append((workers, processes, len(pickle.dumps(function))))
        return [sent(function)(sent(item)) for item in items]

    monkeypatch.setattr(duplicates, "run_each", as_processes)
    hash_members(album, members("a"), workers=2, processes=True)
    found = hash_members(album, members("a", "b", "gone"), workers=2, processes=True, cache=store)
    assert found == inline
    assert [call[:2] for call in calls] == [(2, True)] * 2
    assert calls[0][2] == calls[1][2]  # the known hashes stay here


def test_known_hashes_are_not_made_again(album, tmp_path, monkeypatch):
    store = tmp_path / "training" / "train.json"
    first = hash_members(album, members("a"), cache=store)
    made = []
    monkeypatch.setattr(
        duplicates, "perceptual_hash", lambda image: made.append(image) or perceptual_hash(image)
    )
    second = hash_members(album, members("a", "b"), cache=store)
    assert len(made) == 1
    assert second.hashes["a"] == first.hashes["a"]
    album.images["train/c.jpg"] = encoded(photo(4))
    hash_members(album, members("c"), cache=store)
    assert len(made) == 2
    assert hash_members(album, members("a", "b"), cache=store) == second
    assert len(made) == 2
    assert [path.name for path in store.parent.iterdir()] == ["train.json"]


def test_a_changed_image_does_not_get_its_old_hash(album, tmp_path):
    store = tmp_path / "train.json"
    hash_members(album, members("a"), cache=store)
    album.images["train/a.jpg"] = album.images["train/b.jpg"]
    found = hash_members(album, members("a", "b"), cache=store)
    assert found.hashes["a"] == found.hashes["b"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b'{"hashes": {"a": "zz"}}', b'{"hashes": 3}', None]
)
def test_a_damaged_or_foreign_cache_is_made_anew(album, tmp_path, content):
    store = tmp_path / "train.json"
    true = hash_members(album, members("a"), cache=store)
    good = store.read_bytes()
    stored = orjson.loads(good)
    foreign = {
        "made_with": "something else",
        "hashes": dict.fromkeys(stored["hashes"], "0" * 16),
    }
    store.write_bytes(orjson.dumps(foreign) if content is None else content)
    assert hash_members(album, members("a"), cache=store) == true
    assert store.read_bytes() == good


def test_progress_counts_members(album):
    seen = []
    hash_members(album, members("a", "gone"), progress=lambda *counts: seen.append(counts))
    assert seen == [(1, 2), (2, 2)]


def test_a_training_photo_may_be_a_png() -> None:
    out = io.BytesIO()
    photo(1).save(out, "PNG")
    album = Album({"a.png": out.getvalue()})
    found = hash_members(album, [Member("a", "a.png")])
    assert found.unreadable == 0
    with Image.open(io.BytesIO(encoded(photo(1)))) as jpeg:
        ours = {"copy": perceptual_hash(jpeg)}
    assert near_duplicates(ours, found.hashes, BITS) == {"copy": "a"}
