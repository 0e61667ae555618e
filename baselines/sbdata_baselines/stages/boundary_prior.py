"""Boundary prior: saliency from how much of a region's outline lies on the image's border.

Zhu et al., "Saliency Optimization from Robust Background Detection" (CVPR 2014), with the clipping
of small differences of Wei et al., "Geodesic Saliency Using Background Priors" (ECCV 2012). A
region of like colours of which much lies on the border is background; what differs from the
background stands out; a quadratic programme over superpixels joins the two and smooths. Nothing is
learned. Objects that touch the border widely, or have the background's colours, are missed.
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
_SMOOTH = 0.1  # least link between neighbours
_UNSEEN = 1e-3  # a contrast that is rounding alone
_MIDDLE, _STEEPNESS = 0.3, 10.0  # of the last curve; see :func:`spread`


def boundary_saliency(
    image: npt.NDArray[np.uint8], side: int = 300, count: int = 300
) -> npt.NDArray[np.uint8]:
    """Return how much each pixel stands out from what reaches the border, 0..255.

    Args:
        image: uint8 ``(H, W, 3)`` RGB.
        side: to which the longer side is reduced for the work, in pixels.
        count: of superpixels, about (the paper has 200): 15 x 15 pixels each in a reduced image,
            below which objects melt into what is around them.

    Returns:
        uint8 ``(H, W)``. What stands out most is 255 however faint it is; an image of one colour
        gives zeros.

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
    """Return the Euclidean distance of all pairs of ``(n, d)`` points, ``(n, n)``."""
    apart: Matrix = np.sqrt(((points[:, None] - points[None]) ** 2).sum(axis=2))
    return apart


def geodesics(
    unlike: Matrix, pairs: npt.NDArray[np.int64], border: npt.NDArray[np.int64]
) -> Matrix:
    """Return the shortest paths between superpixels whose steps cost colour differences.

    Superpixels on the border are neighbours of each other, so that an object across the image does
    not part the background. A step below the mean, over all superpixels, of the difference to the
    most alike neighbour costs nothing, lest noise adds up on long paths.

    Args:
        unlike: ``(n, n)`` colour differences.
        pairs: ``(m, 2)`` neighbours.
        border: numbers of the superpixels on the border.

    Returns:
        ``(n, n)``, infinite where no path leads.
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
    # SciPy takes a stored 0 for an edge in some versions and for none in others.
    costs = np.where(costs < noise, 0, costs) + np.finfo(np.float32).tiny
    found: Matrix = dijkstra(sparse.csr_array((costs, (rows, columns)), shape=(n, n)))
    return found


def background_weights(paths: Matrix, border: npt.NDArray[np.int64]) -> Vector:
    """Return the probability of background from the boundary connectivity.

    A superpixel's region are all others, by how short the path to them is; the connectivity is the
    region's part on the border, divided by the root of its area.

    Args:
        paths: ``(n, n)`` of :func:`geodesics`.
        border: numbers of the superpixels on the border.
    """
    region = np.exp(-(paths**2) / (2 * _LIKE**2))
    connectivity = region[:, border].sum(axis=1) / np.sqrt(region.sum(axis=1))
    weights: Vector = 1 - np.exp(-(connectivity**2) / (2 * _CONNECTED**2))
    return weights


def contrast(unlike: Matrix, apart: Matrix, background: Vector) -> Vector:
    """Return how much superpixels differ from the background near them, max 1.

    What is below the mean counts for nothing here, else it lifts textured background.

    Args:
        unlike: ``(n, n)`` colour differences.
        apart: ``(n, n)`` distances.
        background: ``(n,)`` probabilities.
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
    """Return the saliency that fits both weights and is smooth, max 1.

    It minimises ``sum_i b_i s_i^2 + f_i (s_i - 1)^2 + sum_ij w_ij (s_i - s_j)^2``, where ``w_ij``
    falls with the colour difference of neighbours.

    Args:
        unlike: ``(n, n)`` colour differences.
        pairs: ``(m, 2)`` neighbours.
        background: b, ``(n,)``.
        foreground: f, ``(n,)``.
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
    """Push values apart by a logistic curve that keeps 0 and 1.

    Values of :func:`optimised` part objects from background best near 0.3 (IoU with the true
    foreground, generated shapes and VOC photos alike); methods round at one half.
    """
    low, high, curve = (
        1 / (1 + np.exp(_STEEPNESS * (_MIDDLE - values)))
        for values in (np.zeros(1), np.ones(1), salient)
    )
    apart: Vector = (curve - low) / (high - low)
    return apart
