"""Views: photos cut anew for every step, with what a loss compares them with.

View ``p`` is a function of the seed and ``p`` alone. That is why any number of workers and
processes sees the same views, and a run that was killed goes on with the view that it would have
seen.
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


class Row(Protocol):
    """What a view is cut from: a photo and whatever else is known of it."""

    @property
    def photo(self) -> Path:
        """Return the photo's file."""


R = TypeVar("R", bound=Row)
Arrays = tuple[npt.NDArray[Any], ...]
Batch = tuple[Tensor, ...]
"""Images ``(N, 3, S, S)`` uint8, and one tensor for each array that the target function gives."""

Crop = Callable[[Image.Image, np.random.Generator], tuple[Image.Image, View]]
"""From a photo and a source of chance to the photo, perhaps of other colours, and a view of it."""

Target = Callable[[R, View], Arrays]
"""From a row and a view to the arrays that go with the pixels of the view."""

Alter = Callable[[Image.Image, R, np.random.Generator], tuple[Image.Image, R]]
"""From a photo, its row and a source of chance to another photo and its row."""


@dataclass(frozen=True)
class Shuffled(Generic[R]):
    """The rows of a run: each once an epoch, in an order drawn anew for every epoch.

    Attributes:
        rows: all rows.
        seed: seed of the order.
        stream: number that tells apart what one run draws for two purposes.
    """

    rows: Sequence[R]
    seed: int
    stream: int = 0

    def __call__(self, position: int) -> R:
        """Return the row at a position of the run."""
        epoch, place = divmod(position, len(self.rows))
        row: R = self.rows[order((self.seed, self.stream, 0, epoch), len(self.rows))[place]]
        return row


@lru_cache(maxsize=4)  # the running epoch and the next, of two streams
def order(key: tuple[int, ...], n: int) -> npt.NDArray[np.int64]:
    """Return the numbers below ``n`` in a random order that the key decides."""
    return np.random.default_rng(key).permutation(n)


@dataclass(frozen=True)
class Views(Dataset[Arrays], Generic[R]):
    """All views of one run; all parts must be picklable, for workers.

    Attributes:
        row_at: gives the row at a position of the run, such as :class:`Shuffled`.
        crop: draws the view of a photo.
        target: gives what goes with the view.
        seed: seed of the views.
        stream: number that tells apart what one run draws for two purposes.
        alter: changes a photo and its row before the photo is cut.
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
    """Views of several streams, each asked for by its number and a position."""

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
    pin_memory: bool = False,
) -> Iterator[Batch]:
    """Give batches: the first stream's views at some positions, then those of the next one.

    Args:
        streams: views whose batches are put together.
        positions: positions of each batch.
        workers: processes that cut views ahead; 0 cuts them in this one.
        pin_memory: whether batches are kept where a GPU copies them faster.

    Raises:
        InputError: naming the file that cannot be read.
    """
    numbers = range(len(streams))
    loader: DataLoader[Any] = DataLoader(
        _Streams(tuple(streams)),
        batch_sampler=([(n, p) for n in numbers for p in batch] for batch in positions),
        num_workers=workers,
        collate_fn=_collate,
        pin_memory=pin_memory,
        generator=torch.Generator(),  # else it would draw from the one that a run is resumed with
        multiprocessing_context="spawn" if workers else None,
    )
    with starting_workers():
        drawn = iter(loader)
    try:
        yield from drawn
    except InputError as error:  # a worker's error arrives with the worker's traceback in front
        raise InputError(str(error).strip().rpartition("InputError: ")[2]) from error


def in_steps(steps: Iterable[int], size: int) -> Iterator[range]:
    """Give the positions of batches: step ``s`` has those from ``s * size`` on."""
    return (range(step * size, (step + 1) * size) for step in steps)


def _collate(views: list[Arrays]) -> Batch:
    pixels, *rest = (torch.from_numpy(np.stack(column)) for column in zip(*views, strict=True))
    return pixels.permute(0, 3, 1, 2), *rest  # channels last in memory, as they lie
