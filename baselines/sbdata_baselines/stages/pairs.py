"""Pairs: views of two photos with a class in common."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset

from sbdata.errors import InputError
from sbdata.weak_labels.weak_set import WeakImage, WeakSet
from sbdata_baselines.settings import ViewSettings
from sbdata_baselines.stages.photos import WeakViews

_STREAM = 2  # of chance; views of the two halves take 0 and 1


@dataclass(frozen=True)
class PairViews(Dataset[tuple[npt.NDArray[Any], ...]]):
    """Views of either the first or the second photo of all pairs of one run.

    Pair ``p`` is a function of the seed and ``p`` alone, so the two halves, each read by
    ``photos.batches``, fit together. In an epoch every photo that has a class is first once, in an
    order drawn anew; its partner is any other photo with one of its classes, or itself where there
    is none.

    Attributes:
        weak: the photos.
        settings: of the views.
        seed: of pairs and views.
        half: 0 for the first photos, 1 for their partners.

    Raises:
        InputError: if no photo has a class.
    """

    weak: WeakSet
    settings: ViewSettings
    seed: int
    half: Literal[0, 1]

    def __post_init__(self) -> None:
        if not self._labelled:
            msg = "no photo of the training set has a class, so none can be paired; label some"
            raise InputError(msg)

    def __getitem__(self, position: int) -> tuple[npt.NDArray[Any], ...]:
        row = self.pair(position)[self.half]
        alone = WeakViews(replace(self.weak, rows=(row,)), self.settings, self.seed, self.half)
        return alone[position]

    def pair(self, position: int) -> tuple[WeakImage, WeakImage]:
        """Return the photos of a pair."""
        labelled = self._labelled
        epoch, place = divmod(position, len(labelled))
        first = labelled[_order((self.seed, _STREAM, 0, epoch), len(labelled))[place]]
        rng = np.random.default_rng((self.seed, _STREAM, 1, position))
        common = first.classes[rng.integers(len(first.classes))]
        partners = [row for row in self._by_class[common] if row is not first] or [first]
        return first, partners[rng.integers(len(partners))]

    @cached_property
    def _labelled(self) -> tuple[WeakImage, ...]:
        return tuple(row for row in self.weak.rows if row.classes)

    @cached_property
    def _by_class(self) -> dict[int, list[WeakImage]]:
        classes = {c for row in self._labelled for c in row.classes}
        return {c: [row for row in self._labelled if c in row.classes] for c in sorted(classes)}


@lru_cache(maxsize=4)  # the running epoch and the next, of two halves
def _order(key: tuple[int, ...], n: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(key).permutation(n)
