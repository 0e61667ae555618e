"""Tokens: a transformer with a token for each class, whose attention tells where the class is.

Xu et al., "Multi-class Token Transformer for Weakly Supervised Semantic Segmentation" (MCTformer,
CVPR 2022), version 2. The tokens of C classes and of the h x w patches go through the blocks of a
vision transformer together. The mean of a class's token is its first logit; a 3 x 3 convolution of
the patches' tokens gives it a map, whose mean is its second one. No norm follows the last block.
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
from sbdata.train.resize import resized
from sbdata_baselines.settings import HybridSettings, TransformerSettings
from sbdata_baselines.stages.attention import check_plain, refined_maps, through
from sbdata_baselines.stages.pyramid import Pyramid, build_pyramid


class TokenNetwork(nn.Module):
    """A classifier with a token for each class.

    Args:
        patches: gives the patches' tokens, ``(N, D, h, w)``, of images ``(N, 3, H, W)``.
        blocks: of timm's vision transformer.
        class_tokens: ``(C, D)``, where they begin.
        class_positions: ``(C, D)``, what is added to them.
        patch_positions: ``(D, g, g)``, what is added to the patches of a training view.

    Raises:
        InputError: for blocks whose attention cannot be looked into.
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
        """Return the parameters that are tokens or positions, which no weight decay pulls at."""
        return [self.class_tokens, self.class_positions, self.patch_positions]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of the class tokens and of the patches, both ``(N, C)``.

        Args:
            images: ``(N, 3, H, W)`` RGB, uint8, or floats in [0, 1].
        """
        tokens, grid = self._first(images)
        tokens = self.blocks(tokens)
        return self._class_logits(tokens), self._patch_maps(tokens, grid).mean(dim=(2, 3))

    def maps(self, images: Tensor, last_layers: int, refine: bool = True) -> Tensor:
        """Return where the classes are, ``(N, C, h, w)``, not negative, not normalised.

        What class tokens take of each patch, summed over the last blocks, times the positive part
        of the patches' maps; then :func:`sbdata_baselines.stages.attention.refined_maps` by what
        patches take of each other, summed over all blocks. Weights are means over the heads.

        Args:
            images: ``(N, 3, H, W)``.
            last_layers: whose attention of the class tokens counts.
            refine: whether the patches' affinity is applied.
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

    def _class_logits(self, tokens: Tensor) -> Tensor:
        return tokens[:, : len(self.class_tokens)].mean(dim=2)

    def _patch_maps(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        patches = tokens[:, len(self.class_tokens) :].transpose(1, 2).unflatten(2, grid)
        maps: Tensor = self.head(patches)
        return maps


def positions_at(positions: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return the positions of a grid, interpolated (bicubic) unless it is that of the training.

    Args:
        positions: ``(D, g, g)``.
        grid: its height and width, in patches.

    Returns:
        ``(D, *grid)``.
    """
    if tuple(positions.shape[1:]) == grid:
        return positions
    return functional.interpolate(positions[None], grid, mode="bicubic", align_corners=False)[0]


def token_loss(logits: tuple[Tensor, Tensor], labels: Tensor) -> Tensor:
    """Return the sum of the multi-label soft margins of both logits; each has weight 1.

    Args:
        logits: of :class:`TokenNetwork`, both ``(N, C)``.
        labels: ``(N, C)`` of 0 and 1.
    """
    margin = functional.multilabel_soft_margin_loss
    return margin(logits[0], labels) + margin(logits[1], labels)


# --- what reads the patches -----------------------------------------------------------------------


class PixelPatches(nn.Module):
    """The patches of a vision transformer; a photo is resized to whole ones.

    Args:
        project: timm's convolution, whose stride is the side of a patch.
        mean: of the colours, in [0, 1].
        std: of the colours.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, project: nn.Conv2d, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.project = project
        self.register_buffer("mean", torch.tensor(mean).reshape(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).reshape(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return ``(N, D, h, w)``."""
        values = images if images.is_floating_point() else images.to(self.mean.dtype) / 255
        sides = zip(values.shape[-2:], self.project.stride, strict=True)
        whole = [max(round(length / side), 1) * side for length, side in sides]
        if whole != list(values.shape[-2:]):
            values = resized(values, whole)
        patches: Tensor = self.project((values - self.mean) / self.std)
        return patches


class FeaturePatches(nn.Module):
    """The cells of a backbone's last features, brought to a token's width.

    Args:
        pyramid: the backbone.
        width: of a token.
    """

    def __init__(self, pyramid: Pyramid, width: int) -> None:
        super().__init__()
        self.pyramid = pyramid
        self.join = nn.Conv2d(pyramid.channels[-1], width, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return ``(N, D, h, w)``."""
        patches: Tensor = self.join(self.pyramid(images)[-1])
        return patches


# --- building -------------------------------------------------------------------------------------


def build_network(
    settings: TransformerSettings | HybridSettings, n_classes: int, crop: int
) -> TokenNetwork:
    """Build a network; what is random in it is drawn by torch's global generator.

    All class tokens of a vision transformer begin as its one class token does, as in the official
    code.

    Args:
        settings: of the transformer.
        n_classes: C, without background.
        crop: side of a training view in pixels, whose patches have positions of their own.

    Raises:
        InputError: for a model that is no plain vision transformer, or weights that cannot be had.
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
    stride = settings.network.output_stride
    side = -(-crop // stride)
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
    """Build a vision transformer for views of a size, and give it its weights.

    Positions of another size are interpolated; a classifier's weights are left out.

    Raises:
        InputError: for a model that is no plain vision transformer, or weights that cannot be had.
    """
    name, weights = settings.model, settings.weights
    if not timm.is_model(name) or get_pretrained_cfg(name) is None:
        msg = f"timm knows no transformer {name!r}; deit_small_patch16_224.fb_in1k is one"
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
        msg = f"{name} is no vision transformer with one class token; take DeiT or ViT"
        raise InputError(msg)
    if weights not in ("auto", "none"):
        _fill(model, Path(weights), name)
    return model


def _fill(model: VisionTransformer, path: Path, name: str) -> None:
    """Give a transformer the weights of a file, in timm's or DeiT's layout."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        state = checkpoint_filter_fn(state, model)
        state = {k: v for k, v in state.items() if not k.startswith("head.")}
        model.load_state_dict(state)
    except Exception as error:  # damaged and hostile files raise whatever their bytes lead to
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        msg = f"{path}: no weights of {name} ({reason}); give its state dict, saved by torch.save"
        raise InputError(msg) from error
