"""Checks of a trained model's file, made before a network is built from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from sbdata.errors import InputError
from sbdata.limits import MAX_CROP, MAX_SCALE
from sbdata.quoting import quoted
from sbdata.settings import from_plain
from sbdata.taxonomy import Taxonomy
from sbdata.train.preset import ModelSettings
from sbdata.train.pretrained import backbone_elements

_PARTS: Mapping[str, type | tuple[type, ...]] = {
    "model": dict,
    "settings": dict,
    "taxonomy": dict,
    "caffe": bool,
    "provenance": str,
    "pretrained": bool,
    "about": object,
}


def check_model_file(values: Mapping[str, Any], path: Path) -> tuple[ModelSettings, Taxonomy]:
    """Check that a file's values describe a model, and that its weights belong to it.

    Args:
        values: Values of the file.
        path: Path of the file, for the message.

    Returns:
        The settings of the network, and its taxonomy.

    Raises:
        InputError: if a part is missing or wrong; the message names the file and the part.
    """

    def wrong(what: str) -> InputError:
        return InputError(f"{path}: not a usable model, {what}; give another, or train it again")

    for name, kind in _PARTS.items():
        if name not in values:
            raise wrong(f"it has no {name!r}")
        if not isinstance(values[name], kind):
            raise wrong(f"its {name!r} is {quoted(values[name], 60)}")
    try:
        settings = from_plain(ModelSettings, values["settings"], f"{path}: settings")
        named = values["taxonomy"]
        plain = {"name": named.get("name"), "classes": named.get("classes")}
        taxonomy = from_plain(Taxonomy, plain, f"{path}: taxonomy")
    except InputError as error:
        raise wrong(str(error).removeprefix(f"{path}: ")) from error
    if not all(0 < scale <= MAX_SCALE for scale in settings.scales):
        raise wrong(
            f"its settings scale images by {quoted(settings.scales)}, not by 0 to {MAX_SCALE:g}"
        )
    if not settings.rates or not all(0 < rate <= MAX_CROP for rate in settings.rates):
        raise wrong(f"its settings have the rates {quoted(settings.rates)}")
    elements = 0
    for name, value in values["model"].items():
        if not isinstance(name, str) or not torch.is_tensor(value):
            raise wrong(f"its weights {quoted(name)} are not a tensor")
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise wrong(f"its weights {quoted(name)} claim more numbers than the file holds")
        elements += value.numel()
    try:
        needed = backbone_elements(settings.backbone, settings.output_stride)
    except InputError as error:
        raise wrong(str(error)) from error
    if needed is not None and needed > elements:
        raise wrong(
            f"it holds {elements:,} numbers, but the backbone {settings.backbone} has {needed:,}"
        )
    return settings, taxonomy
