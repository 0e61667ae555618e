"""The recipes of docs/guides/in-training.md that the test of all pages does not run."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra `torch` is not installed")

import sbdata  # noqa: E402
from tests.doc_pages import blocks  # noqa: E402

PAGE = "docs/guides/in-training.md"


@pytest.fixture
def opened(shapes_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The set that the page names, in the working folder."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "shapes-b").symlink_to(shapes_set)
    monkeypatch.chdir(tmp_path)
    return sbdata.open_set("data/shapes-b")


def code_with(text: str) -> str:
    (found,) = [code for code in blocks(PAGE, "python") if text in code]
    assert len([line for line in found.splitlines() if line.strip()]) < 30
    return found


def run(text: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(code_with(text), PAGE, "exec"), names)  # noqa: S102 - our own page
    return names


def test_the_config_of_mmsegmentation_is_evaluated(opened: Any, tmp_path: Path) -> None:
    pytest.importorskip("mmengine", reason="MMEngine is not installed")
    from mmengine.config import Config
    from mmengine.evaluator import Evaluator
    from mmengine.structures import BaseDataElement, PixelData

    config = Config.fromstring(code_with("custom_imports"), ".py")  # imports what it names
    assert [metric.type for metric in config.val_evaluator] == ["IoUMetric", "InstanceAwareIoU"]
    metric = Evaluator(config.val_evaluator[1:])
    for image_id in opened:
        truth = opened.class_map(image_id).astype(np.int64)
        sample = BaseDataElement(metainfo={"img_path": str(opened.image_path(image_id))})
        predicted = torch.from_numpy(np.where(truth == 255, 0, truth))[None]
        sample.set_data({"pred_sem_seg": PixelData(data=predicted)})
        metric.process([sample])
    assert metric.evaluate(len(opened))["sbdata/ia_small.class_mean"] == 1


class Model:
    """What Ultralytics documents of a model: ``add_callback`` and ``predict``.

    A result has ``path``, ``names`` by number and ``semantic_mask.data``, class numbers in the
    photo's own size.
    """

    names: dict[int, str]
    predicted: dict[str, np.ndarray]

    def __init__(self, weights: Any) -> None:
        self.weights, self.callbacks = weights, {}

    def add_callback(self, event: str, function: Any) -> None:
        self.callbacks[event] = function

    def predict(self, source: str, *, stream: bool, verbose: bool) -> Any:
        assert (stream, verbose) == (True, False)
        assert self.weights == "weights/last.pt"
        for path in sorted(Path(source).iterdir()):
            data = torch.from_numpy(self.predicted[path.stem])
            mask = SimpleNamespace(data=data)
            yield SimpleNamespace(path=str(path), names=self.names, semantic_mask=mask)


def test_the_callback_for_ultralytics_scores_by_the_names_of_the_classes(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("ultralytics")
    module.YOLO = Model
    monkeypatch.setitem(sys.modules, "ultralytics", module)
    names = run("from ultralytics import")
    assert list(names["model"].callbacks) == ["on_model_save"]
    trainer = SimpleNamespace(last="weights/last.pt", metrics={"metrics/mIoU": 0.5})

    # The numbers that Ultralytics gives polygons: background after the classes.
    classes = opened.taxonomy.classes
    Model.names = dict(enumerate((*classes, "background")))
    Model.predicted = {}
    for image_id in opened:
        truth = opened.class_map(image_id)
        Model.predicted[image_id] = np.where((truth == 0) | (truth == 255), len(classes), truth - 1)
    names["model"].callbacks["on_model_save"](trainer)
    assert trainer.metrics["metrics/mIoU"] == 0.5
    assert trainer.metrics["sbdata/miou"] == trainer.metrics["sbdata/ia_small.class_mean"] == 1

    # The numbers of masks: background is 0.
    Model.names = dict(enumerate(("background", *classes)))
    Model.predicted = {name: np.zeros_like(found) for name, found in Model.predicted.items()}
    names["model"].callbacks["on_model_save"](trainer)
    assert trainer.metrics["sbdata/ia_objects.class_mean"] == 0

    # Of a single class the map has 0 and 1; here it is the disc's.
    Model.names = {0: "disc"}
    disc = opened.taxonomy.id_of("disc")
    Model.predicted = {
        image_id: (opened.class_map(image_id) == disc).astype(np.uint8) for image_id in opened
    }
    counted = dict(trainer.metrics)
    names["model"].callbacks["on_model_save"](trainer)
    assert trainer.metrics["sbdata/miou"] > counted["sbdata/miou"]

    Model.names = {0: "background", 1: "thing"}
    with pytest.raises(ValueError, match="not in tuple"):
        names["model"].callbacks["on_model_save"](trainer)
