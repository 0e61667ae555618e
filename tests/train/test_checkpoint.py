"""Weights files: written whole or not at all, and read only if they are what they should be."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
import torch

from sbdata.errors import InputError
from sbdata.machine import sentence_of
from sbdata.train.checkpoint import MODEL_FORMAT, load_tensors, save_tensors


@pytest.mark.parametrize("limit", [0, 4096])
def test_what_the_disk_says_reaches_the_user(tmp_path: Path, limit: int) -> None:
    path = tmp_path / "model.pt"
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, former[1]))
    try:
        with pytest.raises(OSError, match="too large") as caught:
            save_tensors(path, {"a": torch.zeros(10_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
    assert str(path) in sentence_of(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_value_that_cannot_be_saved_is_not_the_disk(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="pickle") as caught:
        save_tensors(tmp_path / "model.pt", {"a": lambda: 0})
    assert not isinstance(caught.value, OSError)


@pytest.mark.parametrize("part", [(0, 60), (200, 260)])
def test_damaged_weights_are_one_sentence(tmp_path: Path, part: tuple[int, int]) -> None:
    path = tmp_path / "model.pt"
    save_tensors(path, {"format": MODEL_FORMAT, "a": torch.zeros(3)})
    data = path.read_bytes()
    path.write_bytes(data[: part[0]] + b"\x8c" * (part[1] - part[0]) + data[part[1] :])
    with pytest.raises(InputError, match=r"model.pt: not a readable weights file"):
        load_tensors(path, MODEL_FORMAT)
