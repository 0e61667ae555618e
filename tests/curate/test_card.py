from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import mlcroissant
import pytest
import yaml

from sbdata.curate.build import Built, build_set
from sbdata.curate.card import FIGURE, balance_cells, card_figure, dataset_card
from sbdata.curate.inputs import Inputs
from sbdata.curate.statistics import (
    QUANTILES,
    area_edges,
    counts_as_text,
    statistics_from,
    statistics_of,
)
from sbdata.curate.verify import verify_set
from sbdata.manifest import read_manifest
from sbdata.recipe import load_recipe
from sbdata.sizes import SizeBins


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    settings = ["sources.0.options={seed: 0, pool: 30, train: 4}", "select.quota=2"]
    out = tmp_path_factory.mktemp("card") / "set"
    return build_set(load_recipe("shapes-b", settings), out, Inputs())


def test_the_card_says_what_a_reader_must_know(built: Built) -> None:
    text = (built.root / "README.md").read_text()
    front = yaml.safe_load(text.split("---")[1])
    assert front["license"] == "cc0-1.0"
    assert text.count("# shapes-b (synthetic)") == 1
    for part in (built.manifest.logical_hash, "shapes_b.v1", "CC0-1.0", "shapes-train", "```yaml"):
        assert part in text
    rows = dict(re.findall(r"^\| (\w+) \| ([\d, |]+) \|$", text, re.MULTILINE))
    for name, row in built.after.counts.items():
        assert [int(n.replace(",", "")) for n in rows[name].split(" | ")] == list(row.values())
    recipe = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)[0])
    assert recipe == built.manifest.meta["recipe"]


def test_croissant_is_valid_and_its_records_are_the_rows(built: Built) -> None:
    dataset = mlcroissant.Dataset(built.root / "dataset.json")
    assert not dataset.metadata.ctx.issues.errors
    records = list(dataset.records("instances"))
    rows = built.manifest.instances.to_pylist()
    assert len(records) == len(rows)
    key = {(r["instances/image_id"].decode(), r["instances/instance_id"]) for r in records}
    assert key == {(r["image_id"], r["instance_id"]) for r in rows}
    plain = json.loads((built.root / "dataset.json").read_text())
    assert plain["conformsTo"][0].endswith("croissant/1.1")


def test_the_figure_is_drawn_alike_every_time_and_the_card_shows_it(built: Built) -> None:
    written = (built.root / FIGURE).read_text("utf-8")
    assert written == card_figure(built.manifest, built.after, built.before).standalone()
    assert f"]({FIGURE})" in (built.root / "README.md").read_text()
    titles = [e.text for e in ElementTree.fromstring(written).iter() if e.tag.endswith("title")]  # noqa: S314
    for name, row in built.after.counts.items():
        for size, n in row.items():
            assert f"{name}, {size}: {n:,}" in titles or (
                n == 0 and f"{name}, {size}: none" in titles
            )


def test_the_logical_hash_does_not_depend_on_the_figure(built: Built, tmp_path: Path) -> None:
    copy = tmp_path / "set"
    shutil.copytree(built.root, copy)
    (copy / FIGURE).write_text("another")
    assert read_manifest(copy).logical_hash == built.manifest.logical_hash
    assert [(d.path, d.kind) for d in verify_set(copy)] == [(FIGURE, "changed_file")]


def test_a_figure_of_an_empty_set_can_be_drawn(built: Built) -> None:
    nothing = statistics_of(
        0, built.manifest.instances.slice(0, 0), built.manifest.taxonomy, SizeBins()
    )
    assert nothing.area_quantiles == ()
    ElementTree.fromstring(card_figure(built.manifest, nothing, nothing))  # noqa: S314


def test_statistics_are_those_of_the_rows(built: Built) -> None:
    rows = built.manifest.instances.to_pylist()
    areas = sorted(row["area"] for row in rows)
    after = built.after
    assert after.instances == len(rows)
    for name, row in after.counts.items():
        for size, n in row.items():
            assert n == sum(r["class_name"] == name and r["size"] == size for r in rows)
    middle = QUANTILES.index(0.5)
    assert (after.area_quantiles[0], after.area_quantiles[-1]) == (areas[0], areas[-1])
    assert after.area_quantiles[middle] == areas[(len(areas) - 1) // 2]
    edges = area_edges()
    for low, high, n in zip(edges, edges[1:], after.area_histogram, strict=False):
        assert n == sum(low <= a < high for a in areas)
    assert statistics_from(after.as_dict(), built.manifest) == after


def test_statistics_of_a_stored_manifest_have_its_sizes_in_order(built: Built) -> None:
    stored = read_manifest(built.root)  # its header is JSON with sorted keys
    before = statistics_from(stored.meta["source"], stored)
    assert before.sizes == ("small", "medium", "large")
    assert list(before.counts) == list(stored.taxonomy.classes)
    small = sum(row["small"] for row in before.counts.values()) / before.instances
    assert balance_cells(before)[-1] == f"{small:.1%}"
    assert (
        dataset_card(stored, built.after).split("```yaml")[0]
        == dataset_card(built.manifest, built.after).split("```yaml")[0]
    )


@pytest.mark.parametrize(
    ("images", "words"),
    [(999, "n<1K"), (1_000, "1K<n<10K"), (99_999, "10K<n<100K"), (118_287, "100K<n<1M")],
)
def test_the_card_says_how_many_images_there_are(built: Built, images: int, words: str) -> None:
    text = dataset_card(built.manifest, replace(built.after, images=images))
    assert yaml.safe_load(text.split("---")[1])["size_categories"] == [words]


def test_the_text_twin_has_the_counts(built: Built) -> None:
    lines = counts_as_text(built.manifest).splitlines()
    table = {line.split()[0]: list(map(int, line.split()[1:])) for line in lines[4:]}
    assert table == {name: list(row.values()) for name, row in built.after.counts.items()}


@pytest.mark.parametrize(
    "bins",
    [
        SizeBins((), ("all",)),
        SizeBins((400,), ("little", "big")),
        SizeBins((64, 400, 1600, 9000), ("xs", "s", "m", "l", "xl")),
    ],
    ids=lambda bins: f"{len(bins.names)} sizes",
)
def test_a_set_of_any_number_of_sizes_is_built_whole(bins: SizeBins, tmp_path: Path) -> None:
    settings = [
        "sources.0.options={seed: 0, pool: 20, train: 4}",
        "select.quota=2",
        f"bins={{edges: {list(bins.edges)}, names: [{', '.join(bins.names)}]}}",
    ]
    built = build_set(load_recipe("shapes-b", settings), tmp_path / "set", Inputs())
    assert verify_set(built.root) == []
    assert read_manifest(built.root).bins == bins
    figure = ElementTree.fromstring((built.root / FIGURE).read_text("utf-8"))  # noqa: S314
    said = ["".join(e.itertext()) for e in figure.iter() if e.tag.endswith("text")]
    assert set(bins.names) <= set(said)
    counted = counts_as_text(built.manifest).splitlines()[3]
    assert counted.split() == ["class", *bins.names]
    card = (built.root / "README.md").read_text()
    assert f"| class | {' | '.join(bins.names)} |" in card
    assert f"{bins.names[0]}: 0 {'to' if bins.edges else 'and more'}" in card
