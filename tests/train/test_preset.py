from __future__ import annotations

from pathlib import Path

import pytest

from sbdata.errors import InputError
from sbdata.train.preset import Preset, bundled_presets, load_preset, preset_from_dict


@pytest.mark.parametrize("name", bundled_presets())
def test_bundled_presets_read_and_come_back(name: str) -> None:
    preset = load_preset(name)
    assert preset.name == name
    assert preset_from_dict(preset.as_dict(), "again") == preset


def test_the_paper_presets_have_the_published_constants() -> None:
    paper, imagenet = load_preset("paper"), load_preset("paper-imagenet")
    for preset in (paper, imagenet):
        assert preset.model.backbone == "resnet101"
        assert preset.model.output_stride == 8
        assert preset.model.rates == (6, 12, 18, 24)
        assert preset.model.scales == (0.5, 0.75)
        assert preset.augmentation.crop == 321
        optimisation = preset.optimisation
        assert (optimisation.lr, optimisation.momentum, optimisation.poly_power) == (
            2.5e-4,
            0.9,
            0.9,
        )
        assert (optimisation.head, optimisation.head_bias) == (10, 20)
        assert optimisation.weight_decay == 5e-4
        assert optimisation.accumulate == 2
    assert (paper.optimisation.steps, paper.optimisation.batch_size) == (20000, 10)
    assert (imagenet.optimisation.steps, imagenet.optimisation.batch_size) == (30000, 20)
    assert max(imagenet.augmentation.scales) == 2.0


def test_overrides_and_files(tmp_path: Path) -> None:
    preset = load_preset("smoke", ["optimisation.lr=1e-3", "model.scales=[0.5]"])
    assert preset.optimisation.lr == 0.001
    assert preset.model.scales == (0.5,)
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
        ("optimisation.precision=int8", "must be one of 32, bf16, fp16"),
        ("model.output_stride=4", "model.output_stride must be 8 or 16"),
        ("model.rates=[]", "model.rates must be a list of positive numbers"),
        ("augmentation.crop=8", "augmentation.crop must be at least 32"),
        ("augmentation.scales=[]", "augmentation.scales must be a list"),
        ("fine_tuning.share=1", "fine_tuning.share must lie between 0 and 1"),
        ("size_balance.tau=0.5", "size_balance.tau must be at least 1"),
        ("ewc.strength=-1", "ewc.strength must not be negative"),
        ("inference.scales=[0]", "inference.scales must be"),
        ("nonsense", "--option takes key=value"),
    ],
)
def test_wrong_settings_say_what_is_right(override: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_preset("smoke", [override])


def test_unknown_preset() -> None:
    with pytest.raises(InputError, match="no preset called 'huge'; bundled: paper"):
        load_preset("huge")
