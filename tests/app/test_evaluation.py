"""The metric of FiftyOne's evaluation of segmentations, called as FiftyOne calls it."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sbdata.app.dataset import load_set
from sbdata.app.run_folder import read_run
from sbdata.app.runs import attach_run
from sbdata.sets import open_set

URI = "sbdata/instance_aware_iou"


@pytest.fixture
def album(fo: Any, build_album: Any, score_album: Any, tmp_path: Path, monkeypatch: Any) -> Any:
    """A dataset with a run that lost the dogs and moved the cats, and sbdata's plugin."""
    from sbdata.app.environment import link_plugins

    root = build_album()
    dataset = load_set(root, tmp_path / "masks").dataset
    attach_run(dataset, open_set(root), read_run(score_album(root, "run", shift=1, lost=2)))
    monkeypatch.setattr(fo.config, "plugins_dir", str(link_plugins(tmp_path / "plugins")))
    return dataset


def evaluate(view: Any, eval_key: str | None = None, run: str = "run", **options: Any) -> Any:
    return view.evaluate_segmentations(
        f"prediction_{run}",
        gt_field="ground_truth",
        eval_key=eval_key,
        custom_metrics={URI: {"options": options}} if options else URI,
    )


def test_the_values_are_those_of_the_score_in_rows_of_their_own(
    album: Any, tmp_path: Path, capsys: Any
) -> None:
    evaluate(album, "eval")
    scored = read_run(tmp_path / "scores" / "run").summary
    wanted = {f"{name}.class_mean": ia["class_mean"]["value"] for name, ia in scored["ia"].items()}
    wanted["miou"] = scored["miou"]["value"]
    assert len(wanted) == 6
    assert None not in wanted.values()
    results = album.load_evaluation_results("eval")  # from the database, as the page does
    found = results.metrics()
    assert {name: found[name] for name in wanted} == wanted
    rows = results.custom_metrics
    assert [row["label"] for row in rows.values()] == [
        "mIoU", "IA_objects (7 objects)", "IA_small (3 objects)", "IA_medium (2 objects)",
        "IA_large (2 objects)", "IA",
    ]  # fmt: skip
    assert list(rows)[-1] == URI
    assert not any(row["lower_is_better"] for row in rows.values())
    assert not any("." in uri for uri in rows), "the page looks a row up by a dotted path"
    results.print_metrics()
    assert "ia small.class mean" in capsys.readouterr().out


def test_each_image_gets_means_that_are_renamed_and_deleted_with_the_evaluation(
    album: Any,
) -> None:
    evaluate(album, "eval")
    names = ("ia", "ia_small", "ia_medium", "ia_large")
    for name in names:
        found, attached = album.values(f"eval_{name}"), album.values(f"{name}_run")
        assert [value is None for value in found] == [value is None for value in attached]
        assert found[3] is None  # the image without objects
        for value, same in zip(found, attached, strict=True):
            assert value == (same if same is None else pytest.approx(same))
    album.rename_evaluation("eval", "other")
    schema = set(album.get_field_schema())
    assert {f"other_{name}" for name in names} <= schema
    assert not {name for name in schema if name.startswith("eval_")}
    album.delete_evaluation("other")
    assert not {name for name in album.get_field_schema() if name.startswith("other_")}


def test_a_view_is_scored_alone_by_any_field_and_with_options(fo: Any, album: Any) -> None:
    before = set(album.get_field_schema())
    one = album.match({"sbdata_image_id": "c"})
    found = evaluate(one).metrics()
    assert found["ia_objects.class_mean"] == pytest.approx(one.values("ia_run")[0])
    assert "ia_small.class_mean" not in found  # undefined, and so left out
    assert set(album.get_field_schema()) == before  # nothing is written without a key
    sample = album.first()
    sample["prediction_cats"] = fo.Segmentation(mask=np.ones((26, 30), np.uint8))
    sample.save()
    name = "ia_objects.class_mean"
    plain = evaluate(album.limit(1), run="cats").metrics()[name]
    harsh = evaluate(album.limit(1), run="cats", fp_attribution="all").metrics()[name]
    assert 0 < harsh < plain


def test_what_cannot_be_scored_has_no_value_and_is_told(
    fo: Any, album: Any, build_album: Any, caplog: Any, tmp_path: Path
) -> None:
    def told(view: Any, **options: Any) -> str:
        caplog.clear()
        assert evaluate(view, **options).custom_metrics is None
        return " ".join(record.getMessage() for record in caplog.records)

    def set_prediction(label: Any) -> None:
        sample["prediction_run"] = label
        sample.save()

    caplog.set_level(logging.WARNING)
    assert "rounding must be one of" in told(album, rounding="up")
    sample = album.first()
    whole = sample["prediction_run"]
    set_prediction(fo.Segmentation(mask=np.zeros((5, 5), np.uint8)))
    assert "image a in prediction_run: the prediction has 5 x 5 pixels" in told(album)
    set_prediction(None)
    assert "image a has no semantic mask in prediction_run" in told(album)
    set_prediction(whole)
    mine = fo.Dataset("mine")
    mine.add_sample(fo.Sample("a.jpg", prediction_run=whole, ground_truth=whole))
    assert "was not made by sbdata" in told(mine)
    shutil.move(tmp_path / "album", tmp_path / "elsewhere")
    assert "the set is no longer there" in told(album)
    build_album(squares={"a": [(1, 1, 1, 2)]})
    assert "not the set that the dataset was loaded from" in told(album)
