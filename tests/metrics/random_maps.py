"""Random small images for hypothesis: blocky maps, touching objects, rings, void anywhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

N_CLASSES = 3


@dataclass(frozen=True)
class Image:
    """Arrays of one image, and the class of each instance number."""

    prediction: np.ndarray
    class_map: np.ndarray
    instance_map: np.ndarray
    classes: dict[int, int]


@st.composite
def images(draw, predicted_void=False):
    """Draw an image of up to 12 x 12 pixels; one in four has a single row or column."""
    height, width = draw(
        st.one_of(
            st.tuples(st.integers(1, 6), st.integers(1, 6)),
            st.tuples(st.integers(1, 6), st.integers(1, 6)),
            st.tuples(st.integers(5, 9), st.integers(5, 9)),
            st.tuples(st.just(1), st.integers(1, 12)),
            st.tuples(st.integers(1, 12), st.just(1)),
        )
    )
    zoom = draw(st.sampled_from([1, 1, 2])) if max(height, width) <= 6 else 1

    def grid(*values):  # one byte a cell: a single draw, which shrinks to the first value
        drawn = draw(st.binary(min_size=height * width, max_size=height * width))
        cells = np.array(values)[np.frombuffer(drawn, np.uint8) % len(values)]
        return np.kron(cells.reshape(height, width), np.ones((zoom, zoom), int))

    count = draw(st.integers(0, 5))
    of_number = draw(st.lists(st.integers(1, N_CLASSES), min_size=count, max_size=count))
    numbers = draw(st.permutations([1, 2, 3, 7, 254]))[:count]
    classes = dict(zip(numbers, of_number, strict=True))
    instance_map = grid(0, 0, *numbers)
    class_map = np.zeros_like(instance_map)
    for number, class_id in classes.items():
        class_map[instance_map == number] = class_id
    if draw(st.booleans()):  # class pixels that belong to no instance
        stray = grid(0, 0, 0, 1, 2, 3)
        class_map[instance_map == 0] = stray[instance_map == 0]
    void = draw(st.sampled_from(["none", "class map", "instance map", "both", "either"]))
    if void in ("class map", "both", "either"):
        class_map[grid(0, 0, 1) == 1] = 255
    if void in ("instance map", "either"):
        instance_map[grid(0, 0, 1) == 1] = 255
    if void == "both":  # as in VOC
        instance_map[class_map == 255] = 255
    kinds = [0, *range(N_CLASSES + 1)] + [255] * predicted_void
    guess = grid(*kinds)
    if draw(st.booleans()):  # near the truth, so that regions lie over several instances
        keep = grid(0, 1, 1, 1) == 1
        guess = np.where(keep & (class_map != 255), class_map, guess)
    if draw(st.booleans()):  # rings, one in the other, of which parts are missing
        rings = nested_rings(*guess.shape, draw(st.integers(1, N_CLASSES)))
        guess = np.where((rings > 0) & (grid(1, 1, 1, 1, 1, 1, 1, 0) == 1), rings, guess)
    seen = {i: c for i, c in classes.items() if ((instance_map == i) & (class_map != 255)).any()}
    return Image(
        guess.astype(np.uint8), class_map.astype(np.uint8), instance_map.astype(np.uint8), seen
    )


def nested_rings(height, width, class_id):
    """Return rings of a class around the middle of a map, every other pixel, 0 between them."""
    y, x = np.mgrid[:height, :width]
    depth = np.minimum(np.minimum(y, height - 1 - y), np.minimum(x, width - 1 - x))
    return np.where(depth % 2 == 0, class_id, 0)
