"""The network: sizes, multi-scale outputs, what is frozen, what is trained and how."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from sbdata.errors import InputError
from sbdata.losses.registry import make_loss
from sbdata.train.pretrained import Backbone, Normalisation, become_caffe
from sbdata.train.resize import nearest
from sbdata.train.segmenter import (
    AtrousHead,
    Labels,
    Segmenter,
    build_segmenter,
    output_sizes,
    parameter_groups,
    segmenter_loss,
)


class Features(nn.Module):
    """A backbone of stride 4 that is quick and has everything that must be told apart."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.second = nn.Conv2d(6, 5, 3, stride=2, padding=1)

    def forward(self, images):
        return [self.second(self.norm(self.first(images)).relu())]


def tiny(n_classes=2, rates=(1, 2), scales=()):
    torch.manual_seed(0)
    said = "No pretrained weights."
    normalisation = Normalisation((0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
    backbone = Backbone("tiny", Features(), 5, 4, normalisation, said, False)
    return Segmenter(backbone, n_classes, rates, scales)


def photos(n=2, height=16, width=24, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 3, height, width), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnet50"])
@pytest.mark.parametrize("stride", [8, 16])
def test_logits_have_the_stride(name, stride):
    model = build_segmenter(name, n_classes=3, weights="none", output_stride=stride)
    with torch.no_grad():
        assert model(photos(1, 64, 48)).shape == (1, 4, 64 // stride, 48 // stride)
    assert model.stride == stride
    assert not model.pretrained
    assert "random" in model.provenance


def test_resnet101_of_deeplab():
    model = build_segmenter(
        "resnet101", n_classes=20, weights="none", output_stride=8, scales=(0.5, 0.75)
    )
    with torch.no_grad():
        shapes = [tuple(logits.shape) for logits in model.forward_scales(photos(1, 64, 64))]
    assert shapes == [(1, 21, 8, 8), (1, 21, 4, 4), (1, 21, 6, 6), (1, 21, 8, 8)]


# --- head -----------------------------------------------------------------------------------------


def test_the_head_is_the_sum_of_its_convolutions():
    head = AtrousHead(5, 3, rates=(1, 2, 3, 4))
    for branch in head.branches:
        nn.init.normal_(branch.bias)
    features = torch.randn(2, 5, 9, 7)
    expected = sum(
        functional.conv2d(features, b.weight, b.bias, padding=rate, dilation=rate)
        for b, rate in zip(head.branches, (1, 2, 3, 4), strict=True)
    )
    torch.testing.assert_close(head(features), expected)


def test_the_head_starts_as_deeplab_does_and_from_the_seed():
    torch.manual_seed(3)
    head = AtrousHead(256, 21)
    assert [b.dilation for b in head.branches] == [(6, 6), (12, 12), (18, 18), (24, 24)]
    for branch in head.branches:
        assert not branch.bias.any()
        assert float(branch.weight.detach().std()) == pytest.approx(0.01, rel=0.03)
        assert abs(float(branch.weight.detach().mean())) < 3e-4
    torch.manual_seed(3)
    again = AtrousHead(256, 21)
    assert torch.equal(head.branches[3].weight, again.branches[3].weight)


@pytest.mark.parametrize("rates", [(), (0, 6)])
def test_rates_are_checked(rates):
    with pytest.raises(InputError, match="rates"):
        AtrousHead(5, 3, rates)


# --- input ----------------------------------------------------------------------------------------


def test_bytes_and_floats_are_the_same_photo():
    model, images = tiny(), photos()
    torch.testing.assert_close(model(images), model(images.float() / 255))


def test_the_input_is_normalised_inside():
    model, images = tiny(), photos()
    mean = torch.tensor([0.4, 0.5, 0.6]).reshape(1, 3, 1, 1)
    std = torch.tensor([0.2, 0.25, 0.3]).reshape(1, 3, 1, 1)
    by_hand = model.head(model.backbone((images / 255 - mean) / std)[0])
    torch.testing.assert_close(model(images), by_hand)


@pytest.mark.parametrize("n_classes", [0, 255])
def test_the_number_of_classes_is_checked(n_classes):
    with pytest.raises(InputError, match=r"1\.\.254"):
        tiny(n_classes=n_classes)


def test_scales_are_checked():
    with pytest.raises(InputError, match="above 0"):
        tiny(scales=(0.5, 0))


# --- multi-scale inputs ---------------------------------------------------------------------------


def test_scales_give_logits_each_and_their_maximum():
    model, images = tiny(scales=(0.5, 0.75)), photos(2, 32, 48)
    whole, half, most, largest = model.forward_scales(images)
    sizes = [tuple(logits.shape[-2:]) for logits in (whole, half, most, largest)]
    assert sizes == [(8, 12), (4, 6), (6, 9), (8, 12)]
    torch.testing.assert_close(whole, tiny()(images))
    small = functional.interpolate(images / 255, size=(16, 24), mode="bilinear")
    torch.testing.assert_close(half, tiny()(small))  # photos are resized, before or after the mean
    up = [
        functional.interpolate(logits, size=(8, 12), mode="bilinear", align_corners=False)
        for logits in (half, most)
    ]
    torch.testing.assert_close(largest, torch.stack([whole, *up]).amax(0))


def test_the_maximum_is_for_evaluation():
    model, images = tiny(scales=(0.5,)), photos()
    outputs = model.forward_scales(images)
    assert torch.equal(model(images), outputs[0])
    model.eval()
    assert torch.equal(model(images), outputs[-1])
    assert not torch.equal(outputs[0], outputs[-1])


def test_without_scales_there_is_one_output():
    model, images = tiny(), photos()
    (only,) = model.forward_scales(images)
    assert torch.equal(only, model(images))
    assert torch.equal(only, model.eval()(images))


# --- what is frozen and what is trained -----------------------------------------------------------


def test_batch_norm_stays_frozen_in_training():
    model = build_segmenter("resnet18", n_classes=2, weights="none", rates=(1, 2))
    norms = [part for part in model.modules() if isinstance(part, nn.BatchNorm2d)]
    before = {key: v.clone() for key, v in model.state_dict().items() if "bn" in key}
    for _ in range(2):
        assert model.train() is model
        assert model.training
        assert model.head.training
        assert not any(norm.training for norm in norms)
    groups = parameter_groups(model, lr=0.1, weight_decay=0.5)
    optimiser = torch.optim.SGD(groups, momentum=0.9)
    target = torch.zeros(1, 32, 32, dtype=torch.int64)
    segmenter_loss(model, photos(1, 32, 32), {(32, 32): Labels(target)}, cross_entropy).backward()
    optimiser.step()
    assert not any(p.requires_grad for norm in norms for p in norm.parameters())
    assert len(before) > 50
    assert all(torch.equal(model.state_dict()[key], value) for key, value in before.items())


def test_groups_part_the_trained_parameters():
    model = tiny()
    groups = parameter_groups(model, lr=0.01, weight_decay=5e-4)
    ids = [id(p) for group in groups for p in group["params"]]
    assert len(ids) == len(set(ids))
    assert set(ids) == {id(p) for p in model.parameters() if p.requires_grad}
    assert [len(group["params"]) for group in groups] == [2, 2, 2]
    assert [group["lr"] for group in groups] == pytest.approx([0.01, 0.1, 0.2])
    assert [group["lr_mult"] for group in groups] == [1, 10, 20]
    assert [group["weight_decay"] for group in groups] == [5e-4, 5e-4, 0]
    assert all(p.ndim == 4 for group in groups[:2] for p in group["params"])
    assert all(p.ndim == 1 for p in groups[2]["params"])
    assert not model.backbone.second.bias.requires_grad
    others = parameter_groups(model, lr=1.0, weight_decay=0, head=3, head_bias=4)
    assert [group["lr"] for group in others] == [1, 3, 4]


# --- loss -----------------------------------------------------------------------------------------


def cross_entropy(logits, target, weights=None):
    values = functional.cross_entropy(logits, target, ignore_index=255, reduction="none")
    return (values if weights is None else values * weights).mean()


def labels_of(*sizes, weighted=True):
    generator = torch.Generator().manual_seed(4)
    labels = {}
    for size in sizes:
        target = torch.randint(0, 3, (2, *size), generator=generator)
        target[:, :1, :3] = 255
        weights = torch.rand(2, *size, generator=generator) if weighted else None
        labels[size] = Labels(target, weights)
    return labels


@pytest.mark.parametrize("weighted", [False, True])
def test_the_loss_at_one_scale_is_taken_at_the_size_of_the_images(weighted):
    model, images = tiny(), photos()
    labels = labels_of((16, 24), weighted=weighted)
    logits = functional.interpolate(
        model(images), size=(16, 24), mode="bilinear", align_corners=False
    )
    expected = cross_entropy(logits, *labels[16, 24])
    found = segmenter_loss(model, images, labels, cross_entropy)
    torch.testing.assert_close(found, expected)


def test_the_loss_of_scales_is_the_sum_at_their_own_sizes():
    model, images = tiny(scales=(0.5, 0.75)), photos(2, 32, 32)
    sizes = output_sizes(model, 32)
    assert sizes == ((8, 8), (4, 4), (6, 6), (8, 8))
    labels, seen = labels_of(*dict.fromkeys(sizes)), []

    def loss(logits, target, weights):
        size = tuple(logits.shape[-2:])
        assert target is labels[size].target
        assert weights is labels[size].weights
        seen.append((size, cross_entropy(logits, target, weights)))
        return seen[-1][1]

    found = segmenter_loss(model, images, labels, loss)
    assert tuple(size for size, _ in seen) == sizes
    torch.testing.assert_close(found, sum(value for _, value in seen))
    assert model.training
    found.backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_parts_divided_by_the_normalisers_of_the_whole_add_up_to_it():
    model, images = tiny(scales=(0.5,)), photos(2, 32, 32)
    loss, sizes = make_loss("sb"), output_sizes(model, 32)
    labels = labels_of(*dict.fromkeys(sizes))
    whole = segmenter_loss(model, images, labels, loss)
    normalisers = {size: loss.normaliser(*both) for size, both in labels.items()}
    parts = [
        segmenter_loss(
            model,
            images[i : i + 1],
            {s: Labels(t[i : i + 1], w[i : i + 1]) for s, (t, w) in labels.items()},
            loss,
            normalisers,
        )
        for i in range(2)
    ]
    torch.testing.assert_close(sum(parts), whole)


@pytest.mark.parametrize(("caffe", "half"), [(False, 20), (True, 21)])
def test_the_sizes_of_the_outputs_are_those_of_the_network(caffe, half):
    """Caffe's pooling rounds up, which the crop and the scales alone do not tell."""
    model = build_segmenter(
        "resnet50", n_classes=2, weights="none", output_stride=8, scales=(0.5, 0.75)
    )
    if caffe:
        become_caffe(model.backbone)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    assert output_sizes(model, 321) == ((41, 41), (half, half), (30 + caffe, 30 + caffe), (41, 41))
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    with torch.no_grad():
        outputs = model.train().forward_scales(photos(1, 65, 65))
    assert output_sizes(model, 65) == tuple(tuple(o.shape[-2:]) for o in outputs)


@pytest.mark.parametrize("size", [(41, 41), (22, 34), (5, 7), (40, 60), (1, 1)])
def test_targets_are_resized_as_pillow_does(size):
    labels = np.random.default_rng(0).integers(0, 256, (30, 45), dtype=np.uint8)
    expected = np.array(Image.fromarray(labels).resize(size[::-1], Image.Resampling.NEAREST))
    found = nearest(torch.from_numpy(labels)[None].long(), size)[0].numpy()
    np.testing.assert_array_equal(found, expected)


def test_training_lowers_the_loss():
    model = tiny(rates=(1, 2))
    images, target = photos(2, 16, 16), torch.zeros(2, 16, 16, dtype=torch.int64)
    target[:, 4:12, 4:12] = 2
    images[:, :, 4:12, 4:12] = 255
    optimiser = torch.optim.SGD(parameter_groups(model, 0.01, 0.0), momentum=0.9)
    losses = []
    for _ in range(40):
        loss = segmenter_loss(model, images, {(16, 16): Labels(target)}, cross_entropy)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 2
