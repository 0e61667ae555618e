"""EPS: class maps whose combination is trained to match the photo's saliency.

Lee et al., "Railroad is not a Train: Saliency as Pseudo-pixel Supervision for Weakly Supervised
Semantic Segmentation" (CVPR 2021). A classifier with a background channel gives each pixel a
probability of each class. Maps of present classes on salient pixels must add up to the saliency
map; maps on other pixels count as background. The squared difference is the second loss. The
``paper`` preset uses the constants of halbielee/EPS.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor
from torch.nn import functional

from sbdata.benchmark.stage import StageContext
from sbdata.train.resize import nearest
from sbdata_baselines.methods.eps import SalientSettings
from sbdata_baselines.settings import (
    ActivationSettings,
)
from sbdata_baselines.stages.activation import write_class_maps
from sbdata_baselines.stages.classifier import classifier_with_background
from sbdata_baselines.stages.photos import weak_views
from sbdata_baselines.stages.saliency_maps import salience_of
from sbdata_baselines.stages.training import load_network, new_network, train_network

_TINY = 1e-4  # added per cell to the denominator of an overlap


# --- the losses -----------------------------------------------------------------------------------


def eps_loss(
    activations: Tensor, labels: Tensor, salience: Tensor, overlap: float = 0.4, blend: float = 0.5
) -> Tensor:
    """Return the sum of the classification and the saliency loss.

    Args:
        activations: Activations, ``(N, C + 1, h, w)``, background first.
        labels: Image labels, ``(N, C)`` of 0 and 1.
        salience: Saliency maps, ``(N, h, w)`` in [0, 1].
        overlap: Overlap threshold tau.
        blend: Weight lambda of the foreground maps.
    """
    logits = activations[:, 1:].mean(dim=(2, 3))
    estimate = estimated_salience(activations.softmax(dim=1), labels, salience, overlap, blend)
    return functional.multilabel_soft_margin_loss(logits, labels) + functional.mse_loss(
        estimate, salience
    )


def estimated_salience(
    probabilities: Tensor, labels: Tensor, salience: Tensor, overlap: float, blend: float
) -> Tensor:
    """Return the saliency that the maps of the present classes imply.

    It is ``blend * foreground + (1 - blend) * (1 - background)``. A present class belongs to the
    foreground if its overlap with the saliency map exceeds ``overlap``, else to the background.

    Args:
        probabilities: Probabilities, ``(N, C + 1, h, w)``, background first.
        labels: Image labels, ``(N, C)`` of 0 and 1.
        salience: Saliency maps, ``(N, h, w)`` in [0, 1].
        overlap: Overlap threshold tau.
        blend: Weight lambda of the foreground maps.

    Returns:
        Estimated saliency, ``(N, h, w)`` in [0, 1].
    """
    background, classes = probabilities[:, 0], probabilities[:, 1:]
    on_salient = overlaps(classes, salience) > overlap
    present = labels > 0
    foreground = (classes * (present & on_salient)[:, :, None, None]).sum(dim=1)
    rest = background + (classes * (present & ~on_salient)[:, :, None, None]).sum(dim=1)
    return blend * foreground + (1 - blend) * (1 - rest)


def overlaps(classes: Tensor, salience: Tensor) -> Tensor:
    """Return the fraction of each class's confident pixels (probability over 1/2) that are salient.

    A class without confident pixels has overlap 0. No gradient flows.

    Args:
        classes: Class probabilities, ``(N, C, h, w)``.
        salience: Saliency maps, ``(N, h, w)`` in [0, 1].

    Returns:
        Overlaps, ``(N, C)``.
    """
    sure = classes.detach().round()
    both = (sure * salience.round()[:, None]).sum(dim=(2, 3))
    return both / (sure + _TINY).sum(dim=(2, 3))


# --- stages ---------------------------------------------------------------------------------------


def train_salient(task: StageContext, settings: SalientSettings, saliency: Path) -> None:
    """Train the network on photos, labels and saliency maps; write ``model.pt``."""
    model = new_network(task, settings, classifier_with_background)
    views = weak_views(task.weak, settings.views, task.seed, seeds=saliency)

    def step_loss(images: Tensor, labels: Tensor, levels: Tensor) -> Tensor:
        activations = model.maps(images)
        salience = salience_of(nearest(levels.long(), activations.shape[-2:]))
        return eps_loss(activations, labels, salience, settings.overlap, settings.blend)

    train_network(task, settings, model, [views], step_loss, backbone=model.pyramid)


def salient_maps(task: StageContext, settings: ActivationSettings, salient: Path) -> None:
    """Write ``<image_id>.npz`` for each photo: its class probabilities, each with maximum 1."""
    model = load_network(task, salient, SalientSettings, classifier_with_background)

    def probabilities_of(images: Tensor) -> Tensor:
        probabilities: Tensor = model.maps(images).softmax(dim=1)[:, 1:]
        return probabilities

    write_class_maps(task, settings, probabilities_of)
