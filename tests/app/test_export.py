"""An exported set comes back as it was, and tells nothing of this machine."""

from __future__ import annotations

import numpy as np
import pytest

from sbdata.app.dataset import load_set
from sbdata.app.export import export_dataset
from sbdata.app.info import info_of
from sbdata.app.run_folder import read_run
from sbdata.app.runs import attach_run
from sbdata.app.views import save_views
from sbdata.errors import InputError


@pytest.fixture
def loaded(fo, build_album, score_album, tmp_path):
    root = build_album()
    (root / "README.md").write_text("the card")
    found = load_set(root, tmp_path / "masks")
    attach_run(found.dataset, found.opened, read_run(score_album(root, "run", shift=1)))
    save_views(found.dataset, found.opened)
    return found


def test_it_comes_back_as_it_was(fo, loaded, tmp_path):
    out = export_dataset(loaded.dataset, tmp_path / "shared" / "album")
    again = fo.Dataset.from_dir(
        dataset_dir=str(out), dataset_type=fo.types.FiftyOneDataset, name="again", progress=False
    )
    assert len(again) == len(loaded.dataset) == 4
    assert again.count("instances.detections") == loaded.opened.manifest.instances.num_rows
    for field in ("label", "area", "size", "index", "ia_iou_run", "tp_run", "fp_run"):
        path = f"instances.detections.{field}"
        assert again.values(path) == loaded.dataset.values(path)
    for field in ("sbdata_image_id", "n_small", "ia_run", "license"):
        assert again.values(field) == loaded.dataset.values(field)
    assert again.list_saved_views() == loaded.dataset.list_saved_views()
    assert again.mask_targets == loaded.dataset.mask_targets
    for one, two in zip(again, loaded.dataset, strict=True):
        assert one.filepath.startswith(str(out))
        assert one.ground_truth.mask_path.startswith(str(out))
        assert np.array_equal(one.ground_truth.get_mask(), two.ground_truth.get_mask())
        assert np.array_equal(one.prediction_run.get_mask(), two.prediction_run.get_mask())
        for a, b in zip(one.instances.detections, two.instances.detections, strict=True):
            assert np.array_equal(a.mask, b.mask)
    assert info_of(again)["logical_hash"] == loaded.opened.logical_hash


def test_it_names_no_path_of_this_machine(loaded, tmp_path):
    out = export_dataset(loaded.dataset, tmp_path / "out")
    for path in out.rglob("*.json"):
        assert str(tmp_path) not in path.read_text(), path
    assert (out / "README.md").read_text() == "the card"
    assert (info_of(loaded.dataset))["root"] == str(loaded.opened.root)


def test_a_folder_that_holds_something_is_refused(loaded, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="already exists"):
        export_dataset(loaded.dataset, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_an_empty_folder_is_taken_and_a_failure_leaves_nothing(loaded, tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    export_dataset(loaded.dataset, tmp_path / "out")
    assert (tmp_path / "out" / "samples.json").is_file()

    def fail(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sbdata.app.export._without_paths", fail)
    with pytest.raises(InputError, match="No space left"):
        export_dataset(loaded.dataset, tmp_path / "more" / "out")
    assert list((tmp_path / "more").iterdir()) == []
