from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sbdata_baselines.methods.bbam import DetectorSettings
from sbdata_baselines.settings import NetworkSettings, Schedule, Sgd, ViewSettings
from sbdata_baselines.stages.detector import drawn_proposals, load_detector, new_detector
from sbdata_baselines.stages.detector import train_detector as train
from torchvision.ops import box_iou

from sbdata.errors import InputError
from tests.baselines.boxed_examples import write_boxed
from tests.baselines.weak_examples import task_of

TINY = DetectorSettings(
    NetworkSettings("mobilenetv3_small_050", "none", frozen=0),
    ViewSettings(48),
    Sgd(1e-3, 0.9, head=1),
    Schedule(1, 2),
    width=8,
    hidden=16,
    samples=16,
    proposals="drawn",
    drawn=4,
    random=4,
)


def test_drawn_proposals_lie_around_the_objects_and_anywhere() -> None:
    torch.manual_seed(0)
    boxes = torch.tensor([[10.0, 10.0, 30.0, 50.0], [60.0, 0.0, 63.0, 3.0]])
    found = drawn_proposals(boxes, (64, 80), 200, 100)
    assert len(found) > 450
    assert found.min() >= 0
    assert (found <= torch.tensor([80.0, 64.0, 80.0, 64.0])).all()
    overlap = box_iou(found, boxes)
    assert 0.3 < float((overlap[:200, 0] > 0.5).float().mean()) < 0.95
    assert float((overlap.max(dim=1).values < 0.5).float().mean()) > 0.2
    assert len(drawn_proposals(boxes[:0], (64, 80), 200, 50)) <= 50


@pytest.mark.parametrize("proposals", ["drawn", "network"])
def test_losses_are_finite_with_and_without_boxes(proposals: str) -> None:
    torch.manual_seed(0)
    model = new_detector(replace(TINY, proposals=proposals), 2).train()
    boxes = torch.tensor([
        [[1.0, 4, 4, 30, 40], [2.0, 40, 8, 60, 20], [2.0, 9, 9, 9, 20]],  # the last has no extent
        [[0.0] * 5] * 3,
    ])  # fmt: skip
    loss = model.loss(torch.randint(0, 255, (2, 3, 64, 64), dtype=torch.uint8), boxes)
    loss.backward()
    assert torch.isfinite(loss)
    trained = [p for p in model.parameters() if p.requires_grad]
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in trained)
    heads = [model.heads, *([model.rpn] if model.rpn is not None else [])]
    assert all(p.grad is not None for part in heads for p in part.parameters())


def test_answers_of_a_batch_are_those_of_its_photos() -> None:
    torch.manual_seed(0)
    model = new_detector(TINY, 3).eval()
    images = torch.rand(2, 3, 64, 64)
    proposals = [torch.tensor([[4.0, 4, 30, 40]]), torch.tensor([[0.0, 0, 9, 9], [8, 8, 60, 60]])]
    with torch.inference_mode():
        probabilities, deltas = model.read(model.features(images), proposals, (64, 64))
        assert probabilities.shape == (3, 4)
        assert deltas.shape == (3, 4, 4)
        alone = [
            model.read(model.features(images[k : k + 1]), [proposals[k]], (64, 64))[0]
            for k in range(2)
        ]
    torch.testing.assert_close(probabilities, torch.cat(alone))
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(3))
    boxes = model.decoded(torch.zeros(3, 4), torch.cat(proposals), (64, 64))
    torch.testing.assert_close(boxes, torch.cat(proposals))


def test_strides_from_four_on_are_read_once() -> None:
    model = new_detector(TINY, 2)
    assert [model.pyramid.strides[place] for place in model.places] == [4, 8, 16]
    assert list(model.features(torch.rand(1, 3, 64, 64))) == ["0", "1", "2", "pool"]


def test_a_detector_of_other_settings_is_refused(tmp_path: Path) -> None:
    weak, _ = write_boxed(tmp_path / "photos", n=2)
    train(task_of(weak, tmp_path / "detector"), TINY)
    model = load_detector(task_of(weak, tmp_path / "x"), tmp_path / "detector")
    assert not model.training
    with pytest.raises(InputError, match=r"model\.pt"):
        load_detector(task_of(weak, tmp_path / "x"), tmp_path)
