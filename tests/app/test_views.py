"""Saved views hold the objects that the tables say, counted here by hand."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest

from sbdata.app.dataset import load_set
from sbdata.app.run_folder import read_run
from sbdata.app.runs import attach_run, detach_runs
from sbdata.app.views import arrange_sidebar, save_views, thin_cells
from sbdata.sets import open_set
from sbdata.sizes import SizeBins


@pytest.fixture
def loaded(fo, build_album, tmp_path):
    return load_set(build_album(), tmp_path / "masks")


@pytest.fixture
def with_runs(loaded, score_album):
    """Runs that lose cats and dogs, and one that is shifted."""
    rows = {}
    for name, how in (("nocat", {"lost": 1}), ("nodog", {"lost": 2}), ("far", {"shift": 5})):
        folder = score_album(loaded.opened.root, name, **how)
        attach_run(loaded.dataset, loaded.opened, read_run(folder))
        rows[name] = pq.read_table(folder / "instances.parquet").to_pylist()
    return loaded, rows


def objects_of(view) -> set[tuple[str, int]]:
    ids, numbers = view.values(["sbdata_image_id", "instances.detections.index"])
    return {(i, n) for i, ns in zip(ids, numbers, strict=True) for n in ns}


def test_small_objects(loaded):
    save_views(loaded.dataset, loaded.opened)
    rows = loaded.opened.manifest.instances.to_pylist()
    expected = {(r["image_id"], r["instance_id"]) for r in rows if r["size"] == "small"}
    assert objects_of(loaded.dataset.load_saved_view("small objects")) == expected
    assert len(expected) == 3


def test_images_richest_in_small_objects(loaded):
    save_views(loaded.dataset, loaded.opened)
    view = loaded.dataset.load_saved_view("richest in small objects")
    assert view.values("n_small") == [2, 1]
    assert view.values("sbdata_image_id") == ["a", "b"]


def test_without_runs_there_are_no_views_of_runs(loaded):
    names = save_views(loaded.dataset, loaded.opened)
    assert names == ("small objects", "richest in small objects", "thin cells")
    assert loaded.dataset.list_saved_views() == list(names)


def test_what_every_run_missed(with_runs):
    loaded, rows = with_runs
    save_views(loaded.dataset, loaded.opened)
    missed = [
        {
            (r["image_id"], r["instance_id"])
            for r in table
            if r["size"] == "small" and r["outcome"] == "missed"
        }
        for table in rows.values()
    ]
    every = set.intersection(*missed)
    view = loaded.dataset.load_saved_view("small objects missed by every run")
    assert objects_of(view) == every
    assert every == set()  # a cat is found by one of the first two, a dog by the other
    detach_runs(loaded.dataset, ["nocat"])
    save_views(loaded.dataset, loaded.opened)
    view = loaded.dataset.load_saved_view("small objects missed by every run")
    assert objects_of(view) == missed[1] & missed[2]
    assert missed[1] & missed[2]


def test_the_largest_difference_comes_first(with_runs):
    loaded, rows = with_runs
    names = save_views(loaded.dataset, loaded.opened)
    assert [n for n in names if "difference" in n] == [
        "largest difference: nocat minus nodog",
        "largest difference: nocat minus far",
        "largest difference: nodog minus far",
    ]
    largest: dict[str, float] = {}
    for one, two in zip(rows["nodog"], rows["far"], strict=True):
        change = abs(one["ia_iou"] - two["ia_iou"])
        largest[one["image_id"]] = max(change, largest.get(one["image_id"], 0))
    assert len(set(largest.values())) > 1  # or the order would be anybody's
    name = "largest difference: nodog minus far"
    described = next(v for v in loaded.dataset.list_saved_views(info=True) if v["name"] == name)
    assert "A minus B with A = nodog and B = far" in described["description"]
    view = loaded.dataset.load_saved_view(name)
    shown = view.values("sbdata_image_id")
    assert sorted(shown) == sorted(largest)
    assert [largest[i] for i in shown] == sorted(largest.values(), reverse=True)


def test_views_that_no_longer_apply_go_and_the_users_stay(with_runs):
    loaded, _ = with_runs
    loaded.dataset.save_view("mine", loaded.dataset.limit(1))
    save_views(loaded.dataset, loaded.opened)
    assert len(loaded.dataset.list_saved_views()) == 8
    detach_runs(loaded.dataset, ["nocat", "nodog", "far"])
    names = save_views(loaded.dataset, loaded.opened)
    assert sorted(loaded.dataset.list_saved_views()) == sorted(["mine", *names])
    assert len(names) == 3


def test_thin_cells_are_shown(loaded):
    save_views(loaded.dataset, loaded.opened)
    cells = {(label, size) for label, size, _ in thin_cells(loaded.opened)}
    rows = loaded.opened.manifest.instances.to_pylist()
    expected = {
        (r["image_id"], r["instance_id"]) for r in rows if (r["class_name"], r["size"]) in cells
    }
    assert objects_of(loaded.dataset.load_saved_view("thin cells")) == expected


def squares_of(cells: dict[tuple[int, int], int]) -> dict:
    """One image an object: class and side to how many."""
    found = [(c, 0, 0, side) for (c, side), n in cells.items() for _ in range(n)]
    return {f"i{k:03}": [square] for k, square in enumerate(found)}


@pytest.mark.parametrize(
    ("cells", "thin"),
    [
        # under ten are always thin, the fewest first; cells without any are left out
        ({(1, 2): 30, (1, 5): 9, (2, 2): 3}, [("dog", "small", 3), ("cat", "medium", 9)]),
        # half the median of 40, 40 and 15 is 20
        ({(1, 2): 40, (1, 5): 40, (2, 9): 15}, [("dog", "large", 15)]),
        # none is thin: the smallest stands for them
        ({(1, 2): 12, (1, 5): 11}, [("cat", "medium", 11)]),
        ({}, []),
    ],
)
def test_which_cells_are_thin(build_album, cells, thin):
    assert thin_cells(open_set(build_album(squares=squares_of(cells) or {"a": []}))) == thin


def test_other_sizes_give_other_names(fo, build_album, tmp_path):
    bins = SizeBins((4, 81), ("very-tiny", "mid", "big"))
    loaded = load_set(build_album(bins=bins), tmp_path / "masks")
    names = save_views(loaded.dataset, loaded.opened)
    assert names[:2] == ("very-tiny objects", "richest in very-tiny objects")
    view = loaded.dataset.load_saved_view(names[1])
    assert view.count() == sum(n > 0 for n in loaded.dataset.values("n_very_tiny"))


def test_the_sidebar_has_every_field_once(with_runs):
    loaded, _ = with_runs
    arrange_sidebar(loaded.dataset)
    groups = {g.name: list(g.paths) for g in loaded.dataset.app_config.sidebar_groups}
    assert groups["objects"] == ["instances"]
    assert groups["masks"][:2] == ["ground_truth", "prediction_nocat"]
    assert "ia_small_far" in groups["scores"]
    paths = [path for paths in groups.values() for path in paths]
    assert len(paths) == len(set(paths))
    for field in loaded.dataset.get_field_schema():
        shown = field in paths or any(path.startswith(f"{field}.") for path in paths)
        assert shown or field == "tags", field
