"""Distortion: the strong photo augmentations for training DeiT and networks based on it.

Touvron et al., "Training data-efficient image transformers & distillation through attention" (ICML
2021): a random part of the photo, RandAugment (Cubuk et al., CVPR-W 2020) and random erasing
(Zhong et al., AAAI 2020), all by timm. A photo keeps its labels, even if its objects are lost.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data import create_transform
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from sbdata.weak_labels.weak_set import WeakImage
from sbdata_baselines.settings import Distortion


@dataclass(frozen=True)
class Distorted:
    """Function that changes photos; an ``Alter`` of :mod:`sbdata.train.views`.

    Attributes:
        side: Side of the square result in pixels, equal to the ``crop`` of the views.
        settings: Distortion settings.
    """

    side: int
    settings: Distortion

    def __call__(
        self, photo: Image.Image, row: WeakImage, rng: np.random.Generator
    ) -> tuple[Image.Image, WeakImage]:
        """Return a square view of a photo, and its unchanged row."""
        with seeded(int(rng.integers(2**31))):
            values = _transform(self.side, self.settings)(photo)
        mean = torch.tensor(IMAGENET_DEFAULT_MEAN)[:, None, None]
        std = torch.tensor(IMAGENET_DEFAULT_STD)[:, None, None]
        # Only the noise of an erased rectangle exceeds the range of valid colours.
        pixels = ((values * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
        return Image.fromarray(pixels.permute(1, 2, 0).numpy()), row


@lru_cache(maxsize=4)
def _transform(side: int, settings: Distortion) -> Any:
    return create_transform(
        side,
        is_training=True,
        scale=settings.area,
        hflip=0.0,  # views are mirrored when they are cut
        color_jitter=None,  # RandAugment takes its place
        auto_augment=settings.policy,
        interpolation="bicubic",
        re_prob=settings.erase,
        re_mode="pixel",
        mean=IMAGENET_DEFAULT_MEAN,
        std=IMAGENET_DEFAULT_STD,
    )


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the three global random generators that timm uses, and restore them afterwards."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
