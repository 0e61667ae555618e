"""Sets with sizes of their own: the edges are resolved, stored, proved and used for scores."""

from __future__ import annotations

import shutil
from fractions import Fraction
from pathlib import Path

import pyarrow as pa
import pytest
import yaml

from sbdata.curate.build import Built, build_set, built_already, measure_sources, rebuild_set
from sbdata.curate.inputs import Inputs
from sbdata.curate.materialise import write_checksums
from sbdata.curate.scan_sources import has_labels_only
from sbdata.curate.verify import verify_set
from sbdata.errors import InputError
from sbdata.manifest import Manifest, logical_hash, read_manifest, size_counts, write_manifest
from sbdata.recipe import Recipe, load_recipe
from sbdata.score.run import ScoreOptions, score_folder
from sbdata.score.truth import truth_from_set

FORMS = ["terciles", "terciles-by-class", "{edges: [0.50%, 5%]}"]


def recipe_of(bins: str, *more: str) -> Recipe:
    settings = ["sources.0.options={seed: 0, pool: 30, train: 4}", "select.quota=2"]
    return load_recipe("shapes-b", [*settings, f"bins={bins}", *more])


@pytest.fixture(scope="module", params=FORMS)
def built(request, tmp_path_factory) -> tuple[Recipe, Built]:
    recipe = recipe_of(request.param)
    return recipe, build_set(recipe, tmp_path_factory.mktemp("own") / "set", Inputs())


def thirds(areas: list[int]) -> tuple[int, ...] | None:
    """The smallest areas that hold one and two thirds of all, plus one."""
    ordered = sorted(areas)
    ends = [next((a for a in ordered if 3 * sum(b <= a for b in ordered) >= k * len(ordered)), 0)
            for k in (1, 2)]  # fmt: skip
    return (ends[0] + 1, ends[1] + 1) if 0 < ends[0] < ends[1] < ordered[-1] else None


def test_edges_are_those_of_the_candidates_and_stored(built) -> None:
    recipe, found = built
    meta, bins = found.manifest.meta, found.manifest.bins
    assert meta["recipe"]["bins"] == meta["bins"]
    everything = build_everything(recipe, found.root.parent / "all")
    rows = everything.instances.select(["area", "class_id", "image_id"]).to_pylist()
    if recipe.bins == "terciles":
        assert bins.edges == thirds([row["area"] for row in rows])
    elif recipe.bins == "terciles-by-class":
        whole = thirds([row["area"] for row in rows])
        own = [thirds([row["area"] for row in rows if row["class_id"] == c]) for c in range(1, 9)]
        assert bins.edges == tuple(edges or whole for edges in own)
    else:
        assert bins.edges == ("0.5%", "5%")
        assert "asked_bins" not in meta
        return
    assert meta["asked_bins"] == {"bins": recipe.bins, "instances": len(rows), "over_all": []}


def build_everything(recipe: Recipe, out: Path) -> Manifest:
    """Return the manifest of all candidates."""
    every = recipe_of("{}", "select=null", "near_duplicate_bits=null")
    if out.is_dir():
        return read_manifest(out)
    return build_set(every, out, Inputs()).manifest


def test_every_row_follows_the_edges_and_the_set_is_proved(built, tmp_path: Path) -> None:
    recipe, found = built
    manifest, bins = read_manifest(found.root), found.manifest.bins
    sides = {r["image_id"]: r["width"] * r["height"] for r in manifest.images.to_pylist()}
    counts: dict[str, list[str]] = {}
    for row in manifest.instances.to_pylist():
        edges = bins.edges_of(row["class_id"])
        area = Fraction(row["area"])
        if bins.relative:
            area, edges = area / sides[row["image_id"]], (Fraction(1, 200), Fraction(1, 20))
        assert row["size"] == bins.names[sum(area >= edge for edge in edges)]
        counts.setdefault(row["image_id"], []).append(row["size"])
    for row in manifest.images.to_pylist():
        assert [row[f"n_{size}"] for size in bins.names] == [
            counts.get(row["image_id"], []).count(size) for size in bins.names
        ]
    assert verify_set(found.root) == []
    again = built_already(found.root, recipe, Inputs())
    assert again is not None
    assert not again.fresh
    rebuilt = rebuild_set(found.root, tmp_path / "again", Inputs())
    assert rebuilt.manifest.logical_hash == manifest.logical_hash
    with pytest.raises(InputError, match="holds a set of another recipe"):
        built_already(found.root, recipe_of("{edges: [30, 90]}"), Inputs())


def test_verify_finds_a_size_by_other_edges(built, tmp_path: Path) -> None:
    _, found = built
    shutil.copytree(found.root, tmp_path / "set")
    manifest = found.manifest
    sizes = manifest.instances["size"].to_pylist()
    sizes[0] = "large" if sizes[0] == "small" else "small"
    place = manifest.instances.schema.get_field_index("size")
    field = manifest.instances.schema.field(place)
    wrong = manifest.instances.set_column(place, field, pa.array(sizes))
    meta = dict(manifest.meta)
    edited = Manifest(manifest.images, wrong, meta)
    meta["logical_hash"] = logical_hash(edited)
    write_manifest(edited, tmp_path / "set")
    write_checksums(tmp_path / "set")
    assert "the size of an instance does not match" in str(verify_set(tmp_path / "set"))


def test_scores_of_the_set_have_its_sizes(built) -> None:
    _, found = built
    truth = truth_from_set(found.root)
    scored = score_folder(found.root / "SegmentationClass", truth, ScoreOptions(resamples=0))
    manifest = found.manifest
    assert scored.bins == manifest.bins
    counts = size_counts(manifest.instances, manifest.taxonomy, manifest.bins)
    assert scored.summary.counts_of(manifest.taxonomy.classes) == counts
    assert all(figure.class_mean == 1 for figure in scored.summary.ia.values())


def test_the_card_says_the_edges_and_n(built) -> None:
    recipe, found = built
    text = (found.root / "README.md").read_text()
    assert (
        yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])["bins"]
        == (found.manifest.meta["bins"])
    )
    if recipe.bins == "terciles":
        first, second = found.manifest.bins.edges
        assert f"small: 0 to below {first:,}; medium: {first:,} to below {second:,}" in text
        n = found.manifest.meta["asked_bins"]["instances"]
        assert f"The edges are the terciles of the {n:,} candidates' areas." in text
    elif recipe.bins == "terciles-by-class":
        assert "| class | edges (pixels) | small | medium | large |" in text
        lines = [line for line in text.splitlines() if line.startswith("| disc | ")]
        disc = next(line for line in lines if " and " in line)
        first, second = found.manifest.bins.edges_of(1)
        counts = list(found.after.counts["disc"].values())
        assert disc == f"| disc | {first:,} and {second:,} | {' | '.join(map(str, counts))} |"
    else:
        assert "small: 0% to below 0.5%; medium: 0.5% to below 5%; large: 5% and more" in text


def test_sources_are_measured_by_the_recipes_bins() -> None:
    measured = measure_sources(recipe_of("terciles-by-class"), Inputs())
    assert measured.bins.by_class
    assert measured.notes == ()
    for row in measured.statistics.counts.values():
        assert 3 * row["small"] >= sum(row.values())


def test_impossible_bins_are_refused() -> None:
    with pytest.raises(InputError, match="bins must be one of terciles, terciles-by-class"):
        recipe_of("quartiles")
    with pytest.raises(InputError, match=r"bins.edges by class must be a list for each of its 8"):
        recipe_of("{edges: [[4, 9], [5, 7]]}")
    with pytest.raises(InputError, match="a share up to 100%"):
        recipe_of("{edges: [small, large]}")
    with pytest.raises(InputError, match="labels only, but bins: terciles needs masks; leave it"):
        has_labels_only(recipe_of("terciles", "select=null"), pa.table({"labels_only": [True]}))


def test_classes_without_terciles_of_their_own_are_named(tmp_path: Path) -> None:
    few = ("sources.0.options={seed: 0, pool: 4, train: 1}", "select=null")
    built = build_set(recipe_of("terciles-by-class", *few), tmp_path / "set", Inputs())
    named = built.manifest.meta["asked_bins"]["over_all"]
    counts = {name: sum(row.values()) for name, row in built.after.counts.items()}
    assert named
    areas = built.manifest.instances["area"].to_pylist()
    for k, name in enumerate(counts, start=1):
        rows = built.manifest.instances.to_pylist()
        own = (
            thirds([row["area"] for row in rows if row["class_id"] == k]) if counts[name] else None
        )
        assert (name in named) == (own is None and counts[name] > 0)
        assert built.manifest.bins.edges_of(k) == (own or thirds(areas))
    said = f"; those over all classes for {', '.join(named)}."
    assert said in (built.root / "README.md").read_text()
    assert verify_set(built.root) == []
    tiny = ("sources.0.options={seed: 0, pool: 1, train: 1}", "select=null")
    with pytest.raises(InputError, match=r"recipe shapes-b: the areas of .* too few or too alike"):
        build_set(recipe_of("terciles", *tiny, "taxonomy=[ring]"), tmp_path / "no", Inputs())
