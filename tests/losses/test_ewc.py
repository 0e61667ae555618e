from __future__ import annotations

import copy
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the train extra is not installed")

import torch.nn.functional as F  # noqa: E402, N812
from torch import nn  # noqa: E402

from sbdata.errors import InputError  # noqa: E402
from sbdata.losses import ElasticWeightConsolidation, SizeBalancedCrossEntropy  # noqa: E402
from sbdata.losses.fisher import MovingFisher, estimate_fisher, scaled_fisher  # noqa: E402


def network(seed: int = 0) -> nn.Sequential:
    """Three classes at half the size of the image, with batch normalisation."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 5, 3, stride=2, padding=1), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 3, 1)
    ).eval()


def batches(n: int = 3, side: int = 6, seed: int = 0) -> list:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(n, 3, side, side, generator=generator)
    targets = torch.randint(0, 3, (n, side, side), generator=generator)
    targets[:, 0] = 255
    names = [f"{i}" for i in range(n)]
    return [(images[:2], targets[:2], names[:2]), (images[2:], targets[2:], names[2:])]


def squares(model: nn.Module, value: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    value.backward()
    found = {name: p.grad.clone() ** 2 for name, p in model.named_parameters()}
    model.zero_grad()
    return found


def cross_entropies(model: nn.Module, image: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    logits = F.interpolate(model(image[None]), target.shape, mode="bilinear", align_corners=False)
    return F.cross_entropy(logits, target[None], ignore_index=255, reduction="none")[0]


def mean_of(parts: list) -> dict[str, torch.Tensor]:
    return {name: torch.stack([part[name] for part in parts]).mean(0) for name in parts[0]}


def assert_close(found: dict, wanted: dict) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name].dtype == torch.float32
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-9)


def test_an_image_is_one_observation() -> None:
    model, parts = network(), []
    for images, targets, _ in batches():
        for image, target in zip(images, targets, strict=True):
            each = cross_entropies(model, image, target)
            parts.append(squares(model, each[target != 255].mean()))
    assert_close(estimate_fisher(model, batches()), mean_of(parts))
    assert_close(estimate_fisher(model, batches(), max_images=2), mean_of(parts[:2]))


def test_logistic_regression_in_closed_form() -> None:
    """With labels drawn from the model the Fisher is p (1 - p) x², by class and input."""
    generator = torch.Generator().manual_seed(3)
    n = 1500
    inputs = torch.randn(n, 2, 1, 1, generator=generator)
    model = nn.Conv2d(2, 3, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.randn(3, 2, 1, 1, generator=generator))
        chance = model(inputs).softmax(1)[:, :, 0, 0]
    labels = torch.multinomial(chance, 1, generator=generator).view(n, 1, 1)
    found = estimate_fisher(model, [(inputs, labels)])["weight"][:, :, 0, 0]
    squared = inputs[:, :, 0, 0].double()[:, None] ** 2
    p = chance.double()[:, :, None]
    wanted = (p * (1 - p) * squared).mean(0)
    # (y - p)² has the variance p (1 - p) (1 - 2 p)²
    error = (p * (1 - p) * (1 - 2 * p) ** 2 * squared**2).sum(0).sqrt() / n
    assert ((found - wanted).abs() < 4 * error).all()
    assert (error < 0.1 * wanted).all()


def test_a_frozen_parameter_has_none() -> None:
    model = network()
    model[0].requires_grad_(False)
    fisher = estimate_fisher(model, batches())
    assert set(fisher) == {"1.weight", "1.bias", "3.weight", "3.bias"}
    ewc = ElasticWeightConsolidation.at(model, fisher, 1.0)
    assert set(ewc.anchor) == set(fisher)
    with torch.no_grad():
        model[0].weight.add_(1)
    assert ewc.penalty(model).item() == 0


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(training: bool) -> None:
    model = network().train(training)
    model[3].bias.grad = torch.ones(3)
    before = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        estimate_fisher(model, batches(), max_images=2)
    assert model.training is training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(model[3].bias.grad, torch.ones(3))
    assert model[0].weight.grad is None


def test_images_that_are_void_are_skipped() -> None:
    model = network()
    (images, targets, _), _ = batches()
    void = torch.full_like(targets, 255)
    mixed = [(images, void), (images, targets), (images, void)]
    assert_close(estimate_fisher(model, mixed), estimate_fisher(model, [(images, targets)]))
    with pytest.raises(InputError, match="no image has a labelled pixel"):
        estimate_fisher(model, [(images, void)])


def test_another_loss() -> None:
    (images, targets, _), _ = batches()
    model, loss = network(), SizeBalancedCrossEntropy()
    found = estimate_fisher(model, [(images, targets)], loss)
    plain = estimate_fisher(model, [(images, targets)])
    assert not torch.equal(found["3.bias"], plain["3.bias"])


def test_a_parameter_without_part_in_the_answer() -> None:
    model = network()
    model.register_parameter("spare", nn.Parameter(torch.ones(2)))
    assert torch.equal(estimate_fisher(model, batches())["spare"], torch.zeros(2))


def test_it_is_inert_where_it_is_anchored() -> None:
    model = network()
    ewc = ElasticWeightConsolidation.at(model, estimate_fisher(model, batches()), 1e6)
    penalty = ewc.penalty(model)
    assert penalty.dtype == torch.float32
    assert penalty.item() == 0
    penalty.backward()
    assert all((p.grad == 0).all() for p in model.parameters())


def test_off_the_anchor_it_is_the_closed_form() -> None:
    model = network()
    fisher = estimate_fisher(model, batches())
    ewc = ElasticWeightConsolidation.at(model, fisher, 7.0)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    torch.manual_seed(5)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape))
    wanted = 0.0
    for name, p in model.named_parameters():
        moved = p.detach().double() - before[name].double()
        wanted += 7.0 * float((fisher[name].double() * moved**2).sum())
    penalty = ewc.penalty(model)
    assert penalty.item() == pytest.approx(wanted, rel=1e-5)
    penalty.backward()
    for name, p in model.named_parameters():
        pull = 14.0 * fisher[name] * (p.detach() - before[name])
        torch.testing.assert_close(p.grad, pull)


def test_the_anchor_does_not_follow_the_model() -> None:
    model = network()
    fisher = {name: torch.ones_like(p) for name, p in model.named_parameters()}
    ewc = ElasticWeightConsolidation.at(model, fisher, 2.0)
    with torch.no_grad():
        model[3].bias.add_(1)
    assert ewc.penalty(model).item() == pytest.approx(6.0, rel=1e-6)


@pytest.fixture
def one_process(tmp_path: Path):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'rendezvous'}", rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("wrapper", ["DistributedDataParallel", "DataParallel"])
def test_a_wrapped_model_has_the_same_penalty(wrapper: str, one_process: None) -> None:
    """Wrappers put ``module.`` before every name; the released code's penalty is then always 0."""
    model = network()
    wrapped = getattr(nn.parallel, wrapper)(model)
    assert all(name.startswith("module.") for name, _ in wrapped.named_parameters())
    fisher = MovingFisher(wrapped)
    (images, targets, _), _ = batches()
    F.cross_entropy(wrapped(images), targets[:, ::2, ::2], ignore_index=255).backward()
    fisher.update(wrapped)
    scaled = scaled_fisher(fisher.values, "minmax")
    held = [ElasticWeightConsolidation.at(m, scaled, 500.0) for m in (model, wrapped)]
    assert [ewc.penalty(m).item() for ewc in held for m in (model, wrapped)] == [0.0] * 4
    torch.optim.SGD(wrapped.parameters(), lr=0.1).step()
    penalties = [ewc.penalty(m).item() for ewc in held for m in (model, wrapped)]
    assert penalties[0] > 0
    assert penalties == [penalties[0]] * 4


def test_a_wrapper_that_is_not_known_is_refused_and_never_taken_for_no_penalty() -> None:
    class Wrapper(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

    model = network()
    ewc = ElasticWeightConsolidation.at(model, estimate_fisher(model, batches()), 1.0)
    with pytest.raises(InputError, match=r"'0.weight' is not in the model's parameters"):
        ewc.penalty(Wrapper(model))


def test_the_largest_curvature() -> None:
    model = network()
    fisher = {name: torch.rand_like(p) for name, p in model.named_parameters()}
    fisher["3.bias"][1] = 0.25
    ewc = ElasticWeightConsolidation.at(model, {**fisher, "3.bias": fisher["3.bias"] / 4}, 500.0)
    names = ["3.bias"]
    assert ewc.curvature(names) == pytest.approx(1000 * float(fisher["3.bias"].max()) / 4)
    assert ewc.curvature([]) == 0
    second = torch.autograd.functional.hessian(
        lambda bias: 500 * (ewc.fisher["3.bias"] * (bias - ewc.anchor["3.bias"]) ** 2).sum(),
        torch.zeros(3),
    )
    assert ewc.curvature(names) == pytest.approx(float(second.diagonal().max()))


def test_saved_and_loaded(tmp_path: Path) -> None:
    model = network()
    ewc = ElasticWeightConsolidation.at(model, estimate_fisher(model, batches()), 3.0)
    torch.save(ewc.as_dict(), tmp_path / "ewc.pt")
    loaded = torch.load(tmp_path / "ewc.pt", weights_only=True)
    again = ElasticWeightConsolidation(**loaded).to("cpu")
    with torch.no_grad():
        model[3].bias.add_(1)
    assert torch.equal(again.penalty(model), ewc.penalty(model))
    assert ewc.penalty(model).item() > 0


def test_what_does_not_belong_together() -> None:
    model = network()
    fisher = estimate_fisher(model, batches())
    lacking = {name: value for name, value in fisher.items() if name != "3.bias"}
    with pytest.raises(InputError, match=r"'3.bias' is not in the Fisher"):
        ElasticWeightConsolidation.at(model, lacking, 1.0)
    with pytest.raises(InputError, match=r"'extra' is not in the model's trainable parameters"):
        ElasticWeightConsolidation.at(model, fisher | {"extra": torch.ones(1)}, 1.0)
    with pytest.raises(InputError, match=r"'3.bias' has shape .*\(2,\)"):
        ElasticWeightConsolidation.at(model, fisher | {"3.bias": torch.ones(2)}, 1.0)
    with pytest.raises(InputError, match=r"'3.bias' is not in the anchor"):
        ElasticWeightConsolidation(fisher, lacking, 1.0)
    ewc = ElasticWeightConsolidation.at(model, fisher, 1.0)
    with pytest.raises(InputError, match="has shape"):
        ewc.penalty(nn.Sequential(nn.Conv2d(3, 4, 3), *network()[1:]))
    with pytest.raises(InputError, match=r"'3.weight' is not in the model's parameters"):
        ewc.penalty(network()[:3])
    model.register_parameter("spare", nn.Parameter(torch.ones(2)))
    with pytest.raises(InputError, match="'spare' is not in the Fisher"):
        ewc.penalty(model)


def test_values_out_of_range() -> None:
    model = network()
    fisher = {name: torch.ones_like(p) for name, p in model.named_parameters()}
    for strength in (-1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="strength"):
            ElasticWeightConsolidation.at(model, fisher, strength)
    for value in (-1.0, float("nan")):
        with pytest.raises(InputError, match=r"'0.bias' holds values"):
            ElasticWeightConsolidation.at(model, fisher | {"0.bias": torch.full((5,), value)}, 1.0)
    with pytest.raises(InputError, match="max_images must be at least 1"):
        estimate_fisher(model, batches(), max_images=0)
    with pytest.raises(InputError, match="no trainable parameter"):
        estimate_fisher(model.requires_grad_(False), batches())
    model.requires_grad_(True)
    with torch.no_grad():
        model[3].bias.fill_(float("nan"))
    with pytest.raises(InputError, match="not finite"):
        estimate_fisher(model, batches())
