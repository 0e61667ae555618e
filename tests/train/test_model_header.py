"""Files of trained models: what must be in them, compared before a network is built."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sbdata.errors import InputError
from sbdata.taxonomy import Taxonomy
from sbdata.train.checkpoint import about_model, load_model, new_segmenter, save_model
from sbdata.train.preset import ModelSettings, inference_of
from sbdata.train.pretrained import backbone_elements

FARM = Taxonomy("farm", ("fox", "hen"))
SETTINGS = ModelSettings("resnet18", "none", rates=(6,))
ABOUT = {"preset": {"inference": {"scales": [0.5, 1.0]}}}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.pt"
    save_model(path, new_segmenter(SETTINGS, FARM), SETTINGS, FARM, ABOUT)
    return path


def changed(good: Path, folder: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    values = torch.load(good, weights_only=True)
    change(values)
    torch.save(values, folder / "model.pt")
    return folder / "model.pt"


def test_a_good_file_is_read(good: Path) -> None:
    _, classes = load_model(good, FARM)
    assert classes == FARM
    assert inference_of(about_model(good)).scales == (0.5, 1.0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: v.pop("caffe"), "no 'caffe'"),
        (lambda v: v.pop("about"), "no 'about'"),
        (lambda v: v.update(settings=3), "'settings' is 3"),
        (lambda v: v.update(taxonomy=["fox"]), "'taxonomy' is"),
        (lambda v: v.update(taxonomy={"name": "f", "classes": 3}), "classes must be a list"),
        (lambda v: v["settings"].update(backbone="resnet999"), "has no backbone"),
        (lambda v: v["settings"].update(backbone="resnet152"), "the backbone resnet152 has"),
        (lambda v: v["settings"].update(scales=[1000.0]), "scale images by"),
        (lambda v: v["settings"].update(rates=[]), "the rates"),
        (lambda v: v["model"].update(x=torch.zeros(1).expand(10**9)), "more numbers than"),
        (lambda v: v["model"].update(x=5), "are not a tensor"),
        (lambda v: v["model"].pop(next(iter(v["model"]))), "another network"),
    ],
)
def test_a_wrong_part_is_named_with_the_file(
    good: Path, tmp_path: Path, change: Callable[[dict[str, Any]], Any], said: str
) -> None:
    path = changed(good, tmp_path, change)
    with pytest.raises(InputError, match=said) as caught:
        load_model(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("about", [5, {}, {"preset": 5}, {"preset": {"inference": 5}}])
def test_what_does_not_tell_how_it_predicts_is_refused(about: Any) -> None:
    with pytest.raises(InputError, match=r"model\.pt"):
        inference_of(about)
    with pytest.raises(InputError, match="16 at most"):
        inference_of({"preset": {"inference": {"scales": [1e6]}}})


def test_a_backbone_is_measured_without_room_for_it() -> None:
    assert backbone_elements("resnet18", 16) == 11_186_132
    huge = backbone_elements("resnetv2_152x4_bit", 16)
    assert huge is not None
    assert huge > 900_000_000
