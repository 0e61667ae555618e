from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from sbdata_baselines.settings import HybridSettings, NetworkSettings, TransformerSettings
from sbdata_baselines.stages.tokens import (
    TokenNetwork,
    build_network,
    load_transformer,
    positions_at,
    token_loss,
)
from timm.models import get_pretrained_cfg
from torch import Tensor, nn

from sbdata.errors import InputError

TINY = TransformerSettings("deit_tiny_patch16_224.fb_in1k", "none")
HYBRID = HybridSettings(
    NetworkSettings("mobilenetv3_small_050", "none", frozen=5), width=12, depth=2, heads=2
)


def images(height: int = 48, width: int = 48, n: int = 2) -> Tensor:
    return torch.rand(n, 3, height, width, generator=torch.Generator().manual_seed(1))


def network(n_classes: int = 3, crop: int = 48) -> TokenNetwork:
    """A small hybrid whose tokens, positions and norms are far from their start."""
    torch.manual_seed(0)
    model = build_network(HYBRID, n_classes, crop).eval()
    for name, parameter in model.named_parameters():
        if not name.startswith("patches.pyramid"):
            nn.init.normal_(parameter, std=0.3)
    return model


def test_positions_are_those_of_the_training_at_its_size() -> None:
    positions = torch.rand(4, 3, 3, generator=torch.Generator().manual_seed(0))
    assert positions_at(positions, (3, 3)) is positions
    model = network()
    with torch.no_grad():
        tokens, grid = model._first(images())
        wanted = model.patches(images()) + model.patch_positions
    assert grid == (3, 3)
    torch.testing.assert_close(tokens[:, 3:].transpose(1, 2).reshape(wanted.shape), wanted)
    classes = (model.class_tokens + model.class_positions).expand(2, -1, -1)
    torch.testing.assert_close(tokens[:, :3], classes)


@pytest.mark.parametrize("backbone", ["vgg11", "mobilenetv3_small_050"])
def test_a_hybrid_has_a_position_for_each_cell_of_a_view(backbone: str) -> None:
    """A VGG rounds 33 / 16 cells down, other backbones up; positions were always rounded up."""
    settings = replace(HYBRID, network=NetworkSettings(backbone, "none", frozen=5))
    model = build_network(settings, 2, 33).eval()
    with torch.no_grad():
        cells = model.patches(images(33, 33)).shape[-2:]
    assert tuple(model.patch_positions.shape[-2:]) == tuple(cells)


def test_positions_of_other_grids_keep_what_is_even() -> None:
    """A constant stays one, and a ramp nearly so: a cubic with a = -0.75 is off by 3/64 at most."""
    constant = positions_at(torch.full((1, 4, 4), 0.3), (7, 9))
    torch.testing.assert_close(constant, torch.full((1, 7, 9), 0.3))
    ramp = torch.arange(12.0).expand(1, 12, 12)
    found = positions_at(ramp, (24, 24))[0, 12]
    wanted = (torch.arange(24.0) + 0.5) / 2 - 0.5  # centres of the cells
    torch.testing.assert_close(found[4:-4], wanted[4:-4], atol=0.05, rtol=0)


def test_one_class_token_is_the_transformers_own() -> None:
    """With one class the tokens are those that timm's network has before its last norm."""
    torch.manual_seed(0)
    reference = load_transformer(TINY, 48).eval()
    torch.manual_seed(0)
    model = build_network(TINY, 1, 48).eval()
    settings = get_pretrained_cfg(TINY.model)
    mean, std = (torch.tensor(v).reshape(1, 3, 1, 1) for v in (settings.mean, settings.std))
    reference.norm = nn.Identity()
    with torch.no_grad():
        wanted = reference.forward_features((images() - mean) / std)
        found = model.blocks(model._first(images())[0])
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)
        logits, _ = model(images())
        torch.testing.assert_close(logits[:, 0], wanted[:, 0].mean(1), atol=1e-5, rtol=1e-4)


def test_all_class_tokens_begin_alike_and_part_by_their_labels() -> None:
    torch.manual_seed(0)
    model = build_network(TINY, 3, 32).train()
    first, _ = model(images(32, 32))
    assert torch.equal(first[:, 0], first[:, 1])
    token_loss(model(images(32, 32)), torch.tensor([[1.0, 0, 0], [0, 0, 1]])).backward()
    gradients = model.class_tokens.grad
    assert not torch.allclose(gradients[0], gradients[1])


def test_the_maps_against_their_formula() -> None:
    """All weights kept, then equations by loops over classes and patches."""
    model, photos = network(), images(48, 64, n=1)
    kept: list[Tensor] = []
    with torch.no_grad():
        tokens, grid = model._first(photos)
        for block in model.blocks:
            kept.append(_weights(block, tokens))
            tokens = block(tokens)
        patches = tokens[0, 3:].T.reshape(1, 12, *grid)
        cams = model.head(patches)[0].relu().flatten(1).numpy()
        found = {
            last: [model.maps(photos, last, more)[0].flatten(1).numpy() for more in (False, True)]
            for last in (1, 2)
        }
    assert grid == (3, 4)
    cells = 12
    for last, (fused, refined) in found.items():
        for c in range(3):
            plain = [
                sum(float(w[c, 3 + j]) for w in kept[-last:]) * cams[c, j] for j in range(cells)
            ]
            np.testing.assert_allclose(fused[c], plain, rtol=1e-3, atol=1e-6)
            spread = [
                sum(float(w[3 + i, 3 + j]) * plain[j] for w in kept for j in range(cells))
                for i in range(cells)
            ]
            np.testing.assert_allclose(refined[c], spread, rtol=1e-3, atol=1e-6)
    assert np.abs(found[1][0] - found[2][0]).max() > 1e-3
    assert found[2][1].max() > 0


def _weights(block: nn.Module, tokens: Tensor) -> Tensor:
    """The mean over heads of the softmax of queries times keys, head by head."""
    three = block.attn.qkv(block.norm1(tokens))[0]
    width = tokens.shape[2]
    by_head = []
    for head in range(2):
        part = slice(head * width // 2, (head + 1) * width // 2)
        queries, keys = three[:, :width][:, part], three[:, width : 2 * width][:, part]
        by_head.append((queries @ keys.T / (width / 2) ** 0.5).softmax(1))
    return torch.stack(by_head).mean(0)


def test_logits_of_both_kinds_and_their_loss() -> None:
    model, labels = network(), torch.tensor([[1.0, 0, 1], [0, 0, 1]])
    with torch.no_grad():
        logits = model(images())
        tokens = model.blocks(model._first(images())[0])
        torch.testing.assert_close(logits[0], tokens[:, :3].mean(2))
        cams = model.head(tokens[:, 3:].transpose(1, 2).reshape(2, 12, 3, 3))
        torch.testing.assert_close(logits[1], cams.mean((2, 3)))
    logits = tuple(torch.randn(2, 3, generator=torch.Generator().manual_seed(i)) for i in (0, 1))
    probabilities = [torch.sigmoid(each) for each in logits]
    wanted = sum(
        -float((labels * p.log() + (1 - labels) * (1 - p).log()).mean()) for p in probabilities
    )
    assert float(token_loss(logits, labels)) == pytest.approx(wanted, rel=1e-5)


def test_a_photo_is_resized_to_whole_patches() -> None:
    torch.manual_seed(0)
    model = build_network(TINY, 2, 32).eval()
    with torch.no_grad():
        for size, grid in (((48, 32), (3, 2)), ((41, 55), (3, 3)), ((5, 39), (1, 2))):
            assert model.maps(images(*size), 3).shape == (2, 2, *grid)
        whole = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
        torch.testing.assert_close(model.patches(whole), model.patches(whole.float() / 255))


def test_a_backbone_that_is_frozen_gets_no_gradient() -> None:
    model = network()
    token_loss(model(images()), torch.ones(2, 3)).backward()
    assert all(p.grad is None for p in model.patches.pyramid.parameters())
    missing = [
        name
        for name, p in model.named_parameters()
        if p.grad is None and not name.startswith("patches.pyramid")
    ]
    assert missing == []


def test_a_file_gives_the_weights_and_its_positions_are_fitted(tmp_path: Path) -> None:
    torch.manual_seed(3)
    whole = timm.create_model(TINY.model)
    torch.save({"model": whole.state_dict()}, tmp_path / "deit.pth")
    given = TransformerSettings(TINY.model, str(tmp_path / "deit.pth"))
    same = load_transformer(given, 224)
    assert torch.equal(same.pos_embed, whole.pos_embed)
    small = load_transformer(given, 32)
    assert torch.equal(small.blocks[11].mlp.fc2.weight, whole.blocks[11].mlp.fc2.weight)
    assert torch.equal(small.cls_token, whole.cls_token)
    assert torch.equal(small.pos_embed[:, :1], whole.pos_embed[:, :1])
    assert small.pos_embed.shape[1] == 1 + 2 * 2


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (TransformerSettings("deit_smal", "none"), "timm has no transformer"),
        (TransformerSettings("resnet18", "none"), "could not be made|not a vision transformer"),
        (TransformerSettings("deit_tiny_distilled_patch16_224", "none"), "one class token"),
        (TransformerSettings(TINY.model, "nowhere.pth"), "nowhere.pth"),
    ],
)
def test_what_cannot_be_loaded_is_named(settings: TransformerSettings, said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_transformer(settings, 32)


def test_a_file_of_another_model_or_with_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save(timm.create_model("resnet10t").state_dict(), path)
    with pytest.raises(InputError, match="not weights of"):
        load_transformer(TransformerSettings(TINY.model, str(path)), 32)
    torch.save({"model": print}, path)
    with pytest.raises(InputError, match="not weights of"):
        load_transformer(TransformerSettings(TINY.model, str(path)), 32)


def test_a_width_that_heads_cannot_share_is_refused() -> None:
    with pytest.raises(InputError, match="multiple of the heads"):
        HybridSettings(NetworkSettings(), width=10, heads=3)
