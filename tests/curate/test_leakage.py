from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sbdata.curate.build import build_set
from sbdata.curate.inputs import Inputs
from sbdata.curate.leakage import (
    TrainingSplit,
    describe_check,
    hash_splits,
    identities_by_file,
    open_splits,
    training_duplicates,
    training_members,
)
from sbdata.curate.materialise import read_rejected
from sbdata.curate.scan_sources import open_all
from sbdata.errors import InputError
from sbdata.masks import write_index_png
from sbdata.recipe import Recipe, SourceSpec, load_recipe
from sbdata.sources import FORMATS, Member, open_source, register_source
from sbdata.sources.identity import published_image

HASHES = {"t1": "0" * 16, "t2": "f" * 16}


def row(image_id: str, source: str) -> dict[str, str]:
    return {"image_id": image_id, "source": source, "file_name": f"{image_id}.jpg"}


def test_members_are_found_by_any_of_their_identities() -> None:
    split = TrainingSplit("coco-train2017", members=2, identities=frozenset({"coco 7", "/x/8.jpg"}))
    rows = [row("a", "mine"), row("b", "lvis"), row("c", "voc"), row("d", "coco")]
    identities = {
        ("mine", "a.jpg"): ("coco 7", "/y/a.jpg"),
        ("lvis", "b.jpg"): ("coco 9", "/x/8.jpg"),
        ("voc", "c.jpg"): ("voc 7",),
        ("coco", "d.jpg"): ("coco 8",),
    }
    found = training_members(rows, identities, split)
    assert [(r.image_id, r.reason) for r in found] == [
        ("a", "training_member"),
        ("b", "training_member"),
    ]
    assert found[0].detail == "an image of coco-train2017"


def test_an_image_that_its_source_does_not_list_stops_the_guard() -> None:
    with pytest.raises(InputError, match=r"source voc: a\.jpg is annotated, but its split"):
        training_members([row("a", "voc")], {}, TrainingSplit("voc-trainaug"))


def test_near_duplicates_are_found_within_the_distance() -> None:
    split = TrainingSplit("voc-trainaug", hashes=HASHES)
    rows = [row("near", "coco"), row("far", "coco"), row("unhashed", "coco")]
    hashes = {"near": "000000000000000f", "far": "000000000000001f"}
    found = training_duplicates(rows, hashes, split, bits=4)
    assert [(r.image_id, r.reason, r.detail) for r in found] == [
        ("near", "near_duplicate", "looks like t1 of voc-trainaug")
    ]
    assert len(training_duplicates(rows, hashes, split, bits=5)) == 2


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("a/2012_004331.jpg", "voc 2012_004331"),
        ("2006_000001.jpg", None),  # a year without a VOC challenge of this naming
        ("2024_000001.jpg", None),
        ("000000581929.jpg", "coco 581929"),
        ("COCO_train2014_000000000009.jpg", "coco 9"),
        ("202611301530.jpg", None),  # a time; COCO has no such number
    ],
)
def test_names_like_the_published_ones_are_no_identity(name: str, image: str | None) -> None:
    assert published_image(name) == image


def test_what_was_not_checked_is_said() -> None:
    absent = describe_check(TrainingSplit("voc-trainaug", checked=False), 0, 0)
    assert absent["checked"] is False
    assert absent["result"] == "not checked: the recipe lists it under `unchecked`"
    part = describe_check(TrainingSplit("x-y", members=3, hashes=HASHES), 1, 2)
    assert part["checked"]
    assert "3 images compared by identity, 2 hashed" in part["result"]
    assert "left out 1 members and 2 near duplicates" in part["result"]
    assert part["result"].endswith("1 of its images are not at hand and were not hashed")
    broken = describe_check(TrainingSplit("x-y", members=3, hashes=HASHES, unreadable=1), 0, 0)
    assert broken["result"].endswith("; 1 of its images cannot be decoded and were not hashed")


@dataclass(frozen=True)
class Painted:
    """A training split of two images, one of them absent."""

    name: str
    split: str
    generated: bool = False

    def members(self) -> list[Member]:
        return [Member("1", "one.jpg"), Member("2", "two.jpg")]

    def image_bytes(self, file_name: str) -> bytes | None:
        if file_name == "two.jpg":
            return None
        pixels = np.random.default_rng(1).integers(0, 255, (8, 8, 3), np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).resize((64, 64)).save(stream, "JPEG")
        return stream.getvalue()


def painted_recipe(**changes: object) -> Recipe:
    plain = Recipe(
        name="r", version="r.v1", taxonomy="voc20", sources=(SourceSpec("painted", ("pool",)),),
        exclude_overlap_with=("painted-train",),
    )  # fmt: skip
    return replace(plain, **changes)


@pytest.fixture
def painted_format() -> Iterator[None]:
    register_source("painted", lambda spec, split, root: Painted(spec.name, split))
    yield
    FORMATS.unregister("painted")


@pytest.mark.usefixtures("painted_format")
def test_splits_are_opened_by_name_and_hashed(tmp_path: Path) -> None:
    opened = open_splits(painted_recipe(), {})
    (painted,) = hash_splits(opened, tmp_path)
    assert painted.members == 2
    assert set(painted.hashes) == {"1"}
    assert hash_splits(opened, tmp_path) == [painted]
    assert [path.name for path in tmp_path.iterdir()] == ["0.json"]


@pytest.mark.usefixtures("painted_format")
@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("voc-trainaug", "--source-root voc=PATH"),
        ("my-coco-train2017", "no source format called 'my'"),
        ("shapes-test", "no split 'test'"),
    ],
)
def test_a_split_that_cannot_be_read_stops_the_build(named: str, said: str) -> None:
    recipe = painted_recipe(exclude_overlap_with=("painted-train", named))
    with pytest.raises(InputError) as caught:
        open_splits(recipe, {})
    text = str(caught.value)
    assert said in text
    assert f"overlap with {named} cannot be excluded" in text
    assert f"--set 'unchecked=[{named}]'" in text
    assert "\n" not in text


@pytest.mark.usefixtures("painted_format")
def test_a_split_listed_as_unchecked_is_not_read_though_it_could_be(tmp_path: Path) -> None:
    recipe = painted_recipe(unchecked=("painted-train",))
    (split,) = hash_splits(open_splits(recipe, {}), tmp_path)
    assert split == TrainingSplit("painted-train", checked=False)


def test_images_without_identities_are_known_within_their_format_and_folder(tmp_path: Path) -> None:
    members = [Member("1", "one.jpg"), Member("2", "two.jpg", ("coco 2",))]
    one = identities_by_file(SourceSpec("a", ("x",), format="f"), tmp_path, members)
    assert one["two.jpg"] == ("coco 2",)
    assert one == identities_by_file(SourceSpec("b", ("y",), format="f"), tmp_path / ".", members)
    for spec, root in (
        (SourceSpec("a", ("x",), format="g"), tmp_path),
        (SourceSpec("a", ("x",), format="f"), tmp_path / "other"),
    ):
        assert identities_by_file(spec, root, members)["one.jpg"] != one["one.jpg"]


# --- what a source is, against what it is called -------------------------------------------------


def photo_bytes(name: str) -> bytes:
    """A JPEG that no other name's resembles."""
    pixels = np.random.default_rng(list(name.encode())).integers(0, 255, (6, 8, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).resize((64, 48), Image.Resampling.BICUBIC).save(stream, "JPEG")
    return stream.getvalue()


def coco_folder(root: Path, splits: dict[str, dict[int, str]], url: str = "") -> Path:
    """Write COCO-format annotations, by split: ids and names of images with a cat on each."""
    for split, images in splits.items():
        listed = [
            {"id": i, "file_name": name, "width": 64, "height": 48}
            | ({"coco_url": f"{url}/{name}"} if url else {})
            for i, name in images.items()
        ]
        square = [[5, 5, 40, 5, 40, 40, 5, 40]]
        annotations = [
            {"id": i, "image_id": i, "category_id": 17, "segmentation": square, "iscrowd": 0}
            for i in images
        ]
        data = {
            "images": listed,
            "annotations": annotations,
            "categories": [{"id": 17, "name": "cat"}],
        }
        path = root / "annotations" / f"instances_{split}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(data))
        (root / split).mkdir(exist_ok=True)
        for name in images.values():
            (root / split / name).write_bytes(photo_bytes(f"{root.name}/{name}"))
    return root


def cats(source: SourceSpec, *excluded: str, **changes: object) -> Recipe:
    plain = Recipe(
        name="cats", version="cats.v1", taxonomy=("cat",), sources=(source,),
        exclude_overlap_with=excluded, near_duplicate_bits=0,
    )  # fmt: skip
    return replace(plain, **changes)


def numbered(*ids: int) -> dict[int, str]:
    return {i: f"{i:012d}.jpg" for i in ids}


@pytest.mark.parametrize("name", ["coco", "my_coco", "my-coco", "voc", "photos of mine", "COCO"])
def test_a_training_image_is_found_whatever_its_source_is_called(tmp_path: Path, name: str) -> None:
    """The photos differ, so that the published number alone can tell."""
    mine = coco_folder(tmp_path / "mine", {"val2017": numbered(3, 4)})
    theirs = coco_folder(tmp_path / "coco", {"train2017": numbered(1, 3), "other": {}})
    recipe = cats(SourceSpec(name, ("val2017",), format="coco"), "coco-train2017")
    roots = {"coco": theirs, name: mine}
    if name == "coco":
        coco_folder(mine, {"train2017": numbered(1, 3)})
    built = build_set(recipe, tmp_path / "set", Inputs(roots=roots))
    assert built.manifest.images["image_id"].to_pylist() == ["000000000004"]
    (check,) = built.manifest.meta["leakage"]
    assert check["checked"]
    assert "left out 1 members" in check["result"]


def test_an_image_of_two_training_splits_is_left_out_once(tmp_path: Path) -> None:
    """One by its number, one as a copy of other names in both."""
    root = coco_folder(
        tmp_path / "coco",
        {
            "val2017": {**numbered(3, 4), 5: "ours.jpg"},
            "train2017": {**numbered(3), 51: "copy.jpg"},
            "more": {**numbered(3), 52: "again.jpg"},
        },
    )
    for copy in ("train2017/copy.jpg", "more/again.jpg"):
        (root / copy).write_bytes((root / "val2017" / "ours.jpg").read_bytes())
    recipe = cats(SourceSpec("coco", ("val2017",)), "coco-train2017", "coco-more")
    built = build_set(recipe, tmp_path / "set", Inputs(roots={"coco": root}))
    assert built.manifest.images["image_id"].to_pylist() == ["000000000004"]
    assert built.manifest.meta["rejected"] == {"near_duplicate": 1, "training_member": 1}
    assert len(read_rejected(built.root / "rejected.csv")) == 2
    for check in built.manifest.meta["leakage"]:
        assert "left out 1 members and 1 near duplicates" in check["result"]


@pytest.mark.parametrize("name", ["my-coco", "my-own-coco"])
def test_a_split_of_a_source_with_hyphens_is_found(tmp_path: Path, name: str) -> None:
    root = coco_folder(tmp_path / "c", {"val2017": numbered(3, 4), "train2017": numbered(1, 3)})
    recipe = cats(SourceSpec(name, ("val2017",), format="coco"), f"{name}-train2017")
    built = build_set(recipe, tmp_path / "set", Inputs(roots={name: root}))
    assert built.manifest.images["image_id"].to_pylist() == ["000000000004"]


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        ("COCO_val2014_000000000009.jpg", "000000000009.jpg"),
        ("9.jpg", "000000000009.jpg"),
        ("val-0009.jpg", "000000000009.jpg"),
        ("000000000009.jpg", "renamed-9.jpg"),
    ],
)
def test_other_spellings_of_a_published_name_are_known(
    tmp_path: Path, mine: str, theirs: str
) -> None:
    ours = coco_folder(tmp_path / "mine", {"val2017": {9: mine, 42: "000000000042.jpg"}})
    coco = coco_folder(tmp_path / "coco", {"train2017": {9: theirs}, "other": {}})
    recipe = cats(SourceSpec("mine", ("val2017",), format="coco"), "coco-train2017")
    built = build_set(recipe, tmp_path / "set", Inputs(roots={"mine": ours, "coco": coco}))
    assert built.manifest.images["image_id"].to_pylist() == ["000000000042"]


def test_images_with_one_address_are_one_image(tmp_path: Path) -> None:
    ours = coco_folder(tmp_path / "mine", {"val": {1: "a.jpg", 2: "b.jpg"}}, "http://x.org")
    more = coco_folder(tmp_path / "more", {"train": {9: "b.jpg"}, "o": {}}, "https://x.org")
    spec = SourceSpec("mine", ("val",), format="coco")
    recipe = cats(spec, "more-train", sources=(spec, SourceSpec("more", ("o",), format="coco")))
    with pytest.raises(InputError, match="it lists no images"):
        open_all(recipe, Inputs(roots={"mine": ours, "more": more}))
    coco_folder(more, {"o": {5: "e.jpg"}})
    built = build_set(recipe, tmp_path / "set", Inputs(roots={"mine": ours, "more": more}))
    assert built.manifest.images["image_id"].to_pylist() == ["a", "e"]


def test_equal_ids_of_datasets_that_are_not_published_are_no_overlap(tmp_path: Path) -> None:
    """Files of COCO's format number their images from 1, whatever the images are."""
    root = coco_folder(
        tmp_path / "yard", {"val": {1: "v1.jpg", 2: "v2.jpg"}, "train": {1: "t7.jpg", 2: "t8.jpg"}}
    )
    coco = coco_folder(tmp_path / "coco", {"train2017": numbered(1, 2), "other": {}})
    spec = SourceSpec("yard", ("val",), format="coco")
    recipe = cats(spec, "yard-train", "coco-train2017")
    built = build_set(recipe, tmp_path / "set", Inputs(roots={"yard": root, "coco": coco}))
    assert built.manifest.images["image_id"].to_pylist() == ["v1", "v2"]


def test_own_images_in_splits_named_like_those_of_coco_are_no_images_of_coco(
    tmp_path: Path,
) -> None:
    """Each split numbers its images from 1, and so do the names."""
    names = {1: "img_0001.jpg", 42: "img_0042.jpg"}
    moved = {i: f"new_{name}" for i, name in names.items()}
    root = coco_folder(tmp_path / "yard", {"val2017": names, "train2017": moved})
    coco = coco_folder(tmp_path / "coco", {"train2017": numbered(42), "other": {}})
    recipe = cats(
        SourceSpec("yard", ("val2017",), format="coco"), "yard-train2017", "coco-train2017"
    )
    built = build_set(recipe, tmp_path / "set", Inputs(roots={"yard": root, "coco": coco}))
    assert built.manifest.images["image_id"].to_pylist() == ["img_0001", "img_0042"]


@pytest.mark.parametrize(
    ("number", "category", "known"),
    [
        (42, {"id": 17, "name": "cat"}, True),
        (42, {"id": 90, "name": "toothbrush"}, True),
        (42, {"id": 92, "name": "banner"}, True),  # of COCO-Stuff
        (42, {"id": 1, "name": "cat"}, False),
        (42, {"id": 0, "name": "cat"}, False),
        (42, {"id": 12, "name": "street sign"}, False),
        (8, {"id": 17, "name": "cat"}, False),
        (581_930, {"id": 17, "name": "cat"}, False),
    ],
)
def test_a_number_in_a_name_is_that_of_coco_if_the_file_has_the_ids_of_coco(
    tmp_path: Path, number: int, category: dict, known: bool
) -> None:
    root = coco_folder(tmp_path, {"train2017": {number: f"renamed-{number}.jpg"}})
    file = root / "annotations/instances_train2017.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "categories": [category]}))
    (member,) = open_source(SourceSpec("coco", ("train2017",)), "train2017", root).members()
    assert (f"coco {number}" in member.identities) == known


def test_the_same_file_in_two_splits_is_one_image(tmp_path: Path) -> None:
    root = coco_folder(tmp_path / "yard", {"val": {1: "a.jpg", 2: "b.jpg"}, "train": {7: "b.jpg"}})
    spec = SourceSpec(
        "yard", ("val",), format="coco", annotations="annotations/instances_{split}.json",
        images="val",
    )  # fmt: skip
    built = build_set(cats(spec, "yard-train"), tmp_path / "set", Inputs(roots={"yard": root}))
    assert built.manifest.images["image_id"].to_pylist() == ["a"]


def test_renamed_photos_are_known_by_their_content(tmp_path: Path) -> None:
    ours = coco_folder(tmp_path / "mine", {"val": {1: "a.jpg", 2: "b.jpg"}})
    coco = coco_folder(tmp_path / "coco", {"train2017": numbered(391895), "other": {}})
    data = (coco / "train2017" / "000000391895.jpg").read_bytes()
    (ours / "val" / "b.jpg").write_bytes(data)
    recipe = cats(SourceSpec("mine", ("val",), format="coco"), "coco-train2017")
    built = build_set(recipe, tmp_path / "set", Inputs(roots={"mine": ours, "coco": coco}))
    assert built.manifest.images["image_id"].to_pylist() == ["a"]


def voc_folder(root: Path, name: str, ids: list[str]) -> Path:
    (root / "ImageSets" / "Segmentation").mkdir(parents=True, exist_ok=True)
    (root / "ImageSets" / "Segmentation" / f"{name}.txt").write_text("\n".join(ids) + "\n")
    for folder in ("JPEGImages", "SegmentationClass", "SegmentationObject"):
        (root / folder).mkdir(exist_ok=True)
    for image_id in ids:
        photo = root / "JPEGImages" / f"{image_id}.jpg"
        photo.write_bytes(photo_bytes(f"{root.name}/{image_id}"))
        mask = np.zeros((48, 64), np.uint8)
        mask[5:40, 5:40] = 1
        for folder in ("SegmentationClass", "SegmentationObject"):
            write_index_png(root / folder / f"{image_id}.png", mask)
    return root


def test_a_voc_folder_of_another_name_is_voc_all_the_same(tmp_path: Path) -> None:
    ours = voc_folder(tmp_path / "pascal", "val", ["2007_000027", "2007_000033"])
    voc = voc_folder(tmp_path / "voc", "trainaug", ["2007_000033", "2008_000002"])
    spec = SourceSpec("pascal", ("val",), format="voc", options={"classes": ["cat"]})
    built = build_set(
        cats(spec, "voc-trainaug"), tmp_path / "set", Inputs(roots={"pascal": ours, "voc": voc})
    )
    assert built.manifest.images["image_id"].to_pylist() == ["2007_000027"]


def test_generated_images_of_another_seed_are_others(tmp_path: Path) -> None:
    def members(seed: int) -> list[tuple[str, ...]]:
        spec = SourceSpec("toys", ("train",), format="shapes", options={"seed": seed, "train": 3})
        return [m.identities for m in open_source(spec, "train", None).members()]

    assert members(0) == members(0)
    assert not set(members(0)) & set(members(1))
    options = {"seed": 0, "train": 6}
    spec = SourceSpec("toys", ("train",), format="shapes", options=options)
    recipe = replace(cats(spec, "shapes-train", unchecked=()), taxonomy="shapes8", synthetic=True)
    with pytest.raises(InputError, match="training_member 6"):
        build_set(recipe, tmp_path / "set", Inputs())


def test_photos_of_a_built_set_are_left_out(tmp_path: Path) -> None:
    root = coco_folder(tmp_path / "coco", {"val2017": numbered(3, 4), "train2017": numbered(3, 5)})
    scored = cats(SourceSpec("coco", ("val2017",)), "coco-none", unchecked=("coco-none",))
    build_set(replace(scored, name="scored"), tmp_path / "scored", Inputs(roots={"coco": root}))
    rest = cats(SourceSpec("coco", ("train2017",)), "scored-val", unchecked=())
    roots = {"coco": root, "scored": tmp_path / "scored"}
    built = build_set(rest, tmp_path / "rest", Inputs(roots=roots))
    assert built.manifest.images["source_image_id"].to_pylist() == ["5"]
    (told,) = built.manifest.meta["leakage"]
    assert told["members"] == 2


def test_a_build_that_is_refused_leaves_nothing(tmp_path: Path) -> None:
    root = coco_folder(tmp_path / "c" / "coco", {"val2017": numbered(3, 4)})
    recipe = cats(SourceSpec("coco", ("val2017",)), "coco-train2017")
    with pytest.raises(InputError, match=r"instances_train2017\.json: no such file"):
        build_set(recipe, tmp_path / "out" / "set", Inputs(roots={"coco": root}))
    assert not (tmp_path / "out").exists()


def test_the_card_and_the_manifest_say_what_was_not_checked(tmp_path: Path) -> None:
    root = coco_folder(tmp_path / "coco", {"val2017": numbered(3, 4)})
    recipe = cats(SourceSpec("coco", ("val2017",)), "coco-train2017", unchecked=("coco-train2017",))
    built = build_set(recipe, tmp_path / "set", Inputs(roots={"coco": root}))
    (check,) = built.manifest.meta["leakage"]
    assert check["checked"] is False
    card = (built.root / "README.md").read_text()
    assert "- `coco-train2017`: not checked: the recipe lists it under `unchecked`" in card
    assert built.manifest.meta["recipe"]["unchecked"] == ["coco-train2017"]


def test_the_bundled_recipes_exclude_what_the_paper_trains_on() -> None:
    assert load_recipe("pascal-b").exclude_overlap_with == ("voc-trainaug",)
    assert "coco-train2017" in load_recipe("pascal-b-val").exclude_overlap_with
