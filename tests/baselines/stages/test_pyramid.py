from __future__ import annotations

import pytest
import timm
import torch
from sbdata_baselines.settings import NetworkSettings
from sbdata_baselines.stages.pyramid import Pyramid, build_pyramid

from sbdata.errors import InputError
from sbdata.train.pretrained import load_backbone

SMALL = NetworkSettings("mobilenetv3_small_050", "none", frozen=0)


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnet18", "mobilenetv3_small_050"])
def test_the_maps_are_those_of_timms_own_feature_network(name: str) -> None:
    torch.manual_seed(0)
    backbone = load_backbone(name, "none", output_stride=16)
    pyramid = Pyramid(backbone).eval().double()
    other = timm.create_model(
        name, features_only=True, out_indices=(0, 1, 2, 3, 4), output_stride=16
    ).eval()
    other.load_state_dict(backbone.module.state_dict())
    other.double()
    image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        found, wanted = pyramid(image), other(pyramid.normalised(image))
    assert [tuple(m.shape[1:2]) for m in found] == [(c,) for c in pyramid.channels]
    for one, two, stride in zip(found, wanted, pyramid.strides, strict=True):
        torch.testing.assert_close(one, two, atol=1e-6, rtol=1e-6)
        assert one.shape[-2:] == (64 // stride, 96 // stride)


@pytest.mark.parametrize(
    ("name", "part"), [("resnet18", "layer3"), ("tf_efficientnet_lite0", "blocks.3")]
)
def test_frozen_depths_get_no_gradient(name: str, part: str) -> None:
    pyramid = build_pyramid(NetworkSettings(name, "none", frozen=3)).train()
    trained = [key for key, p in pyramid.backbone.named_parameters() if p.requires_grad]
    assert trained[0].startswith(part)
    finest, last = pyramid(torch.rand(1, 3, 32, 32))[2:5:2]
    assert not finest.requires_grad
    assert last.requires_grad


def test_batch_norm_never_learns() -> None:
    pyramid = build_pyramid(SMALL).train()
    before = {k: v.clone() for k, v in pyramid.state_dict().items() if "running" in k}
    pyramid(torch.rand(2, 3, 32, 32))
    after = pyramid.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())


def test_bytes_and_numbers_are_the_same_image() -> None:
    pyramid = build_pyramid(SMALL).eval()
    image = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(pyramid(image)[-1], pyramid(image / 255)[-1])


def test_a_depth_that_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match="frozen=9"):
        build_pyramid(SMALL, frozen=9)
