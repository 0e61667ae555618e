"""Superpixels: small regions of similar colour and about equal size, and which of them touch.

Achanta et al., "SLIC Superpixels Compared to State-of-the-Art Superpixel Methods" (TPAMI 2012):
k-means over colour and position, in which a centre considers only nearby pixels. Disconnected
pieces of a superpixel are left as they are.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from sbdata_baselines.stages.maps import FloatMap

Labels = npt.NDArray[np.int32]


def superpixels(
    colours: FloatMap, count: int, compactness: float = 10.0, rounds: int = 5
) -> Labels:
    """Divide an image into superpixels.

    Args:
        colours: Lab colours, float32 ``(H, W, 3)``.
        count: Approximate number of superpixels.
        compactness: Colour difference with the weight of a distance of one superpixel.
        rounds: Number of k-means iterations.

    Returns:
        Labels, int32 ``(H, W)``: 0, 1, ... without gaps, in the order of a grid's cells.

    >>> superpixels(np.zeros((2, 4, 3), np.float32), 2).tolist()
    [[0, 0, 1, 1], [0, 0, 1, 1]]
    """
    height, width = colours.shape[:2]
    # If the image is thinner than a cell of that area, all cells lie in one row.
    longest = max(height, width) / max(count, 1)
    step = max(1.0, float(np.sqrt(height * width / max(count, 1))), longest)
    rows, columns = (max(1, round(side / step)) for side in (height, width))
    down = np.arange(height) * rows // height
    across = np.arange(width) * columns // width
    labels: Labels = (down[:, None] * columns + across).astype(np.int32)
    ys, xs = np.indices((height, width))
    features = np.concatenate([colours, ys[:, :, None], xs[:, :, None]], axis=2).astype(np.float64)
    for _ in range(rounds):
        centres = means(labels, features, rows * columns)
        _move_to_nearest(features, centres, step, (compactness / step) ** 2, labels)
    left, numbers = np.unique(labels, return_inverse=True)
    return numbers.reshape(labels.shape).astype(np.int32) if len(left) else labels


def means(labels: Labels, values: npt.NDArray[Any], count: int) -> npt.NDArray[np.float64]:
    """Return the mean of values over each superpixel, NaN for one without pixels.

    Args:
        labels: Labels, ``(H, W)``.
        values: Values, ``(H, W, D)``.
        count: Number of superpixels.

    Returns:
        Means, float64 ``(count, D)``.
    """
    flat = labels.ravel()
    sums = [
        np.bincount(flat, values[:, :, place].ravel(), count) for place in range(values.shape[2])
    ]
    with np.errstate(invalid="ignore"):
        mean: npt.NDArray[np.float64] = np.stack(sums, 1) / np.bincount(flat, None, count)[:, None]
    return mean


def touching(labels: Labels) -> npt.NDArray[np.int64]:
    """Return the pairs of superpixels that share a pixel edge, each once.

    Returns:
        Pairs, int64 ``(pairs, 2)``, sorted; the smaller label of a pair comes first.

    >>> touching(np.array([[0, 0, 1], [2, 2, 1]], np.int32)).tolist()
    [[0, 1], [0, 2], [1, 2]]
    """
    sides = [(labels[:-1], labels[1:]), (labels[:, :-1], labels[:, 1:])]
    pairs = np.concatenate([np.stack([a.ravel(), b.ravel()], 1) for a, b in sides]).astype(np.int64)
    pairs = np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1)
    count = int(labels.max()) + 1
    codes = np.unique(pairs[:, 0] * count + pairs[:, 1])
    return np.stack([codes // count, codes % count], axis=1)


def on_border(labels: Labels) -> npt.NDArray[np.int64]:
    """Return the superpixels that have a pixel on the image's border, sorted."""
    edges = (labels[0], labels[-1], labels[:, 0], labels[:, -1])
    found: npt.NDArray[np.int64] = np.unique(np.concatenate(edges)).astype(np.int64)
    return found


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _move_to_nearest(
    features: npt.NDArray[np.float64],
    centres: npt.NDArray[np.float64],
    reach: float,
    weight: float,
    labels: Labels,
) -> None:
    """Assign each pixel, in place, to its nearest centre within the reach.

    A pixel with no centre in reach keeps its label.
    """
    height, width = labels.shape
    best = np.full((height, width), np.inf)
    for number in range(len(centres)):
        y, x = centres[number, 3], centres[number, 4]
        if np.isnan(y):
            continue
        for v in range(max(0, int(y - reach)), min(height, int(y + reach) + 2)):
            for u in range(max(0, int(x - reach)), min(width, int(x + reach) + 2)):
                apart = weight * ((v - y) ** 2 + (u - x) ** 2)
                for channel in range(3):
                    apart += (features[v, u, channel] - centres[number, channel]) ** 2
                if apart < best[v, u]:
                    best[v, u] = apart
                    labels[v, u] = number
