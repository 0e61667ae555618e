from __future__ import annotations

from pathlib import Path

import pytest

from sbdata.errors import InputError
from sbdata.train.preset import (
    Augmentation,
    Ewc,
    ModelSettings,
    Optimisation,
    Preset,
    SizeBalance,
    bundled_presets,
    load_preset,
    preset_from_dict,
)


@pytest.mark.parametrize("name", bundled_presets())
def test_bundled_presets_read_and_come_back(name: str) -> None:
    preset = load_preset(name)
    assert preset.name == name
    assert preset_from_dict(preset.as_dict(), "again") == preset


def test_wacv24_has_the_released_constants() -> None:
    """Values of github.com/Cheolhyun-Mun/wsss_small_object_matters at 629dd2c."""
    preset = load_preset("wacv24")
    assert preset.model == ModelSettings(
        "resnet101", "deeplabv1_resnet101-coco.pth", 8, (6, 12, 18, 24), (0.5, 0.75)
    )
    assert preset.augmentation == Augmentation(321, (0.5, 0.75, 1.0, 1.25, 1.5), flip=True)
    assert preset.optimisation == Optimisation(
        steps=30000, batch_size=10, lr=2.5e-4, accumulate=2, momentum=0.9, weight_decay=5e-4,
        head=10, head_bias=20, poly_power=0.9, update_every=10,
    )  # fmt: skip
    assert preset.switch == 0.5
    assert preset.size_balance == SizeBalance(5.0, "image", "outlines", "weighted")
    assert preset.ewc == Ewc(500.0, "moving", "minmax")
    assert preset.inference.scales == (1.0,)  # the network itself takes the maximum over three
    assert preset.inference.flip is False
    assert preset.inference.refine == "crf"
    crf = preset.inference.crf
    assert (crf.iterations, crf.gaussian_weight, crf.gaussian_xy) == (10, 3, 1)
    assert (crf.bilateral_weight, crf.bilateral_xy, crf.bilateral_rgb) == (4, 67, 3)


def test_the_defaults_are_those_of_the_release() -> None:
    """A preset that names no constant of the loss trains with those of wacv24."""
    smoke, released = load_preset("smoke"), load_preset("wacv24")
    assert smoke.size_balance == released.size_balance
    assert smoke.ewc == released.ewc
    assert smoke.switch == released.switch
    assert smoke.inference.crf == released.inference.crf


def test_overrides_and_files(tmp_path: Path) -> None:
    preset = load_preset("smoke", ["optimisation.lr=1e-3", "model.scales=[0.5]"])
    assert preset.optimisation.lr == 0.001
    assert preset.model.scales == (0.5,)
    assert load_preset("smoke", ["optimisation.precision=32"]).optimisation.precision == "32"
    (tmp_path / "own.yaml").write_text(
        "name: own\nmodel: {backbone: resnet50}\naugmentation: {crop: 64}\n"
        "optimisation: {steps: 3, batch_size: 2, lr: 0.1}\n"
    )
    assert isinstance(load_preset(str(tmp_path / "own.yaml")), Preset)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimisation.speed=3", "unknown key 'speed'; valid keys: steps, batch_size"),
        ("optimisation.steps=many", "steps must be int, not 'many'"),
        ("optimisation.steps=0", "optimisation.steps must be at least 1"),
        ("optimisation.accumulate=3", "multiple of optimisation.accumulate"),
        ("optimisation.precision=int8", "must be one of auto, 32, bf16, fp16"),
        ("model.output_stride=4", "model.output_stride must be 8 or 16"),
        ("model.rates=[]", "model.rates must be a list of positive numbers"),
        ("augmentation.crop=8", "augmentation.crop must be at least 32"),
        ("augmentation.scales=[]", "augmentation.scales must be a list"),
        ("augmentation.crop=1000000", "augmentation.crop must be .* at most 4,096"),
        ("augmentation.scales=[0.5, 100.0]", "augmentation.scales must be .* 16 at most"),
        ("augmentation.scales=[.nan]", "must be a finite number"),
        ("model.scales=[1000]", "model.scales must be positive, and 16 at most"),
        ("model.rates=[100000]", "model.rates must be at most"),
        ("inference.scales=[1e9]", "inference.scales must be .* 16 at most"),
        ("optimisation.steps=99999999999999999999", "whole number of at most 63 bits"),
        ("switch=1", "switch must lie between 0 and 1"),
        ("fine_tuning.share=0.5", "unknown key 'fine_tuning'; valid keys: name, model"),
        ("size_balance.tau=0.5", "size_balance.tau must be at least 1"),
        ("size_balance.normalizer=batch", "must be one of image, class, not 'batch'"),
        ("size_balance.regions=boxes", "must be one of outlines, components, not 'boxes'"),
        ("size_balance.reduction=mean", "must be one of weighted, pixels, not 'mean'"),
        ("ewc.fisher=last", "must be one of moving, sampled, not 'last'"),
        ("ewc.scale=max", "must be one of minmax, none, not 'max'"),
        ("ewc.per=pixel", "unknown key 'per'; valid keys: strength, fisher, scale, images"),
        ("ewc.strength=-1", "ewc.strength must not be negative"),
        ("inference.scales=[0]", "inference.scales must be"),
        ("inference.refine=srm", "inference.refine must be one of none, pamr, par, crf"),
        ("inference.crf.bilateral_rgb=0", "inference.crf: standard deviations must be positive"),
        ("inference.crf.iterations=-1", "inference.crf: weights and iterations must not be"),
        ("optimisation.momentum=1", "optimisation.momentum must lie in 0..1, below 1"),
        ("optimisation.momentum=-0.5", "optimisation.momentum must lie in 0..1, below 1"),
        ("optimisation.weight_decay=-1e-4", "optimisation.weight_decay, head and head_bias must"),
        ("optimisation.head=-10", "optimisation.weight_decay, head and head_bias must not"),
        ("optimisation.head_bias=-20", "optimisation.weight_decay, head and head_bias must not"),
        ("optimisation.poly_power=-1", "optimisation.poly_power must not be negative"),
        ("nonsense", "--option takes key=value"),
    ],
)
def test_wrong_settings_say_what_is_right(override: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_preset("smoke", [override])


def test_unknown_preset() -> None:
    with pytest.raises(InputError, match="no preset called 'huge'; bundled: photos"):
        load_preset("huge")
