"""Ground truth of one image as arrays: the class and the instance of each pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sbdata.errors import InputError
from sbdata.metrics.codes import CONFLICT, INSTANCE_VOID, NO_INSTANCE, UNKNOWN, VOID
from sbdata.metrics.kernel import classes_of_instances, label_parts

ClassMap = npt.NDArray[np.uint8]
InstanceMap = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


@dataclass(frozen=True, eq=False)
class ImageTruth:
    """The class map and the instance map of one image, and the instances' classes.

    A pixel that is 255 in either map is void and is not counted. A pixel of class c without an
    instance counts as class c for mIoU. For IA it lies outside every instance, but is never a false
    pixel of its class. Sets that sbdata builds have no such pixel.

    Attributes:
        class_map: Class numbers, ``(H, W)`` uint8; 0 background, 1..C classes, 255 void.
        instance_map: Instance numbers, ``(H, W)`` uint8 or uint16; 0 is no instance. In a uint8 map
            255 is void; in a uint16 map it is an ordinary instance number. Other integer types
            become uint8 if no number is above 255, else uint16.
        instance_ids: Numbers of the instances in the instance map; rows come in this order.
        class_ids: Class of each instance.

    Raises:
        InputError: If shapes, types or numbers are not valid. Scoring checks that every pixel of an
            instance has the instance's class.
    """

    class_map: ClassMap
    instance_map: InstanceMap
    instance_ids: npt.NDArray[np.int32]
    class_ids: npt.NDArray[np.uint8]

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_map", as_class_map(self.class_map, "the class map"))
        object.__setattr__(self, "instance_map", _as_instance_map(self.instance_map))
        if self.class_map.shape != self.instance_map.shape:
            msg = (
                f"the class map has {_size(self.class_map)} pixels and the instance map "
                f"{_size(self.instance_map)}; both must cover the image"
            )
            raise InputError(msg)
        ids = np.atleast_1d(np.asarray(self.instance_ids, np.int64))
        classes = np.atleast_1d(np.asarray(self.class_ids, np.int64))
        if ids.ndim != 1 or ids.shape != classes.shape:
            msg = f"{ids.size} instances with {classes.size} classes; give each instance one class"
            raise InputError(msg)
        if ids.size:
            highest = 254 if self.instance_map.dtype == np.uint8 else 65535
            listed = set(ids.tolist())
            if min(listed) < 1 or max(listed) > highest or len(listed) != ids.size:
                msg = f"instance numbers must be distinct and lie in 1..{highest}, not {_few(ids)}"
                raise InputError(msg)
            if classes.min() < 1 or classes.max() > 254:
                msg = f"classes of instances must lie in 1..254, not {_few(classes)}"
                raise InputError(msg)
        object.__setattr__(self, "instance_ids", ids.astype(np.int32))
        object.__setattr__(self, "class_ids", classes.astype(np.uint8))

    @property
    def index_of(self) -> npt.NDArray[np.int32]:
        """Index of the instance with each number, or a code for other numbers (see ``codes``)."""
        eight = self.instance_map.dtype == np.uint8
        last = 255 if eight else int(self.instance_ids.max(initial=0))
        index = np.full(last + 1, UNKNOWN, np.int32)
        index[0] = NO_INSTANCE
        if eight:
            index[VOID] = INSTANCE_VOID
        index[self.instance_ids] = np.arange(self.instance_ids.size)
        return index


def truth_from_maps(class_map: npt.NDArray[Any], instance_map: npt.NDArray[Any]) -> ImageTruth:
    """Create the ground truth from a class map and an instance map, such as a VOC devkit's PNGs.

    Each instance has the class of its pixels. An instance without a pixel outside void is left out.

    Args:
        class_map: Class numbers ``(H, W)``; 0 background, 1..C classes, 255 void.
        instance_map: Instance numbers ``(H, W)``; 0 is no instance, 255 void, unless the type is
            uint16 or a number is above 255.

    Raises:
        InputError: If an instance has pixels of several classes, or of background.

    >>> truth = truth_from_maps(np.array([[5, 5, 0, 7]]), np.array([[1, 1, 0, 2]]))
    >>> truth.instance_ids.tolist(), truth.class_ids.tolist()
    ([1, 2], [5, 7])
    """
    classes = as_class_map(class_map, "the class map")
    instances = _as_instance_map(instance_map)
    if classes.shape != instances.shape:
        return ImageTruth(classes, instances, np.empty(0, np.int32), np.empty(0, np.uint8))
    count = 256 if instances.dtype == np.uint8 else 65536
    found = classes_of_instances(flat(classes), flat(instances), count)
    if instances.dtype == np.uint8:
        found[VOID] = 0
    if (found == CONFLICT).any():
        number = int(np.flatnonzero(found == CONFLICT)[0])
        names = np.unique(classes[(instances == number) & (classes != VOID)])
        msg = (
            f"instance {number} covers pixels of the classes {_few(names)} (0 is background); "
            "an instance must have one class, so correct the maps"
        )
        raise InputError(msg)
    ids = np.flatnonzero(found).astype(np.int32)
    return ImageTruth(classes, instances, ids, found[ids].astype(np.uint8))


def truth_from_components(class_map: npt.NDArray[Any]) -> ImageTruth:
    """Create the ground truth from a class map alone, with its components as instances.

    Touching objects of one class become one instance, and a divided object becomes several. So the
    values are not comparable with those of annotated instances; say so wherever they are shown.

    Args:
        class_map: Class numbers ``(H, W)``; 0 background, 1..C classes, 255 void, which divides
            components.

    Raises:
        InputError: If there are more than 65,535 components.

    >>> truth_from_components(np.array([[1, 0, 1], [1, 0, 2]])).instance_map.tolist()
    [[1, 0, 2], [1, 0, 3]]
    """
    classes = as_class_map(class_map, "the class map")
    numbers, class_of = label_parts(flat(classes), classes.shape[1])
    if class_of.size > 65535:
        msg = f"{class_of.size} connected parts in one class map; at most 65535 can be numbered"
        raise InputError(msg)
    small = class_of.size < VOID
    instances = numbers.astype(np.uint8) if small else numbers.astype(np.uint16)
    ids = np.arange(1, class_of.size + 1, dtype=np.int32)
    return ImageTruth(classes, instances.reshape(classes.shape), ids, class_of)


def as_class_map(array: npt.NDArray[Any], what: str) -> ClassMap:
    """Return an array of integers as a uint8 map.

    Raises:
        InputError: If it is not a map of ``(H, W)`` integers in 0..255.
    """
    array = _as_map(array, what)
    if array.dtype != np.uint8:
        if array.min() < 0 or array.max() > VOID:
            low, high = int(array.min()), int(array.max())
            msg = f"{what} holds the numbers {low}..{high}; classes lie in 0..254 and 255 is void"
            raise InputError(msg)
        array = array.astype(np.uint8)
    return array


def flat(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a read-only, flat, row-by-row view (or copy) of a map.

    It is always read-only, so that the compiled functions see one type and are compiled once.
    """
    view: npt.NDArray[Any] = np.ascontiguousarray(array).reshape(-1).view()
    view.flags.writeable = False
    return view


def _as_map(array: npt.NDArray[Any], what: str) -> npt.NDArray[Any]:
    array = np.asarray(array)
    if array.ndim != 2 or array.size == 0 or array.dtype.kind not in "ui":
        msg = (
            f"{what} must be a (height, width) array of integers, not of shape {array.shape} and "
            f"type {array.dtype}"
        )
        raise InputError(msg)
    if array.size >= 2**31:
        msg = f"{what} has {array.size} pixels, more than can be counted; crop the image"
        raise InputError(msg)
    return array


def _as_instance_map(array: npt.NDArray[Any]) -> InstanceMap:
    array = _as_map(array, "the instance map")
    if array.dtype in (np.uint8, np.uint16):
        return array
    low, high = int(array.min()), int(array.max())
    if low < 0 or high > 65535:
        msg = f"the instance map holds {low}..{high}; use 0..65535"
        raise InputError(msg)
    return array.astype(np.uint8) if high <= VOID else array.astype(np.uint16)


def _size(array: npt.NDArray[Any]) -> str:
    return f"{array.shape[1]} x {array.shape[0]}"


def _few(numbers: npt.NDArray[Any]) -> str:
    shown = ", ".join(str(n) for n in numbers[:8].tolist())
    return shown + (", ..." if numbers.size > 8 else "")
