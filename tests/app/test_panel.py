"""The panel without a browser: what it draws of a view, and what view a click asks for."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest

from sbdata.app.attached import attached_runs
from sbdata.app.dataset import load_set
from sbdata.app.info import info_of, note_info
from sbdata.app.panel_data import count_outcomes
from sbdata.app.run_folder import read_run
from sbdata.app.runs import attach_run
from sbdata.app.selection import Selection, split_view
from sbdata.app.view_estimates import ia_by_size, size_names
from sbdata.errors import InputError
from sbdata.sets import open_set
from sbdata.sizes import SizeBins


@pytest.fixture
def album(fo: Any, build_album: Any, score_album: Any, tmp_path: Path) -> Any:
    """A dataset of four images, one without an object, with two runs."""
    root = build_album()
    loaded = load_set(root, tmp_path / "masks")
    for name, lost in (("all", 0), ("no dogs", 2)):
        attach_run(loaded.dataset, loaded.opened, read_run(score_album(root, name, lost=lost)))
    return loaded.dataset


class Panel:
    """The panel in a page that shows a dataset."""

    def __init__(self, dataset: Any) -> None:
        from sbdata.app.plugin.panel import ObjectSizes

        self.dataset = dataset
        self.panel = ObjectSizes()
        self.panel.plugin_name = "sbdata"
        self.request: dict[str, Any] = {"view": [], "filters": {}, "selected": []}
        self.state: dict[str, Any] = {}

    def execute(self, method: str, **params: Any) -> list[Any]:
        """Run a method as the app does, and return what it tells the page to do."""
        from fiftyone.operators.executor import ExecutionContext, Executor

        executor = Executor()
        everything = {"panel_id": "one", "panel_state": self.state, "__method__": method, **params}
        context = ExecutionContext(
            {"dataset_name": self.dataset.name, **self.request, "params": everything},
            executor=executor,
            operator_uri=self.panel.uri,
        )
        self.panel.execute(context)
        return [request.to_json() for request in executor._requests]

    def click(self, method: str, **params: Any) -> None:
        """Click, and let the page take the view that this asks for."""
        (asked,) = [r for r in self.execute(method, **params) if r["operator_uri"] == "set_view"]
        self.request["view"] = asked["params"]["view"]

    def drawn(self) -> dict[str, Any]:
        """Return the properties of what is drawn, by name."""
        asked = self.execute("on_change_view")[-1]
        assert asked["operator_uri"] == "show_panel_output"
        properties = asked["params"]["output"]["type"]["properties"]
        found = {name: value["view"] for name, value in properties.items() if name != "head"}
        head = properties["head"]["type"]["properties"] if "head" in properties else {}
        return {**found, "head": head}

    @property
    def said(self) -> str:
        return self.drawn()["head"]["said"]["default"]

    def view(self) -> Any:
        """Return the view that the grid shows."""
        import fiftyone.core.view as fov

        return fov.DatasetView._build(self.dataset, self.request["view"])


def _bars(drawn: dict[str, Any]) -> dict[str, int]:
    return {trace["name"]: sum(trace["y"]) for trace in drawn["histogram"]["data"]}


def _cells(drawn: dict[str, Any]) -> dict[tuple[str, str], int]:
    data = drawn["cells"]["data"][0]
    return {
        (label, size): n
        for label, row in zip(data["y"], data["z"], strict=True)
        for size, n in zip(data["x"], row, strict=True)
        if n is not None
    }


def test_it_draws_every_object_of_the_manifest_once(album: Any, tmp_path: Path) -> None:
    from collections import Counter

    instances = open_set(tmp_path / "album").manifest.instances.to_pylist()
    drawn = Panel(album).drawn()
    expected = Counter((row["class_name"], row["size"]) for row in instances)
    assert {cell: n for cell, n in _cells(drawn).items() if n} == dict(expected)
    bars = _bars(drawn)
    for label in ("cat", "dog"):
        assert bars[label] == sum(row["class_name"] == label for row in instances)
    plots = ["histogram", "cells", "outcomes", "sizes", "curve", "differences"]
    assert list(drawn) == [*plots, "head"]
    assert Panel(album).said == "**7 objects** in 3 images"
    names = [trace["name"] for trace in drawn["curve"]["data"]]
    assert names == ["band of all", "all", "band of no_dogs", "no dogs"]
    n = [sum(point[1] for point in drawn["curve"]["data"][k]["customdata"]) for k in (1, 3)]
    assert n == [7, 7]
    best = [y for y in drawn["curve"]["data"][1]["y"] if y is not None]
    assert best == [1.0] * len(best)


def test_it_draws_outcomes_and_intervals_as_the_summaries_have_them(
    album: Any, score_album: Any, tmp_path: Path
) -> None:
    summaries = [
        orjson.loads((tmp_path / "scores" / name / "summary.json").read_bytes())
        for name in ("all", "no dogs")
    ]
    drawn = Panel(album).drawn()
    for run, summary in enumerate(summaries):
        for trace in drawn["outcomes"]["data"]:
            kind = trace["name"].replace(" ", "_")
            found = [point[2] for point in trace["customdata"]][run::2]
            assert found == [counts[kind] for counts in summary["outcomes"].values()]
        marks = drawn["sizes"]["data"][run]
        assert marks["name"] == summary["name"]
        names = ("ia_objects", "ia_small", "ia_medium", "ia_large")
        assert marks["y"] == [summary["ia"][name]["class_mean"]["value"] for name in names]
    differences = drawn["differences"]["data"]
    assert [trace["name"] for trace in differences] == ["all − no dogs"]
    assert "A minus B" in drawn["differences"]["layout"]["title"]["text"]
    assert differences[0]["y"][0] == 0.5


def test_intervals_of_the_whole_set_are_those_of_the_summary_to_the_digit(
    fo: Any, shapes_set: Path, score_album: Any, tmp_path: Path
) -> None:
    from sbdata.app.plugin.panel import read_objects

    folder = score_album(shapes_set, "shifted", shift=7, resamples=300, seed=3)
    loaded = load_set(shapes_set, tmp_path / "masks")
    attach_run(loaded.dataset, loaded.opened, read_run(folder))
    (run,) = attached_runs(info_of(loaded.dataset)).values()
    summary = orjson.loads((folder / "summary.json").read_bytes())
    objects = read_objects(loaded.dataset, [run.name])
    bins = loaded.opened.bins
    found = ia_by_size(objects, run, loaded.opened.taxonomy.classes, bins)
    compared = 0
    for name in size_names(bins):
        for mean in ("class_mean", "instance_mean"):
            one, expected = getattr(found[name], mean), summary["ia"][name][mean]
            assert one.value == expected["value"]
            assert (one.interval is None) == (expected["interval"] is None)
            if one.interval is not None:
                ends = {"low": one.interval.low, "high": one.interval.high}
                assert ends == expected["interval"]
                compared += 1
    assert compared > 3
    counts = count_outcomes(objects, run.name, bins.names)
    assert counts.tolist() == [list(of_size.values()) for of_size in summary["outcomes"].values()]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_click_on_a_size_shows_those_objects_only(album: Any, tmp_path: Path, place: int) -> None:
    size = ("small", "medium", "large")[place]
    rows = open_set(tmp_path / "album").manifest.instances.to_pylist()
    expected = [(row["image_id"], row["area"]) for row in rows if row["size"] == size]
    panel = Panel(album)
    panel.click("on_bar", trace="(sizes)", trace_idx=2, idx=place)
    shown = [
        (image_id, area)
        for image_id, areas in zip(
            *panel.view().values(["sbdata_image_id", "instances.detections.area"]), strict=True
        )
        for area in areas
    ]
    assert sorted(shown) == sorted(expected)
    assert len(panel.view()) == len({image_id for image_id, _ in expected})
    # The panel itself keeps showing all of them, so that another can be chosen.
    assert _bars(panel.drawn())["cat"] == 4
    images = len({image_id for image_id, _ in expected})
    counted = f"{len(expected)} objects in {images} image" + "s" * (images > 1)
    assert panel.said.endswith(f"shown: **{size}**, {counted}")
    panel.click("on_bar", trace="(sizes)", trace_idx=2, idx=place)  # once more: all again
    assert len(panel.view()) == 4


def test_a_click_on_a_bar_a_cell_or_a_point_replaces_what_was_chosen(album: Any) -> None:
    panel = Panel(album)
    panel.click("on_bar", trace="dog", idx=0)
    _, chosen = split_view(panel.request["view"])
    assert (chosen.label, chosen.source) == ("dog", None)
    assert chosen.area is not None
    panel.state["stack"] = "source"
    panel.click("on_bar", trace="other", idx=1)
    _, by_source = split_view(panel.request["view"])
    assert (by_source.label, by_source.source) == (None, "other")
    assert by_source.area != chosen.area
    panel.click("on_cell", trace="(cells)", x="small", y="cat", z=1)
    assert split_view(panel.request["view"])[1] == Selection(label="cat", size="small")
    panel.click("on_cell", trace="(totals)", x="large", y="all classes", z=2)
    assert split_view(panel.request["view"])[1] == Selection(size="large")
    panel.click("on_cell", trace="(totals)", x="all sizes", y="dog", z=2)
    assert split_view(panel.request["view"])[1] == Selection(label="dog")
    panel.click("on_point", trace="all", idx=0)
    assert split_view(panel.request["view"])[1] == Selection(area=chosen.area)
    assert len(panel.request["view"]) == 1
    panel.click("on_size", trace="all", idx=1)
    assert split_view(panel.request["view"])[1] == Selection(size="small")
    panel.click("on_size", trace="all", idx=0)  # all objects
    assert panel.request["view"] == []
    panel.click("on_bar", trace="dog", idx=0)
    panel.click("on_all")
    assert panel.request["view"] == []


def test_a_click_on_an_outcome_shows_the_objects_that_ended_so(album: Any, tmp_path: Path) -> None:
    rows = pq.read_table(tmp_path / "scores" / "no dogs" / "instances.parquet").to_pylist()
    panel = Panel(album)
    labels = panel.drawn()["outcomes"]["layout"]["yaxis"]["ticktext"]
    place = labels.index("medium, no dogs")
    panel.click("on_outcome", trace="missed", idx=place)
    chosen = split_view(panel.request["view"])[1]
    assert chosen == Selection(size="medium", outcome=("no_dogs", "missed"))
    expected = sorted(
        (row["image_id"], row["instance_id"])
        for row in rows
        if row["outcome"] == "missed" and row["size"] == "medium"
    )
    assert expected
    shown = panel.view().values(["sbdata_image_id", "instances.detections.index"])
    found = [(image_id, n) for image_id, ns in zip(*shown, strict=True) for n in ns]
    assert sorted(found) == expected
    counted = len({image_id for image_id, _ in expected})
    assert f"shown: **medium, missed in no_dogs**, {len(expected)} object" in panel.said
    assert len(panel.view()) == counted
    assert _bars(panel.drawn())["cat"] == 4  # the panel itself keeps showing all
    panel.click("on_outcome", trace="missed", idx=place)
    assert len(panel.view()) == 4


def test_runs_of_another_version_of_the_metric_are_not_drawn(album: Any) -> None:
    runs = copy.deepcopy(info_of(album)["runs"])
    runs["no_dogs"]["metric"] = "ia_iou.v1"
    note_info(album, runs=runs)
    drawn = Panel(album).drawn()
    assert [trace["name"] for trace in drawn["sizes"]["data"]] == ["all"]
    assert "differences" not in drawn


def test_a_click_on_an_empty_cell_does_nothing(album: Any) -> None:
    asked = Panel(album).execute("on_cell", trace="(cells)", x="small", y="cat", z=0)
    assert [request["operator_uri"] for request in asked] == ["show_panel_output"]


def test_it_follows_the_view_its_filters_and_what_is_ticked(album: Any) -> None:
    from fiftyone import ViewField as F

    panel = Panel(album)
    cats = album.filter_labels("instances", F("label") == "cat")
    panel.request["view"] = cats._serialize()
    assert panel.said == "**4 objects** in 3 images"
    assert "dog" not in _bars(panel.drawn())
    # A click is added to the view, and taken out of it alone.
    panel.click("on_bar", trace="(sizes)", idx=0)
    assert [len(panel.request["view"]), panel.view().count("instances.detections")] == [2, 2]
    panel.click("on_all")
    assert len(panel.request["view"]) == 1
    panel.request["view"] = []
    area = {"range": [40, 200], "none": False, "exclude": False, "isMatching": False}
    panel.request["filters"] = {"instances.detections.area": area}
    assert panel.said == "**3 objects** in 3 images"
    # With a saved view, too, of which the page may send the name alone.
    album.save_view("dogs", album.filter_labels("instances", F("label") == "dog"))
    panel.request["view_name"] = "dogs"
    assert panel.said == "**1 object** in 1 image"
    panel.request["view_name"] = None
    panel.request["filters"] = {}
    (first,) = album.match(F("sbdata_image_id") == "b").values("id")
    panel.request["selected"] = [first]
    assert panel.said == "**3 objects** in 1 image"


def test_it_can_stack_by_source(album: Any) -> None:
    panel = Panel(album)
    asked = panel.execute("on_stack", value="source")
    state = [r["params"]["state"] for r in asked if r["operator_uri"] == "patch_panel_state"]
    assert state == [{"stack": "source"}]
    panel.state = {"stack": "source"}
    bars = _bars(panel.drawn())
    assert (bars["squares"], bars["other"]) == (4, 3)


def test_without_objects_or_runs_it_still_draws(fo: Any, build_album: Any, tmp_path: Path) -> None:
    dataset = load_set(build_album(squares={"e": []}, name="bare"), tmp_path / "masks").dataset
    panel = Panel(dataset)
    assert panel.said == "**0 objects** in 0 images"
    assert list(panel.drawn()) == ["histogram", "cells", "head"]


def test_an_object_drawn_in_the_app_is_left_out(fo: Any, album: Any) -> None:
    sample = album.match(fo.ViewField("sbdata_image_id") == "d").first()
    sample["instances"] = fo.Detections(detections=[fo.Detection(label="cat")])
    sample.save()
    assert Panel(album).said == "**7 objects** in 3 images"


def test_an_image_that_a_user_added_is_left_out(fo: Any, album: Any) -> None:
    before = Panel(album).drawn()["sizes"]["data"]
    album.add_sample(fo.Sample(filepath="/added.jpg"))
    assert Panel(album).said == "**7 objects** in 3 images"
    assert Panel(album).drawn()["sizes"]["data"] == before


def test_a_dataset_of_somebody_elses_is_left_alone(fo: Any) -> None:
    drawn = Panel(fo.Dataset("mine")).execute("on_load")[-1]["params"]["output"]
    (only,) = drawn["type"]["properties"].values()
    assert "not loaded by" in only["default"]


def test_fiftyone_finds_the_panel_beside_the_users_own_plugins(
    fo: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fiftyone.operators.registry import OperatorRegistry

    from sbdata.app.environment import link_plugins
    from sbdata.app.spaces import PANEL, first_spaces

    own = tmp_path / "own" / "theirs"
    own.mkdir(parents=True)
    (own / "fiftyone.yml").write_text("name: theirs\noperators: [hello]\n")
    (own / "__init__.py").write_text(
        "import fiftyone.operators as foo\n\n"
        "class Hello(foo.Operator):\n"
        "    @property\n"
        "    def config(self):\n"
        "        return foo.OperatorConfig(name='hello')\n\n"
        "def register(plugin):\n"
        "    plugin.register(Hello)\n"
    )
    monkeypatch.setenv("FIFTYONE_PLUGINS_DIR", str(own.parent))
    monkeypatch.setattr(fo.config, "plugins_dir", str(link_plugins(tmp_path / "plugins")))
    registry = OperatorRegistry()
    assert registry.list_errors() == []
    assert registry.operator_exists(f"sbdata/{PANEL}")
    assert registry.operator_exists("theirs/hello")
    panels = [panel.type for space in first_spaces().children for panel in space.children]
    assert panels == ["Samples", PANEL]


@pytest.mark.parametrize(
    ("bins", "said"),
    [
        (SizeBins(("0.6%", "2.5%")), "sizes: small is under 0.6% of the image, medium 0.6% to"),
        (SizeBins(((16, 20), (5, 300))), "sizes by class, divided in pixels (n small, medium, l"),
    ],
)
def test_sizes_of_the_sets_own(
    fo: Any, build_album: Any, score_album: Any, tmp_path: Path, bins: SizeBins, said: str
) -> None:
    root = build_album(bins=bins)
    loaded = load_set(root, tmp_path / "masks")
    other = read_run(score_album(root, "other", lost=2, bins=SizeBins((7, 20))))
    with pytest.raises(InputError, match="its sizes are divided at 7, 20 pixels, not at"):
        attach_run(loaded.dataset, loaded.opened, other)
    run = read_run(score_album(root, "no dogs", lost=2))
    attach_run(loaded.dataset, loaded.opened, run)
    drawn = Panel(loaded.dataset).drawn()
    assert drawn["head"]["edges"]["default"].startswith(said)
    rows = loaded.opened.manifest.instances.to_pylist()
    n = {size: sum(row["size"] == size for row in rows) for size in bins.names}
    assert min(n.values()) > 0
    (strip,) = [t for t in drawn["histogram"]["data"] if t["name"] == "(sizes)"]
    assert strip["text"] == [f"{size} {n[size]}" for size in bins.names]
    assert drawn["histogram"]["layout"]["shapes"] == []  # no area divides the sizes
    for (label, size), found in _cells(drawn).items():
        if label in ("cat", "dog") and size in bins.names:
            assert found == sum((r["class_name"], r["size"]) == (label, size) for r in rows)
    found = run.summary["ia"]
    assert {size: found[f"ia_{size}"]["n_instances"] for size in bins.names} == n
    names = ("ia_objects", "ia_small", "ia_medium", "ia_large")
    values = [found[name]["class_mean"]["value"] for name in names]
    assert drawn["sizes"]["data"][0]["y"] == values
    assert len(set(values)) > 1
