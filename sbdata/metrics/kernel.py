"""The passes over the pixels of one image, in compiled C or, without a C compiler, in numba.

Both give the same numbers. Compiled C starts at once, while importing numba takes a second
(``docs/architecture.md`` has the times), so it is imported only if it is needed.
"""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sbdata.compiled_code import address, kernels
from sbdata.metrics.codes import FINE

Counts = npt.NDArray[np.int32]
Numbers = npt.NDArray[np.uint8]


class ImageCounts(NamedTuple):
    """All that the metric needs of one image.

    Attributes:
        fault: Fault of a map, or ``FINE``; if there is a fault, the other counts are meaningless.
        place: Place of the pixel with the fault.
        confusion: Pixels, true class by predicted class, int64 ``(C + 1, C + 1)``.
        area: Pixels of each instance.
        matched: Pixels of each instance that are predicted as its class.
        other_class: Other foreground class that most pixels of each instance are predicted as.
        other_pixels: Number of these pixels.
        region_class: Class of each region, in scan order.
        region_area: Pixels of each region.
        on_class: Pixels of each region whose true class is the region's.
        met: Number of instances that each region meets.
        pair_region: Region of each pair of a region and an instance that it meets, by instance.
        pair_instance: Instance of each pair.
        pair_pixels: Common pixels of each pair.
        by_class: Counts of each class, ``(C + 1, 8)``, with the columns of ``codes``.
    """

    fault: int
    place: int
    confusion: npt.NDArray[np.int64]
    area: Counts
    matched: Counts
    other_class: Numbers
    other_pixels: Counts
    region_class: npt.NDArray[Any]
    region_area: Counts
    on_class: Counts
    met: Counts
    pair_region: Counts
    pair_instance: Counts
    pair_pixels: Counts
    by_class: npt.NDArray[np.int64]


def count_image(
    prediction: Numbers,
    truth: Numbers,
    instances: npt.NDArray[Any],
    width: int,
    index_of: Counts,
    class_of: Numbers,
    n_classes: int,
    void_allowed: bool,
) -> ImageCounts:
    """Count everything that the metric needs of one image.

    Args:
        prediction: Predicted class of every pixel, row by row.
        truth: True class; 255 is void.
        instances: Instance number, uint8 or uint16.
        width: Width of the image.
        index_of: By instance number: its index in ``class_of``, or another meaning (``codes``).
        class_of: Class of each instance.
        n_classes: Highest class number.
        void_allowed: Whether a predicted 255 is read as background.
    """
    library = kernels()
    if library is None:
        from sbdata.metrics import numba_kernel

        return ImageCounts(
            *numba_kernel.count_image(
                prediction, truth, instances, width, index_of, class_of, n_classes, void_allowed
            )
        )
    n, across = class_of.size, n_classes + 1
    sums = np.zeros(across * (across + 8) + 3, np.int64)  # confusion, by class, place and sizes
    confusion, by_class = sums[: across * across], sums[across * across : -3]
    of_instances = np.zeros((3, n), np.int32)
    other_class = np.zeros(n, np.uint8)
    block, start = ctypes.c_void_p(), address(sums)
    fault = library.count_image(
        address(prediction), address(truth), address(instances), instances.itemsize,
        prediction.size, width, address(index_of), index_of.size, address(class_of), n, n_classes,
        void_allowed, start, address(of_instances), address(of_instances) + 4 * n,
        address(other_class), address(of_instances) + 8 * n, start + 8 * across * across,
        start + 8 * (sums.size - 3), start + 8 * (sums.size - 2), ctypes.byref(block),
    )  # fmt: skip
    if fault < FINE:
        raise MemoryError
    place, m, pairs = sums[-3:].tolist()
    rows = np.empty(4 * m + 3 * pairs, np.int32)
    if block:
        ctypes.memmove(address(rows), block, rows.nbytes)
        library.release(block)
    columns = (*rows[: 4 * m].reshape(4, m), *rows[4 * m :].reshape(3, pairs))
    return ImageCounts._make(
        (fault, place, confusion.reshape(across, across), of_instances[0], of_instances[1],
         other_class, of_instances[2], *columns, by_class.reshape(across, 8))
    )  # fmt: skip


def label_parts(truth: Numbers, width: int) -> tuple[Counts, Numbers]:
    """Number the 8-connected parts of the foreground classes of a flat map, in scan order.

    Returns:
        The numbers of all pixels (0 for background and void), and the class of each part.
    """
    library = kernels()
    if library is None:
        from sbdata.metrics import numba_kernel

        parts: tuple[Counts, Numbers] = numba_kernel.label_parts(truth, width)
        return parts
    numbers = np.zeros(truth.size, np.int32)
    class_of = np.empty(truth.size, np.uint8)
    count = library.label_parts(
        address(truth), truth.size, width, address(numbers), address(class_of), class_of.size
    )
    if count < 0:
        raise MemoryError
    return numbers, class_of[:count].copy()


def classes_of_instances(
    truth: Numbers, instances: npt.NDArray[Any], count: int
) -> npt.NDArray[np.int16]:
    """Return, for instance numbers below ``count``, the class their pixels have in a flat map.

    0 is an instance without a pixel outside void, -1 (``CONFLICT``) one with several classes or on
    background.
    """
    library = kernels()
    if library is None:
        from sbdata.metrics import numba_kernel

        classes: npt.NDArray[np.int16] = numba_kernel.classes_of_instances(truth, instances, count)
        return classes
    found = np.zeros(count, np.int16)
    library.classes_of_instances(
        address(truth), address(instances), instances.itemsize, truth.size, address(found)
    )
    return found
