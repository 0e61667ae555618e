from __future__ import annotations

from pathlib import Path

import pytest

from sbdata.errors import InputError
from sbdata.recipe import Selection, bundled_recipes, load_recipe, recipe_from_dict


@pytest.mark.parametrize("name", bundled_recipes())
def test_bundled_recipes_survive_the_round_trip_through_a_manifest(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe_from_dict(recipe.as_dict(), "header") == recipe


def test_the_promised_recipes_are_there() -> None:
    promised = {"shapes-b", "pascal-b", "pascal-b-val", "voc-val", "coco-val", "coco-val-voc20"}
    assert promised <= set(bundled_recipes())
    assert load_recipe("pascal-b").select == Selection(quota=60)
    assert load_recipe("coco-val-voc20").classes().name == "voc20"
    assert all(load_recipe(name).select is None for name in ("voc-val", "coco-val"))


def test_overrides_reach_every_level() -> None:
    recipe = load_recipe(
        "pascal-b",
        ["select.quota=7", "overlay=null", "sources.0.splits=[val2017]", "seed=3",
         "bins={edges: [10], names: [tiny, rest]}", "filters.max_crowd_share=1"],
    )  # fmt: skip
    assert recipe.select is not None
    assert recipe.select.quota == 7
    assert recipe.overlay is None
    assert recipe.sources[0].splits == ("val2017",)
    assert recipe.seed == 3
    assert recipe.bins.names == ("tiny", "rest")
    assert recipe.filters.max_crowd_share == 1.0


def test_a_whole_split_becomes_a_selection_by_one_override() -> None:
    recipe = load_recipe("voc-val", ["select.quota=5"])
    assert recipe.select == Selection(quota=5)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("selct.quota=3", "valid keys: name, version"),
        ("select.qota=3", "valid keys: quota, band"),
        ("select.quota=many", "must be int"),
        ("select.quota=true", "must be int"),
        ("select.quota=0", "at least 1"),
        ("seed=1.5", "must be int"),
        ("exclude_overlap_with=voc-trainaug", "must be a list"),
        ("exclude_overlap_with=[voc]", "SOURCE-SPLIT"),
        ("exclude_overlap_with=[voc-]", "SOURCE-SPLIT"),
        ("exclude_overlap_with=[-train]", "SOURCE-SPLIT"),
        ("compare=[voc]", "SOURCE-SPLIT"),
        ("unchecked=[coco-val2017]", "a list of names that are also in exclude_overlap_with"),
        ("judges=[my-coco-train]", "'judges', which is now called exclude_overlap_with"),
        ("judges=[my-coco-train]", "(here: [my-coco-train]); valid keys: name, version,"),
        ("judges=3", "unknown key 'judges'"),
        ("taxonomy=voc21", "known: ade100, cityscapes19, coco80, shapes8, voc20"),
        ("sources=[]", "at least one"),
        ("sources.0.splits=[val2017, val2017]", "but 'coco-val2017' is there twice"),
        ("overlay.source.splits=[]", "overlay.source.splits must be a list of at least one split"),
        ("overlay.source={name: coco, splits: [val2017]}", "but 'coco-val2017' is there twice"),
        (
            "sources=[{name: a, splits: [b-c], format: coco}, {name: a-b, splits: [c]}]",
            "but 'a-b-c' is there twice",
        ),
        ("sources.3.splits=[x]", "'3' is not an index of a list of 1; valid indices: 0 to 0"),
        ("sources.-1.name=x", "'-1' is not an index of a list of 1"),
        ("sources.-1={name: x, splits: [y]}", "'-1' is not an index"),
        ("sources.0.splits.-2=x", "'-2' is not an index of a list of 2; valid indices: 0 to 1"),
        ("sources.first.name=x", "'first' is not an index"),
        ("sources. 0.name=x", "' 0' is not an index"),
        ("sources.+0.name=x", "'+0' is not an index"),
        ("sources.0_0.name=x", "'0_0' is not an index"),
        ("sources.\u0660.name=x", "is not an index"),
        ("sources.00000000000000000000000.name=x", "is not an index"),
        ("sources..name=x", "'' is not an index"),
        ("compare.1=x", "'1' is not an index of a list of 1"),
        ("seed.0=3", "'0' is below 0, which has no keys"),
        ("name.first=x", "'first' is below 'pascal-b', which has no keys"),
        ("bins={edges: [9, 3], names: [a, b, c]}", "increase"),
        ("bins={edges: [9], names: [objects, all]}", "rename 'objects'"),
        ("filters.max_crowd_share=2", "between 0 and 1"),
        ("quota", "key=value"),
        ("seed=[", "cannot be set"),
    ],
)
def test_a_wrong_override_is_one_sentence_that_names_the_valid_ones(
    override: str, said: str
) -> None:
    with pytest.raises(InputError) as caught:
        load_recipe("pascal-b", [override])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_empty_list_has_no_place() -> None:
    with pytest.raises(InputError, match="a list of 0; valid indices: none, it is empty"):
        load_recipe("shapes-b", ["compare=[]", "compare.0=x"])


def test_places_count_from_the_front() -> None:
    recipe = load_recipe("pascal-b", ["sources.0.splits.1=test2017"])
    assert recipe.sources[0].splits == ("train2017", "test2017")


def test_an_unknown_recipe_names_the_known(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"bundled: coco-val, .*shapes-b"):
        load_recipe("pascal-c")
    with pytest.raises(InputError, match="no such recipe file"):
        load_recipe(str(tmp_path / "mine.yaml"))
    broken = tmp_path / "broken.yaml"
    broken.write_text("name: [")
    with pytest.raises(InputError, match=r"broken\.yaml: not valid YAML"):
        load_recipe(str(broken))
    broken.write_text("name: mine")
    with pytest.raises(InputError, match="missing key 'version'"):
        load_recipe(str(broken))


def test_classes_and_maps_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "{name: mine, version: mine.v1, taxonomy: [pet, vehicle], sources: [{name: mine, "
        "format: coco, splits: [train], class_map: {cat: pet, dog: pet, car: vehicle}}]}"
    )
    recipe = load_recipe(str(path))
    assert recipe.classes().classes == ("pet", "vehicle")
    assert recipe.sources[0].class_map == {"cat": "pet", "dog": "pet", "car": "vehicle"}


def test_a_recipe_does_not_list_background_as_a_class() -> None:
    classes = "taxonomy=[background, hen, fox]"
    with pytest.raises(InputError, match="taxonomy: 'background' is not a class but number 0"):
        load_recipe("coco-val", [classes, "sources.0.class_map=identity"])
