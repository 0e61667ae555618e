"""The operators, run as the app's server runs them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from sbdata.app.dataset import load_set
from sbdata.app.info import info_of
from sbdata.app.run_folder import read_run
from sbdata.app.runs import attach_run
from sbdata.manifest import read_manifest
from sbdata.sets import open_set


def _context(
    dataset: Any, view: Any = None, selected: Any = (), filters: Any = None, **params: Any
) -> Any:
    from fiftyone.operators.executor import ExecutionContext, Executor

    request = {
        "dataset_name": dataset.name,
        "view": [] if view is None else view._serialize(),
        "filters": filters or {},
        "selected": list(selected),
        "params": params,
    }
    return ExecutionContext(request, executor=Executor(), operator_uri="sbdata/any")


def _score(dataset: Any, **params: Any) -> tuple[list[str], list[str]]:
    """Return the operators that the page is asked to run, and what it is told."""
    from sbdata.app.plugin.operators import ScorePredictions

    asked = [
        message.body.to_json()
        for message in ScorePredictions().execute(_context(dataset, **params))
        if message is not None
    ]
    told = [request["params"]["message"] for request in asked if "message" in request["params"]]
    return [request["operator_uri"] for request in asked], told


@pytest.fixture
def album(fo: Any, build_album: Any, tmp_path: Path) -> Any:
    return load_set(build_album(), tmp_path / "masks").dataset


@pytest.fixture
def predictions(album: Any, score_album: Any, tmp_path: Path) -> Path:
    """Perfect predictions, not scored."""
    shutil.rmtree(score_album(tmp_path / "album", "perfect"))
    return tmp_path / "predictions" / "perfect"


def test_predictions_are_scored_and_attached(album: Any, predictions: Path, tmp_path: Path) -> None:
    out = tmp_path / "results"
    asked, told = _score(
        album, predictions={"absolute_path": str(predictions)}, name="mine", out=str(out)
    )
    assert told == ["mine: scored and attached"]
    assert asked[-2:] == ["reload_dataset", "set_view"]  # so that the panel draws the run
    album.reload()
    assert info_of(album)["runs"]["mine"]["folder"] == str(out / "mine")
    scores = album.values("instances.detections.ia_iou_mine", unwind=True)
    assert [s for s in scores if s is not None] == [1.0] * 7
    assert "small objects missed by every run" in album.list_saved_views()


def test_the_folder_names_the_run_and_results_lie_beside_the_set(
    album: Any, predictions: Path, tmp_path: Path
) -> None:
    _score(album, predictions=str(predictions))
    album.reload()
    run = info_of(album)["runs"]["perfect"]
    assert run["folder"] == str(tmp_path / "scores" / "perfect")


def test_what_is_wrong_is_told_and_nothing_is_attached(
    album: Any, predictions: Path, tmp_path: Path
) -> None:
    assert _score(album)[1] == ["no folder of predictions was chosen"]
    (told,) = _score(album, predictions=str(tmp_path / "nowhere"))[1]
    assert "nowhere" in told
    (predictions / "a.png").unlink()
    (told,) = _score(album, predictions=str(predictions))[1]
    assert "\n" not in told
    assert "problems.csv" in told
    assert (tmp_path / "scores" / "perfect" / "problems.csv").is_file()
    shutil.move(tmp_path / "album", tmp_path / "elsewhere")
    (told,) = _score(album, predictions=str(predictions))[1]
    assert "no longer there" in told
    album.reload()
    assert info_of(album)["runs"] == {}


def test_predictions_are_not_scored_beside_runs_of_other_options(
    album: Any, predictions: Path, score_album: Any, tmp_path: Path
) -> None:
    run = read_run(score_album(tmp_path / "album", "exact", rounding="exact"))
    attach_run(album, open_set(tmp_path / "album"), run)
    (told,) = _score(album, predictions=str(predictions), out=str(tmp_path / "results"))[1]
    assert "perfect is scored with rounding floor, but the attached exact with exact" in told
    assert not (tmp_path / "results").exists()


def test_both_forms_say_when_the_dataset_is_not_sbdatas(fo: Any, album: Any) -> None:
    from sbdata.app.plugin.operators import ExportView, ScorePredictions

    mine = fo.Dataset("mine")
    for operator in (ScorePredictions(), ExportView()):
        form = operator.resolve_input(_context(album)).to_json()
        assert not form.get("invalid")
        assert {"name", "out"} <= set(form["type"]["properties"])
        refused = operator.resolve_input(_context(mine)).to_json()
        assert refused["invalid"]
        assert set(refused["type"]["properties"]) == {"said"}


# --- exporting ------------------------------------------------------------------------------------


@pytest.fixture
def shapes(fo: Any, shapes_set: Path, tmp_path: Path) -> Any:
    return load_set(shapes_set, tmp_path / "masks").dataset


def _export(dataset: Any, view: Any = None, **params: Any) -> dict[str, Any]:
    from sbdata.app.plugin.operators import ExportView

    return ExportView().execute(_context(dataset, view, **params))


def test_the_shown_images_become_a_manifest_with_all_their_objects(
    shapes: Any, shapes_set: Path, tmp_path: Path
) -> None:
    from fiftyone import ViewField as F

    small = shapes.filter_labels("instances", F("size") == "small")
    image_ids = small.values("sbdata_image_id")
    assert 0 < len(image_ids) < len(shapes)
    result = _export(shapes, small, name="with-small", out=str(tmp_path / "manifests"))
    assert result == {"written": str(tmp_path / "manifests" / "with-small"), "error": ""}
    found = read_manifest(Path(result["written"]))
    assert found.images["image_id"].to_pylist() == sorted(image_ids)
    rows = open_set(shapes_set).manifest.instances.to_pylist()
    assert found.instances.num_rows == sum(row["image_id"] in image_ids for row in rows)
    assert found.instances.num_rows > small.count("instances.detections")


def test_ticked_images_are_those_that_are_written(shapes: Any, tmp_path: Path) -> None:
    two = shapes.limit(2)
    result = _export(shapes, name="two", out=str(tmp_path / "out"), selected=two.values("id"))
    assert read_manifest(Path(result["written"])).images.num_rows == 2


def test_filters_of_the_sidebar_count(shapes: Any, tmp_path: Path) -> None:
    area = {"range": [0, 1023], "none": False, "exclude": False, "isMatching": False}
    filters = {"instances.detections.area": area}
    result = _export(shapes, name="few", out=str(tmp_path / "out"), filters=filters)
    found = read_manifest(Path(result["written"]))
    assert 0 < found.images.num_rows < len(shapes)
    assert min(n for n in found.images["n_small"].to_pylist()) > 0


def test_an_image_that_a_user_added_is_not_written(fo: Any, shapes: Any, tmp_path: Path) -> None:
    from sbdata.app.plugin.operators import ExportView

    shapes.add_sample(fo.Sample(filepath="/added.jpg"))
    said = ExportView().resolve_input(_context(shapes)).to_json()["type"]["properties"]["said"]
    assert f"{len(shapes) - 1} images" in str(said)
    result = _export(shapes, name="ours", out=str(tmp_path / "out"))
    found = read_manifest(Path(result["written"]))
    assert found.images.num_rows == len(shapes) - 1


def test_what_cannot_be_written_is_told(shapes: Any, tmp_path: Path) -> None:
    result = _export(shapes, shapes.limit(1), name="a/b", out=str(tmp_path / "out"))
    assert result["written"] == ""
    assert "not a valid name of the new set" in result["error"]
    assert not (tmp_path / "out").exists()
