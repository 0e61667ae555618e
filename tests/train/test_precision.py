from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sbdata.train.precision import mixed, networks_in, precision_on
from sbdata.train.preset import Precision
from sbdata.train.segmenter import labels_by_size, segmenter_loss
from sbdata.train.strategies import run_strategy
from tests.train.training_runs import CPU, fresh
from tests.train.training_sets import tiny_preset, write_pictures


@pytest.mark.parametrize(
    ("device", "capability", "wanted", "found"),
    [
        ("cuda", (7, 5), "auto", "32"),  # a T4: its bfloat16 is emulated
        ("cuda", (8, 0), "auto", "bf16"),
        ("cuda", (9, 0), "auto", "bf16"),
        ("cuda", (9, 0), "32", "32"),
        ("cuda", (7, 5), "fp16", "fp16"),
        ("cpu", None, "auto", "32"),
    ],
)
def test_auto_is_what_the_card_computes_in(
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    capability: tuple[int, int] | None,
    wanted: Precision,
    found: str,
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert precision_on(torch.device(device), wanted) == found


def test_only_the_network_computes_in_16_bits() -> None:
    """The loss gets float32, and nothing around the network is autocast."""
    model, seen = fresh(tiny_preset(model__scales=[0.5])).train(), []

    def loss(logits: Tensor, target: Tensor, weights: Tensor | None) -> Tensor:
        seen.append((logits.dtype, torch.is_autocast_enabled("cpu")))
        return nn.functional.cross_entropy(logits, target)

    inside: list[torch.dtype] = []
    model.head.register_forward_hook(lambda part, given, out: inside.append(out.dtype))
    target = torch.zeros(1, 2, 2, dtype=torch.uint8)
    labels = labels_by_size([target, torch.zeros(1, 1, 1, dtype=torch.uint8)])
    with networks_in("bf16", torch.device("cpu")):
        value = segmenter_loss(model, torch.rand(1, 3, 32, 32), labels, loss)
    value.backward()
    assert set(inside) == {torch.bfloat16}
    assert set(seen) == {(torch.float32, False)}
    assert {p.grad.dtype for p in model.parameters() if p.grad is not None} == {torch.float32}
    inside.clear()
    model(torch.rand(1, 3, 32, 32))  # a prediction, outside of a training
    assert set(inside) == {torch.float32}


def test_several_outputs_are_float32() -> None:
    network = mixed(lambda x: [x @ x, x @ x])
    with networks_in("bf16", torch.device("cpu")):
        assert [out.dtype for out in network(torch.ones(2, 2))] == [torch.float32] * 2


def test_the_record_names_the_precision_of_its_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a run's record and identity say is what was computed, not ``auto``."""
    images, preset = write_pictures(tmp_path), tiny_preset(optimisation__steps=1)
    assert preset.optimisation.precision == "auto"
    about = run_strategy("ce", images, tiny_preset(optimisation__steps=2), tmp_path / "r", CPU)
    assert about["identity"]["optimisation.precision"] == "32"
    assert about["preset"]["optimisation"]["precision"] == "32"
