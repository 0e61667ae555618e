from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sbdata_baselines.settings import (
    Adam,
    ClassifierSettings,
    NetworkSettings,
    Schedule,
    Sgd,
    ViewSettings,
)
from sbdata_baselines.stages.classifier import (
    Classifier,
    load_classifier,
    plain_classifier,
    train_classifier,
)
from sbdata_baselines.stages.photos import weak_views
from sbdata_baselines.stages.pyramid import build_pyramid
from sbdata_baselines.stages.training import load_trained, settings_of

from sbdata.benchmark.stage import Progress, StageContext
from sbdata.errors import InputError
from sbdata.taxonomy import Taxonomy
from sbdata.train.devices import DistributedContext
from sbdata.train.views import batches
from sbdata.weak_labels.weak_set import WeakImage, WeakSet

NETWORK = NetworkSettings("mobilenetv3_small_050", "none", frozen=0)
SETTINGS = ClassifierSettings(
    NETWORK, ViewSettings(32), Sgd(0.01, 0.9), Schedule(6, 2, checkpoint_every=2)
)


class KilledError(Exception):
    pass


@pytest.fixture
def weak(tmp_path: Path) -> WeakSet:
    rows = []
    for number in range(4):
        photo = np.random.default_rng(number).integers(0, 100, (36, 40, 3), np.uint8)
        photo[..., 2 * (number % 2)] += 120
        Image.fromarray(photo).save(tmp_path / f"p{number}.png")
        rows.append(
            WeakImage(f"p{number}", tmp_path / f"p{number}.png", (36, 40), (1 + number % 2,))
        )
    return WeakSet(tuple(rows), Taxonomy("two", ("red", "blue")))


def task_of(
    weak: WeakSet, folder: Path, progress: Progress = lambda done, total: None
) -> StageContext:
    folder.mkdir(exist_ok=True)
    return StageContext(weak, folder, 0, DistributedContext(torch.device("cpu")), progress)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "model.pt", weights_only=True)["model"]


def test_logits_are_the_means_of_the_maps() -> None:
    torch.manual_seed(0)
    model = Classifier(build_pyramid(NETWORK), 3).eval()
    image = torch.rand(2, 3, 48, 64)
    with torch.no_grad():
        maps = model.maps(image)
        torch.testing.assert_close(model(image), maps.mean(dim=(2, 3)))
    assert maps.shape == (2, 3, 3, 4)
    assert model.head.bias is None


def test_it_learns_the_labels(weak: WeakSet, tmp_path: Path) -> None:
    longer = replace(
        SETTINGS,
        network=NetworkSettings("resnet18", "none", frozen=0),
        optimiser=Sgd(0.005, 0.9),
        schedule=Schedule(12, 4),
    )
    train_classifier(task_of(weak, tmp_path / "c"), longer)
    model = load_classifier(task_of(weak, tmp_path / "c"), tmp_path / "c")
    assert not model.training
    assert not (tmp_path / "c" / "checkpoint.pt").exists()
    for row in weak.rows:
        image = torch.from_numpy(np.array(Image.open(row.photo))).permute(2, 0, 1)[None]
        with torch.no_grad():
            assert int(model(image).argmax()) + 1 == row.classes[0]


def test_a_killed_run_ends_with_the_same_weights(weak: WeakSet, tmp_path: Path) -> None:
    train_classifier(task_of(weak, tmp_path / "whole"), SETTINGS)

    def kill(done: int, total: int) -> None:
        assert total == 12
        if done == 5:
            raise KilledError

    with pytest.raises(KilledError):
        train_classifier(task_of(weak, tmp_path / "broken", kill), SETTINGS)
    assert (tmp_path / "broken" / "checkpoint.pt").is_file()
    steps: list[int] = []
    resumed = task_of(weak, tmp_path / "broken", lambda done, total: steps.append(done))
    train_classifier(resumed, SETTINGS)
    assert steps[0] == 5  # from the checkpoint of step 4 on
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "broken")
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_the_schedule_and_the_heads_rate(weak: WeakSet, tmp_path: Path) -> None:
    """One step of plain descent, by hand: the head moves ten times as far as its gradient says."""
    settings = ClassifierSettings(
        NETWORK, ViewSettings(32), Sgd(0.01, weight_decay=0.0), Schedule(1, 4)
    )
    train_classifier(task_of(weak, tmp_path / "c"), settings)
    torch.manual_seed(0)
    model = plain_classifier(settings, 2).train()
    images, labels = next(batches([weak_views(weak, settings.views, 0)], [range(4)]))
    torch.nn.functional.multilabel_soft_margin_loss(model(images), labels).backward()
    after = weights(tmp_path / "c")
    torch.testing.assert_close(
        after["head.weight"], model.head.weight.detach() - 0.1 * model.head.weight.grad
    )
    name, moved = next(
        (k, p) for k, p in model.named_parameters() if p.grad is not None and k != "head.weight"
    )
    torch.testing.assert_close(after[name], moved.detach() - 0.01 * moved.grad)


def test_settings_come_back_with_the_weights(weak: WeakSet, tmp_path: Path) -> None:
    short = ClassifierSettings(NETWORK, ViewSettings(32), Sgd(0.01), Schedule(1, 4))
    train_classifier(task_of(weak, tmp_path / "c"), short)
    assert settings_of(tmp_path / "c", ClassifierSettings) == short
    with pytest.raises(InputError, match="of another model"):
        load_trained(Classifier(build_pyramid(NETWORK), 5), tmp_path / "c")
    with pytest.raises(InputError, match="no such file"):
        load_classifier(task_of(weak, tmp_path / "d"), tmp_path / "d")


def test_a_loss_that_is_no_number_ends_the_run(weak: WeakSet, tmp_path: Path) -> None:
    wild = ClassifierSettings(NETWORK, ViewSettings(32), Sgd(1e30), Schedule(4, 2))
    with pytest.raises(InputError, match=r"[Ll]ower optimiser\.lr"):
        train_classifier(task_of(weak, tmp_path / "c"), wild)
    assert not (tmp_path / "c" / "model.pt").exists()


def test_steps_cover_the_epochs() -> None:
    assert Schedule(3, 16).steps(40) == 8
    assert Adam(1e-4).head == 20
    with pytest.raises(InputError, match="at least 1"):
        Schedule(0, 16)
