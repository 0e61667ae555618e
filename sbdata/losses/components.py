"""Connected components of class maps on the device they lie on, without waiting for it.

A library for components would need the map on the host; that copy stops the device's queue of work
in every training step. Here the work is a fixed number of tensor operations that depends on the
shape alone, so nothing is ever read back.
"""

from __future__ import annotations

import torch
from torch import Tensor

_FORWARD = ((0, 1), (1, 0), (1, 1), (1, -1))
"""Half of the eight neighbours, as (rows, columns); the other half are the same pairs."""


def component_roots(classes: Tensor) -> Tensor:
    """Name each pixel's component by one of its pixels.

    Trees of pixels grow as in Shiloach and Vishkin, "An O(log n) parallel connectivity algorithm"
    (Journal of Algorithms 3, 1982). In a round every root hooks onto the smallest root beside its
    tree, if that is smaller than itself. A tree that neither hooked nor was hooked onto has only
    larger roots beside it, all of which hooked elsewhere; it hooks onto one of them. So no cycle
    can close, and every tree that has a neighbour merges: the trees of a component halve at least,
    and ``ceil(log2(H * W))`` rounds leave one. Pointer doubling then makes each tree flat again.

    Args:
        classes: ``(N, H, W)`` integers. Equal values above 0 that are 8-neighbours in one image
            are connected; a pixel of value 0 is alone.

    Returns:
        int64 ``(N * H * W,)``: for each pixel the flat number of a pixel of its component, the
        same for the whole component.

    >>> component_roots(torch.tensor([[[1, 0, 1], [0, 1, 0], [2, 2, 2]]])).unique().numel()
    5
    """
    _, height, width = classes.shape
    pairs = [_neighbours(classes, rows, columns) for rows, columns in _FORWARD]
    index = torch.arange(classes.numel(), device=classes.device)
    root = index
    rounds = (max(height * width, 1) - 1).bit_length()
    for turn in range(rounds):
        root = _hooked(root, index, pairs, classes.shape)
        # At most 2^(rounds - turn) trees were left in a component, so no path is longer than that.
        for _ in range(rounds - turn):
            root = root.gather(0, root)
    return root


_Place = tuple[slice, slice, slice]


def _neighbours(classes: Tensor, rows: int, columns: int) -> tuple[_Place, _Place, Tensor]:
    """Return where the first and the second of neighbouring pixels lie, and which are connected."""
    _, height, width = classes.shape
    right, left = max(columns, 0), max(-columns, 0)
    first = (slice(None), slice(0, max(height - rows, 0)), slice(left, max(width - right, 0)))
    second = (slice(None), slice(rows, height), slice(right, max(width - left, 0)))
    return first, second, (classes[first] == classes[second]) & (classes[first] > 0)


def _hooked(
    root: Tensor, index: Tensor, pairs: list[tuple[_Place, _Place, Tensor]], shape: torch.Size
) -> Tensor:
    """Return the forest after one round of hooking; ``root`` is flat, the result need not be."""
    here = root.view(shape)
    low, high = here.clone(), here.clone()  # the smallest and the largest root beside a pixel
    for first, second, connected in pairs:
        one, other = here[first], here[second]
        for place, seen in (
            (first, torch.where(connected, other, one)),
            (second, torch.where(connected, one, other)),
        ):
            low[place] = torch.minimum(low[place], seen)
            high[place] = torch.maximum(high[place], seen)
    # The same beside a whole tree, at its root. A pixel that is no root keeps its own number.
    lowest = index.scatter_reduce(0, root, low.view(-1), "amin")
    highest = index.scatter_reduce(0, root, high.view(-1), "amax")
    hooks = lowest < index
    # One place more than there are pixels takes the writes of those that hook onto nothing.
    taken = torch.zeros(index.numel() + 1, dtype=torch.bool, device=index.device)
    taken.scatter_(0, torch.where(hooks, lowest, index.numel()), True)
    stagnant = (highest > index) & ~hooks & ~taken[:-1]
    return torch.where(hooks, lowest, torch.where(stagnant, highest, root))
