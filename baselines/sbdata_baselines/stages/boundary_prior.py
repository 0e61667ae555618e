"""Boundary prior: saliency from the fraction of a region's outline on the image's border.

Zhu et al., "Saliency Optimization from Robust Background Detection" (CVPR 2014), with the clipping
of small differences from Wei et al., "Geodesic Saliency Using Background Priors" (ECCV 2012). A
region of similar colours with much of its outline on the border is background; what differs from
the background is salient. A quadratic programme over superpixels combines and smooths the two.
Nothing is learned. Objects are missed if they touch the border widely or have the background's
colours.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import sparse
from scipy.sparse.csgraph import dijkstra

from sbdata.errors import InputError
from sbdata_baselines.stages.colours import lab, reduced
from sbdata_baselines.stages.superpixels import means, on_border, superpixels, touching

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]

_LIKE = 10.0  # sigma of colour differences, in Lab units
_CONNECTED = 1.0  # sigma of the boundary connectivity
_NEAR = 0.25  # sigma of distances, the longer side being 1
_SMOOTH = 0.1  # smallest weight between neighbours
_UNSEEN = 1e-3  # contrasts below this are rounding errors
_MIDDLE, _STEEPNESS = 0.3, 10.0  # parameters of the last curve; see :func:`spread`


def boundary_saliency(
    image: npt.NDArray[np.uint8], side: int = 300, count: int = 300
) -> npt.NDArray[np.uint8]:
    """Return how much each pixel stands out from regions that reach the border, 0..255.

    Args:
        image: RGB image, uint8 ``(H, W, 3)``.
        side: Length of the longer side after resizing, in pixels.
        count: Approximate number of superpixels (200 in the paper): 15 x 15 pixels each in a
            reduced image; smaller objects merge with their surroundings.

    Returns:
        Saliency, uint8 ``(H, W)``. The most salient pixel is 255, however small its contrast; an
        image of one colour gives zeros.

    Raises:
        InputError: if the image has another shape or type.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        msg = f"an image must be uint8 of shape (H, W, 3), not {image.dtype} {image.shape}"
        raise InputError(msg)
    colours = lab(reduced(image, side))
    labels = superpixels(colours, count)
    height, width = labels.shape
    total = int(labels.max()) + 1
    mean = means(labels, colours, total)
    ys, xs = np.indices((height, width)) / max(height, width)
    place = means(labels, np.stack([ys, xs], axis=2), total)
    pairs, border = touching(labels), on_border(labels)

    unlike = distances(mean)
    background = background_weights(geodesics(unlike, pairs, border), border)
    foreground = contrast(unlike, distances(place), background)
    salient = spread(optimised(unlike, pairs, background, foreground))
    levels = np.rint(255 * salient.clip(0, 1)).astype(np.uint8)[labels]
    full = Image.fromarray(levels).resize(image.shape[1::-1], Image.Resampling.BILINEAR)
    return np.array(full)


def distances(points: Matrix) -> Matrix:
    """Return the Euclidean distances of all pairs of ``(n, d)`` points, ``(n, n)``."""
    apart: Matrix = np.sqrt(((points[:, None] - points[None]) ** 2).sum(axis=2))
    return apart


def geodesics(
    unlike: Matrix, pairs: npt.NDArray[np.int64], border: npt.NDArray[np.int64]
) -> Matrix:
    """Return the shortest paths between superpixels, with colour differences as step costs.

    Superpixels on the border are neighbours of each other, so an object across the image does not
    split the background. A step costs nothing if it is below the mean, over all superpixels, of the
    difference to the most similar neighbour; otherwise noise would add up on long paths.

    Args:
        unlike: Colour differences, ``(n, n)``.
        pairs: Neighbours, ``(m, 2)``.
        border: Indices of the superpixels on the border.

    Returns:
        Path lengths, ``(n, n)``; infinite for unconnected superpixels.
    """
    n = len(unlike)
    linked = np.zeros((n, n), bool)
    linked[pairs[:, 0], pairs[:, 1]] = True
    linked[pairs[:, 1], pairs[:, 0]] = True
    least = np.where(linked, unlike, np.inf).min(axis=1)
    known = least[np.isfinite(least)]
    linked[np.ix_(border, border)] = True
    noise = float(known.mean()) if len(known) else 0.0
    rows, columns = np.nonzero(linked & ~np.eye(n, dtype=bool))
    costs = unlike[rows, columns]
    # Some SciPy versions treat a stored 0 as an edge, others as no edge.
    costs = np.where(costs < noise, 0, costs) + np.finfo(np.float32).tiny
    found: Matrix = dijkstra(sparse.csr_array((costs, (rows, columns)), shape=(n, n)))
    return found


def background_weights(paths: Matrix, border: npt.NDArray[np.int64]) -> Vector:
    """Return the probability of background from the boundary connectivity.

    A superpixel's region contains all superpixels, weighted by how short the path to them is. The
    connectivity is the region's part on the border, divided by the square root of its area.

    Args:
        paths: Path lengths from :func:`geodesics`, ``(n, n)``.
        border: Indices of the superpixels on the border.
    """
    region = np.exp(-(paths**2) / (2 * _LIKE**2))
    connectivity = region[:, border].sum(axis=1) / np.sqrt(region.sum(axis=1))
    weights: Vector = 1 - np.exp(-(connectivity**2) / (2 * _CONNECTED**2))
    return weights


def contrast(unlike: Matrix, apart: Matrix, background: Vector) -> Vector:
    """Return how much superpixels differ from the background near them, with maximum 1.

    Values below the mean are set to 0; otherwise textured background would become salient.

    Args:
        unlike: Colour differences, ``(n, n)``.
        apart: Distances, ``(n, n)``.
        background: Background probabilities, ``(n,)``.
    """
    near = np.exp(-(apart**2) / (2 * _NEAR**2))
    found: Vector = (unlike * near) @ background
    peak = float(found.max())
    if peak <= _UNSEEN:
        return np.zeros_like(found)
    return np.where(found < found.mean(), 0, found / peak)


def optimised(
    unlike: Matrix, pairs: npt.NDArray[np.int64], background: Vector, foreground: Vector
) -> Vector:
    """Return smooth saliency that fits both weights, with maximum 1.

    It minimises ``sum_i b_i s_i^2 + f_i (s_i - 1)^2 + sum_ij w_ij (s_i - s_j)^2``; the weight
    ``w_ij`` decreases with the colour difference of neighbours.

    Args:
        unlike: Colour differences, ``(n, n)``.
        pairs: Neighbours, ``(m, 2)``.
        background: Background weights b, ``(n,)``.
        foreground: Foreground weights f, ``(n,)``.
    """
    if not foreground.any():
        return foreground
    links = np.zeros_like(unlike)
    first, second = pairs.T
    links[first, second] = np.exp(-(unlike[first, second] ** 2) / (2 * _LIKE**2)) + _SMOOTH
    links += links.T
    system = np.diag(background + foreground + links.sum(axis=1)) - links
    found = np.linalg.solve(system, foreground)
    salient: Vector = found / found.max()
    return salient


def spread(salient: Vector) -> Vector:
    """Increase the contrast of values by a logistic curve that keeps 0 and 1.

    Values of :func:`optimised` separate objects from background best near 0.3 (by IoU with the true
    foreground, on generated shapes and on VOC photos); methods round at one half.
    """
    low, high, curve = (
        1 / (1 + np.exp(_STEEPNESS * (_MIDDLE - values)))
        for values in (np.zeros(1), np.ones(1), salient)
    )
    apart: Vector = (curve - low) / (high - low)
    return apart
