from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from sbdata_baselines.settings import NetworkSettings
from sbdata_baselines.stages.classifier import Classifier
from sbdata_baselines.stages.pyramid import Pyramid, build_pyramid
from sbdata_baselines.stages.splitting import split
from torch import Tensor, nn

from sbdata.errors import InputError
from sbdata.train.pretrained import Backbone, Normalisation

PARTS = {
    "resnet18": ("", "conv1", "maxpool", "layer3", "layer4"),
    "mobilenetv3_small_050": ("", "bn1", "blocks.0", "blocks.4"),
}


def classifier(backbone: str) -> Classifier:
    torch.manual_seed(0)
    model = Classifier(build_pyramid(NetworkSettings(backbone, "none", frozen=1)), 3)
    model.eval()
    return model


@pytest.mark.parametrize("backbone", PARTS)
def test_both_parts_are_the_whole_wherever_it_is_cut(backbone: str) -> None:
    model = classifier(backbone)
    images = torch.rand(2, 3, 48, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = model.maps(images)
        for first in PARTS[backbone]:
            parts = split(model, first)
            torch.testing.assert_close(parts.head(parts.backbone(images)), wanted)


def test_bytes_are_normalised_as_the_classifier_does() -> None:
    model = classifier("resnet18")
    images = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    backbone = split(model).backbone
    torch.testing.assert_close(backbone(images), model.pyramid.normalised(images))


def test_only_the_upper_half_has_gradients_and_it_shares_its_weights() -> None:
    model = classifier("resnet18")
    parts = split(model, "layer4")
    values = parts.backbone(torch.rand(1, 3, 32, 32))
    assert not values.requires_grad
    parts.head(values).sum().backward()
    trained = {name for name, p in model.named_parameters() if p.grad is not None}
    assert "head.weight" in trained
    assert {name.split(".")[2] for name in trained - {"head.weight"}} == {"layer4"}
    head = {id(p) for p in parts.head.parameters()}
    assert head < {id(p) for p in model.parameters()}


def test_an_unknown_part_is_named_with_those_there_are() -> None:
    with pytest.raises(InputError, match=r"no part 'layer9'; .* conv1, bn1, .* layer4"):
        split(classifier("resnet18"), "layer9")


class Skipping(nn.Module):
    """A backbone whose last part is given the first one's outcome as well."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.middle, self.end = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))
        self.feature_info = SimpleNamespace(info=[{"module": "end", "num_chs": 3, "reduction": 1}])

    def forward(self, images: Tensor) -> list[Tensor]:
        stem = self.stem(images)
        return [self.end(stem + self.middle(stem))]


def test_a_backbone_that_is_no_chain_is_refused() -> None:
    torch.manual_seed(0)
    same = Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    backbone = Backbone("skipping", Skipping(), 3, 1, same, "", pretrained=False)
    model = Classifier(Pyramid(backbone), 2).eval()
    images = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        parts = split(model)
        torch.testing.assert_close(parts.head(parts.backbone(images)), model.maps(images))
    with pytest.raises(InputError, match="cannot be split"):
        split(model, "middle")
