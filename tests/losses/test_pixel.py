from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the train extra is not installed")

import torch.nn.functional as F  # noqa: E402, N812

from sbdata.errors import InputError  # noqa: E402
from sbdata.losses import CrossEntropy, SizeBalancedCrossEntropy, size_weights  # noqa: E402
from sbdata.losses.pixel import BalancedCrossEntropy  # noqa: E402
from sbdata.losses.ratio import PixelRatio  # noqa: E402
from sbdata.losses.registry import LOSSES, make_loss  # noqa: E402

TARGET = torch.tensor(
    [
        [1, 1, 0, 255],
        [1, 0, 0, 2],
        [0, 0, 1, 0],
        [2, 2, 0, 0],
    ]
)
BITS = torch.tensor(  # of cross-entropy at each pixel
    [
        [1, 2, 1, 7],
        [3, 1, 1, 2],
        [1, 1, 3, 1],
        [2, 1, 1, 1],
    ]
)


def logits_of(target: torch.Tensor, bits: torch.Tensor, channels: int = 3) -> torch.Tensor:
    """Log-probabilities ``(1, channels, H, W)`` that cost so many bits at each pixel."""
    right = 0.5 ** bits.double()
    wrong = (1 - right) / (channels - 1)
    is_right = F.one_hot(torch.where(target == 255, 0, target), channels).bool().permute(2, 0, 1)
    return torch.where(is_right, right, wrong).log()[None]


def noise(n: int = 2, channels: int = 4, side: int = 7, seed: int = 0):
    """Random logits and a target where classes have several components, with void."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, channels, side, side, generator=generator)
    target = torch.randint(0, channels, (n, side, side), generator=generator)
    target[torch.rand(n, side, side, generator=generator) < 0.2] = 255
    return logits, target


LOGITS = logits_of(TARGET, BITS)


V1 = {"normalizer": "class", "regions": "components", "reduction": "pixels"}


@pytest.mark.parametrize(
    ("options", "bits", "divisor"),
    [
        # three pixels of 7/3, one of 7, at most 5, another of 5, two of 7/2, eight of background
        ({}, (1 + 2 + 3) * 7 / 3 + 3 * 5 + 2 * 5 + (2 + 1) * 7 / 2 + 8, 7 + 5 + 5 + 7 + 8),
        ({"tau": 2.0}, (1 + 2 + 3) * 2 + 3 * 2 + 2 * 2 + (2 + 1) * 2 + 8, 7 * 2 + 8),
        ({"tau": 1.0}, 22, 15),
        ({"reduction": "pixels"}, 14 + 15 + 10 + 10.5 + 8, 15),
        # by class: three pixels of 4/3, one of 4, one of 3, two of 3/2
        ({"normalizer": "class"}, 6 * 4 / 3 + 3 * 4 + 2 * 3 + 3 * 3 / 2 + 8, 4 + 4 + 3 + 3 + 8),
        (V1, 6 * 4 / 3 + 3 * 4 + 2 * 3 + 3 * 3 / 2 + 8, 15),
    ],
)
def test_size_balanced_by_hand(options: dict, bits: float, divisor: float) -> None:
    value = SizeBalancedCrossEntropy(**options)(LOGITS, TARGET[None])
    assert float(value) == pytest.approx(bits / divisor * math.log(2), rel=1e-6)


def test_plain_and_balanced_by_hand() -> None:
    value = CrossEntropy()(LOGITS, TARGET[None])
    assert float(value) == pytest.approx(22 / 15 * math.log(2), rel=1e-12)
    value = BalancedCrossEntropy()(LOGITS, TARGET[None])
    assert float(value) == pytest.approx((8 / 8 + 14 / 7) / 2 * math.log(2), rel=1e-12)


def test_a_batch_is_divided_by_all_its_weights_and_weighed_image_by_image() -> None:
    other = torch.tensor([[1, 1, 0, 255], [1, 1, 0, 255], [0, 0, 0, 255], [255, 255, 255, 255]])
    logits = torch.cat([LOGITS, logits_of(other, torch.full((4, 4), 4))])
    value = SizeBalancedCrossEntropy()(logits, torch.stack([TARGET, other]))
    assert float(value) == pytest.approx((57.5 + 9 * 4) / (32 + 9) * math.log(2), rel=1e-6)
    value = SizeBalancedCrossEntropy(**V1)(logits, torch.stack([TARGET, other]))
    assert float(value) == pytest.approx((38.5 + 9 * 4) / (15 + 9) * math.log(2), rel=1e-6)


def test_one_region_is_plain_cross_entropy() -> None:
    logits, _ = noise(channels=4, side=6)
    target = torch.zeros(2, 6, 6, dtype=torch.long)
    target[:, :2, :3], target[0, 0, 5], target[1, 5] = 1, 255, 255
    wanted = F.cross_entropy(logits, target, ignore_index=255)
    for loss in (SizeBalancedCrossEntropy(), CrossEntropy()):
        assert abs(float(loss(logits, target) - wanted)) <= 1e-6 * float(wanted)
        wide = F.cross_entropy(logits.double(), target, ignore_index=255)
        assert abs(float(loss(logits.double(), target) - wide)) <= 1e-14


def test_a_lone_pixel_that_weighs_little_is_divided_by_its_weight() -> None:
    """The rest of a thin ring is void: the weights sum to less than 1."""
    target = torch.full((1, 5, 5), 255)
    target[0, 0, 0] = 1
    weights = torch.zeros(1, 5, 5)
    weights[0, 0, 0] = 0.25
    logits, _ = noise(n=1, side=5)
    wanted = CrossEntropy()(logits, target)
    torch.testing.assert_close(SizeBalancedCrossEntropy()(logits, target, weights), wanted)


def test_weights_that_are_given_are_used() -> None:
    logits, target = noise()
    loss = SizeBalancedCrossEntropy()
    weights = torch.from_numpy(size_weights(target.numpy()))
    assert torch.equal(loss(logits, target, weights), loss(logits, target))
    assert torch.equal(loss.weigh(target), weights)
    torch.testing.assert_close(loss(logits, target, 3 * weights), loss(logits, target))
    pixels = SizeBalancedCrossEntropy(reduction="pixels")
    torch.testing.assert_close(pixels(logits, target, 3 * weights), 3 * pixels(logits, target))
    assert torch.equal(loss(logits, target, weights + (target == 255)), loss(logits, target))
    ones = torch.ones(target.shape)
    torch.testing.assert_close(loss(logits, target, ones), CrossEntropy()(logits, target))


def test_balanced_is_the_mean_of_the_kinds_means() -> None:
    logits, target = noise()
    each = F.cross_entropy(logits, target, ignore_index=255, reduction="none")
    background, foreground = each[target == 0], each[(target > 0) & (target < 255)]
    loss = BalancedCrossEntropy()
    wanted = (background.mean() + foreground.mean()) / 2
    torch.testing.assert_close(loss(logits, target), wanted)
    only = torch.where(target == 0, target, 255)
    torch.testing.assert_close(loss(logits, only), background.mean())
    only = torch.where(target == 0, 255, target)
    torch.testing.assert_close(loss(logits, only), foreground.mean())


def test_focal_by_hand() -> None:
    logits, target = noise()
    chance = torch.sigmoid(logits.double())
    is_class = F.one_hot(torch.where(target == 255, 0, target), 4).permute(0, 3, 1, 2)
    right = torch.where(is_class.bool(), chance, 1 - chance)
    each = (-((1 - right) ** 2) * right.log()).mean(dim=1)
    torch.testing.assert_close(
        make_loss("focal")(logits.double(), target), each[target != 255].mean()
    )


def test_dice_by_hand() -> None:
    logits, target = noise()
    target[target == 3] = 1  # an absent class counts 0
    chance = logits.double().softmax(1).movedim(1, -1)[target != 255]
    labels = target[target != 255]
    losses = [0.0]
    for c in range(3):
        is_class = labels == c
        shared = 2 * chance[is_class, c].sum() / (chance[:, c].sum() + is_class.sum())
        losses.append(1 - float(shared))
    value = make_loss("dice")(logits.double(), target)
    assert float(value) == pytest.approx(np.mean(losses), rel=1e-9)


def test_lovasz_of_certain_predictions_is_one_minus_mean_iou() -> None:
    """On corners of the cube the extension is the loss that it extends."""
    _, target = noise(seed=1)
    _, guess = noise(seed=2)
    guess[guess == 255] = 0
    logits = 200.0 * F.one_hot(guess, 4).permute(0, 3, 1, 2)
    known = target != 255
    ious = []
    for c in range(4):
        is_class, is_guess = (target == c) & known, (guess == c) & known
        ious.append(float((is_class & is_guess).sum() / (is_class | is_guess).sum()))
    value = make_loss("lovasz")(logits, target)
    assert float(value) == pytest.approx(1 - np.mean(ious), rel=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_void_contributes_nothing(name: str) -> None:
    loss = make_loss(name)
    logits, target = noise()
    void = (target == 255)[:, None].expand_as(logits)
    logits.requires_grad_()
    value = loss(logits, target)
    (gradient,) = torch.autograd.grad(value, logits)
    assert (gradient[void] == 0).all()
    assert (gradient[~void] != 0).any()
    moved = torch.where(void, 30 * torch.randn(logits.shape), logits.detach()).requires_grad_()
    assert torch.equal(loss(moved, target), value)
    assert torch.equal(torch.autograd.grad(loss(moved, target), moved)[0], gradient)


@pytest.mark.parametrize("name", LOSSES)
def test_all_void_is_zero_with_zero_gradients(name: str) -> None:
    logits, target = noise()
    logits.requires_grad_()
    value = make_loss(name)(logits, torch.full_like(target, 255))
    assert value.shape == ()
    assert value.item() == 0
    value.backward()
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "lovasz"])  # not smooth
def test_gradients_are_right(name: str) -> None:
    logits, target = noise(n=1, channels=3, side=4)
    logits = logits.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: make_loss(name)(x, target), logits)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_narrow_logits_are_widened(name: str, kind: torch.dtype) -> None:
    logits, target = noise()
    logits = (1000 * logits).to(kind)
    loss = make_loss(name)
    narrow = logits.clone().requires_grad_()
    with torch.autocast("cpu", dtype=kind):
        value = loss(narrow, target)
    value.backward()
    assert value.dtype == torch.float32
    assert torch.isfinite(value)
    assert torch.isfinite(narrow.grad).all()
    assert torch.equal(value, loss(logits.float(), target))


@pytest.mark.parametrize("name", LOSSES)
def test_bytes_and_integers_are_the_same_target(name: str) -> None:
    logits, target = noise()
    loss = make_loss(name)
    assert torch.equal(loss(logits, target.to(torch.uint8)), loss(logits, target))


@pytest.mark.parametrize("name", LOSSES)
def test_what_a_loss_says_of_itself_is_true(name: str) -> None:
    loss = make_loss(name)
    logits, target = noise()
    weights = 1 + torch.rand(target.shape)
    changed = not torch.equal(loss(logits, target), loss(logits, target, weights))
    assert loss.needs_weights == changed
    target[1, :4] = 255  # images of different numbers of pixels
    found = loss(logits, target, weights)
    if isinstance(loss, PixelRatio):
        parts = [(logits[i : i + 1], target[i : i + 1], weights[i : i + 1]) for i in range(2)]
        total = sum(loss.total(*part) for part in parts)
        torch.testing.assert_close(total / sum(loss.normaliser(*part[1:]) for part in parts), found)
    else:
        alone = [loss(logits[i : i + 1], target[i : i + 1]) for i in range(2)]
        assert not torch.allclose(sum(alone) / 2, found, rtol=1e-3)


def test_names() -> None:
    assert list(LOSSES) == ["ce", "sb", "focal", "dice", "lovasz", "balanced-ce"]
    for name, kind in LOSSES.items():
        assert type(make_loss(name)) is kind
    assert make_loss("sb", tau=2.0).tau == 2.0
    with pytest.raises(InputError, match="no loss called 'bce'; choose from ce, sb, focal"):
        make_loss("bce")
    with pytest.raises(InputError, match="'ce' has no option 'tau'; choose from ignore_index"):
        make_loss("ce", tau=2.0)
    with pytest.raises(InputError, match="tau must be at least 1"):
        make_loss("sb", tau=0.0)
    with pytest.raises(InputError, match="reduction must be one of weighted, pixels, not 'mean'"):
        make_loss("sb", reduction="mean")
    with pytest.raises(InputError, match="gamma must be 0 or at least 1"):
        make_loss("focal", gamma=0.5)


@pytest.mark.parametrize("name", LOSSES)
def test_shapes_that_do_not_belong_together(name: str) -> None:
    logits, target = noise()
    for wrong in (target[:, :5], target[:1], target[:, None]):
        with pytest.raises(InputError, match=r"do not match|must be \(H, W\)"):
            make_loss(name)(logits, wrong)
    with pytest.raises(InputError, match="do not match"):
        make_loss(name)(logits[0], target)


def test_weights_of_another_shape() -> None:
    logits, target = noise()
    with pytest.raises(InputError, match="cut and flip them together"):
        SizeBalancedCrossEntropy()(logits, target, torch.ones(2, 1, 7))


@pytest.mark.parametrize("name", ["ce", "sb", "balanced-ce", "dice", "lovasz", "focal"])
def test_a_class_that_the_logits_lack_is_refused(name: str) -> None:
    from sbdata.losses.registry import make_loss

    target = torch.zeros(1, 4, 4, dtype=torch.uint8)
    target[0, 0, 0] = 7
    with pytest.raises(InputError, match=r"class 7, but the logits have 3 classes, 0\.\.2"):
        make_loss(name)(torch.zeros(1, 3, 4, 4), target)
    target[0, 0, 0] = 255
    assert torch.isfinite(make_loss(name)(torch.zeros(1, 3, 4, 4), target))


@pytest.mark.parametrize("name", sorted(LOSSES))
@pytest.mark.parametrize("value", [0.5, float("nan")])
def test_a_target_of_fractions_is_refused(name: str, value: float) -> None:
    target = torch.zeros(1, 4, 4)
    target[0, 1, 2] = value
    with pytest.raises(InputError, match=r"not a class number|must hold integers"):
        make_loss(name)(torch.zeros(1, 3, 4, 4), target)
