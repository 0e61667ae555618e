from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sbdata.masks import VOID
from sbdata.train.augment import View, cut_image, cut_mask, draw_view
from sbdata.train.preset import Augmentation


def view_of(size: tuple[int, int], seed: int, *scales: float, crop: int = 48) -> View:
    augmentation = Augmentation(crop=crop, scales=scales)
    return draw_view(size, augmentation, np.random.default_rng(seed))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1000),
    width=st.integers(8, 90),
    height=st.integers(8, 90),
    scale=st.sampled_from([0.5, 0.75, 1.0, 1.25, 1.5, 2.0]),
)
def test_the_mask_is_warped_with_its_image(
    seed: int, width: int, height: int, scale: float
) -> None:
    # An image that is its own mask: blocks of 8 pixels, bright where the mask is 1.
    rows, columns = np.mgrid[:height, :width]
    mask = ((rows // 8 + columns // 8) % 2).astype(np.uint8)
    photo = Image.fromarray(np.repeat(mask[:, :, None] * 250, 3, axis=2))
    view = view_of((width, height), seed, scale)
    pixels, target = cut_image(photo, view), cut_mask(mask, view)
    assert pixels.shape == (48, 48, 3)
    assert target.shape == (48, 48)
    inside = target != VOID
    # What is outside the image is grey, what is inside never is; the two agree on the border.
    grey = (pixels == (124, 116, 104)).all(axis=2)
    assert grey[~inside].all()
    # Bilinear pixels that are clearly one or the other say what the mask says.
    clear = inside & ((pixels[:, :, 0] > 190) | (pixels[:, :, 0] < 60))
    wrong = (pixels[:, :, 0] > 125) != (target == 1)
    assert wrong[clear].mean() < 0.02 if clear.any() else True
    assert clear.sum() >= 0.4 * inside.sum()  # at scale 0.5, a block has 4 pixels and blurred edges


def test_the_whole_image_at_scale_one_is_itself() -> None:
    photo = np.random.default_rng(0).integers(0, 255, (48, 48, 3), np.uint8)
    mask = photo[:, :, 0] % 4
    view = view_of((48, 48), 1, 1.0)
    mirrored = slice(None, None, -1 if view.flip else 1)
    np.testing.assert_array_equal(cut_image(Image.fromarray(photo), view)[:, mirrored], photo)
    np.testing.assert_array_equal(cut_mask(mask, view)[:, mirrored], mask)


def test_a_small_image_is_whole_in_its_crop() -> None:
    mask = np.ones((10, 20), np.uint8)
    target = cut_mask(mask, view_of((20, 10), 3, 1.0))
    assert (target == 1).sum() == 200
    assert (target == VOID).sum() == 48 * 48 - 200


def test_half_of_the_views_are_mirrored_and_none_if_asked() -> None:
    rng = np.random.default_rng(0)
    flips = [draw_view((64, 64), Augmentation(32), rng).flip for _ in range(400)]
    assert 150 < sum(flips) < 250
    never = Augmentation(32, flip=False)
    assert not any(draw_view((64, 64), never, rng).flip for _ in range(50))


def test_every_scale_and_place_is_drawn() -> None:
    rng = np.random.default_rng(0)
    views = [draw_view((64, 64), Augmentation(32, (0.5, 1.0)), rng) for _ in range(300)]
    reaches = {view.box[2] - view.box[0] for view in views}
    assert reaches == {32.0, 64.0}
    lefts = {view.box[0] for view in views if view.box[2] - view.box[0] == 32}
    assert min(lefts) == 0
    assert max(lefts) == 32


@pytest.mark.parametrize("flip", [True, False])
def test_flip_mirrors_columns(flip: bool) -> None:
    mask = np.tile(np.arange(32, dtype=np.uint8), (32, 1))
    target = cut_mask(mask, View((0.0, 0.0, 32.0, 32.0), 32, flip))
    np.testing.assert_array_equal(target[0], np.arange(32)[:: -1 if flip else 1])


@pytest.mark.parametrize("edges", [(3, 5), (-4, 2), (20, -7)])
def test_a_cut_without_rescaling_has_the_pixels_of_a_resizing(edges: tuple[int, int]) -> None:
    """It is cropped instead; a resizing of the same box, by filter, is the reference."""
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8))
    left, upper = edges
    view = View((float(left), float(upper), left + 32.0, upper + 32.0), 32, flip=False)
    inside = (max(left, 0), max(upper, 0), min(left + 32, 50), min(upper + 32, 40))
    size = (inside[2] - inside[0], inside[3] - inside[1])
    wanted = np.asarray(image.resize(size, Image.Resampling.BILINEAR, box=inside))
    y, x = inside[1] - upper, inside[0] - left
    found = cut_image(image, view)[y : y + size[1], x : x + size[0]]
    assert np.array_equal(found, wanted)
