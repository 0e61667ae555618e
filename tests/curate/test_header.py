"""Headers that a set cannot be described or built again from."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sbdata.curate.build import Built, build_set, built_already, rebuild_set
from sbdata.curate.header import check_header
from sbdata.curate.inputs import Inputs
from sbdata.manifest import (
    Manifest,
    ManifestError,
    SchemaError,
    logical_hash,
    read_manifest,
    write_manifest,
)
from sbdata.recipe import load_recipe

RECIPE = load_recipe("shapes-b", ["sources.0.options={seed: 0, pool: 12, train: 4}",
                                  "select.quota=1", "compare=[voc-val]"])  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build_set(RECIPE, tmp_path_factory.mktemp("header") / "set", Inputs())


def written(built: Built, folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """Write the set's manifest with another header, whose hash is right."""
    meta = copy.deepcopy(dict(built.manifest.meta))
    change(meta)
    plain = Manifest(built.manifest.images, built.manifest.instances, meta)
    meta["logical_hash"] = logical_hash(plain)
    write_manifest(plain, folder)
    return folder


def test_the_header_of_a_built_set_is_whole(built: Built) -> None:
    assert check_header(read_manifest(built.root), built.root) == RECIPE


def setting(*keys: str | int, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(meta: dict[str, Any]) -> None:
        inner: Any = meta
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value

    return change


def dropping(*keys: str | int) -> Callable[[dict[str, Any]], None]:
    def change(meta: dict[str, Any]) -> None:
        inner: Any = meta
        for key in keys[:-1]:
            inner = inner[key]
        del inner[keys[-1]]

    return change


@pytest.mark.parametrize(
    "change",
    [
        *(
            dropping(part)
            for part in ("recipe", "candidates", "rejected", "selection", "leakage", "source",
                         "compared")
        ),
        dropping("recipe", "taxonomy"),
        setting("recipe", "seed", value="zero"),
        setting("recipe", "splits", value=[]),
        dropping("candidates", "kept"),
        setting("selection", value={}),
        dropping("selection", "cells"),
        setting("selection", "cells", value=3),
        setting("selection", "cells", 0, value=3),
        dropping("selection", "cells", 5, "chosen"),
        setting("selection", "cells", 0, "upper", value="63"),
        setting("selection", "gap", value="0.5"),
        setting("leakage", value=[{}]),
        setting("leakage", 0, "checked", value="yes"),
        setting("source", value={}),
        setting("source", "images", value="many"),
        setting("source", "counts", value={}),
        dropping("source", "counts", "disc", "small"),
        setting("source", "counts", "disc", "small", value=1.5),
        setting("source", "area_histogram", value=[1, 2]),
        setting("compared", value=[{"set": "voc-val"}]),
        setting("compared", 0, "statistics", value={"images": 3}),
    ],
)  # fmt: skip
def test_a_missing_or_broken_part_is_one_sentence(
    built: Built, tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    folder = written(built, tmp_path / "manifest", change)
    with pytest.raises(SchemaError, match=r"images\.parquet: its header is") as caught:
        rebuild_set(folder, tmp_path / "out" / "set", Inputs())
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
    with pytest.raises(SchemaError, match=r"images\.parquet: its header is"):
        built_already(folder, RECIPE, Inputs())


def test_a_header_may_have_further_parts(built: Built, tmp_path: Path) -> None:
    """As a set that was chosen in the app has, or one of a later version of the selection."""
    folder = written(built, tmp_path, setting("chosen_from", value={"name": "shapes-b"}))
    written(built, tmp_path, setting("selection", "bound", value=3.0))
    assert check_header(read_manifest(folder), folder) == RECIPE


def test_a_set_whose_name_is_not_its_recipes_is_refused(built: Built, tmp_path: Path) -> None:
    folder = written(built, tmp_path, setting("name", value="better"))
    with pytest.raises(ManifestError, match="edited: its set is called 'better'"):
        read_manifest(folder)


def test_a_set_of_version_1_is_kept_and_built_again_as_it_is(built: Built, tmp_path: Path) -> None:
    def as_version_1(meta: dict[str, Any]) -> None:
        meta["version"] = 1
        recipe = meta["recipe"]
        recipe["judges"] = recipe.pop("exclude_overlap_with")
        del recipe["unchecked"]

    folder = written(built, tmp_path / "one", as_version_1)
    old = read_manifest(folder)
    assert check_header(old, folder) == RECIPE
    again = rebuild_set(folder, tmp_path / "set", Inputs())
    assert (again.manifest.meta["version"], again.manifest.logical_hash) == (1, old.logical_hash)
    assert "exclude_overlap_with:" in (again.root / "README.md").read_text()
    kept = built_already(again.root, RECIPE, Inputs())
    assert kept is not None
    assert kept.manifest.logical_hash == old.logical_hash
