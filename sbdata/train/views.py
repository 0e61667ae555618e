"""Views: crops of photos, drawn for every step, with the targets of a loss.

View ``p`` depends only on the seed and ``p``. So any number of workers and processes sees the same
views, and a run that was killed continues with the view that would have come next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sbdata.errors import InputError
from sbdata.machine import starting_workers
from sbdata.train.augment import View, cut_image
from sbdata.train.photos import read_photo

_AHEAD = 4  # batches that each worker prepares for a GPU; PyTorch's default is 2


class Row(Protocol):
    """Source of a view: a photo and whatever else is known about it."""

    @property
    def photo(self) -> Path:
        """Path of the photo."""


R = TypeVar("R", bound=Row)
Arrays = tuple[npt.NDArray[Any], ...]
Batch = tuple[Tensor, ...]
"""Images, uint8 ``(N, 3, S, S)``, and one tensor for each array of the target function."""

Crop = Callable[[Image.Image, np.random.Generator], tuple[Image.Image, View]]
"""Function from a photo and a random generator to the photo, perhaps recoloured, and a view."""

Target = Callable[[R, View], Arrays]
"""Function from a row and a view to the arrays that belong to the view."""

Alter = Callable[[Image.Image, R, np.random.Generator], tuple[Image.Image, R]]
"""Function from a photo, its row and a random generator to another photo and its row."""


@dataclass(frozen=True)
class Shuffled(Generic[R]):
    """Rows of a run, each once per epoch, in an order drawn anew for every epoch.

    Attributes:
        rows: All rows.
        seed: Seed of the order.
        stream: Number of the random stream; separates what one run draws for two purposes.
    """

    rows: Sequence[R]
    seed: int
    stream: int = 0

    def __call__(self, position: int) -> R:
        """Return the row at a position of the run."""
        epoch, place = divmod(position, len(self.rows))
        row: R = self.rows[order((self.seed, self.stream, 0, epoch), len(self.rows))[place]]
        return row


@lru_cache(maxsize=4)  # the current epoch and the next, for two streams
def order(key: tuple[int, ...], n: int) -> npt.NDArray[np.int64]:
    """Return the numbers below ``n`` in a random order that depends on the key."""
    return np.random.default_rng(key).permutation(n)


@dataclass(frozen=True)
class Views(Dataset[Arrays], Generic[R]):
    """Dataset of all views of one run; all parts must be picklable, for workers.

    Attributes:
        row_at: Function that gives the row at a position of the run, such as :class:`Shuffled`.
        crop: Function that draws the view of a photo.
        target: Function that gives the targets of a view.
        seed: Seed of the views.
        stream: Number of the random stream; separates what one run draws for two purposes.
        alter: Function that changes a photo and its row before the photo is cut.
    """

    row_at: Callable[[int], R]
    crop: Crop
    target: Target[R]
    seed: int
    stream: int = 0
    alter: Alter[R] | None = None

    def __getitem__(self, position: int) -> Arrays:
        row = self.row_at(position)
        rng = np.random.default_rng((self.seed, self.stream, 1, position))
        photo = read_photo(row.photo)
        if self.alter is not None:
            photo, row = self.alter(photo, row, rng)
        photo, view = self.crop(photo, rng)
        return cut_image(photo, view), *self.target(row, view)


@dataclass(frozen=True)
class _Streams(Dataset[Arrays]):
    """Views of several streams, indexed by stream number and position."""

    streams: tuple[Dataset[Arrays], ...]

    def __getitem__(self, place: tuple[int, int]) -> Arrays:
        number, position = place
        view: Arrays = self.streams[number][position]
        return view


def batches(
    streams: Sequence[Dataset[Arrays]],
    positions: Iterable[Iterable[int]],
    workers: int = 0,
    *,
    for_gpu: bool = False,
) -> Iterator[Batch]:
    """Yield batches: the first stream's views at some positions, then those of the next stream.

    The workers live until the last batch: a loader is iterated once, so none has to persist.

    Args:
        streams: Datasets of views whose batches are joined.
        positions: Positions of each batch.
        workers: Number of data-loading workers; 0 cuts views in this process.
        for_gpu: True to keep batches in pinned memory, from which a GPU copies while it computes,
            and to prepare more of them ahead.

    Raises:
        InputError: if a file cannot be read; the message names it.
    """
    numbers = range(len(streams))
    loader: DataLoader[Any] = DataLoader(
        _Streams(tuple(streams)),
        batch_sampler=([(n, p) for n in numbers for p in batch] for batch in positions),
        num_workers=workers,
        collate_fn=_collate,
        pin_memory=for_gpu,
        prefetch_factor=_AHEAD if for_gpu and workers else None,
        generator=torch.Generator(),  # its own: a resumed run depends on the global generator
        multiprocessing_context="spawn" if workers else None,
    )
    with starting_workers():
        drawn = iter(loader)
    try:
        yield from drawn
    except InputError as error:  # a worker's message begins with its traceback
        raise InputError(str(error).strip().rpartition("InputError: ")[2]) from error


def in_steps(steps: Iterable[int], size: int) -> Iterator[range]:
    """Yield the positions of batches: those of step ``s`` begin at ``s * size``."""
    return (range(step * size, (step + 1) * size) for step in steps)


def _collate(views: list[Arrays]) -> Batch:
    pixels, *rest = (torch.from_numpy(np.stack(column)) for column in zip(*views, strict=True))
    return pixels.permute(0, 3, 1, 2), *rest  # channels last in memory, without a copy
