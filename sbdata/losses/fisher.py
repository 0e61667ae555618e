"""Estimate the importance of each weight: the diagonal of the Fisher information, and its scale.

:class:`MovingFisher` averages the squared gradients that training computes anyway, as Mun et al.
(WACV 2024) do. :func:`estimate_fisher` uses gradients of single images at fixed weights, as
Kirkpatrick et al. (PNAS 2017) describe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows
from torch import Tensor, nn

from sbdata.errors import InputError
from sbdata.losses.parameters import check_match, check_values, trainable_of
from sbdata.losses.pixel import CrossEntropy

VOID = 255
SCALES = ("minmax", "none")
NEW, OLD = 0.9, 0.1
"""Weights of the newest squared gradient and of the old average in the moving average."""


class MovingFisher:
    """Moving average of squared gradients: the diagonal of the Fisher information during training.

    It starts from ones. Each update sets it to 0.9 times the squared gradient plus 0.1 times its
    old value.

    Args:
        model: Model whose trainable parameters are tracked.

    Attributes:
        values: Averages, float32 tensors by parameter name.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> fisher = MovingFisher(model)
    >>> model(torch.tensor([[2.0]])).backward()  # the gradient of the weight is 2
    >>> fisher.update(model)
    >>> fisher.values["weight"]  # 0.9 * 2² + 0.1 * 1
    tensor([[3.7000]])
    """

    def __init__(self, model: nn.Module) -> None:
        trainable = trainable_of(model)
        self.values = {n: torch.ones_like(p, dtype=torch.float32) for n, p in trainable.items()}

    def update(self, model: nn.Module, *, may_overflow: bool = False) -> None:
        """Update the average with the current gradients; a parameter without one counts as 0.

        Args:
            model: The same model, after the backward passes of a step and before the optimiser's
                step.
            may_overflow: Whether to leave the average unchanged if a gradient is not finite. In
                training with float16 the optimiser skips such a step, too.
        """
        gradients = {
            name: torch.zeros_like(p) if p.grad is None else p.grad
            for name, p in trainable_of(model).items()
        }
        check_match(gradients, self.values, "the model's trainable parameters")
        finite = None
        if may_overflow:
            finite = torch.stack([g.isfinite().all() for g in gradients.values()]).all()
        with torch.no_grad():
            for name, value in self.values.items():
                gradient = gradients[name].float()
                new = torch.addcmul(value * OLD, gradient, gradient, value=NEW)
                value.copy_(new if finite is None else torch.where(finite, new, value))


def estimate_fisher(
    model: nn.Module,
    loader: Iterable[Sequence[Any]],
    loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    *,
    max_images: int | None = None,
    device: torch.device | str | None = None,
) -> dict[str, Tensor]:
    """Estimate the diagonal of the empirical Fisher information of a model's parameters.

    The estimate is the mean over images of the squared gradient of the image's mean cross-entropy
    over its non-void pixels. Gradients use the given labels (hence empirical), one image at a time.

    The model keeps its mode and is not changed: buffers that a forward pass changes are restored,
    and no gradient is stored. Put it in eval mode unless batch statistics of single images are
    intended.

    Args:
        model: Model that maps images to logits ``(N, C + 1, h, w)``. They are resized bilinearly to
            the target's size if the sizes differ.
        loader: Loader of ``(images, targets, ...)`` batches: ``(N, 3, H, W)`` images and
            ``(N, H, W)`` class numbers with 255 void. Images that are all void are skipped.
        loss: Loss function of logits and target; the mean cross-entropy by default.
        max_images: Maximum number of images, skipped ones not counted; None for all.
        device: Device for images and targets; that of the model's first parameter by default.

    Returns:
        float32 tensors shaped like the trainable parameters, by name. Frozen parameters are left
        out.

    Raises:
        InputError: If an option is out of range, the model has no trainable parameter, no image has
            a pixel that is not void, or a gradient is not finite.
    """
    if max_images is not None and max_images < 1:
        msg = f"max_images must be at least 1, not {max_images}"
        raise InputError(msg)
    trainable = trainable_of(model)
    if not trainable:
        msg = "the model has no trainable parameter; unfreeze some before the Fisher is estimated"
        raise InputError(msg)
    device = next(iter(trainable.values())).device if device is None else torch.device(device)
    criterion = CrossEntropy(VOID) if loss is None else loss
    sums = {name: torch.zeros_like(p, dtype=torch.float32) for name, p in trainable.items()}
    images = 0
    with _buffers_kept(model), torch.enable_grad():
        for image, target in _labelled(loader, max_images):
            logits = model(image.to(device))
            logits = F.interpolate(logits, target.shape[-2:], mode="bilinear", align_corners=False)
            gradients = torch.autograd.grad(
                criterion(logits, target.to(device)), list(trainable.values()), allow_unused=True
            )
            for total, gradient in zip(sums.values(), gradients, strict=True):
                if gradient is not None:
                    total += gradient.float().square_()
            images += 1
    if not images:
        msg = "no image has a labelled pixel to estimate the Fisher; check the targets for void"
        raise InputError(msg)
    fisher = {name: total / images for name, total in sums.items()}
    check_values(fisher)
    return fisher


def scaled_fisher(fisher: Mapping[str, Tensor], scale: str) -> dict[str, Tensor]:
    """Return a Fisher scaled for use in a penalty.

    Args:
        fisher: Fisher information by parameter name.
        scale: Scaling method. With ``"minmax"``, the smallest value of each tensor becomes 0 and
            the largest 1. A tensor whose values are all equal (such as a single value) becomes 0:
            no weight in it is more important than another, so none is held. ``"none"`` changes
            nothing.

    Raises:
        InputError: If the scale is another one, or a value is negative or not finite.

    >>> scaled_fisher({"a": torch.tensor([2.0, 3.0, 6.0]), "b": torch.tensor([7.0])}, "minmax")
    {'a': tensor([0.0000, 0.2500, 1.0000]), 'b': tensor([0.])}
    """
    if scale not in SCALES:
        msg = f"the scale of the Fisher must be one of {', '.join(SCALES)}, not {scale!r}"
        raise InputError(msg)
    check_values(fisher)
    if scale == "none":
        return dict(fisher)
    return {name: _minmax(value) for name, value in fisher.items()}


def _minmax(value: Tensor) -> Tensor:
    if not value.numel():
        return value
    least, most = value.aminmax()
    return (value - least) / torch.where(most > least, most - least, 1)


# --- one image at a time --------------------------------------------------------------------------


def _labelled(
    loader: Iterable[Sequence[Any]], limit: int | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield ``(1, 3, H, W)`` and ``(1, H, W)`` of images that are not all void."""
    given = 0
    for images, targets, *_ in loader:
        for image, target in zip(images.split(1), targets.split(1), strict=True):
            if bool((target != VOID).any()):
                yield image, target
                given += 1
                if given == limit:
                    return


@contextmanager
def _buffers_kept(model: nn.Module) -> Iterator[None]:
    """Restore the buffers that forward passes change: running statistics of batch normalisation."""
    kept = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in kept:
                buffer.copy_(value)
