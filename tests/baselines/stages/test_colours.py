from __future__ import annotations

import numpy as np
import pytest
from sbdata_baselines.stages.colours import lab, reduced


@pytest.mark.parametrize(
    ("rgb", "expected"),
    [  # CIE values of the sRGB primaries
        ((255, 255, 255), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 255, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
    ],
)
def test_lab(rgb: tuple[int, int, int], expected: tuple[float, float, float]) -> None:
    found = lab(np.array([[rgb]], np.uint8))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0, 0], expected, atol=0.05)


@pytest.mark.parametrize(
    ("size", "wanted"), [((300, 200), (150, 100)), ((90, 150), (90, 150)), ((1, 900), (1, 150))]
)
def test_the_longer_side_is_reduced(size: tuple[int, int], wanted: tuple[int, int]) -> None:
    assert reduced(np.zeros((*size, 3), np.uint8), 150).shape == (*wanted, 3)
