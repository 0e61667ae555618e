"""Random walk: maps spread to neighbours that belong together.

Ahn and Kwak, "Learning Pixel-level Semantic Affinity" (PSA, CVPR 2018), and Ahn, Cho and Kwak,
"Weakly Supervised Learning of Instance Segmentation with Inter-pixel Relations" (IRN, CVPR 2019).

With ``a_ij`` the affinity of cells i and j and ``A = a ** beta`` (1 on the diagonal), the walk is
``M T^t`` with ``T_ij = A_ij / sum_k A_kj``. Columns of T sum to 1, so a map's value becomes a mean
of its neighbours' values and a constant map does not change. ``T^t`` is never computed: ``M`` is
multiplied t times by the sparse T.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from torch import Tensor
from torch.nn import functional

from sbdata.errors import InputError
from sbdata.train.resize import resized
from sbdata_baselines.stages.maps import ClassMaps, FloatMap

Offset = tuple[int, int]
"""Row and column offset from a cell to its neighbour."""


def neighbours(radius: int) -> list[Offset]:
    """Return the offsets ``(dy, dx)`` of the half disc ``dy^2 + dx^2 < radius^2``.

    Of two opposite offsets, only the one that points down, or right in the same row, is listed.

    Raises:
        InputError: for a radius below 2, which contains no neighbour.

    >>> neighbours(2)
    [(0, 1), (1, -1), (1, 0), (1, 1)]
    >>> len(neighbours(5)), len(neighbours(10))
    (34, 152)
    """
    if radius < 2:
        msg = f"radius must be at least 2 to reach a neighbour, not {radius}"
        raise InputError(msg)
    return [
        (dy, dx)
        for dy in range(radius)
        for dx in range(1 - radius, radius)
        if (dy > 0 or dx > 0) and dy * dy + dx * dx < radius * radius
    ]


def line_cells(offset: Offset) -> list[Offset]:
    """Return the cells whose centre is nearer than 1 to the segment from (0, 0) to an offset.

    All of them lie in the segment's bounding box. There, the distance to the segment is the
    distance to the line through it.

    >>> line_cells((1, 1))
    [(0, 0), (0, 1), (1, 0), (1, 1)]
    """
    dy, dx = offset
    return [
        (y, x)
        for y in range(min(dy, 0), max(dy, 0) + 1)
        for x in range(min(dx, 0), max(dx, 0) + 1)
        if (dy * x - dx * y) ** 2 < dy * dy + dx * dx
    ]


# --- affinities -----------------------------------------------------------------------------------


def edge_affinities(edges: Tensor, radius: int) -> Tensor:
    """Return IRN's affinities ``a_ij = 1 - max of the edge map on the line from i to j``.

    Differentiable; the gradient goes to the one cell that holds the maximum.

    Args:
        edges: Edge map, float ``(N, h, w)`` in [0, 1].
        radius: Radius of :func:`neighbours`, in cells.

    Returns:
        Affinities, ``(N, offsets, h, w)``: at ``[n, k, y, x]`` the affinity of cell (y, x) and the
        cell at offset k from it; 0 if that cell lies outside.
    """
    height, width = edges.shape[-2:]
    margin = radius - 1
    walled = functional.pad(edges, (margin, margin, 0, margin), value=1.0)

    def shifted(offset: Offset) -> Tensor:
        top, left = offset[0], offset[1] + margin
        return walled[:, top : top + height, left : left + width]

    return torch.stack(
        [
            1 - torch.stack([shifted(cell) for cell in line_cells(offset)]).max(dim=0).values
            for offset in neighbours(radius)
        ],
        dim=1,
    )


def feature_affinities(features: Tensor, radius: int) -> Tensor:
    """Return PSA's affinities ``a_ij = exp(-mean over the channels of |f_i - f_j|)``.

    Args:
        features: Features, float ``(N, C, h, w)``.
        radius: Radius of :func:`neighbours`, in cells.

    Returns:
        Affinities, ``(N, offsets, h, w)``: at ``[n, k, y, x]`` the affinity of cell (y, x) and the
        cell at offset k from it; 0 if that cell lies outside.
    """
    height, width = features.shape[-2:]
    margin = radius - 1
    padded = functional.pad(features, (margin, margin, 0, margin))
    inside = functional.pad(features.new_ones(1, height, width), (margin, margin, 0, margin))
    planes = []
    for dy, dx in neighbours(radius):
        rows, columns = slice(dy, dy + height), slice(margin + dx, margin + dx + width)
        apart = (features - padded[:, :, rows, columns]).abs().mean(dim=1)
        planes.append(torch.exp(-apart) * inside[:, rows, columns])
    return torch.stack(planes, dim=1)


# --- transitions ----------------------------------------------------------------------------------


def transition(edge: npt.NDArray[Any], radius: int = 5, beta: float = 10) -> sparse.csr_array:
    """Return IRN's transition matrix of an edge map; no link crosses the map's border.

    Args:
        edge: Edge map, ``(h, w)`` in [0, 1].
        radius: Radius of :func:`neighbours`, in cells.
        beta: Exponent of the affinities.

    Returns:
        Transition matrix, float64 ``(h w, h w)``; its columns sum to 1.
    """
    edges = torch.tensor(np.asarray(edge, np.float32))[None]
    values = edge_affinities(edges, radius)[0].numpy()
    return transition_from_affinities(values, neighbours(radius), edge.shape, beta)


def transition_from_affinities(
    values: npt.NDArray[Any], offsets: Sequence[Offset], shape: tuple[int, ...], beta: float
) -> sparse.csr_array:
    """Return the transition matrix of symmetric affinities, with 1 on the diagonal.

    Args:
        values: Affinities of one image, ``(offsets, h, w)`` in [0, 1], as from
            :func:`edge_affinities`. Values of neighbours outside the grid are ignored.
        offsets: Offsets of the neighbours.
        shape: Height and width of the grid.
        beta: Exponent of the affinities.

    Returns:
        Transition matrix, float64 ``(h w, h w)``; its columns sum to 1.
    """
    height, width = shape
    cells = height * width
    index = np.arange(cells, dtype=np.int32).reshape(height, width)
    source, target, weight = [], [], []
    for (dy, dx), plane in zip(offsets, values, strict=True):
        if dy >= height or abs(dx) >= width:
            continue
        here = np.s_[: height - dy, max(-dx, 0) : width - max(dx, 0)]
        there = np.s_[dy:, max(dx, 0) : width + min(dx, 0)]
        source.append(index[here].ravel())
        target.append(index[there].ravel())
        weight.append(plane[here].ravel())
    pairs = sparse.coo_array(
        (
            np.concatenate([*weight, np.empty(0)]).astype(np.float64) ** beta,
            (
                np.concatenate([*source, np.empty(0, np.int32)]),
                np.concatenate([*target, np.empty(0, np.int32)]),
            ),
        ),
        shape=(cells, cells),
    )
    affinity = (pairs + pairs.T + sparse.eye_array(cells)).tocsr()
    affinity.data /= affinity.sum(axis=0)[affinity.indices]
    affinity.eliminate_zeros()
    return affinity


# --- the walk -------------------------------------------------------------------------------------


def random_walk(
    maps: npt.NDArray[Any],
    transition: sparse.csr_array,
    steps: int = 256,
    damping: npt.NDArray[Any] | None = None,
) -> FloatMap:
    """Return ``(M * damping) T^steps`` by products of a vector and the sparse matrix.

    Args:
        maps: Maps M, ``(K, h, w)``.
        transition: Transition matrix T, ``(h w, h w)``.
        steps: Number of steps: 256 in IRN (eight squarings), 64 in PSA (six).
        damping: Factor on the maps, ``(h, w)``, such as IRN's ``1 - B``, so that edges send
            nothing.

    Returns:
        Maps after the walk, float32 ``(K, h, w)``.
    """
    walked = np.array(maps, np.float64)
    if damping is not None:
        walked *= damping
    forward = transition.T.tocsr()
    # SciPy multiplies faster map by map than all at once. In float64, because the rounding of 256
    # steps in float32 changes a constant map by 3e-4; it takes no longer.
    for place, start in enumerate(walked):
        values = start.ravel()
        for _ in range(steps):
            values = forward @ values
        walked[place] = values.reshape(start.shape)
    return walked.astype(np.float32)


def walked_maps(
    maps: ClassMaps,
    transition: sparse.csr_array,
    grid: tuple[int, int],
    steps: int = 256,
    damping: npt.NDArray[Any] | None = None,
    power: float = 1.0,
) -> ClassMaps:
    """Spread class maps by a walk on a coarser grid and resize them to their original size.

    The maps are averaged onto the grid, walked, enlarged (bilinear) and divided by the largest
    value of all maps, so that classes keep their proportions. A background map, if any, is walked
    too.

    Args:
        maps: Maps of the present classes.
        transition: Transition matrix of the grid's cells.
        grid: Height and width of the grid, for example those of the edge map.
        steps: Number of steps.
        damping: Factor on the maps, ``(h, w)``, such as IRN's ``1 - B``, so that edges send
            nothing.
        power: Exponent applied to the class maps first (AdvCAM, RIB, AMN).
    """
    rows = maps.maps ** np.float32(power)
    if maps.background is not None:
        rows = np.concatenate([maps.background[None], rows])
    if not len(rows):
        return maps
    coarse = functional.interpolate(torch.tensor(rows)[None], grid, mode="area")[0].numpy()
    walked = torch.from_numpy(random_walk(coarse, transition, steps, damping))
    large: FloatMap = resized(walked[None], maps.size)[0].numpy()
    large /= max(float(large.max()), float(np.finfo(np.float32).tiny))
    if maps.background is None:
        return ClassMaps(maps.classes, large)
    return ClassMaps(maps.classes, large[1:], large[0])
