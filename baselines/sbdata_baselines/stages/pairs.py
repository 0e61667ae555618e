"""Pairs: views of two photos with a class in common."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from sbdata.errors import InputError
from sbdata.train.views import Shuffled, Views
from sbdata.weak_labels.weak_set import WeakImage, WeakSet
from sbdata_baselines.settings import ViewSettings
from sbdata_baselines.stages.photos import LabelTarget

_STREAM = 2  # random stream of the pairs; views of the two sides use 0 and 1


@dataclass(frozen=True)
class Pairs:
    """Sequence of the first or of the second photos of all pairs of one run.

    Pair ``p`` depends only on the seed and ``p``, so the two sides match. In each epoch, every
    photo that has a class is the first photo once, in an order drawn anew. Its partner is any other
    photo with one of its classes, or itself if there is none.

    Attributes:
        rows: Photos.
        seed: Seed of the pairs.
        side: Side, 0 for the first photos, 1 for their partners.

    Raises:
        InputError: if no photo has a class.
    """

    rows: tuple[WeakImage, ...]
    seed: int
    side: Literal[0, 1]

    def __post_init__(self) -> None:
        if not self._labelled:
            msg = "no photo of the training set has a class to pair it by; label some photos"
            raise InputError(msg)

    def __call__(self, position: int) -> WeakImage:
        """Return this side's photo of the pair at a position."""
        return self.pair(position)[self.side]

    def pair(self, position: int) -> tuple[WeakImage, WeakImage]:
        """Return both photos of the pair at a position."""
        first = Shuffled(self._labelled, self.seed, _STREAM)(position)
        rng = np.random.default_rng((self.seed, _STREAM, 1, position))
        common = first.classes[rng.integers(len(first.classes))]
        partners = [row for row in self._by_class[common] if row is not first] or [first]
        return first, partners[rng.integers(len(partners))]

    @cached_property
    def _labelled(self) -> tuple[WeakImage, ...]:
        return tuple(row for row in self.rows if row.classes)

    @cached_property
    def _by_class(self) -> dict[int, list[WeakImage]]:
        classes = {c for row in self._labelled for c in row.classes}
        return {c: [row for row in self._labelled if c in row.classes] for c in sorted(classes)}


def pair_views(weak: WeakSet, settings: ViewSettings, seed: int) -> list[Views[WeakImage]]:
    """Return the views of the first photos of all pairs of one run, and those of their partners.

    Raises:
        InputError: if no photo has a class.
    """
    target = LabelTarget(len(weak.taxonomy))
    sides: tuple[Literal[0, 1], ...] = (0, 1)
    return [
        Views(Pairs(weak.rows, seed, side), settings, target, seed, stream=side) for side in sides
    ]
