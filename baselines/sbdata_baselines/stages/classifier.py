"""Classifier: a network that learns from image-level labels and localises objects as a result.

Zhou et al., "Learning Deep Features for Discriminative Localization" (CVPR 2016), trained as in
IRN (Ahn et al., CVPR 2019). A 1 x 1 convolution without bias on the last features gives a map for
each class; its spatial mean is the class's logit. The loss is the multi-label soft margin.

Differences from IRN's code: photos are resized bilinearly, views are padded with ImageNet's mean
colour, the scales of batch norm are not trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from sbdata.benchmark.stage import StageContext
from sbdata.train.views import Views
from sbdata.weak_labels.weak_set import WeakImage
from sbdata_baselines.settings import ClassifierSettings
from sbdata_baselines.stages.photos import weak_views
from sbdata_baselines.stages.pyramid import Pyramid, build_pyramid
from sbdata_baselines.stages.training import load_network, new_network, train_network


class Classifier(nn.Module):
    """Backbone with one map per class, whose spatial means are the logits.

    Args:
        pyramid: Backbone.
        n_classes: Number of classes C, without background.
    """

    def __init__(self, pyramid: Pyramid, n_classes: int) -> None:
        super().__init__()
        self.pyramid = pyramid
        self.head = nn.Conv2d(pyramid.channels[-1], n_classes, 1, bias=False)

    def maps(self, images: Tensor) -> Tensor:
        """Return the activations, ``(N, C, h, w)``, including negative ones."""
        activations: Tensor = self.head(self.pyramid(images)[-1])
        return activations

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, ``(N, C)``."""
        return self.maps(images).mean(dim=(2, 3))


def train_classifier(task: StageContext, settings: ClassifierSettings) -> None:
    """Train a classifier on the photos and their labels; write ``model.pt``."""
    fit_classifier(task, settings, [weak_views(task.weak, settings.views, task.seed)])


def fit_classifier(
    task: StageContext, settings: ClassifierSettings, streams: Sequence[Views[WeakImage]]
) -> None:
    """Train a classifier on batches of ``batch_size`` views of each stream."""
    model = new_network(task, settings, plain_classifier)

    def step_loss(images: Tensor, labels: Tensor) -> Tensor:
        return functional.multilabel_soft_margin_loss(model(images), labels)

    train_network(task, settings, model, streams, step_loss, backbone=model.pyramid)


def plain_classifier(settings: ClassifierSettings, n_classes: int) -> Classifier:
    """Return a new classifier; its head is initialised with torch's global generator."""
    return Classifier(build_pyramid(settings.network), n_classes)


def classifier_with_background(settings: Any, n_classes: int) -> Classifier:
    """Return a new classifier whose first map is the background.

    Args:
        settings: Settings of a method; ``network`` is the backbone.
        n_classes: Number of classes, without background.
    """
    return Classifier(build_pyramid(settings.network), n_classes + 1)


def load_classifier(task: StageContext, folder: Path) -> Classifier:
    """Return the trained classifier of a folder, on the task's device, in evaluation mode."""
    return load_network(task, folder, ClassifierSettings, plain_classifier)
