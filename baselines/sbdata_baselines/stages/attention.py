"""Attention: the blocks of a vision transformer, with their attention weights.

timm computes attention in one fused step, which is fast and keeps no weights; maps are made from
the weights. Here, the same layers are run step by step (Vaswani et al., "Attention Is All You
Need", NeurIPS 2017, equation 1; Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021,
equations 2 and 3).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sbdata.errors import InputError

_PARTS = {"qkv", "q_norm", "k_norm", "attn_drop", "proj", "proj_drop"}


def through(block: nn.Module, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Pass tokens through a block of timm's vision transformer.

    Args:
        block: Block of type ``timm.models.vision_transformer.Block``.
        tokens: Tokens, ``(N, T, D)``.

    Returns:
        The output of ``block(tokens)``, ``(N, T, D)``, and its attention weights, ``(N, heads, T,
        T)``; row i holds the weights of all tokens for token i and sums to 1.
    """
    taken, weights = attended(block.attn, block.norm1(tokens))
    tokens = tokens + block.drop_path1(block.ls1(taken))
    return tokens + block.drop_path2(block.ls2(block.mlp(block.norm2(tokens)))), weights


def attended(attention: nn.Module, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Pass tokens through timm's attention, with its own query, key and value weights.

    Args:
        attention: Module of type ``timm.models.vision_transformer.Attention`` accepted by
            :func:`check_plain`.
        tokens: Tokens, ``(N, T, D)``.

    Returns:
        The output, ``(N, T, D)``, and the attention weights, ``(N, heads, T, T)``.
    """
    three = attention.qkv(tokens).unflatten(2, (3, attention.num_heads, -1))
    queries, keys, values = three.permute(2, 0, 3, 1, 4).unbind(0)  # (N, heads, T, width)
    queries, keys = attention.q_norm(queries), attention.k_norm(keys)
    weights = ((queries * attention.scale) @ keys.transpose(2, 3)).softmax(dim=3)
    taken = (attention.attn_drop(weights) @ values).transpose(1, 2).flatten(2)
    return attention.proj_drop(attention.proj(taken)), weights


def check_plain(blocks: nn.Module) -> None:
    """Check that the attention does no more than :func:`attended`; gates, for example, are refused.

    Raises:
        InputError: if a part is not supported; the message names it.
    """
    for block in blocks.children():
        attention = getattr(block, "attn", None)
        parts = {} if attention is None else dict(attention.named_children())
        more = [n for n, p in parts.items() if n not in _PARTS and not isinstance(p, nn.Identity)]
        if more or _PARTS - set(parts):
            what = f"with the part {more[0]!r}" if more else "of another kind"
            msg = f"the transformer has attention {what}; use a plain one, such as DeiT"
            raise InputError(msg)


def refined_maps(maps: Tensor, affinity: Tensor) -> Tensor:
    """Give each patch the weighted sum of all patches' values, ``sum_j A_ij maps_j``.

    Xu et al., "Multi-class Token Transformer for Weakly Supervised Semantic Segmentation" (CVPR
    2022), the patch-level pairwise affinity. As there, rows of ``A`` need not sum to 1.

    Args:
        maps: Maps, ``(N, C, h, w)``.
        affinity: Affinity matrix ``A``, ``(N, h w, h w)``.

    >>> maps = torch.tensor([[[[1.0, 0.0]]]])
    >>> refined_maps(maps, torch.tensor([[[0.5, 0.5], [0.25, 0.75]]])).tolist()
    [[[[0.5, 0.25]]]]
    """
    return torch.einsum("nij,ncj->nci", affinity, maps.flatten(2)).view_as(maps)
