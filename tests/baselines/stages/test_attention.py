from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sbdata_baselines.stages.attention import attended, check_plain, refined_maps, through
from timm.models.vision_transformer import Attention, Block
from torch import nn

from sbdata.errors import InputError


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_blocks_give_what_timms_fused_ones_give() -> None:
    torch.manual_seed(0)
    model = timm.create_model("deit_tiny_patch16_224", num_classes=0, depth=3).eval()
    tokens = torch.randn(2, 23, 192, generator=generator())
    for block in model.blocks:
        assert block.attn.fused_attn  # the way that keeps no weights
        for parameter in block.parameters():  # norms begin at 1 and 0, biases at 0
            nn.init.normal_(parameter, std=0.1)
        with torch.no_grad():
            found, weights = through(block, tokens)
            torch.testing.assert_close(found, block(tokens), atol=1e-5, rtol=1e-5)
            taken, again = attended(block.attn, block.norm1(tokens))
            torch.testing.assert_close(taken, block.attn(block.norm1(tokens)), atol=1e-5, rtol=1e-5)
        assert weights.shape == (2, 3, 23, 23)
        assert torch.equal(weights, again)
        torch.testing.assert_close(weights.sum(3), torch.ones(2, 3, 23))
        tokens = found


def test_the_whole_network_gives_what_timms_gives() -> None:
    torch.manual_seed(0)
    model = timm.create_model("deit_tiny_patch16_224", num_classes=0, img_size=48).eval()
    tokens = torch.randn(1, 10, 192, generator=generator())
    with torch.no_grad():
        wanted = model.blocks(tokens)
        for block in model.blocks:
            tokens, _ = through(block, tokens)
    torch.testing.assert_close(tokens, wanted, atol=1e-5, rtol=1e-5)


def test_norms_of_queries_and_scales_of_layers_are_kept() -> None:
    torch.manual_seed(0)
    block = Block(8, 2, qkv_bias=True, qk_norm=True, init_values=0.3).eval()
    check_plain(nn.Sequential(block))
    tokens = torch.randn(1, 5, 8, generator=generator())
    with torch.no_grad():
        torch.testing.assert_close(through(block, tokens)[0], block(tokens), atol=1e-5, rtol=1e-5)


def test_the_weights_against_loops() -> None:
    """Equation 1 of Vaswani et al. for each head, token by token."""
    torch.manual_seed(0)
    attention = Attention(6, num_heads=2, qkv_bias=True)
    nn.init.normal_(attention.qkv.weight)
    tokens = torch.randn(1, 4, 6, generator=generator())
    with torch.no_grad():
        _, weights = attended(attention, tokens)
        three = (tokens[0] @ attention.qkv.weight.T + attention.qkv.bias).numpy()
    queries, keys = three[:, :6], three[:, 6:12]
    for head in range(2):
        part = slice(3 * head, 3 * head + 3)
        for i in range(4):
            scores = [float(queries[i, part] @ keys[j, part]) / 3**0.5 for j in range(4)]
            wanted = np.exp(scores) / np.exp(scores).sum()
            np.testing.assert_allclose(weights[0, head, i].numpy(), wanted, rtol=1e-4)


def test_gradients_and_paths_that_are_dropped_are_those_of_the_block() -> None:
    torch.manual_seed(0)
    block = Block(8, 2, drop_path=0.5, proj_drop=0.3).train()
    tokens = torch.randn(6, 5, 8, generator=generator())
    gradients = []
    for run in (lambda: block(tokens), lambda: through(block, tokens)[0]):
        torch.manual_seed(1)
        block.zero_grad()
        run().square().sum().backward()
        gradients.append([p.grad.clone() for p in block.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("more", [{"gated": True}, {"scale_norm": True}])
def test_attention_that_does_more_is_refused(more: dict[str, bool]) -> None:
    block = Block(8, 2)
    block.attn = Attention(8, 2, norm_layer=nn.LayerNorm, **more)
    with pytest.raises(InputError, match=r"'gate'|'norm'"):
        check_plain(nn.Sequential(block))
    with pytest.raises(InputError, match="of another kind"):
        check_plain(nn.Sequential(nn.Linear(8, 8)))


def test_identity_attention_leaves_maps_unchanged() -> None:
    maps = torch.rand(2, 3, 4, 5, generator=generator())
    assert torch.equal(refined_maps(maps, torch.eye(20).expand(2, -1, -1)), maps)


def test_attention_to_one_patch_gives_its_value_to_all() -> None:
    maps = torch.rand(1, 3, 2, 3, generator=generator())
    affinity = torch.zeros(1, 6, 6)
    affinity[:, :, 4] = 1
    wanted = maps[:, :, 1:2, 1:2].expand_as(maps)
    assert torch.equal(refined_maps(maps, affinity), wanted)


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(0, 9))
def test_refined_maps_against_loops(classes: int, height: int, width: int, seed: int) -> None:
    maps = torch.rand(1, classes, height, width, generator=generator(seed))
    cells = height * width
    affinity = torch.rand(1, cells, cells, generator=generator(seed + 1))
    found = refined_maps(maps, affinity)
    for c in range(classes):
        for i in range(cells):
            wanted = sum(
                float(affinity[0, i, j]) * float(maps[0, c, j // width, j % width])
                for j in range(cells)
            )
            assert float(found[0, c, i // width, i % width]) == pytest.approx(wanted, rel=1e-4)
