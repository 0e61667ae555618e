"""Elastic weight consolidation: fine-tune, yet stay near where the old weights mattered.

Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks" (PNAS 2017), eq. 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows
from torch import Tensor, nn

from sbdata.errors import InputError
from sbdata.losses.pixel import CrossEntropy

VOID = 255
PER = ("image", "pixel")


def estimate_fisher(
    model: nn.Module,
    loader: Iterable[Sequence[Any]],
    loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    *,
    per: str = "image",
    max_images: int | None = None,
    pixels: int = 16,
    seed: int = 0,
    device: torch.device | str | None = None,
) -> dict[str, Tensor]:
    """Estimate the diagonal of the empirical Fisher information of a model's parameters.

    Gradients are taken of the labels given (hence empirical), one image at a time. What is squared
    is chosen by ``per``:

    - ``"image"``: the gradient of the image's mean cross-entropy over its non-void pixels. Every
      image is one observation.
    - ``"pixel"``: the gradient of one non-void pixel's cross-entropy. Some pixels of each image
      are drawn, alike probable and without repetition, so that the mean of their squares is an
      unbiased estimate of the mean over all pixels of that image. Images count alike, whatever
      their number of pixels.

    The model stays in the mode it is in and is left as it was: buffers that a forward pass changes
    are put back, and no gradient is stored. Put it in eval mode unless batch statistics of single
    images are meant.

    Args:
        model: gives logits ``(N, C + 1, h, w)`` of images; they are resized to the target's size by
            bilinear interpolation where they differ.
        loader: yields ``(images, targets, ...)`` batches; ``(N, 3, H, W)`` and ``(N, H, W)`` class
            numbers with 255 void. Images that are all void are skipped.
        loss: of logits and target; the mean cross-entropy by default. For ``"pixel"`` it is called
            with targets that are void but for one pixel.
        per: ``"image"`` or ``"pixel"``.
        max_images: stop after so many images that were not skipped; None for all.
        pixels: drawn of each image, for ``"pixel"``.
        seed: of that draw.
        device: where images and targets go; by default where the model's first parameter is.

    Returns:
        float32 tensors shaped like the trainable parameters, by name. A frozen one has none.

    Raises:
        InputError: if an option is out of range, nothing can be trained, no image has a pixel that
            is not void, or a gradient is not finite.
    """
    if per not in PER:
        msg = f"per must be one of {', '.join(PER)}, not {per!r}"
        raise InputError(msg)
    if pixels < 1 or (max_images is not None and max_images < 1):
        msg = "pixels and max_images must be at least 1"
        raise InputError(msg)
    trainable = _trainable(model)
    if not trainable:
        msg = "the model has no trainable parameter; unfreeze some before the Fisher is estimated"
        raise InputError(msg)
    device = next(iter(trainable.values())).device if device is None else torch.device(device)
    criterion = CrossEntropy(VOID) if loss is None else loss
    generator = torch.Generator().manual_seed(seed)
    sums = {name: torch.zeros_like(p, dtype=torch.float32) for name, p in trainable.items()}
    images = 0
    with _buffers_kept(model), torch.enable_grad():
        for image, target in _labelled(loader, max_images):
            observed = [target] if per == "image" else _lone_pixels(target, pixels, generator)
            logits = _resized(model(image.to(device)), target.shape[-2:])
            for place, seen in enumerate(observed):
                gradients = torch.autograd.grad(
                    criterion(logits, seen.to(device)),
                    list(trainable.values()),
                    retain_graph=place + 1 < len(observed),
                    allow_unused=True,
                )
                for total, gradient in zip(sums.values(), gradients, strict=True):
                    if gradient is not None:
                        total += gradient.float().square_() / len(observed)
            images += 1
    if not images:
        msg = "no image has a labelled pixel, so there is no Fisher; check the targets for void"
        raise InputError(msg)
    fisher = {name: total / images for name, total in sums.items()}
    _check_values(fisher)
    return fisher


@dataclass(frozen=True, eq=False)
class ElasticWeightConsolidation:
    """A quadratic penalty for leaving the weights that mattered: strength/2 Σ F (θ - θ*)².

    The fields are plain: ``torch.save(ewc.as_dict(), path)`` writes what ``torch.load(path,
    weights_only=True)`` reads, and ``ElasticWeightConsolidation(**loaded)`` is the same again.

    Attributes:
        fisher: float32 tensors by parameter name, not negative.
        anchor: the weights θ* by the same names.
        strength: the paper's λ, at least 0.

    Raises:
        InputError: if names or shapes of the two do not agree, or the strength or a value of the
            Fisher is negative or not finite.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> _ = nn.init.constant_(model.weight, 1.0)
    >>> ewc = ElasticWeightConsolidation.at(model, {"weight": torch.tensor([[3.0]])}, strength=2.0)
    >>> _ = nn.init.constant_(model.weight, 5.0)
    >>> ewc.penalty(model).item()  # 2/2 * 3 * (5 - 1)²
    48.0
    """

    fisher: dict[str, Tensor]
    anchor: dict[str, Tensor]
    strength: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.strength) and self.strength >= 0):
            msg = f"the strength of EWC must be finite and at least 0, not {self.strength}"
            raise InputError(msg)
        _check_match(self.anchor, self.fisher, "the anchor")
        _check_match(self.fisher, self.anchor, "the Fisher")
        _check_values(self.fisher)

    @classmethod
    def at(
        cls, model: nn.Module, fisher: Mapping[str, Tensor], strength: float
    ) -> ElasticWeightConsolidation:
        """Anchor a model's trainable parameters where they are now.

        Raises:
            InputError: if the Fisher was not estimated for exactly these parameters.
        """
        trainable = _trainable(model)
        _check_match(trainable, fisher, "the model's trainable parameters")
        _check_match(fisher, trainable, "the Fisher")
        return cls(
            fisher={name: fisher[name].detach().to(p.device) for name, p in trainable.items()},
            anchor={name: p.detach().clone() for name, p in trainable.items()},
            strength=float(strength),
        )

    def penalty(self, model: nn.Module) -> Tensor:
        """Return the float32 penalty; exactly 0, with zero gradients, where nothing has moved.

        Raises:
            InputError: if the model lacks an anchored parameter, has one of another shape, or
                trains one that is not anchored.
        """
        parameters = dict(model.named_parameters())
        _check_match(parameters, self.fisher, "the model's parameters")
        _check_match(self.fisher, _trainable(model), "the Fisher")
        terms = []
        for name, fisher in self.fisher.items():
            parameter = parameters[name].float()
            moved = parameter - self.anchor[name].to(parameter)
            terms.append((fisher.to(parameter) * moved * moved).sum())
        return self.strength / 2 * torch.stack(terms).sum()

    def to(self, device: torch.device | str) -> ElasticWeightConsolidation:
        """Return the same on another device; a penalty is quickest where the model is."""
        return ElasticWeightConsolidation(
            {name: value.to(device) for name, value in self.fisher.items()},
            {name: value.to(device) for name, value in self.anchor.items()},
            self.strength,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, to be saved."""
        return {"fisher": self.fisher, "anchor": self.anchor, "strength": self.strength}


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


def _lone_pixels(target: Tensor, pixels: int, generator: torch.Generator) -> list[Tensor]:
    """Return targets that are void but for one pixel each, drawn without repetition."""
    flat = target.reshape(-1)
    places = (flat != VOID).nonzero().reshape(-1).cpu()
    drawn = places[torch.randperm(len(places), generator=generator)[:pixels]]
    alone = []
    for place in drawn.tolist():
        one = torch.full_like(flat, VOID)
        one[place] = flat[place]
        alone.append(one.view(target.shape))
    return alone


def _resized(logits: Tensor, size: Sequence[int]) -> Tensor:
    if tuple(logits.shape[-2:]) == tuple(size):
        return logits
    return F.interpolate(logits, tuple(size), mode="bilinear", align_corners=False)


@contextmanager
def _buffers_kept(model: nn.Module) -> Iterator[None]:
    """Put back what forward passes change: the running statistics of batch normalisation."""
    kept = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in kept:
                buffer.copy_(value)


# --- what belongs together ------------------------------------------------------------------------


def _trainable(model: nn.Module) -> dict[str, Tensor]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def _check_match(has: Mapping[str, Tensor], needs: Mapping[str, Tensor], what: str) -> None:
    """Raise unless every name that is needed is there in the same shape."""
    for name, value in needs.items():
        if name not in has:
            msg = (
                f"there is no {name!r} in {what}; estimate the Fisher and set the anchor on this "
                "model, with the same parts frozen"
            )
            raise InputError(msg)
        if has[name].shape != value.shape:
            msg = (
                f"{name!r} has shape {tuple(has[name].shape)} in {what}, not "
                f"{tuple(value.shape)}; estimate the Fisher on this model"
            )
            raise InputError(msg)


def _check_values(fisher: Mapping[str, Tensor]) -> None:
    for name, value in fisher.items():
        if not bool((torch.isfinite(value) & (value >= 0)).all()):
            msg = (
                f"the Fisher of {name!r} holds values that are negative or not finite; check that "
                "the model's loss is finite on every image"
            )
            raise InputError(msg)
