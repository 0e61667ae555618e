"""The registry: complete, of plausible hashes, and strict about what a user's own may hold."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from sbdata.errors import InputError
from sbdata.recipe import bundled_recipes, load_recipe
from sbdata.settings import as_plain
from sbdata.sources.published import load_registry

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "fetch-sources.md"
SHA = "0" * 64
FILE = {"name": "a.zip", "urls": ["https://example.org/a.zip"], "size": 5, "sha256": SHA}
SOURCE = {
    "name": "own", "purpose": "p", "license": "l", "citation": "c", "homepage": "h", "files": [FILE]
}  # fmt: skip


def write(path: Path, *sources: dict[str, Any], **more: Any) -> Path:
    path.write_text(yaml.safe_dump({"sources": list(sources), **more}))
    return path


def test_every_bundled_file_can_be_checked_and_says_its_terms() -> None:
    registry = load_registry()
    for source in registry.sources:
        assert all((source.purpose, source.license, source.citation, source.homepage))
        for file in source.files:
            assert file.sha256
            assert file.size
            assert len(file.sha256) == 64
            assert file.urls[0].startswith("https://")
            assert all(url.rpartition("/")[2] == file.name for url in file.urls)


def test_the_published_sizes_are_as_recorded_elsewhere() -> None:
    """Bytes as TensorFlow Datasets and the Detection API list them; SBD's by torchvision's log."""
    sizes = {file.name: file.size for source in load_registry().sources for file in source.files}
    assert sizes == {
        "VOCtrainval_11-May-2012.tar": 1_999_639_040,
        "benchmark.tgz": 1_419_539_633,
        "annotations_trainval2017.zip": 252_907_541,
        "annotations_trainval2014.zip": 252_872_794,
        "lvis_v1_train.json.zip": 350_264_821,
        "lvis_v1_val.json.zip": 64_026_968,
        "train2017.zip": 19_336_861_798,
        "val2017.zip": 815_585_330,
        "train2014.zip": 13_510_573_713,
        "val2014.zip": 6_645_013_297,
    }


def guide_rows() -> dict[str, list[str]]:
    """Return the cells of the table of sources in the guide, by source."""
    text = GUIDE.read_text(encoding="utf-8")
    table = text.partition("| source | to download |")[2].partition("\n\n")[0]
    rows = {}
    for line in table.splitlines()[2:]:
        names, sizes, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        together = zip(re.findall(r"`([^`]+)`", names), sizes.split(", "), strict=True)
        rows |= {name: [size, *cells] for name, size in together}
    for cells in rows.values():
        for i, cell in enumerate(cells):
            if other := re.fullmatch(r"as `([^`]+)`", cell):
                cells[i] = rows[other[1]][i]
    return rows


def test_the_guide_tells_every_byte_term_and_citation() -> None:
    rows = guide_rows()
    registry = load_registry()
    assert set(rows) == {source.name for source in registry.sources}
    for source in registry.sources:
        size, _, terms, cited = rows[source.name]
        assert size == f"{sum(file.size or 0 for file in source.files):,}"
        for words in ("CC BY 4.0", "none stated", "Flickr terms of use"):
            assert (words in terms) == (words in source.license), (source.name, terms)
        authors, _, where = cited.partition(", ")
        assert source.citation.startswith(authors)
        assert where in source.citation


def test_the_guide_tells_which_recipe_needs_what() -> None:
    rows = guide_rows()
    for name in bundled_recipes():
        recipe = load_recipe(name)
        specs = [*recipe.sources, *([recipe.overlay.source] if recipe.overlay else [])]
        for source in {spec.name for spec in specs} - {"shapes"}:
            assert f"`{name}`" in rows[source][1], (name, source)


def test_the_registry_that_the_documentation_shows_is_one(tmp_path: Path) -> None:
    page = GUIDE.read_text(encoding="utf-8")
    (shown,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "mine.yaml").write_text(shown)
    registry = load_registry(tmp_path / "mine.yaml")
    (voc,), (yard,) = (source.files for source in registry.sources)
    bundled = load_registry()
    assert [(voc.size, voc.sha256)] == [(f.size, f.sha256) for f in bundled.source("voc").files]
    assert (yard.size, yard.sha256, yard.md5) == (None, None, None)
    assert registry.train_aug_images == bundled.train_aug_images


def test_every_source_of_a_bundled_recipe_can_be_fetched() -> None:
    names = {source.name for source in load_registry().sources}
    for recipe in map(load_recipe, bundled_recipes()):
        specs = [*recipe.sources, *([recipe.overlay.source] if recipe.overlay else [])]
        assert {spec.name for spec in specs} - {"shapes"} <= names
        assert {named.partition("-")[0] for named in recipe.compare} <= names


def test_parts_of_coco_share_its_folder() -> None:
    sources = load_registry().sources
    assert {source.place for source in sources} == {"voc", "sbd", "coco", "lvis"}


def test_a_registry_of_ones_own(tmp_path: Path) -> None:
    plain = {"name": "b.tgz", "urls": ["http://example.org/b.tgz"]}
    path = write(tmp_path / "mine.yaml", {**SOURCE, "folder": "shared", "files": [FILE, plain]})
    registry = load_registry(path)
    (source,) = registry.sources
    assert source.place == "shared"
    assert registry.train_aug_images is None
    assert as_plain(source.files[1]) == {**plain, "size": None, "sha256": None, "md5": None}
    with pytest.raises(InputError, match=r"no published source called 'x'; choose from own"):
        registry.source("x")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "../own"}, "plain names"),
        ({"folder": "a/b"}, "plain names"),
        ({"folder": "archives"}, "plain names"),
        ({"folder": ".hidden"}, "plain names"),
        ({"files": []}, "at least one file"),
        ({"colour": "red"}, "unknown key 'colour'"),
        ({"files": [{**FILE, "name": "a/b.zip"}]}, "a plain one"),
        ({"files": [{**FILE, "name": "a.rar"}]}, "ends in .tar"),
        ({"files": [{**FILE, "urls": []}]}, "https or http"),
        ({"files": [{**FILE, "urls": ["ftp://example.org/a.zip"]}]}, "https or http"),
        ({"files": [{**FILE, "urls": ["file:///etc/passwd"]}]}, "https or http"),
        ({"files": [{**FILE, "size": 0}]}, "positive number"),
        ({"files": [{**FILE, "size": "5 MB"}]}, "size must be int"),
        ({"files": [{**FILE, "sha256": "12"}]}, "64 lower-case hex"),
        ({"files": [{**FILE, "sha256": SHA.replace("0", "A")}]}, "64 lower-case hex"),
        ({"files": [{**FILE, "md5": SHA}]}, "32 lower-case hex"),
        ({"files": [FILE, FILE]}, "file a.zip is listed twice"),
    ],
)
def test_what_cannot_be_right_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = write(tmp_path / "mine.yaml", {**SOURCE, **change})
    with pytest.raises(InputError, match=said) as raised:
        load_registry(path)
    assert "mine.yaml" in str(raised.value)


def test_two_sources_of_one_name_are_refused(tmp_path: Path) -> None:
    other = {**SOURCE, "files": [{**FILE, "name": "b.zip"}]}
    with pytest.raises(InputError, match="source own is listed twice"):
        load_registry(write(tmp_path / "mine.yaml", SOURCE, other))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such registry file"):
        load_registry(tmp_path / "none.yaml")
