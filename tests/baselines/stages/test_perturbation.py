from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sbdata_baselines.methods.bbam import PerturbationSettings
from sbdata_baselines.stages.boxes import edges_in
from sbdata_baselines.stages.perturbation import (
    Kept,
    cells_of,
    enlarged,
    first_mask,
    jittered_boxes,
    kept_distance,
    kept_proposals,
    masked,
    objective,
    optimised_masks,
    roughness,
    window_of,
)
from torch import Tensor

from sbdata.errors import InputError
from sbdata.weak_labels.weak_set import Box

SETTINGS = PerturbationSettings(lr=0.1, steps=60, area=0.011)
MEAN = torch.full((1, 3, 1, 1), 0.5)
PATCH = np.s_[20:28, 28:40]  # rows and columns


def reference_objective(
    probabilities: np.ndarray, deltas: np.ndarray, kept: Kept, mask: np.ndarray
) -> float:
    """The objective as the method's description writes it, number by number."""
    before_p, before_d = kept.probabilities.numpy(), kept.deltas.numpy()
    data = 0.0
    for p, d, p0, d0 in zip(probabilities, deltas, before_p, before_d, strict=True):
        data += 0.5 * sum(abs(a - b) for a, b in zip(d, d0, strict=True)) / 4 + 0.5 * abs(p - p0)
    rough = 0.0
    height, width = mask.shape
    for y in range(height):
        for x in range(width):
            for dy, dx, times in ((1, 0, 1), (0, 1, 1), (1, 1, 2), (1, -1, 2)):
                if y + dy < height and 0 <= x + dx < width:
                    rough += times * abs(mask[y, x] - mask[y + dy, x + dx]) ** 3
    return data / len(probabilities) + 0.007 * abs(mask).sum() + 1e-4 * rough


def kept_of(n: int = 3, class_id: int = 1) -> Kept:
    draw = torch.Generator().manual_seed(0)
    boxes = torch.tensor([[26.0, 18.0, 42.0, 30.0]]).repeat(n, 1)
    return Kept(
        class_id, boxes, boxes, torch.rand(n, generator=draw), torch.randn(n, 4, generator=draw)
    )


def test_the_objective_is_that_of_the_description() -> None:
    draw = torch.Generator().manual_seed(1)
    kept = kept_of(5)
    for size in ((2, 2), (4, 7)):
        mask = torch.rand(size, generator=draw, dtype=torch.float64)
        p = torch.rand(5, generator=draw)
        d = torch.randn(5, 4, generator=draw)
        found = objective(p, d, kept, mask, PerturbationSettings())
        wanted = reference_objective(p.numpy(), d.numpy(), kept, mask.numpy())
        assert float(found) == pytest.approx(wanted, rel=1e-6)


def test_equal_answers_are_no_distance_and_an_even_mask_is_not_rough() -> None:
    kept = kept_of()
    assert float(kept_distance(kept.probabilities, kept.deltas, kept)) == 0
    assert float(roughness(torch.full((5, 6), 0.7))) == 0
    images = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(masked(images, torch.ones(1, 8, 8), MEAN), images)
    assert (masked(images, torch.zeros(1, 8, 8), MEAN) == 0.5).all()


def planted(images: Tensor, proposals: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Answer by the redness of one patch alone."""
    red = (images[:, 0, PATCH[0], PATCH[1]] - 0.5).mean(dim=(1, 2)) * 2
    probability = red.clamp(0, 1).repeat_interleave(torch.tensor([len(p) for p in proposals]))
    deltas = probability[:, None, None].expand(-1, 2, 4)
    return torch.stack([1 - probability, probability], dim=1), deltas


def planted_object(crop: int = 64) -> tuple[Tensor, Kept, Tensor]:
    image = torch.full((1, 3, crop, crop), 0.3)
    image[:, 0, PATCH[0], PATCH[1]] = 1.0
    proposals = torch.tensor([[16.0, 8.0, 56.0, 44.0]]).repeat(2, 1)
    probabilities, deltas = planted(image, [proposals])
    kept = Kept(1, proposals, proposals, probabilities[:, 1], deltas[:, 1])
    return image, kept, first_mask(proposals, crop, 16)


def test_a_mask_shrinks_to_the_patch_that_decides_and_keeps_the_answers() -> None:
    image, kept, first = planted_object()
    (mask,) = optimised_masks(planted, image, MEAN, [kept], [first], SETTINGS)
    shown = enlarged(mask, 64)
    after, deltas = planted(masked(image, shown[None], MEAN), [kept.proposals])
    assert float((after[:, 1] - kept.probabilities).abs().max()) < 0.15
    assert float(mask.sum()) < 0.6 * float(first.sum())
    assert float(shown[PATCH].mean()) > 0.85
    elsewhere = enlarged(first, 64).bool()
    elsewhere[16:32, 24:44] = False
    assert float(shown[elsewhere].mean()) < 0.1
    before = objective(kept.probabilities, kept.deltas, kept, first, SETTINGS)
    assert float(objective(after[:, 1], deltas[:, 1], kept, mask, SETTINGS)) < 0.7 * float(before)
    assert ((mask >= 0) & (mask <= 1)).all()


def test_masks_do_not_depend_on_those_that_are_optimised_with_them() -> None:
    image, kept, first = planted_object()
    other = replace(kept, class_id=0, probabilities=1 - kept.probabilities)
    coarse = first_mask(kept.boxes, 64, 9)
    few = replace(SETTINGS, steps=5)
    alone = [
        optimised_masks(planted, image, MEAN, [one], [mask], few)[0]
        for one, mask in ((kept, first), (other, coarse))
    ]
    both = optimised_masks(
        planted, image.repeat(2, 1, 1, 1), MEAN, [kept, other], [first, coarse], few
    )
    for one, two in zip(alone, both, strict=True):
        torch.testing.assert_close(one, two)


def test_without_steps_a_mask_stays_as_it_is() -> None:
    image, kept, first = planted_object()
    (mask,) = optimised_masks(planted, image, MEAN, [kept], [first], replace(SETTINGS, steps=0))
    torch.testing.assert_close(mask, first)


def test_the_first_mask_is_the_union_of_the_boxes() -> None:
    boxes = torch.tensor([[0.0, 0.0, 5.0, 9.0], [4.0, 4.0, 9.0, 9.0], [6.9, 0.1, 7.2, 0.3]])
    mask = first_mask(boxes, 9, 9)
    wanted = torch.zeros(9, 9)
    wanted[:9, :5] = 1
    wanted[4:, 4:] = 1
    wanted[0, 7] = wanted[0, 6] = 0
    wanted[0, int(torch.tensor((6.9 + 7.2 - 1) / 2).round())] = 1  # smaller than a cell
    assert mask.tolist() == wanted.tolist()


def test_cells_are_larger_for_larger_boxes() -> None:
    assert cells_of(800, 0.0, (16, 48)) == 50
    assert cells_of(800, 1.0, (16, 48)) == 12
    assert cells_of(96, 0.3, (6, 0)) == 16
    assert cells_of(16, 1.0, (16, 48)) == 2


def test_a_window_holds_its_box_or_the_whole_photo() -> None:
    box = Box(1, 50, 10, 20, 8)
    whole = window_of(box, (60, 90), PerturbationSettings(side=120))
    assert (whole.box, whole.crop) == ((0, 0, 90, 90), 180)
    near = window_of(box, (60, 90), PerturbationSettings(side=80, context=2, zoom=4))
    assert near.box == (40, -6, 80, 34)
    assert edges_in(box, near).tolist() == [20, 32, 60, 48]
    kept_small = window_of(box, (60, 90), PerturbationSettings(side=80, context=2, zoom=1))
    assert kept_small.box == (20, -26, 100, 54)


@pytest.mark.parametrize("size", [(1, 1), (375, 500), (500, 375), (281, 500), (100, 2000), (1, 9)])
def test_a_whole_photo_has_the_size_of_maskrcnn_benchmark(size: tuple[int, int]) -> None:
    """Its ``transforms.Resize`` with 800 and 1,333, from its description, in other words."""
    short, long = 800.0, 800.0 * max(size) / min(size)
    if long > 1333:
        short, long = 1333.0 * min(size) / max(size), 1333.0
    view = window_of(Box(1, 0, 0, 1, 1), size, PerturbationSettings())
    scale = view.crop / (view.box[2] - view.box[0])
    assert view.crop == pytest.approx(long, abs=0.5)
    assert scale * min(size) == pytest.approx(short, abs=0.5)


def test_jittered_boxes_stay_near_and_in_the_photo() -> None:
    edges, limits = np.array([10.0, 20.0, 30.0, 60.0]), np.array([8.0, 0.0, 100.0, 64.0])
    found = jittered_boxes(edges, limits, 500, 0.3, np.random.default_rng(0))
    assert found.shape == (500, 4)
    assert (np.abs(found - edges) <= np.array([6, 12, 6, 12]) + 1e-4).all()
    assert found[:, 0].min() == 8
    assert found[:, 3].max() == 64
    assert found[:, 1].std() > found[:, 2].std()


def test_the_last_overlap_that_is_tried_counts() -> None:
    edges = torch.tensor([0.0, 0.0, 10.0, 10.0])
    widths = (10.0, 9.5, 8.7, 8.2, 7.0)  # IoU in tenths
    boxes = torch.tensor([[0.0, 0.0, w, 10.0] for w in widths])
    right = torch.tensor([[0.1, 0.9]] * 5)

    def count(plenty: int, probabilities: Tensor = right, keep: int = 9) -> int:
        settings = PerturbationSettings(plenty=plenty, keep=keep)
        found = kept_proposals(
            1, edges, boxes, boxes, probabilities, torch.zeros(5, 2, 4), settings
        )
        assert len(found.boxes) == len(found.deltas) == len(found.probabilities)
        return len(found.proposals)

    assert [count(plenty) for plenty in (1, 2, 3, 100)] == [2, 3, 4, 4]
    assert count(100, keep=2) == 2
    assert count(0, right.flip(1)) == 0  # another class is more probable


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": -1},
        {"side": 0},
        {"longest": 0},
        {"grid": (16.0,)},
        {"overlaps": ()},
        {"context": 0.5},
    ],
)
def test_values_that_cannot_be(changes: dict[str, object]) -> None:
    with pytest.raises(InputError, match="perturbation: "):
        replace(PerturbationSettings(), **changes)
