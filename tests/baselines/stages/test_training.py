from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from sbdata_baselines.settings import AdamW, Schedule
from sbdata_baselines.stages.training import load_trained, settings_of, train_network
from timm.scheduler import CosineLRScheduler
from torch import Tensor, nn
from torch.utils.data import Dataset

from sbdata.benchmark.stage import StageContext
from sbdata.errors import InputError
from tests.baselines.weak_examples import task_of, write_weak


@dataclass(frozen=True)
class Settings:
    optimiser: AdamW
    schedule: Schedule


SETTINGS = Settings(AdamW(0.05, warm_up=2, last=0.01), Schedule(5, 2, checkpoint_every=3))


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 2)
        self.token = nn.Parameter(torch.ones(1, 2))
        self.frozen = nn.Parameter(torch.ones(2, 2), requires_grad=False)
        self.dropout = nn.Dropout(0.3)

    def forward(self, values: Tensor) -> Tensor:
        result: Tensor = self.dropout(self.layer(values)) * self.token
        return result


class Numbers(Dataset[tuple[np.ndarray]]):
    """Three numbers at each position, as the colours of one pixel."""

    def __getitem__(self, position: int) -> tuple[np.ndarray]:
        return (np.random.default_rng(position).normal(size=(1, 1, 3)).astype(np.float32),)


def values_of(step: int) -> Tensor:
    return torch.tensor(np.stack([Numbers()[2 * step + k][0].ravel() for k in (0, 1)]))


def run(task: StageContext, settings: Settings = SETTINGS) -> Model:
    model = Model()

    def step_loss(values: Tensor) -> Tensor:
        found: Tensor = (model(values.flatten(1)) - 1).square().mean()
        return found

    train_network(task, settings, model, [Numbers()], step_loss, undecayed=[model.token])
    return model


def test_the_rate_is_timms_cosine_with_warm_up() -> None:
    """At each epoch of the official schedule."""
    rate = AdamW(6.25e-5, warm_up=5, first=1e-6, last=1e-5).schedule(60, 60)
    made = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=6.25e-5)
    timms = CosineLRScheduler(made, t_initial=60, lr_min=1e-5, warmup_t=5, warmup_lr_init=1e-6)
    for epoch in range(60):
        timms.step(epoch)
        assert rate(epoch, 6.25e-5) == pytest.approx(made.param_groups[0]["lr"], rel=1e-9)
    assert rate(60, 6.25e-5) == pytest.approx(1e-5)


def test_the_weights_against_the_update_by_hand(tmp_path: Path) -> None:
    """Loshchilov and Hutter, algorithm 2, in NumPy; tokens and biases are not decayed."""
    weak, _ = write_weak(tmp_path / "photos")
    settings = Settings(AdamW(0.05, 0.2, warm_up=1, first=0.01, last=0.02), Schedule(3, 2))
    task = task_of(weak, tmp_path / "run")
    model = Model()
    model.dropout.p = 0

    def step_loss(values: Tensor) -> Tensor:
        found: Tensor = (model(values.flatten(1)) - 1).square().mean()
        return found

    reference = Model().eval()
    values = {k: v.detach().double().numpy().copy() for k, v in reference.named_parameters()}
    mean, square = ({k: np.zeros_like(v) for k, v in values.items()} for _ in range(2))
    for step in range(6):  # 3 epochs of 4 photos, 2 a step
        reference.load_state_dict({k: torch.tensor(v) for k, v in values.items()})
        reference.zero_grad()
        (reference(values_of(step)) - 1).square().mean().backward()
        rate = settings.optimiser.schedule(6, 3)(step, 0.05)
        for name, parameter in reference.named_parameters():
            if name == "frozen":
                continue
            gradient = parameter.grad.double().numpy()
            mean[name] = 0.9 * mean[name] + 0.1 * gradient
            square[name] = 0.999 * square[name] + 0.001 * gradient**2
            if name == "layer.weight":
                values[name] *= 1 - rate * 0.2
            tall = mean[name] / (1 - 0.9 ** (step + 1))
            values[name] -= rate * tall / (np.sqrt(square[name] / (1 - 0.999 ** (step + 1))) + 1e-8)
    train_network(task, settings, model, [Numbers()], step_loss, undecayed=[model.token])
    for name, parameter in model.named_parameters():
        np.testing.assert_allclose(parameter.detach().numpy(), values[name], rtol=1e-4, atol=1e-5)


def test_a_killed_run_ends_with_the_weights_of_an_unbroken_one(tmp_path: Path) -> None:
    weak, _ = write_weak(tmp_path / "photos")
    whole = run(task_of(weak, tmp_path / "whole"))

    class KilledError(Exception):
        pass

    def kill(done: int, total: int) -> None:
        if done == 8:
            raise KilledError

    task = task_of(weak, tmp_path / "broken")
    with pytest.raises(KilledError):
        run(StageContext(task.weak, task.folder, task.seed, task.place, kill))
    told: list[int] = []
    resumed = run(
        StageContext(
            task.weak, task.folder, task.seed, task.place, lambda done, _: told.append(done)
        )
    )
    assert told == [7, 8, 9, 10]
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)

    read = Model()
    load_trained(read, task.folder)
    assert torch.equal(read.layer.weight, whole.layer.weight)
    assert settings_of(task.folder, Settings) == SETTINGS
    assert [p.name for p in task.folder.iterdir()] == ["model.pt"]


def test_numbers_that_run_away_are_an_error(tmp_path: Path) -> None:
    weak, _ = write_weak(tmp_path / "photos")
    wild = Settings(AdamW(1e30), Schedule(5, 2))
    with pytest.raises(InputError, match=r"[Ll]ower optimiser\.lr"):
        run(task_of(weak, tmp_path / "run"), wild)


@pytest.mark.parametrize(
    "values", [{"lr": 0.0}, {"lr": 1.0, "last": 0.0}, {"lr": 1.0, "warm_up": -1}]
)
def test_values_that_cannot_be_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(InputError, match="optimiser"):
        AdamW(**values)  # type: ignore[arg-type]
