"""Tokens: a transformer with one token per class, whose attention shows where the class is.

Xu et al., "Multi-class Token Transformer for Weakly Supervised Semantic Segmentation" (MCTformer,
CVPR 2022), version 2. The tokens of C classes and of the h x w patches go through the blocks of a
vision transformer together. The mean of a class's token is its first logit. A 3 x 3 convolution of
the patches' tokens gives the class's map, whose mean is its second logit. No norm follows the last
block.
"""

from __future__ import annotations

from pathlib import Path

import timm
import torch
from timm.models import get_pretrained_cfg
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import Tensor, nn
from torch.nn import functional

from sbdata.errors import InputError
from sbdata.train.precision import mixed
from sbdata.train.resize import resized
from sbdata_baselines.settings import HybridSettings, TransformerSettings
from sbdata_baselines.stages.attention import check_plain, refined_maps, through
from sbdata_baselines.stages.pyramid import Pyramid, build_pyramid


class TokenNetwork(nn.Module):
    """Classifier with one token per class.

    Args:
        patches: Module from images, ``(N, 3, H, W)``, to patch tokens, ``(N, D, h, w)``.
        blocks: Blocks of timm's vision transformer.
        class_tokens: Initial class tokens, ``(C, D)``.
        class_positions: Position embeddings of the class tokens, ``(C, D)``.
        patch_positions: Position embeddings of the patches of a training view, ``(D, g, g)``.

    Raises:
        InputError: if the attention weights of a block cannot be computed.
    """

    def __init__(
        self,
        patches: nn.Module,
        blocks: nn.Sequential,
        class_tokens: Tensor,
        class_positions: Tensor,
        patch_positions: Tensor,
    ) -> None:
        super().__init__()
        check_plain(blocks)
        self.patches = patches
        self.blocks = blocks
        self.class_tokens = nn.Parameter(class_tokens)
        self.class_positions = nn.Parameter(class_positions)
        self.patch_positions = nn.Parameter(patch_positions)
        self.head = nn.Conv2d(class_tokens.shape[1], len(class_tokens), 3, padding=1)

    @property
    def places(self) -> list[Tensor]:
        """Return the parameters that are tokens or positions, which have no weight decay."""
        return [self.class_tokens, self.class_positions, self.patch_positions]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of the class tokens and of the patches, both ``(N, C)``.

        Args:
            images: RGB images, ``(N, 3, H, W)``: uint8, or floats in [0, 1].
        """
        tokens, grid = self._first(images)
        tokens = self._through_blocks(tokens)
        return self._class_logits(tokens), self._patch_maps(tokens, grid).mean(dim=(2, 3))

    def maps(self, images: Tensor, last_layers: int, refine: bool = True) -> Tensor:
        """Return class maps, ``(N, C, h, w)``, non-negative and not normalised.

        The attention of class tokens to each patch, summed over the last blocks, is multiplied by
        the positive part of the patches' maps.
        :func:`sbdata_baselines.stages.attention.refined_maps` then applies the attention between
        patches, summed over all blocks. Attention is averaged over the heads.

        Args:
            images: Images, ``(N, 3, H, W)``.
            last_layers: Number of last blocks whose class-token attention is used.
            refine: True to apply the patches' affinity.
        """
        tokens, grid = self._first(images)
        classes = len(self.class_tokens)
        taken: list[Tensor] = []
        affinity = tokens.new_zeros(())
        for block in self.blocks:
            tokens, by_head = through(block, tokens)
            weights = by_head.mean(dim=1)
            taken.append(weights[:, :classes, classes:])
            affinity = affinity + weights[:, classes:, classes:]
        attention = torch.stack(taken[-last_layers:]).sum(dim=0).unflatten(2, grid)
        maps = attention * self._patch_maps(tokens, grid).relu()
        return refined_maps(maps, affinity) if refine else maps

    def _first(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Return the tokens before the first block, class tokens first, and the patches' grid."""
        patches = self.patches(images)
        grid = (int(patches.shape[2]), int(patches.shape[3]))
        patches = patches + positions_at(self.patch_positions, grid)
        classes = (self.class_tokens + self.class_positions).expand(len(patches), -1, -1)
        return torch.cat([classes, patches.flatten(2).transpose(1, 2)], dim=1), grid

    @mixed
    def _through_blocks(self, tokens: Tensor) -> Tensor:
        through_all: Tensor = self.blocks(tokens)
        return through_all

    def _class_logits(self, tokens: Tensor) -> Tensor:
        return tokens[:, : len(self.class_tokens)].mean(dim=2)

    def _patch_maps(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        patches = tokens[:, len(self.class_tokens) :].transpose(1, 2).unflatten(2, grid)
        maps: Tensor = self.head(patches)
        return maps


def positions_at(positions: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return the position embeddings of a grid, interpolated (bicubic) if its size differs.

    Args:
        positions: Position embeddings of the training grid, ``(D, g, g)``.
        grid: Height and width of the new grid, in patches.

    Returns:
        Position embeddings, ``(D, *grid)``.
    """
    if tuple(positions.shape[1:]) == grid:
        return positions
    return functional.interpolate(positions[None], grid, mode="bicubic", align_corners=False)[0]


def token_loss(logits: tuple[Tensor, Tensor], labels: Tensor) -> Tensor:
    """Return the sum of the multi-label soft margin losses of both logits, each with weight 1.

    Args:
        logits: Logits of :class:`TokenNetwork`, both ``(N, C)``.
        labels: Image labels, ``(N, C)`` of 0 and 1.
    """
    margin = functional.multilabel_soft_margin_loss
    return margin(logits[0], labels) + margin(logits[1], labels)


# --- patch embeddings -----------------------------------------------------------------------------


class PixelPatches(nn.Module):
    """Patch embedding of a vision transformer; a photo is resized to whole patches.

    Args:
        project: Convolution of timm whose stride is the side of a patch.
        mean: Means of the colour channels, in [0, 1].
        std: Standard deviations of the colour channels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, project: nn.Conv2d, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.project = project
        self.register_buffer("mean", torch.tensor(mean).reshape(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).reshape(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return patch tokens, ``(N, D, h, w)``."""
        values = images if images.is_floating_point() else images.to(self.mean.dtype) / 255
        sides = zip(values.shape[-2:], self.project.stride, strict=True)
        whole = [max(round(length / side), 1) * side for length, side in sides]
        if whole != list(values.shape[-2:]):
            values = resized(values, whole)
        patches: Tensor = self.project((values - self.mean) / self.std)
        return patches


class FeaturePatches(nn.Module):
    """Cells of a backbone's last features, projected to a token's width.

    Args:
        pyramid: Backbone.
        width: Width of a token.
    """

    def __init__(self, pyramid: Pyramid, width: int) -> None:
        super().__init__()
        self.pyramid = pyramid
        self.join = nn.Conv2d(pyramid.channels[-1], width, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return patch tokens, ``(N, D, h, w)``."""
        patches: Tensor = self.join(self.pyramid(images)[-1])
        return patches


# --- building -------------------------------------------------------------------------------------


def build_network(
    settings: TransformerSettings | HybridSettings, n_classes: int, crop: int
) -> TokenNetwork:
    """Return a new network; its random parameters are drawn with torch's global generator.

    All class tokens are initialised with the single class token of the vision transformer, as in
    the official code.

    Args:
        settings: Settings of the transformer.
        n_classes: Number of classes C, without background.
        crop: Side of a training view in pixels; its patches have their own position embeddings.

    Raises:
        InputError: if the model is not a plain vision transformer, or its weights are not
            available.
    """
    if isinstance(settings, HybridSettings):
        return _hybrid(settings, n_classes, crop)
    model = load_transformer(settings, crop)
    grid = model.patch_embed.grid_size
    places = model.pos_embed.detach()[0]  # of the class token, then of the patches
    width = places.shape[1]
    colours = model.pretrained_cfg
    return TokenNetwork(
        PixelPatches(model.patch_embed.proj, colours["mean"], colours["std"]),
        model.blocks,
        model.cls_token.detach()[0].repeat(n_classes, 1),
        places[:1].repeat(n_classes, 1),
        places[1:].T.reshape(width, *grid).contiguous(),
    )


def _hybrid(settings: HybridSettings, n_classes: int, crop: int) -> TokenNetwork:
    pyramid = build_pyramid(settings.network)
    side = pyramid.cells(crop)
    model = VisionTransformer(  # for its blocks, drawn as timm draws them
        img_size=side,
        patch_size=1,
        embed_dim=settings.width,
        depth=settings.depth,
        num_heads=settings.heads,
        drop_path_rate=settings.drop_path,
        num_classes=0,
    )

    def drawn(*shape: int) -> Tensor:
        return nn.init.trunc_normal_(torch.empty(*shape), std=0.02)

    return TokenNetwork(
        FeaturePatches(pyramid, settings.width),
        model.blocks,
        drawn(n_classes, settings.width),
        drawn(n_classes, settings.width),
        drawn(settings.width, side, side),
    )


def load_transformer(settings: TransformerSettings, crop: int) -> VisionTransformer:
    """Return a vision transformer with its weights, for views of a given size.

    Positions of another size are interpolated; a classifier's weights are left out.

    Raises:
        InputError: if the model is not a plain vision transformer, or its weights are not
            available.
    """
    name, weights = settings.model, settings.weights
    if not timm.is_model(name) or get_pretrained_cfg(name) is None:
        msg = f"timm has no transformer {name!r}; use one such as deit_small_patch16_224.fb_in1k"
        raise InputError(msg)
    try:
        model = timm.create_model(
            name,
            pretrained=weights == "auto",
            num_classes=0,
            img_size=crop,
            drop_path_rate=settings.drop_path,
        )
    except Exception as error:  # the hub's clients and timm's models raise errors of all kinds
        reason = str(error).strip().split("\n")[0]
        msg = (
            f"the transformer {name} could not be made for views of {crop} pixels with "
            f"weights={weights} ({reason}); give a weights file (weights=FILE), or start from "
            "random numbers (weights=none)"
        )
        raise InputError(msg) from error
    if not isinstance(model, VisionTransformer) or model.num_prefix_tokens != 1:
        msg = f"{name} is not a vision transformer with one class token; use DeiT or ViT"
        raise InputError(msg)
    if weights not in ("auto", "none"):
        _fill(model, Path(weights), name)
    return model


def _fill(model: VisionTransformer, path: Path, name: str) -> None:
    """Load the weights of a transformer from a file in timm's or DeiT's layout."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        state = checkpoint_filter_fn(state, model)
        state = {k: v for k, v in state.items() if not k.startswith("head.")}
        model.load_state_dict(state)
    except Exception as error:  # damaged and hostile files raise all kinds of errors
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        msg = f"{path}: not weights of {name} ({reason}); give its state dict, saved by torch.save"
        raise InputError(msg) from error
