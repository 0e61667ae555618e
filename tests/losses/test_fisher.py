from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the train extra is not installed")

from torch import nn  # noqa: E402

from sbdata.errors import InputError  # noqa: E402
from sbdata.losses.fisher import MovingFisher, scaled_fisher  # noqa: E402
from sbdata.losses.parameters import bare  # noqa: E402


def with_gradients(*values: float) -> nn.Linear:
    model = nn.Linear(len(values), 1, bias=False)
    model.weight.grad = torch.tensor([values])
    return model


def test_the_moving_average_by_hand() -> None:
    model = with_gradients(2.0, 0.0)
    fisher = MovingFisher(model)
    assert fisher.values["weight"].tolist() == [[1.0, 1.0]]
    fisher.update(model)
    torch.testing.assert_close(fisher.values["weight"], torch.tensor([[3.7, 0.1]]))
    model.weight.grad = torch.tensor([[1.0, 3.0]])
    fisher.update(model)
    torch.testing.assert_close(fisher.values["weight"], torch.tensor([[0.9 + 0.37, 8.1 + 0.01]]))


def test_a_parameter_without_a_gradient_fades() -> None:
    model = with_gradients(2.0)
    fisher = MovingFisher(model)
    model.weight.grad = None
    for _ in range(3):
        fisher.update(model)
    assert fisher.values["weight"].item() == pytest.approx(0.001)


def test_a_step_that_overflowed_is_passed_over() -> None:
    model = nn.Linear(2, 2)
    fisher = MovingFisher(model)
    model.weight.grad = torch.tensor([[1.0, float("inf")], [2.0, 3.0]])
    model.bias.grad = torch.ones(2)
    fisher.update(model, may_overflow=True)
    assert all((value == 1).all() for value in fisher.values.values())
    fisher.update(model)
    assert not fisher.values["weight"].isfinite().all()


def test_only_what_is_trained_is_averaged() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    fisher = MovingFisher(model)
    assert list(fisher.values) == ["1.weight", "1.bias"]
    model[0].requires_grad_(True)
    model[1].requires_grad_(False)
    with pytest.raises(InputError, match=r"'1.weight' is not in the model's trainable parameters"):
        fisher.update(model)


def test_scales() -> None:
    fisher = {"a": torch.tensor([[2.0, 3.0], [6.0, 2.0]]), "flat": torch.full((3,), 1e-30)}
    fisher |= {"one": torch.tensor([5.0]), "none": torch.zeros(0)}
    scaled = scaled_fisher(fisher, "minmax")
    assert scaled["a"].tolist() == [[0.0, 0.25], [1.0, 0.0]]
    assert scaled["flat"].tolist() == [0.0, 0.0, 0.0]  # no weight mattered more than another
    assert scaled["one"].tolist() == [0.0]
    assert scaled["none"].shape == (0,)
    assert scaled_fisher(fisher, "none") == fisher
    with pytest.raises(InputError, match="scale of the Fisher must be one of minmax, none, not 'm"):
        scaled_fisher(fisher, "max")
    with pytest.raises(InputError, match="negative or not finite"):
        scaled_fisher({"a": torch.tensor([1.0, float("nan")])}, "minmax")


def test_the_model_inside_its_wrappers() -> None:
    inner = nn.Sequential(nn.Linear(1, 1))
    assert bare(nn.DataParallel(inner)) is inner
    assert bare(nn.DataParallel(nn.DataParallel(inner))) is inner
    assert bare(torch.compile(inner)) is inner
    assert bare(inner) is inner
    assert bare(nn.ReLU()).__class__ is nn.ReLU
