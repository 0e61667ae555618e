"""Refiners against brute force, closed forms and two-colour photos."""

import importlib.util
import math
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sbdata.errors import InputError
from sbdata.train.refine import (
    CRF_PARAMETERS,
    affinity_weights,
    dense_crf,
    make_refiner,
    pamr,
    par,
    position_affinity_weights,
)

needs_crf = pytest.mark.skipif(
    importlib.util.find_spec("pydensecrf") is None, reason="the extra crf is not installed"
)

STEPS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def weights_by_hand(image, dilations, method):
    """Return ``(P, H, W)`` weights of one ``(3, H, W)`` image, pixel by pixel, in float64."""
    image = image.double().numpy()
    _, height, width = image.shape
    result = np.zeros((8 * len(dilations), height, width))

    def at(y, x):
        return image[:, min(max(y, 0), height - 1), min(max(x, 0), width - 1)]

    for y in range(height):
        for x in range(width):
            near = [at(y + dy * d, x + dx * d) for d in dilations for dy, dx in STEPS]
            centre = at(y, x)
            difference = np.abs(np.array(near) - centre)
            if method == "pamr":
                window = near + [centre] * len(dilations)
                exponent = -(difference / (1e-8 + 0.1 * np.std(window, 0, ddof=1))).mean(1)
                weight = np.exp(exponent) / np.exp(exponent).sum()
            else:
                spread = np.std(near, 0, ddof=1) + 1e-8
                colour = np.exp(-((difference / spread / 0.3) ** 2).mean(1))
                far = np.array([d * math.hypot(*step) for d in dilations for step in STEPS])
                place = np.exp(-((far / (np.std(far, ddof=1) + 1e-8) / 0.3) ** 2))
                weight = colour / colour.sum() + 0.01 * place / place.sum()
            result[:, y, x] = weight
    return result


def refined_by_hand(mask, weights, iterations, dilations):
    mask = mask.double().numpy()
    _, height, width = mask.shape
    for _ in range(iterations):
        new = np.zeros_like(mask)
        for y in range(height):
            for x in range(width):
                steps = [(d * dy, d * dx) for d in dilations for dy, dx in STEPS]
                for weight, (dy, dx) in zip(weights[:, y, x], steps, strict=True):
                    row, column = min(max(y + dy, 0), height - 1), min(max(x + dx, 0), width - 1)
                    new[:, y, x] += weight * mask[:, row, column]
        mask = new
    return mask


@pytest.mark.parametrize(
    ("name", "weigh", "refine"),
    [("pamr", affinity_weights, pamr), ("par", position_affinity_weights, par)],
)
def test_weights_and_refined_masks_equal_those_by_hand(name, weigh, refine):
    images, masks, dilations = noise(2, 3, 6, 6), noise(2, 2, 6, 6, seed=1), (1, 2, 8)
    found, refined = weigh(images, dilations), refine(images, masks, 3, dilations)
    for n in range(2):
        expected = weights_by_hand(images[n], dilations, name)
        by_hand = refined_by_hand(masks[n], expected, 3, dilations)
        scale = 1.0 if name == "pamr" else 1.01  # the published PAR grows by 1 % a step
        np.testing.assert_allclose(found[n].numpy(), expected / scale, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(refined[n].numpy(), by_hand / scale**3, rtol=1e-4, atol=1e-6)


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 1000), height=st.integers(1, 12), width=st.integers(1, 12),
    flat=st.booleans(),
)  # fmt: skip
def test_weights_sum_to_1_and_means_stay_in_range(seed, height, width, flat):
    images = noise(1, 3, height, width, seed=seed)
    images = images[..., :1, :1].expand_as(images) if flat else images
    masks = noise(1, 2, height, width, seed=seed + 1)
    for weigh, refine in ((affinity_weights, pamr), (position_affinity_weights, par)):
        weights = weigh(images)
        assert weights.shape == (1, 48, height, width)
        assert (weights >= 0).all()
        torch.testing.assert_close(weights.sum(1), torch.ones(1, height, width))
        refined = refine(images, masks)
        assert refined.min() >= masks.min() - 1e-5
        assert refined.max() <= masks.max() + 1e-5


@pytest.mark.parametrize("refine", [pamr, par])
def test_constant_masks_stay(refine):
    masks = torch.tensor([0.0, 0.3, 1.0]).reshape(1, 3, 1, 1).expand(1, 3, 9, 11)
    torch.testing.assert_close(refine(noise(1, 3, 9, 11), masks), masks)


@pytest.mark.parametrize("refine", [pamr, par])
def test_masks_and_photos_are_left_as_they_are(refine):
    images, masks = noise(1, 3, 8, 8), noise(1, 2, 8, 8)
    refine(images, masks)
    assert torch.equal(images, noise(1, 3, 8, 8))
    assert torch.equal(masks, noise(1, 2, 8, 8))


def two_colours(side=40, wrong=0.2, seed=0):
    """A square on a ground, and probabilities that are wrong in many single pixels."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((side, side), np.int64)
    truth[side // 4 : 3 * side // 4, side // 4 : 3 * side // 4] = 1
    image = np.where(truth[..., None] == 1, (200, 60, 40), (30, 90, 160)).astype(np.int64)
    image = np.clip(image + rng.integers(-4, 5, image.shape), 0, 255).astype(np.uint8)
    seen = np.where(rng.random(truth.shape) < wrong, 1 - truth, truth)
    probabilities = np.stack([np.where(seen == k, 0.7, 0.3) for k in (0, 1)]).astype(np.float32)
    return image, truth, probabilities


@pytest.mark.parametrize("name", ["pamr", "par", pytest.param("crf", marks=needs_crf)])
def test_noise_goes_and_edges_stay(name):
    image, truth, probabilities = two_colours()
    before = probabilities.copy()
    refined = make_refiner(name)(image, probabilities)
    assert refined.shape == probabilities.shape
    assert refined.dtype == np.float32
    np.testing.assert_allclose(refined.sum(0), 1, atol=1e-4)
    assert (before.argmax(0) != truth).mean() > 0.15
    assert (refined.argmax(0) != truth).mean() < 0.01
    np.testing.assert_array_equal(probabilities, before)


@pytest.mark.parametrize("refine", [pamr, par])
def test_averages_do_not_cross_an_edge(refine):
    image = torch.zeros(1, 3, 12, 20)
    image[..., 10:] = 1
    mask = torch.zeros(1, 1, 12, 20)
    mask[..., 10:] = 1
    refined = refine(image, mask)
    assert refined[..., :10].max() < 0.2
    assert refined[..., 10:].min() > 0.8
    flat = refine(torch.zeros_like(image), mask)  # without an edge it blurs
    assert flat[..., 9].min() > 0.4


def test_none_returns_what_it_is_given():
    image, _, probabilities = two_colours(8)
    assert make_refiner("none")(image, probabilities) is probabilities


def test_unknown_refiners_are_named():
    with pytest.raises(InputError, match="none, pamr, par, crf"):
        make_refiner("crff")


def test_a_missing_package_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    with pytest.raises(InputError, match=r'pip install "sbdata\[crf\]"'):
        make_refiner("crf")


def test_read_only_arrays_are_taken():
    image, _, probabilities = two_colours(8)
    image.setflags(write=False)
    probabilities.setflags(write=False)
    assert make_refiner("pamr")(image, probabilities).shape == (2, 8, 8)


# --- dense CRF ------------------------------------------------------------------------------------


def mean_field(image, energy, p):
    """Mean-field inference with all pairs of pixels, kernels normalised on both sides."""
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width].reshape(2, -1).astype(np.float64)
    colour = image.reshape(-1, 3).astype(np.float64)
    apart = (y[:, None] - y) ** 2 + (x[:, None] - x) ** 2
    unlike = ((colour[:, None] - colour) ** 2).sum(-1)
    kernels = [
        (p.gaussian_weight, np.exp(-apart / (2 * p.gaussian_xy**2))),
        (
            p.bilateral_weight,
            np.exp(-apart / (2 * p.bilateral_xy**2) - unlike / (2 * p.bilateral_rgb**2)),
        ),
    ]
    weights = 0
    for weight, kernel in kernels:
        scale = 1 / np.sqrt(kernel.sum(1))
        weights = weights + weight * kernel * scale[:, None] * scale
    energy = energy.reshape(len(energy), -1)
    q = np.exp(-energy)
    q /= q.sum(0)
    for _ in range(p.iterations):
        q = np.exp(-energy + q @ weights)
        q /= q.sum(0)
    return q.reshape(-1, height, width)


@needs_crf
@pytest.mark.parametrize("name", sorted(CRF_PARAMETERS))
def test_the_crf_agrees_with_mean_field_over_all_pairs(name):
    image, _, probabilities = two_colours(16)
    unsure = 0.4 + 0.2 * probabilities / probabilities.max(0)  # so that each parameter matters
    unsure = (unsure / unsure.sum(0)).astype(np.float32)
    expected = mean_field(image, -np.log(unsure.astype(np.float64)), CRF_PARAMETERS[name])
    found = dense_crf(image, unsure, CRF_PARAMETERS[name])
    np.testing.assert_array_equal(found.argmax(0), expected.argmax(0))
    assert np.abs(found - expected).mean() < 0.001  # the package filters on a coarse lattice


@needs_crf
@pytest.mark.parametrize("name", sorted(CRF_PARAMETERS))
def test_every_set_of_parameters_improves_a_noisy_mask(name):
    image, truth, probabilities = two_colours()
    refined = dense_crf(image, probabilities, CRF_PARAMETERS[name])
    wrong = (probabilities.argmax(0) != truth).mean()
    assert (refined.argmax(0) != truth).mean() < wrong / 4


@needs_crf
def test_certain_probabilities_stay_finite():
    image, truth, _ = two_colours(16)
    certain = np.stack([truth == 0, truth == 1]).astype(np.float32)
    refined = dense_crf(image, certain)
    assert np.isfinite(refined).all()
    np.testing.assert_array_equal(refined.argmax(0), truth)


@needs_crf
def test_the_crf_takes_a_photo_that_cannot_be_written_to():
    image, truth, _ = two_colours(16)
    probabilities = np.where(np.arange(3)[:, None, None] == truth, 0.6, 0.2).astype(np.float32)
    expected = dense_crf(image, probabilities)
    image.setflags(write=False)
    np.testing.assert_array_equal(dense_crf(image, probabilities), expected)
