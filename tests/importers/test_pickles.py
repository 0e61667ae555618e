"""Pickles of arrays come out as NumPy reads them; hostile ones are refused by name, and not run."""

from __future__ import annotations

import builtins
import collections
import functools
import io
import os
import pickle
import random
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from sbdata.importers import dictionaries
from sbdata.importers.arrays import read_arrays, unwrap
from sbdata.importers.dictionaries import LayoutError, read_dictionary
from sbdata.importers.pickles import MAX_STEPS, PickleError, read_pickle
from tests.importers.published import npy, object_array, stream

# --- what is admitted -----------------------------------------------------------------------------

KINDS = [np.dtype(kind) for kind in ("?", "i1", "u1", "<i4", ">i4", "<i8", "<f2", "<f4", ">f8")]
ARRAYS = st.sampled_from(KINDS).flatmap(
    lambda kind: arrays(kind, array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    values=st.dictionaries(st.one_of(st.text(max_size=5), st.integers(0, 99)), ARRAYS, max_size=4),
    protocol=st.sampled_from((2, 3, 4)),
    by_column=st.booleans(),
)
def test_dictionaries_of_arrays_come_out_as_they_went_in(values, protocol, by_column) -> None:
    order = "F" if by_column else "C"
    values = {key: np.array(value, order=order) for key, value in values.items()}
    found = read_arrays(stream(object_array(values, protocol)))
    assert list(found) == list(values)
    for key, value in values.items():
        array = unwrap(found[key])
        assert array.dtype == value.dtype
        assert array.shape == value.shape
        np.testing.assert_array_equal(array, value)


def test_pickles_of_numpy_1_and_numbers_and_shared_arrays() -> None:
    maps = np.arange(6.0).reshape(2, 3)
    value = {np.int64(3): maps, "again": maps, "n": np.float32(0.5), "keys": [1, 2], "t": (True,)}
    pickled = object_array(value, 2).replace(b"cnumpy._core.multiarray", b"cnumpy.core.multiarray")
    assert b"numpy.core" in pickled
    found = read_arrays(stream(pickled))
    assert found[3] is found["again"]
    assert (found["n"], found["keys"], found["t"]) == (0.5, [1, 2], (True,))
    np.testing.assert_array_equal(unwrap(found[3]), maps)


@pytest.mark.parametrize("kind", ["float32", "float64", "float16", "int64", "uint8", "bool"])
def test_tensors_come_out_as_pytorch_has_them(kind: str) -> None:
    torch = pytest.importorskip("torch")
    whole = (torch.arange(24) % 7).to(getattr(torch, kind)).reshape(2, 3, 4)
    views = [whole, whole[1:, :2, 1::2], whole.permute(2, 0, 1), whole[0, 0, 0], whole[:0]]
    found = read_arrays(stream(object_array({"views": views, "whole": whole})))
    for array, view in zip([*found["views"], found["whole"]], [*views, whole], strict=True):
        assert array.dtype == view.numpy().dtype
        np.testing.assert_array_equal(array, view.numpy())


# --- what is refused ------------------------------------------------------------------------------


class Calls:
    """Pickles to a call of any function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.reduced = (function, arguments)

    def __reduce__(self) -> Any:
        return self.reduced


class Local:
    """An object of a class of one's own."""


def hostile(marker: Path) -> dict[str, tuple[Any, str]]:
    """Return things whose pickle would write ``marker``, and the name that gives each away."""
    touch = f"open({str(marker)!r}, 'w')"
    return {
        "system": (Calls(os.system, f"touch {marker}"), "posix.system"),
        "eval": (Calls(eval, touch), "builtins.eval"),
        "exec": (Calls(exec, touch), "builtins.exec"),
        "open": (Calls(open, str(marker), "w"), "io.open"),
        "getattr": (Calls(getattr, [], "append"), "builtins.getattr"),
        "import": (Calls(builtins.__import__, "os"), "builtins.__import__"),
        "process": (Calls(subprocess.Popen, ["touch", str(marker)]), "subprocess.Popen"),
        "path": (Calls(Path.touch, marker), "Path"),
        "partial": (functools.partial(os.system, f"touch {marker}"), "functools.partial"),
        "object": (Local(), "Local"),
        "load": (Calls(np.load, str(marker)), "numpy.load"),
        "save": (Calls(np.save, str(marker), 1), "numpy.save"),
        "ndarray": (Calls(np.ndarray, (1,)), "calls numpy.ndarray"),
        "set": ({1, 2}, "EMPTY_SET"),
        "counter": (collections.Counter("a"), "collections.Counter"),
        "records": (np.zeros(2, [("a", "i4"), ("b", "O")]), "type 'V"),
        "objects": (np.array([1, "a"], object), "objects"),
        "texts": (np.array(["a", "b"]), "U1"),
        "hooks": (Calls(collections.OrderedDict, [("a", 1)]), "hooks"),
    }


NAMES = sorted(hostile(Path("nowhere")))
UNHASHABLE = ("set", "counter", "records", "objects", "texts")


@pytest.mark.parametrize(
    ("name", "place"),
    [
        (name, place)
        for name in NAMES
        for place in ("root", "key", "value", "nested", "array")
        if place != "key" or name not in UNHASHABLE
    ],
)
def test_hostile_pickles_are_refused_by_name(name: str, place: str, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    thing, said = hostile(marker)[name]
    value = {
        "root": thing,
        "key": {thing: 1} if place == "key" else None,
        "value": {"keys": thing},
        "nested": {"keys": [1], "cam": ({"a": [(thing,)]},)},
        "array": np.array([{"keys": thing}], object),
    }[place]
    path = tmp_path / "2007_000032.npy"
    path.write_bytes(npy(object_array(value)))
    with pytest.raises(LayoutError, match="pickle that is refused") as raised:
        read_dictionary(path)
    assert said in str(raised.value)
    assert not marker.exists()


def opcodes(text: str) -> bytes:
    """Assemble a pickle from words: ``c`` names a global, other words are raw bytes."""
    return text.encode("latin-1")


RECONSTRUCT = "cnumpy._core.multiarray\n_reconstruct\n"
ARRAY = RECONSTRUCT + "(cnumpy\nndarray\n(K\x00tC\x01btR"
FLOATS = "cnumpy\ndtype\n(X\x02\x00\x00\x00f4\x89\x88tR(K\x03X\x01\x00\x00\x00<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"  # noqa: E501


def array_pickle(shape: str, data: str = "C\x04abcd") -> bytes:
    return opcodes(f"\x80\x04{ARRAY}(K\x01{shape}{FLOATS}\x89{data}tb.")


def test_the_array_assembled_by_hand_is_one() -> None:
    [value] = read_arrays(stream(array_pickle("K\x01\x85")))
    assert value == np.frombuffer(b"abcd", "<f4")


TRICKS = {
    "longer than its bytes": (array_pickle("K\x02\x85"), "2 x 4 bytes, of which 4"),
    "a shape of terabytes": (
        array_pickle("J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86"), "of which 4 are present"),
    "a shape beyond all numbers": (
        array_pickle("\x8a\x10" + "\xff" * 15 + "\x0f\x85"), "impossible shape"),
    "a negative shape": (array_pickle("J\xff\xff\xff\xff\x85"), "impossible shape"),
    "a shape of text": (array_pickle("X\x01\x00\x00\x00a\x85"), "impossible shape"),
    "no bytes": (array_pickle("K\x01\x85", "K\x05"), "of which no are present"),
    "an array never filled": (opcodes(f"\x80\x04{ARRAY}."), "without its values"),
    "an array filled twice": (
        opcodes(f"\x80\x04{ARRAY}(K\x01K\x01\x85{FLOATS}\x89C\x04abcdt"
                f"b(K\x01K\x01\x85{FLOATS}\x89C\x04abcdtb."), "state"),
    "an array that holds itself": (
        opcodes(f"\x80\x04{ARRAY}q\x00(K\x01)cnumpy\ndtype\n(X\x02\x00\x00\x00O8tR"
                "(K\x03X\x01\x00\x00\x00|NNNK\x00K\x00K\x3ftb\x89]h\x00atb."),
        "without its values"),
    "the state of a function": (
        opcodes(f"\x80\x04{RECONSTRUCT}}}X\x01\x00\x00\x00aK\x01sb."), "sets the state of a Name"),
    "the state of a dictionary": (opcodes("\x80\x04}}b."), "sets the state of a dict"),
    "a call of a list": (opcodes("\x80\x04])R."), "calls a list"),
    "a call of what an array is": (opcodes(f"\x80\x04{ARRAY})R."), "calls a PickledArray"),
    "INST": (opcodes("(S'true'\nios\nsystem\n."), "INST"),
    "OBJ": (opcodes("(cos\nsystem\nS'true'\no."), "asks for os.system"),
    "OBJ of what is admitted": (opcodes("(cnumpy\nndarray\no."), "OBJ"),
    "NEWOBJ": (opcodes("\x80\x02cnumpy\nndarray\n)\x81."), "NEWOBJ"),
    "an extension": (opcodes("\x80\x02\x82\x01."), "EXT1"),
    "a persistent id": (opcodes("\x80\x02K\x01Q."), "BINPERSID"),
    "a name made of two": (opcodes("\x80\x04X\x02\x00\x00\x00osX\x06\x00\x00\x00system\x93."),
                           "asks for os.system"),
    "a name that is a number": (opcodes("\x80\x04K\x01K\x02\x93."), "without a name"),
    "bytes in a codec": (opcodes(
        "\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R."), "encoding"),
    "a nest as a key": (
        opcodes("\x80\x04}K\x01\x85" + "2\x86" * 60 + "K\x01s."), "tuple as a key"),
    "a memo of terabytes": (opcodes("\x80\x04K\x01r\xff\xff\xff\xff0."), "damaged"),
    "bytes that are not there": (
        opcodes("\x80\x04\x8e" + "\xff" * 7 + "\x00."), "damaged"),
    "a text that is not there": (opcodes("\x80\x04X\xff\xff\xff\x7fa."), "damaged"),
    "too many instructions": (opcodes("\x80\x04" + "N0" * MAX_STEPS + "N."), "instructions"),
    "values left over": (opcodes("\x80\x04NN."), "left over"),
    "no value": (opcodes("\x80\x04."), "damaged"),
    "a mark as a value": (opcodes("\x80\x04(."), "damaged"),
    "no end": (opcodes("\x80\x04N"), "damaged"),
    "an odd dictionary": (opcodes("\x80\x04(K\x01d."), "damaged"),
    "an item of no list": (opcodes("\x80\x04NNa."), "damaged"),
    "an unknown memo": (opcodes("\x80\x04h\x09."), "damaged"),
    "no pickle": (b"hello", "damaged"),
    "nothing": (b"", "damaged"),
}  # fmt: skip


@pytest.mark.parametrize("name", TRICKS)
def test_tricks_are_refused(name: str) -> None:
    pickled, said = TRICKS[name]
    with pytest.raises(PickleError, match=said):
        read_arrays(stream(pickled))


def tensor_pickle(storage: bytes, size: str = "K\x02\x85", stride: str = "K\x01\x85") -> bytes:
    length = len(storage).to_bytes(4, "little").decode("latin-1")
    return (
        opcodes("\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(ctorch.storage\n_load_from_bytes\n")
        + opcodes(f"B{length}")
        + storage
        + opcodes(f"\x85RK\x00{size}{stride}\x89NtR.")
    )


def storage_bytes(
    said: bytes | None = None, numbers: int = 2, claimed: int = 2, hostile_at: int = -1
) -> bytes:
    """Return a storage of float32 0, 1, ... as PyTorch writes it."""
    named = opcodes(
        "\x80\x02(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x007"
        f"X\x03\x00\x00\x00cpuK{chr(claimed)}NtQ."
    )
    parts = [
        pickle.dumps(0x1950A86A20F9469CFC6C, 2),
        pickle.dumps(1001, 2),
        pickle.dumps({"protocol_version": 1001, "little_endian": True, "type_sizes": {}}, 2),
        said or named,
        pickle.dumps(["7"], 2),
    ]
    if hostile_at >= 0:
        parts[hostile_at] = pickle.dumps(Calls(os.system, "true"), 2)
    raw = np.arange(numbers, dtype="<f4").tobytes()
    return b"".join(parts) + claimed.to_bytes(8, "little") + raw


def test_the_tensor_assembled_by_hand_is_one() -> None:
    assert read_arrays(stream(tensor_pickle(storage_bytes()))).tolist() == [0, 1]


@pytest.mark.parametrize("place", range(5))
def test_a_hostile_pickle_within_a_tensor_is_refused(place: int) -> None:
    with pytest.raises(PickleError, match=r"posix\.system"):
        read_arrays(stream(tensor_pickle(storage_bytes(hostile_at=place))))


@pytest.mark.parametrize(
    ("pickled", "said"),
    [
        (tensor_pickle(storage_bytes(claimed=3)), "3 x 4 bytes, of which 8"),
        (tensor_pickle(storage_bytes(numbers=1)), "2 x 4 bytes, of which 4"),
        (tensor_pickle(storage_bytes(), "K\x03\x85"), "a tensor of 3 in a storage of 2"),
        (tensor_pickle(storage_bytes(), "K\x02\x85", "K\x05\x85"), "a tensor of 2 in a storage"),
        (tensor_pickle(storage_bytes(), "J\xff\xff\xff\x7f\x85", "K\x00\x85"), "in a storage of 2"),
        (tensor_pickle(storage_bytes(), "K\x02\x85", "J\xff\xff\xff\xff\x85"), "impossible shape"),
        (tensor_pickle(storage_bytes(), "K\x02\x85", ")"), "without its storage"),
        (tensor_pickle(b""), "damaged"),
        (tensor_pickle(pickle.dumps(1, 2) * 5), "unknown format"),
        (opcodes("\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(K\x01K\x00K\x01\x85K\x01\x85\x89NtR."),
         "without its storage"),
        (opcodes("\x80\x02ctorch\nload\nX\x01\x00\x00\x00a\x85R."), "asks for torch.load"),
        (opcodes("\x80\x02ctorch.hub\nload\n."), "asks for torch.hub.load"),
    ],
)  # fmt: skip
def test_tensors_that_are_not_what_they_say(pickled: bytes, said: str) -> None:
    with pytest.raises(PickleError, match=said):
        read_arrays(stream(pickled))


def test_damage_of_any_kind_is_one_error() -> None:
    maps = np.random.default_rng(0).random((2, 3, 4)).astype(np.float32)
    whole = object_array({"keys": [1, 2], "high_res": maps, 7: maps[0]})
    rng = random.Random(0)
    refused = 0
    for _ in range(3000):
        damaged = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        if rng.random() < 0.3:
            del damaged[rng.randrange(len(damaged)) :]
        try:
            read_arrays(stream(bytes(damaged)))
        except PickleError:
            refused += 1
    assert refused > 1500


def test_nothing_that_a_pickle_names_is_imported(tmp_path: Path, monkeypatch) -> None:
    imported: list[str] = []
    plain = builtins.__import__

    def spy(name: str, *arguments: Any, **named: Any) -> Any:
        imported.append(name)
        return plain(name, *arguments, **named)

    pickled = object_array({"keys": np.arange(2)})
    monkeypatch.setattr(builtins, "__import__", spy)
    read_arrays(stream(pickled))
    with pytest.raises(PickleError):
        read_pickle(io.BytesIO(b"cantigravity\nfly\n."), {})
    assert "antigravity" not in imported


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a NumPy file"),
        (b"PK\x03\x04", "not a NumPy file"),
        (npy(b"")[:20], "not a NumPy file"),
        (npy(object_array({"keys": []})) + b"more", "more bytes after it"),
        (npy(object_array([1, 2])), "list of 2, not a dictionary"),
    ],
)
def test_files_that_hold_no_dictionary(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    with pytest.raises(LayoutError, match=said):
        read_dictionary(path)


def test_plain_arrays_are_named(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 4, 5), np.float32))
    with pytest.raises(LayoutError, match="float32 3 x 4 x 5, not a dictionary"):
        read_dictionary(tmp_path / "a.npy")
    np.save(tmp_path / "b.npy", np.array([{}, {}], object), allow_pickle=True)
    with pytest.raises(LayoutError, match="an array of objects"):
        read_dictionary(tmp_path / "b.npy")


def test_files_far_too_large_are_not_read(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(npy(object_array({"keys": []})))
    monkeypatch.setattr(dictionaries, "MAX_MAPS_BYTES", path.stat().st_size)
    read_dictionary(path)
    monkeypatch.setattr(dictionaries, "MAX_MAPS_BYTES", path.stat().st_size - 1)
    with pytest.raises(LayoutError, match="activation maps of one image are below"):
        read_dictionary(path)
