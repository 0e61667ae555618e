from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the train extra is not installed")
pytest.importorskip("torchmetrics", reason="the train extra is not installed")

from sbdata.errors import InputError  # noqa: E402
from sbdata.metrics import (  # noqa: E402
    Accumulator,
    InstanceAwareIoU,
    MetricOptions,
    score_image,
    truth_from_maps,
)
from sbdata.metrics.batches import update_batch  # noqa: E402
from sbdata.sizes import SizeBins  # noqa: E402

CLASSES = 3


def maps(images: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Blocky truths with void, and predictions that are partly right."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 9, (images, 5, 6))
    instances = np.kron(blocks, np.ones((1, 9, 8), int))
    classes = np.where(instances > 0, 1 + instances % CLASSES, 0)
    void = rng.random(classes.shape) < 0.05
    classes[void], instances[void] = 255, 255
    wrong = np.kron(rng.integers(0, CLASSES + 1, blocks.shape), np.ones((1, 9, 8), int))
    predictions = np.where(rng.random(classes.shape) < 0.6, classes % 255, wrong)
    return predictions, classes, instances


def by_hand(predictions: np.ndarray, classes: np.ndarray, instances: np.ndarray) -> dict:
    counted = Accumulator(CLASSES)
    for i, maps_of_one in enumerate(zip(predictions, classes, instances, strict=True)):
        prediction, class_map, instance_map = maps_of_one
        truth = truth_from_maps(class_map, instance_map)
        counted.update(f"{i:03d}", score_image(prediction, truth, CLASSES))
    return counted.compute().headline()


def as_numbers(found: dict) -> dict:
    return {name: None if torch.isnan(v) else float(v) for name, v in found.items()}


def assert_same(found: dict, wanted: dict) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        if value is None:
            assert torch.isnan(found[name])
        else:
            assert float(found[name]) == pytest.approx(value, abs=1e-12)


def test_it_gives_what_the_accumulator_gives() -> None:
    batch = maps(10)
    metric = InstanceAwareIoU(CLASSES)
    for part in (slice(0, 4), slice(4, 10)):
        metric.update(*(torch.from_numpy(m[part]) for m in batch))
    assert_same(metric.compute(), by_hand(*batch))


def test_scores_are_taken_at_their_largest() -> None:
    predictions, classes, instances = maps(3)
    scores = np.eye(CLASSES + 1)[predictions].transpose(0, 3, 1, 2)
    first, second = InstanceAwareIoU(CLASSES), InstanceAwareIoU(CLASSES)
    truth = (torch.from_numpy(classes), torch.from_numpy(instances))
    first.update(torch.from_numpy(scores), *truth)
    second.update(torch.from_numpy(predictions), *truth)
    assert_same(first.compute(), as_numbers(second.compute()))


def test_reset_forgets_and_nothing_is_undefined_not_zero() -> None:
    metric = InstanceAwareIoU(CLASSES)
    metric.update(*(torch.from_numpy(m) for m in maps(2)))
    metric.reset()
    empty = torch.zeros(1, 4, 4, dtype=torch.long)
    metric.update(empty, empty, empty)
    found = metric.compute()
    assert torch.isnan(found["ia_objects.class_mean"])
    assert float(found["ia.class_mean"]) == 1.0  # of background alone
    assert float(found["miou"]) == 1.0


def test_the_arguments_have_the_names_of_torchmetrics() -> None:
    preds, target, instances = (torch.from_numpy(m) for m in maps(3))
    bins, options = SizeBins((30,), ("tiny", "big")), MetricOptions("area", "exact")
    metric = InstanceAwareIoU(num_classes=CLASSES, bins=bins, options=options)
    metric.update(preds=preds, target=target, instances=instances)
    counted = Accumulator(CLASSES, options)
    update_batch(counted, ["a", "b", "c"], preds=preds, target=target, instances=instances)
    assert_same(metric.compute(), counted.compute(bins).headline())


def test_forward_gives_the_batch_and_keeps_the_set() -> None:
    first, second = maps(2, seed=1), maps(3, seed=2)
    metric = InstanceAwareIoU(CLASSES)
    for batch in (first, second):
        assert_same(metric(*(torch.from_numpy(m) for m in batch)), by_hand(*batch))
    both = [np.concatenate(pair) for pair in zip(first, second, strict=True)]
    assert_same(metric.compute(), by_hand(*both))


def test_a_batch_that_is_refused_changes_nothing() -> None:
    preds, target, instances = (torch.from_numpy(m) for m in maps(3))
    metric = InstanceAwareIoU(CLASSES)
    metric.update(preds[:1], target[:1], instances[:1])
    before = metric.compute()
    wrong = preds.clone()
    wrong[2, 0, 0] = CLASSES + 1
    for bad in (wrong, torch.full((3, CLASSES + 1, *preds.shape[1:]), float("nan"))):
        with pytest.raises(InputError, match="of the batch"):
            metric.update(bad, target, instances)
        assert_same(metric.compute(), as_numbers(before))


def test_scores_of_half_precision_are_taken_as_they_are() -> None:
    predictions, classes, instances = maps(2)
    scores = torch.from_numpy(np.eye(CLASSES + 1)[predictions].transpose(0, 3, 1, 2))
    for kind in (torch.float16, torch.bfloat16):
        metric = InstanceAwareIoU(CLASSES)
        metric.update(scores.to(kind), torch.from_numpy(classes), torch.from_numpy(instances))
        assert_same(metric.compute(), by_hand(predictions, classes, instances))


def test_the_states_need_no_float64() -> None:
    metric = InstanceAwareIoU(CLASSES, options=MetricOptions(rounding="exact"))
    metric.update(*(torch.from_numpy(m) for m in maps(4)))
    states = [metric.confusion, *metric.instances, *metric.regions, *metric.classes]
    assert {state.dtype for state in states} == {torch.int64}


def test_the_accumulator_takes_tensors_and_arrays() -> None:
    batch = maps(4)
    arrays, tensors = Accumulator(CLASSES), Accumulator(CLASSES)
    ids = [f"{i:03d}" for i in range(4)]
    update_batch(arrays, ids, *batch)
    update_batch(tensors, ids, *(torch.from_numpy(m) for m in batch))
    assert arrays.compute().headline() == tensors.compute().headline() == by_hand(*batch)


def test_shapes_that_disagree_are_refused() -> None:
    predictions, classes, instances = maps(2)
    with pytest.raises(InputError, match=r"\(images, height, width\)"):
        update_batch(Accumulator(CLASSES), ["a", "b"], predictions[:, :5], classes, instances)


def _process(rank: int, folder: str) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29631")
    store = torch.distributed.FileStore(f"{folder}/store", 2)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    metric = InstanceAwareIoU(CLASSES)
    mine = slice(0, 3) if rank == 0 else slice(3, 8)
    metric.update(*(torch.from_numpy(m[mine]) for m in maps(8)))
    torch.save(dict(metric.compute()), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_give_what_one_gives(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_process, args=(rank, str(tmp_path))) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    wanted = by_hand(*maps(8))
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert_same(found, wanted)
