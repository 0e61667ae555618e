"""The metric for MMEngine, given data samples of the structure that MMSegmentation documents."""

from __future__ import annotations

import math
import multiprocessing
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="the extra `torch` is not installed")
pytest.importorskip("mmengine", reason="MMEngine is not installed; it is in no dependency group")

from mmengine.dist import collect_results  # noqa: E402
from mmengine.evaluator import Evaluator  # noqa: E402
from mmengine.registry import METRICS, Registry  # noqa: E402
from mmengine.structures import BaseDataElement, PixelData  # noqa: E402

import sbdata  # noqa: E402
from sbdata.errors import InputError  # noqa: E402
from sbdata.integrations.mmengine import InstanceAwareIoU  # noqa: E402
from sbdata.manifest import make_manifest, write_manifest  # noqa: E402
from sbdata.metrics import Summary  # noqa: E402
from sbdata.sets import EvaluationSet, open_set  # noqa: E402
from tests.test_sets import OBJECTS, make  # noqa: E402

Maps = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def opened(shapes_set: Path) -> EvaluationSet:
    return open_set(shapes_set)


@pytest.fixture(scope="module")
def predictions(opened: EvaluationSet) -> Maps:
    """The truth, moved by a few pixels that differ between the images."""
    found = {}
    for k, image_id in enumerate(opened):
        values = opened.class_map(image_id)
        values[values == 255] = 0
        found[image_id] = np.roll(values, k, axis=1)
    return found


@pytest.fixture(scope="module")
def scored(opened: EvaluationSet, predictions: Maps, tmp_path_factory: Any) -> Summary:
    """The values that ``sbdata.score`` gives the same predictions as PNG files."""
    folder = tmp_path_factory.mktemp("predictions")
    for image_id, values in predictions.items():
        Image.fromarray(values).save(folder / f"{image_id}.png")
    return sbdata.score(folder, opened, resamples=0).summary


@pytest.fixture(scope="module")
def wanted(scored: Summary) -> dict[str, Any]:
    return scored.headline()


def sample(path: str | None, values: np.ndarray, **meta: Any) -> BaseDataElement:
    """A data sample as a segmenter of MMSegmentation returns it, but for the class of it."""
    whole = {**({} if path is None else {"img_path": path}), "ori_shape": values.shape, **meta}
    found = BaseDataElement(metainfo=whole)
    data = torch.from_numpy(values.astype(np.int64))[None]
    found.set_data({"pred_sem_seg": PixelData(data=data)})
    return found


def samples_of(predictions: Maps) -> list[BaseDataElement]:
    return [sample(f"/elsewhere/photos/{name}.jpg", found) for name, found in predictions.items()]


def evaluator(root: Path, **options: Any) -> Evaluator:
    return Evaluator([{"type": "InstanceAwareIoU", "set_root": str(root), **options}])


def assert_same(found: dict[str, float], wanted: dict[str, Any], prefix: str = "sbdata/") -> None:
    assert found.keys() == {f"{prefix}{name}" for name in wanted}
    for name, value in wanted.items():
        same = found[f"{prefix}{name}"]
        assert math.isnan(same) if value is None else same == value, name


def test_it_gives_what_the_score_of_files_gives(
    opened: EvaluationSet, predictions: Maps, wanted: dict[str, Any]
) -> None:
    metric = evaluator(opened.root)
    samples = samples_of(predictions)
    for batch in (samples[5:], samples[:5]):
        metric.process(batch)
    assert_same(metric.evaluate(len(opened)), wanted)
    assert any(value not in (None, 1) for value in wanted.values())
    for batch in (samples[:3], samples[3:]):  # the next epoch
        metric.process(batch)
    assert_same(metric.evaluate(len(opened)), wanted)


def test_a_registry_below_mmengines_finds_it_and_a_prefix_is_the_users(
    opened: EvaluationSet, predictions: Maps, wanted: dict[str, Any]
) -> None:
    child = Registry("metric", parent=METRICS, scope="sbdata_test")  # as mmseg.registry.METRICS
    metric = child.build(
        {"type": "InstanceAwareIoU", "set_root": str(opened.root), "prefix": "small"}
    )
    metric.process(None, [one.to_dict() for one in samples_of(predictions)])
    assert_same(metric.evaluate(len(opened)), wanted, "small/")


def test_values_of_classes_have_their_names(
    opened: EvaluationSet, predictions: Maps, scored: Summary
) -> None:
    metric = evaluator(opened.root, per_class=True)
    metric.process(samples_of(predictions))
    found = metric.evaluate(len(opened))
    defined = {name: value for name, value in found.items() if not math.isnan(value)}
    names = opened.taxonomy.classes
    assert defined == scored.flat("sbdata/", per_class=True, class_names=names)
    assert f"sbdata/ia_small/{names[0]}" in found


def test_options_are_those_of_the_metric(opened: EvaluationSet, predictions: Maps) -> None:
    void = {name: np.where(values == 0, 255, values) for name, values in predictions.items()}
    refused = evaluator(opened.root)
    with pytest.raises(InputError, match="holds void"):
        refused.process(samples_of(void))
    taken = evaluator(opened.root, options={"predicted_void": True})
    taken.process(samples_of(void))
    assert taken.evaluate(len(opened))["sbdata/miou"] > 0
    with pytest.raises(InputError, match="rounding must be one of"):
        InstanceAwareIoU(str(opened.root), options={"rounding": "up"})


COMPOSED, DECOMPOSED = "\xe9t\xe9", "e\u0301te\u0301"


@pytest.mark.parametrize(("stored", "asked"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)])
def test_an_image_is_found_by_its_id_and_in_either_unicode_form(
    tmp_path: Path, stored: str, asked: str
) -> None:
    album = make()
    tables = []
    for table in (album.images, album.instances):
        named = [{**row, "image_id": row["image_id"].replace("a", stored)} for row in
                 table.to_pylist()]  # fmt: skip
        tables.append(pa.Table.from_pylist(named, table.schema))
    manifest = make_manifest("album", *tables, album.taxonomy, album.bins, {})
    write_manifest(manifest, tmp_path / "album")  # a manifest alone is enough
    maps = {name: np.zeros(objects.shape, np.uint8) for name, objects in OBJECTS.items()}
    metric = InstanceAwareIoU(str(tmp_path / "album"))
    by_path = sample(f"photos/{asked}.jpg", maps["a"], img_id="b")
    by_id = [sample(None, maps[name], img_id=name) for name in ("b", "c")]
    metric.process(None, [one.to_dict() for one in (by_path, *by_id)])
    found = metric.evaluate(3)
    assert found["sbdata/ia_objects.class_mean"] == 0
    assert math.isnan(found["sbdata/region_precision"])  # undefined, for nothing was predicted


# --- what is refused ------------------------------------------------------------------------------


def test_what_cannot_be_scored_is_one_sentence(opened: EvaluationSet, predictions: Maps) -> None:
    (name, values), *_ = predictions.items()
    metric = InstanceAwareIoU(str(opened.root))
    small = sample(f"{name}.jpg", values[::2, ::2])
    lone = BaseDataElement(metainfo={"img_path": f"{name}.png"})
    for bad, said in (
        (sample("other.jpg", values), "has no image called 'other'; validate on the set's own"),
        (sample(None, values), "neither img_path nor img_id"),
        (lone, f"image {name}: no pred_sem_seg"),
        (small, f"image {name}: the prediction has .* predict at the image's own size"),
        (sample(f"{name}.jpg", np.full_like(values, 200)), f"image {name}: .* holds class 200"),
        (sample(f"{name}.jpg", values, reduce_zero_label=True), "has no background"),
    ):
        with pytest.raises(InputError, match=said) as raised:
            metric.process(None, [samples_of(predictions)[1].to_dict(), bad.to_dict()])
        assert "\n" not in str(raised.value)
        assert metric.results == []  # nothing of a refused batch is kept


def test_classes_in_another_order_are_refused(opened: EvaluationSet, predictions: Maps) -> None:
    classes = opened.taxonomy.classes
    for found in (("background", *classes[::-1]), classes, ("background", "thing")):
        metric = evaluator(opened.root)
        metric.dataset_meta = {"classes": found}
        with pytest.raises(InputError, match="give the dataset the set's classes in this order"):
            metric.process(samples_of(predictions))
    taken = (("background", classes), ("unlabelled", classes))
    for first, rest in taken:
        metric = evaluator(opened.root)
        metric.dataset_meta = {"classes": (first, *rest), "palette": None}
        metric.process(samples_of(predictions))
    spelt = evaluator(opened.root, check_classes=False)
    spelt.dataset_meta = {"classes": ("background", *(name.upper() for name in classes))}
    spelt.process(samples_of(predictions))


def test_a_part_of_the_set_is_scored_only_on_request(
    opened: EvaluationSet, predictions: Maps
) -> None:
    part = samples_of(predictions)[:3]
    metric = evaluator(opened.root)
    metric.process(part)
    missing = opened.image_ids[3]
    with pytest.raises(InputError, match=rf"5 of 8 images were not predicted, such as {missing}"):
        metric.evaluate(3)
    metric = evaluator(opened.root, allow_subset=True)
    metric.process(part)
    assert 0 < metric.evaluate(3)["sbdata/miou"] < 1
    twice = evaluator(opened.root, allow_subset=True)
    twice.process([*part, part[0]])
    with pytest.raises(InputError, match="was scored twice"):
        twice.evaluate(4)


# --- several processes ----------------------------------------------------------------------------


def test_results_of_processes_are_one_each_and_small(
    opened: EvaluationSet, predictions: Maps, wanted: dict[str, Any]
) -> None:
    """As MMEngine divides: every second image, the first again where a process has one fewer."""
    samples = [one.to_dict() for one in samples_of(predictions)][:7]
    parts = []
    for rank in range(2):
        metric = InstanceAwareIoU(str(opened.root), allow_subset=True)
        metric.process(None, [*samples, samples[0]][rank::2])
        assert len(metric.results) == 4
        parts.append(pickle.loads(pickle.dumps(metric.results)))  # noqa: S301 - our own
    assert max(len(pickle.dumps(result)) for part in parts for result in part) < 4000
    collected = [result for both in zip(*parts, strict=True) for result in both][:7]
    alone = InstanceAwareIoU(str(opened.root), allow_subset=True)
    alone.process(None, samples)
    together = InstanceAwareIoU(str(opened.root), allow_subset=True)
    assert together.compute_metrics(collected) == alone.compute_metrics(alone.results)


def _process(rank: int, root: str, predictions: Maps, folder: str) -> None:
    store = torch.distributed.FileStore(f"{folder}/store", 2)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    metric = evaluator(Path(root), collect_dir=f"{folder}/collected")
    samples = samples_of(predictions)
    metric.process(samples[rank::2])
    Path(f"{folder}/{rank}.pkl").write_bytes(pickle.dumps(metric.evaluate(len(samples))))
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_give_what_one_gives(
    opened: EvaluationSet, predictions: Maps, wanted: dict[str, Any], tmp_path: Path
) -> None:
    context = multiprocessing.get_context("fork")
    arguments = (str(opened.root), predictions, str(tmp_path))
    processes = [context.Process(target=_process, args=(k, *arguments)) for k in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    for rank in range(2):
        assert_same(pickle.loads((tmp_path / f"{rank}.pkl").read_bytes()), wanted)  # noqa: S301
    assert collect_results([1, 2], 2) == [1, 2]  # without processes it is the list itself
