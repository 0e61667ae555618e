"""A few mutated files of each format; ``python -m tests.fuzz`` tries many."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import fuzz as fuzz_module
from tests.fuzz import fuzz
from tests.fuzz_formats import Format, formats


@pytest.mark.slow
def test_mutated_files_are_read_or_refused(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the extra `train` is not installed")
    found = fuzz(tmp_path, inputs=40, seed=17)
    assert [(one.seed, one.error) for one in found] == []


def ends(data: bytes) -> None:
    if data != b"good":
        os.kill(os.getpid(), signal.SIGKILL)


def fails(data: bytes) -> None:
    if data != b"good":
        raise KeyError(data)


@pytest.mark.parametrize(("read", "said"), [(ends, "the process ended"), (fails, "KeyError")])
def test_a_wrong_end_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[bytes], None], said: str
) -> None:
    monkeypatch.setattr(fuzz_module, "formats", lambda folder: {"bad": Format(b"good", read)})
    found = fuzz(tmp_path, inputs=3, seed=0)
    assert [one.seed for one in found] == ["0:bad:0", "0:bad:1", "0:bad:2"]
    assert all(said in one.error for one in found)


READ_FROM_OUTSIDE = [
    "recipe", "registry", "preset", "override", "coco", "lvis", "manifest", "parquet-images",
    "parquet-instances", "voc-list", "voc-xml", "png", "png-whole", "png-palette", "png-colours",
    "png-16", "jpeg", "photo-png", "labels-npy", "labels-csv", "labels-xml", "labels-txt",
    "labels-json", "labels-coco", "sbd-mat", "sbd-mat-packed", "boxes-xml",
    "boxes-json", "id-list", "checksums", "sources-marker", "rejected", "marker", "file-hashes",
    "run-json", "checkpoint", "model", "summary", "score-objects", "score-tables", "score-values",
    "import-record", "zip", "tar", "file-table", "result", "npy", "class-list", "coco-results",
    "panoptic", "panoptic-predictions", "npy-map", "palette", "cityscapes", "ade20k",
]  # fmt: skip


def test_every_format_has_a_good_file_that_is_read(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the extra `train` is not installed")
    known = formats(tmp_path)
    assert sorted(known) == sorted(READ_FROM_OUTSIDE)
    for format_ in known.values():
        format_.read(format_.good)
