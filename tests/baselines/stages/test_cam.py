from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sbdata_baselines.stages.cam import class_maps, multi_scale_maps
from torch import Tensor
from torch.nn import functional

from sbdata.errors import InputError


def smooth_image(height: int = 48, width: int = 64) -> npt.NDArray[np.uint8]:
    y, x = np.mgrid[:height, :width] / max(height, width)
    channels = [80 + 100 * x + 40 * y, 200 - 90 * x, 60 + 120 * y]
    return np.stack(channels, axis=2).astype(np.uint8)


def colours(images: Tensor) -> Tensor:
    """A network without context: it commutes with mirroring, and almost with resizing."""
    red, green, blue = images[:, 0], images[:, 1], images[:, 2]
    return torch.stack([red, 1 - green, blue - 0.3], dim=1)


def plain(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    maps: npt.NDArray[np.float32] = (
        colours(torch.from_numpy(image).permute(2, 0, 1)[None] / 255).relu()[0].numpy()
    )
    return maps


def test_an_equivariant_network_gives_its_plain_map() -> None:
    image = smooth_image()
    total = multi_scale_maps(colours, image)
    assert total.shape == (3, 48, 64)
    assert total.dtype == np.float32
    np.testing.assert_allclose(total / 8, plain(image), atol=0.02)  # 4 scales x 2


def test_mirrored_maps_are_mirrored_back_exactly() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 31, 3), np.uint8)
    total = multi_scale_maps(colours, image, scales=(1.0,))
    np.testing.assert_allclose(total, 2 * plain(image), rtol=1e-6)


def test_a_network_that_looks_left_is_made_even() -> None:
    def left_part(images: Tensor) -> Tensor:
        ramp = torch.linspace(1, 0, images.shape[-1]).expand_as(images[:, :1])
        return ramp * 1.0

    image = smooth_image()
    once = multi_scale_maps(left_part, image, scales=(1.0,), flip=False)
    both = multi_scale_maps(left_part, image, scales=(1.0,), flip=True)
    assert once[0, 0, 0] == 1
    assert once[0, 0, -1] == 0
    np.testing.assert_allclose(both, 1, rtol=1e-6)


def test_scales_reach_the_network_and_are_summed() -> None:
    seen = []

    def constant(images: Tensor) -> Tensor:
        seen.append(tuple(images.shape))
        return torch.full((len(images), 2, 3, 4), float(images.shape[-1]))

    total = multi_scale_maps(constant, smooth_image(), scales=(1.0, 0.5, 2.0), size=(5, 6))
    assert seen == [(2, 3, 48, 64), (2, 3, 24, 32), (2, 3, 96, 128)]
    np.testing.assert_allclose(total, np.full((2, 5, 6), 2 * (64 + 32 + 128)))


def test_coarse_maps_are_enlarged_bilinearly() -> None:
    def strided(images: Tensor) -> Tensor:
        return functional.avg_pool2d(images, 16)

    image = smooth_image()
    expected = functional.interpolate(
        strided(torch.from_numpy(image).permute(2, 0, 1)[None] / 255),
        (48, 64),
        mode="bilinear",
        align_corners=False,
    )[0]
    total = multi_scale_maps(strided, image, scales=(1.0,), flip=False)
    np.testing.assert_allclose(total, expected, rtol=1e-6)


def test_negative_activations_count_as_none() -> None:
    total = multi_scale_maps(lambda images: -1 - colours(images), smooth_image())
    assert not total.any()


def test_no_gradients_are_kept() -> None:
    weight = torch.ones(1, requires_grad=True)
    grads = []

    def network(images: Tensor) -> Tensor:
        maps = images * weight
        grads.append(maps.requires_grad)
        return maps

    multi_scale_maps(network, smooth_image(), scales=(1.0,))
    assert grads == [False]


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((4, 4, 4), np.uint8)]
)
def test_other_images(image: npt.NDArray[np.uint8]) -> None:
    with pytest.raises(InputError, match="uint8 of shape"):
        multi_scale_maps(colours, image)


@pytest.mark.parametrize("scales", [(), (1.0, 0.0)])
def test_other_scales(scales: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="scales"):
        multi_scale_maps(colours, smooth_image(), scales=scales)


def test_present_classes_are_kept_and_divided_by_their_largest_value() -> None:
    activations = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
    maps = class_maps(activations, [4, 2, 4])
    assert maps.classes == (2, 4)
    assert maps.normalisation == "max"
    np.testing.assert_allclose(maps.maps[0], activations[1] / (11 + 1e-5))
    np.testing.assert_allclose(maps.maps[1], activations[3] / (23 + 1e-5))


def test_an_image_without_objects() -> None:
    maps = class_maps(np.ones((4, 2, 3), np.float32), [])
    assert maps.classes == ()
    assert maps.maps.shape == (0, 2, 3)


@pytest.mark.parametrize("present", [[0], [5], [1, 5]])
def test_classes_without_a_map(present: list[int]) -> None:
    with pytest.raises(InputError, match=r"not all in 1\.\.4"):
        class_maps(np.ones((4, 2, 3), np.float32), present)
