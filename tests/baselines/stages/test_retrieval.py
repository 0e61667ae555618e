from __future__ import annotations

import numpy as np
import torch
from sbdata_baselines.stages.retrieval import (
    agreement_mask,
    box_scores,
    cosines,
    fitted_mask,
    mean_directions,
    retrieved_mask,
)
from torch.nn import functional

from sbdata.weak_labels.weak_set import Box

SIZE = (12, 15)
PHOTO = np.zeros((*SIZE, 3), np.uint8)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def enlarged(features: torch.Tensor) -> torch.Tensor:
    return functional.interpolate(features[None], SIZE, mode="bilinear")[0]


def two_colours() -> tuple[torch.Tensor, torch.Tensor, tuple[Box, ...], np.ndarray]:
    """A red square on green, a box around it with some of the green; the features are colours."""
    truth = np.zeros(SIZE, np.uint8)
    truth[3:9, 4:10] = 2
    colours = torch.tensor([[0.0, 1.0], [1.0, 0.0]])  # of class 0 and of class 2
    features = colours[torch.from_numpy((truth > 0).astype(np.int64))].permute(2, 0, 1)
    weights = torch.tensor([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]])
    return features, weights, (Box(2, 2, 2, 10, 9),), truth


# --- scores ---------------------------------------------------------------------------------------


def test_y_ret_equals_y_crf_on_two_colours() -> None:
    features, weights, boxes, truth = two_colours()
    fitted = fitted_mask(box_scores(features, weights, boxes, SIZE), PHOTO, boxes, None)
    np.testing.assert_array_equal(fitted, truth)
    retrieved = retrieved_mask(features, weights, fitted, boxes)
    np.testing.assert_array_equal(retrieved, fitted)
    np.testing.assert_array_equal(agreement_mask(fitted, retrieved), truth)


def test_scores_against_the_definition() -> None:
    features = torch.rand(6, 4, 5, generator=generator()) - 0.2
    weights = torch.randn(4, 6, generator=generator(1))
    boxes = (Box(3, 1, 1, 6, 5), Box(1, 5, 3, 7, 7), Box(3, 8, 6, 4, 5))
    found = box_scores(features, weights, boxes, SIZE, threshold=0.8)
    assert found.shape == (3, *SIZE)  # background, class 1, class 3

    outside = np.ones(SIZE, bool)
    for box in boxes:
        outside[box.y : box.y + box.height, box.x : box.x + box.width] = False
    shares = np.array([  # of each cell of 3 x 3 pixels
        [outside[3 * i : 3 * i + 3, 3 * j : 3 * j + 3].mean() for j in range(5)] for i in range(4)
    ])  # fmt: skip
    prototype = (features.numpy() * shares).sum((1, 2))
    along = np.einsum("d,dhw->hw", prototype, features.numpy())
    cosine = along / np.linalg.norm(prototype) / np.linalg.norm(features.numpy(), axis=0)
    seen = enlarged(torch.from_numpy(np.maximum(cosine, 0).astype(np.float32))[None])[0].numpy()
    large = enlarged(features).numpy()
    unary = np.zeros((3, *SIZE))
    unary[0] = np.where(seen >= 0.8 * seen.max(), seen, 0)
    for box in boxes:
        area = np.s_[box.y : box.y + box.height, box.x : box.x + box.width]
        activation = np.maximum(np.einsum("d,dhw->hw", weights[box.class_id].numpy(), large), 0)
        row = {1: 1, 3: 2}[box.class_id]
        unary[row][area] = np.maximum(unary[row][area], activation[area] / activation[area].max())
    wanted = np.exp(unary) / np.exp(unary).sum(0)
    wanted[:, outside] = np.array([1, 0, 0])[:, None]
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert 0.05 < (unary[0] > 0).mean() < 0.95  # the threshold divides


def test_where_boxes_leave_no_background_the_classifier_knows_it() -> None:
    features, weights, _, truth = two_colours()
    boxes = (Box(2, 0, 0, SIZE[1], SIZE[0]),)
    fitted = fitted_mask(box_scores(features, weights, boxes, SIZE), PHOTO, boxes, None)
    np.testing.assert_array_equal(fitted, truth)


def test_a_photo_without_boxes_is_background() -> None:
    features, weights, _, _ = two_colours()
    scores = box_scores(features, weights, (), SIZE)
    assert scores.shape == (1, *SIZE)
    fitted = fitted_mask(scores, PHOTO, (), None)
    assert not fitted.any()
    assert not retrieved_mask(features, weights, fitted, ()).any()


def test_no_class_leaves_its_boxes() -> None:
    """Neither by a refinement that says so, nor by features that are alike."""
    boxes = (Box(1, 0, 0, 5, 5), Box(2, 8, 6, 5, 5))

    def swapped(photo: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
        return probabilities[[0, 2, 1]] + np.float32([0, 1, 1])[:, None, None]

    features = torch.rand(3, *SIZE, generator=generator())
    weights = torch.randn(3, 3, generator=generator(1))
    fitted = fitted_mask(box_scores(features, weights, boxes, SIZE), PHOTO, boxes, swapped)
    retrieved = retrieved_mask(features, weights, fitted, boxes)
    for mask in (fitted, retrieved):
        for box in boxes:
            inside = np.zeros(SIZE, bool)
            inside[box.y : box.y + box.height, box.x : box.x + box.width] = True
            assert not (mask[~inside] == box.class_id).any()
    assert (fitted[:5, :5] == 1).all()  # its refinement has more of it than of background


# --- retrieval ------------------------------------------------------------------------------------


def test_directions_and_cosines_against_all_features_at_the_photos_size() -> None:
    features = torch.randn(7, 4, 5, generator=generator())
    places = torch.rand(3, *SIZE, generator=generator(1)) > 0.6
    places[2] = False
    large = enlarged(features)
    directions = large / large.norm(dim=0)
    found = mean_directions(features, places)
    for k in range(2):
        torch.testing.assert_close(found[k], directions[:, places[k]].mean(dim=1))
    assert not found[2].any()

    vectors = torch.randn(2, 7, generator=generator(2))
    wanted = torch.stack([
        functional.cosine_similarity(large, vector[:, None, None], dim=0) for vector in vectors
    ])  # fmt: skip
    torch.testing.assert_close(cosines(features, vectors, SIZE), wanted)


def test_a_class_that_is_nowhere_is_looked_for_by_the_classifier() -> None:
    features, weights, boxes, truth = two_colours()
    nothing = np.zeros(SIZE, np.uint8)
    np.testing.assert_array_equal(retrieved_mask(features, weights, nothing, boxes), truth)
    blind = weights.clone()
    blind[2] = torch.tensor([-1.0, 0.0])
    assert not retrieved_mask(features, blind, nothing, boxes).any()


def test_agreement_is_void_where_masks_differ() -> None:
    fitted = np.array([[0, 1, 2, 2]], np.uint8)
    retrieved = np.array([[0, 1, 1, 0]], np.uint8)
    found = agreement_mask(fitted, retrieved)
    assert found.dtype == np.uint8
    assert found.tolist() == [[0, 1, 255, 255]]
