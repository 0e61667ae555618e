"""Detector: torchvision's Fast or Faster R-CNN with a feature pyramid, trained on boxes.

Girshick, "Fast R-CNN" (ICCV 2015); Ren et al., "Faster R-CNN" (NeurIPS 2015); Lin et al., "Feature
Pyramid Networks for Object Detection" (CVPR 2017). BBAM uses only the box head, at its own
proposals. So the region proposal network is needed only for training, where random boxes around the
objects can replace it.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import (
    FeaturePyramidNetwork,
    MultiScaleRoIAlign,
    box_convert,
    clip_boxes_to_image,
    remove_small_boxes,
)
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from sbdata.benchmark.stage import StageContext
from sbdata_baselines.methods.bbam import DetectorSettings
from sbdata_baselines.stages.boxes import box_views
from sbdata_baselines.stages.pyramid import Pyramid, build_pyramid
from sbdata_baselines.stages.training import load_network, new_network, train_network

Targets = list[dict[str, Tensor]]

_FINEST = 4  # stride of the finest map of the feature pyramid, in pixels
_POOLED = 7  # cells per side to which the features of a box are pooled
_SAMPLING = 2  # bilinear samples per side of each of these cells
_NEAR = 0.6  # largest shift of an edge of a random proposal, as a fraction of the box's side


class Detector(nn.Module):
    """Backbone with a feature pyramid, a box head and, depending on the settings, a proposal head.

    Args:
        pyramid: Backbone.
        settings: Settings of the heads.
        n_classes: Number of classes, without background.
    """

    def __init__(self, pyramid: Pyramid, settings: DetectorSettings, n_classes: int) -> None:
        super().__init__()
        self.pyramid = pyramid
        self.drawn, self.random = settings.drawn, settings.random
        deepest = {s: i for i, s in enumerate(pyramid.strides) if s >= _FINEST}
        self.places = tuple(deepest.values())
        channels = [pyramid.channels[place] for place in self.places]
        self.fpn = FeaturePyramidNetwork(channels, settings.width, LastLevelMaxPool())
        self.heads = RoIHeads(
            MultiScaleRoIAlign([str(k) for k in range(len(channels))], _POOLED, _SAMPLING),
            TwoMLPHead(settings.width * _POOLED**2, settings.hidden),
            FastRCNNPredictor(settings.hidden, n_classes + 1),
            fg_iou_thresh=0.5,
            bg_iou_thresh=0.5,
            batch_size_per_image=settings.samples,
            positive_fraction=0.25,
            bbox_reg_weights=None,  # 10, 10, 5, 5
            score_thresh=0.05,
            nms_thresh=0.5,
            detections_per_img=100,
        )
        self.rpn = (
            _proposal_network([*deepest, 2 * max(deepest)], settings.width)
            if settings.proposals == "network"
            else None
        )

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """Return the maps of the feature pyramid.

        Args:
            images: RGB images, ``(N, 3, H, W)``: uint8, or floats in [0, 1].
        """
        maps = self.pyramid(images)
        found: dict[str, Tensor] = self.fpn({str(k): maps[p] for k, p in enumerate(self.places)})
        return found

    def loss(self, images: Tensor, boxes: Tensor) -> Tensor:
        """Return the sum of the losses of the box head and of the proposal network, if any.

        Args:
            images: Images, ``(N, 3, S, S)``.
            boxes: Boxes, ``(N, B, 5)``: class, left, upper, right, lower edge in pixels; class 0
                is no box.
        """
        height, width = images.shape[-2:]
        sizes = [(height, width)] * len(images)
        targets = [
            {"boxes": rows[rows[:, 0] > 0, 1:], "labels": rows[rows[:, 0] > 0, 0].long()}
            for rows in boxes
        ]
        for target in targets:
            kept = remove_small_boxes(target["boxes"], 1e-3)  # the others' logarithm is infinite
            target.update(boxes=target["boxes"][kept], labels=target["labels"][kept])
        features = self.features(images)
        losses: dict[str, Tensor] = {}
        if self.rpn is None:
            proposals = [
                drawn_proposals(target["boxes"], (height, width), self.drawn, self.random)
                for target in targets
            ]
        else:
            proposals, found = self.rpn(ImageList(images, sizes), features, targets)
            losses.update(found)
        losses.update(self.heads(features, proposals, sizes, targets)[1])
        return torch.stack(list(losses.values())).sum()

    def read(
        self, features: dict[str, Tensor], proposals: list[Tensor], size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Return the box head's output for proposals.

        Args:
            features: Maps of ``N`` images, see :meth:`features`.
            proposals: Proposals of each image, ``(P_n, 4)``: left, upper, right, lower edge in
                pixels.
            size: Height and width of the images.

        Returns:
            Probabilities, ``(P, C + 1)``, background first, and deltas, ``(P, C + 1, 4)``, of the
            proposals of all images in order.
        """
        pooled = self.heads.box_roi_pool(features, proposals, [size] * len(proposals))
        logits, deltas = self.heads.box_predictor(self.heads.box_head(pooled))
        return logits.softmax(1), deltas.unflatten(1, (-1, 4))

    def decoded(self, deltas: Tensor, proposals: Tensor, size: tuple[int, int]) -> Tensor:
        """Return the regressed boxes ``(P, 4)`` of proposals and their deltas, both ``(P, 4)``."""
        boxes = self.heads.box_coder.decode_single(deltas, proposals)
        clipped: Tensor = clip_boxes_to_image(boxes, size)
        return clipped


def drawn_proposals(boxes: Tensor, size: tuple[int, int], near: int, random: int) -> Tensor:
    """Draw boxes around objects and boxes anywhere, by torch's global generator on the CPU.

    Args:
        boxes: Boxes, ``(B, 4)``: left, upper, right, lower edge in pixels.
        size: Height and width of the image.
        near: Number of boxes around each object. Their edges are shifted by up to 0.6 of its
            sides, so about half of them overlap it by half or more.
        random: Number of boxes anywhere.

    Returns:
        Boxes, ``(B * near + random, 4)``, without empty ones.
    """
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2).repeat_interleave(near, dim=0)
    # Shifts are squares of uniform numbers, so that many boxes are close to the object.
    steps = 2 * torch.rand(sides.shape).to(boxes) - 1
    around = boxes.repeat_interleave(near, dim=0) + _NEAR * steps * steps.abs() * sides
    scale = boxes.new_tensor([size[1], size[0]]).repeat(2)
    chance = torch.rand(random, 4).to(boxes)
    extent = chance[:, 2:] ** 2  # small ones are more frequent
    centres = torch.cat([chance[:, :2], extent], dim=1) * scale
    anywhere = box_convert(centres, "cxcywh", "xyxy")
    found = clip_boxes_to_image(torch.cat([around, anywhere]), size)
    kept: Tensor = found[remove_small_boxes(found, 1.0)]
    return kept


def train_detector(task: StageContext, settings: DetectorSettings) -> None:
    """Train a detector on the photos and their boxes; write ``model.pt``."""
    model = new_network(task, settings, new_detector)
    views = box_views(task.weak, settings.views, task.seed, settings.visible)

    def step_loss(images: Tensor, boxes: Tensor, background: Tensor) -> Tensor:
        return model.loss(images, boxes)

    train_network(task, settings, model, [views], step_loss, backbone=model.pyramid)


def new_detector(settings: DetectorSettings, n_classes: int) -> Detector:
    """Return a detector; its new layers are initialised with torch's global generator."""
    return Detector(build_pyramid(settings.network), settings, n_classes)


def load_detector(task: StageContext, folder: Path) -> Detector:
    """Return the detector of a folder, on the task's device, in evaluation mode."""
    return load_network(task, folder, DetectorSettings, new_detector)


def _proposal_network(strides: list[int], width: int) -> RegionProposalNetwork:
    """Return torchvision's network, with anchors of 8 and 16 times the stride of each map."""
    ratios = (0.5, 1.0, 2.0)
    anchors = AnchorGenerator(
        tuple((8 * stride, 16 * stride) for stride in strides), (ratios,) * len(strides)
    )
    return RegionProposalNetwork(
        anchors,
        RPNHead(width, anchors.num_anchors_per_location()[0]),
        fg_iou_thresh=0.7,
        bg_iou_thresh=0.3,
        batch_size_per_image=256,
        positive_fraction=0.5,
        pre_nms_top_n={"training": 2000, "testing": 1000},
        post_nms_top_n={"training": 2000, "testing": 1000},
        nms_thresh=0.7,
    )
