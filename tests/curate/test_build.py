from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sbdata.curate.build import Built, build_set, built_already, measure_sources, rebuild_set
from sbdata.curate.inputs import Inputs
from sbdata.curate.materialise import read_rejected
from sbdata.curate.scan_sources import compared_statistics, open_compared
from sbdata.curate.verify import verify_set
from sbdata.errors import InputError
from sbdata.manifest import read_manifest
from sbdata.masks import read_index_png
from sbdata.recipe import Filters, Recipe, Selection, SourceSpec, load_recipe
from tests.curate.conftest import ADDRESS, CocoFolder, photo, serving, write_coco
from tests.waiting import HANGS, wait_until

COCO_NAMES = ("airplane", "dining table", "dog")
SMALL_SHAPES = ["sources.0.options={seed: 0, pool: 60, train: 12}", "select.quota=3"]
PETS = Recipe(
    name="pets",
    version="pets.v1",
    taxonomy=("cat", "dog"),
    sources=(SourceSpec("coco", ("train2017",)),),
    filters=Filters(with_instances=True),
    select=Selection(quota=4),
)


def masks_of(built: Built) -> dict[str, np.ndarray]:
    return {
        f"{folder}/{path.stem}": read_index_png(path)
        for folder in ("SegmentationClass", "SegmentationObject")
        for path in sorted((built.root / folder).iterdir())
    }


def reasons(built: Built) -> dict[str, str]:
    """What was left out, but for photos without a pet."""
    listed = read_rejected(built.root / "rejected.csv")
    return {r.image_id: r.reason for r in listed if r.reason != "no_instances"}


# --- the embedded set -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Built:
    recipe = load_recipe("shapes-b", SMALL_SHAPES)
    return build_set(recipe, tmp_path_factory.mktemp("shapes") / "set", Inputs())


def test_a_set_is_whole_and_leaves_nothing_beside_it(shapes: Built) -> None:
    assert verify_set(shapes.root) == []
    assert [p.name for p in shapes.root.parent.iterdir()] == ["set"]
    assert shapes.manifest.meta["synthetic"]
    wanted = {"README.md", "dataset.json", "rejected.csv", "checksums.txt", "size_distribution.svg"}
    assert wanted <= {p.name for p in shapes.root.iterdir()}


def test_a_set_of_generated_images_is_synthetic_though_its_recipe_forgot_it(tmp_path: Path) -> None:
    options = {"seed": 0, "pool": 4, "train": 2}
    source = SourceSpec("toys", ("pool",), format="shapes", options=options)
    recipe = Recipe(name="toys", version="v", taxonomy="shapes8", sources=(source,))
    built = build_set(recipe, tmp_path / "set", Inputs())
    assert built.manifest.meta["synthetic"] is True
    assert "# toys (synthetic)" in (built.root / "README.md").read_text()
    assert verify_set(built.root) == []
    assert built_already(built.root, recipe, Inputs()) is not None
    assert measure_sources(recipe, Inputs()).synthetic


def test_the_training_set_was_compared(shapes: Built) -> None:
    (check,) = shapes.manifest.meta["leakage"]
    assert (check["training_set"], check["checked"], check["hashed"]) == ("shapes-train", True, 12)


def test_worker_counts_change_nothing(shapes: Built, tmp_path: Path) -> None:
    recipe = load_recipe("shapes-b", SMALL_SHAPES)
    again = build_set(recipe, tmp_path / "set", Inputs(workers=2))
    assert again.manifest.logical_hash == shapes.manifest.logical_hash
    assert again.manifest.meta == shapes.manifest.meta


def test_a_set_is_rebuilt_from_its_manifest_alone(shapes: Built, tmp_path: Path) -> None:
    for name in ("images.parquet", "instances.parquet"):
        target = tmp_path / "manifest" / name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes((shapes.root / name).read_bytes())
    again = rebuild_set(tmp_path / "manifest", tmp_path / "set", Inputs())
    assert again.manifest.logical_hash == shapes.manifest.logical_hash
    assert verify_set(again.root) == []
    before, after = masks_of(shapes), masks_of(again)
    assert before.keys() == after.keys()
    assert all((before[name] == after[name]).all() for name in before)


def test_a_set_that_is_there_is_verified_and_kept(shapes: Built) -> None:
    recipe = load_recipe("shapes-b", SMALL_SHAPES)
    found = built_already(shapes.root, recipe, Inputs())
    assert found is not None
    assert not found.fresh
    assert found.after == shapes.after
    with pytest.raises(InputError, match="set of another recipe"):
        built_already(shapes.root, replace(recipe, seed=1), Inputs())


def test_what_a_kill_at_the_very_end_left_is_removed(shapes: Built) -> None:
    """The set has its name already, and the folder that it was prepared in has not gone yet."""
    recipe, beside = load_recipe("shapes-b", SMALL_SHAPES), shapes.root.parent
    for left in ((".set.building", ".set.lock"), (".set.lock",), (".set.building",)):
        for name in left:
            (beside / name / "scan").mkdir(parents=True) if name[-1] == "g" else (
                beside / name
            ).touch()
        assert built_already(shapes.root, recipe, Inputs()) is not None
        assert [path.name for path in beside.iterdir()] == ["set"]
    begun = beside / ".set.building" / "set"  # by another build, which goes on
    begun.mkdir(parents=True)
    assert built_already(shapes.root, recipe, Inputs()) is not None
    assert begun.is_dir()
    shutil.rmtree(begun.parent)
    (beside / ".set.lock").unlink(missing_ok=True)


def test_foreign_and_damaged_folders_are_left_alone(tmp_path: Path) -> None:
    recipe = load_recipe("shapes-b", SMALL_SHAPES)
    assert built_already(tmp_path / "nothing", recipe, Inputs()) is None
    (tmp_path / "empty").mkdir()
    assert built_already(tmp_path / "empty", recipe, Inputs()) is None
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="is not an evaluation set"):
        built_already(mine, recipe, Inputs())
    assert (mine / "thesis.tex").is_file()
    built = build_set(recipe, tmp_path / "set", Inputs())
    next((built.root / "SegmentationClass").iterdir()).unlink()
    with pytest.raises(InputError, match=r"is damaged .*missing_file"):
        built_already(built.root, recipe, Inputs())


# --- photos on disk -------------------------------------------------------------------------------


def test_selection_balances_and_reports_what_it_could_not(coco: CocoFolder, tmp_path: Path) -> None:
    built = build_set(PETS, tmp_path / "set", Inputs(roots={"coco": coco.root}))
    counts = built.after.counts
    assert [list(row) for row in counts.values()] == [["small", "medium", "large"]] * 2
    selection = built.manifest.meta["selection"]
    for cell in selection["cells"]:
        inside = cell["lower"] <= cell["chosen"] <= cell["upper"]
        assert inside or cell["shortfall"] or cell["excess"]
    assert sum(sum(row.values()) for row in counts.values()) == built.after.instances
    assert built.before.images == 60
    assert built.after.images < 60
    assert read_manifest(built.root).images["sha256"].null_count == 0


def test_classes_outside_the_taxonomy_are_background(coco: CocoFolder, tmp_path: Path) -> None:
    built = build_set(PETS, tmp_path / "set", Inputs(roots={"coco": coco.root}))
    seen = {v for m in masks_of(built).values() for v in np.unique(m).tolist()}
    assert set(built.after.counts) == {"cat", "dog"}
    classes = [m for name, m in masks_of(built).items() if name.startswith("SegmentationClass")]
    assert {v for m in classes for v in np.unique(m).tolist()} <= {0, 1, 2}
    assert seen


def test_damaged_photos_are_left_out_and_their_cells_refilled(
    coco: CocoFolder, tmp_path: Path
) -> None:
    first = build_set(PETS, tmp_path / "first", Inputs(roots={"coco": coco.root}))
    victims = first.manifest.images["image_id"].to_pylist()[:4]
    spoilt = {
        victims[0]: photo(1)[:900],
        victims[1]: b"<!DOCTYPE html><html>not here</html>",
        victims[2]: b"",
    }
    for name, data in spoilt.items():
        (coco.photos / f"{name}.jpg").write_bytes(data)
    listed = next(i for i in coco.data["images"] if i["file_name"] == f"{victims[3]}.jpg")
    listed["width"] += 1
    coco.save()
    second = build_set(PETS, tmp_path / "second", Inputs(roots={"coco": coco.root}))
    assert reasons(second) == {
        **dict.fromkeys(victims[:3], "unreadable_image"),
        victims[3]: "image_size",
    }
    counted = second.manifest.meta["rejected"]
    assert (counted["image_size"], counted["unreadable_image"]) == (1, 3)
    assert not set(victims) & set(second.manifest.images["image_id"].to_pylist())
    assert second.after.instances >= first.after.instances - 1
    assert verify_set(second.root) == []


def test_training_images_and_their_copies_are_left_out(coco: CocoFolder, tmp_path: Path) -> None:
    plain = build_set(PETS, tmp_path / "plain", Inputs(roots={"coco": coco.root}))
    twin = plain.manifest.images["image_id"].to_pylist()[0]
    voc = tmp_path / "voc"
    (voc / "JPEGImages").mkdir(parents=True)
    (voc / "JPEGImages" / "2007_000001.jpg").write_bytes((coco.photos / f"{twin}.jpg").read_bytes())
    (voc / "ImageSets" / "Segmentation").mkdir(parents=True)
    (voc / "ImageSets/Segmentation/trainaug.txt").write_text("2007_000001\n2007_000002\n")
    recipe = replace(PETS, exclude_overlap_with=("voc-trainaug",))
    roots = {"coco": coco.root, "voc": voc}
    guarded = build_set(recipe, tmp_path / "guarded", Inputs(roots=roots))
    assert reasons(guarded) == {twin: "near_duplicate"}
    (check,) = guarded.manifest.meta["leakage"]
    said = "2 images compared by identity, 1 hashed; left out 0 members and 1 near duplicates"
    assert said in check["result"]
    alone = Inputs(roots={"coco": coco.root})
    with pytest.raises(InputError, match="overlap with voc-trainaug cannot be excluded"):
        build_set(recipe, tmp_path / "unguarded", alone)
    unchecked = replace(recipe, unchecked=("voc-trainaug",))
    unguarded = build_set(unchecked, tmp_path / "unguarded", alone)
    (check,) = unguarded.manifest.meta["leakage"]
    assert check["result"].startswith("not checked: ")
    assert twin in unguarded.manifest.images["image_id"].to_pylist()


def test_members_of_the_training_split_are_no_candidates(tmp_path: Path) -> None:
    coco = write_coco(tmp_path / "coco", 10)
    recipe = replace(PETS, exclude_overlap_with=("coco-train2017",), select=None, filters=Filters())
    with pytest.raises(InputError, match="training_member 10"):
        build_set(recipe, tmp_path / "set", Inputs(roots={"coco": coco.root}))


def test_sources_are_measured_before_any_selection(coco: CocoFolder) -> None:
    measured = measure_sources(PETS, Inputs(roots={"coco": coco.root})).statistics
    pets = [a for a in coco.data["annotations"] if a["category_id"] in (1, 2)]
    assert measured.images == 60
    assert measured.instances <= len(pets)
    assert sum(measured.area_histogram) == measured.instances


# --- photos on a server ---------------------------------------------------------------------------


def test_only_chosen_photos_are_asked_for(tmp_path: Path) -> None:
    coco = write_coco(tmp_path / "coco", 40, with_photos=False)
    with serving(lambda name: photo(int(name[:-4]))) as server:
        inputs = Inputs(roots={"coco": coco.root}, mirrors={ADDRESS: server.url})
        built = build_set(PETS, tmp_path / "set", inputs)
    ids = built.manifest.images["image_id"].to_pylist()
    assert sorted(server.asked) == sorted(f"{i}.jpg" for i in ids)
    assert len(ids) < 40


def test_what_cannot_be_had_stops_the_build_and_is_named(tmp_path: Path) -> None:
    coco = write_coco(tmp_path / "coco", 40, with_photos=False)
    out = tmp_path / "set"
    with serving(lambda name: photo(int(name[:-4]))) as server:
        inputs = Inputs(roots={"coco": coco.root}, mirrors={ADDRESS: server.url})
        chosen = build_set(PETS, out, inputs).manifest.images["image_id"].to_pylist()
    gone = f"{chosen[0]}.jpg"
    out = tmp_path / "again"
    with serving(lambda name: None if name == gone else photo(int(name[:-4]))) as server:
        inputs = replace(inputs, mirrors={ADDRESS: server.url})
        with pytest.raises(InputError, match=f"1 of .*{chosen[0]}.*answered 404.*--mirror"):
            build_set(PETS, out, inputs)
        assert not out.exists()
        asked = len(server.asked)
        built = build_set(PETS, out, replace(inputs, skip_missing=True))
    assert reasons(built) == {chosen[0]: "http"}
    assert len(server.asked) - asked < 10  # what had been fetched was kept


def test_photos_behind_a_link_that_is_not_followed_stop_the_build(tmp_path: Path) -> None:
    """Another disk is often linked to; a set of the other photos would be taken for the whole."""
    coco = write_coco(tmp_path / "coco", 4)
    linked = coco.photos / "000000000003.jpg"
    linked.rename(tmp_path / "elsewhere.jpg")
    linked.symlink_to(tmp_path / "elsewhere.jpg")
    inputs = Inputs(roots={"coco": coco.root})
    recipe = replace(PETS, select=None, filters=Filters())
    with pytest.raises(InputError, match=r"1 of 4 images .* by a link .* --skip-missing"):
        build_set(recipe, tmp_path / "set", inputs)
    built = build_set(recipe, tmp_path / "set", replace(inputs, skip_missing=True))
    assert reasons(built) == {"000000000003": "unsafe_path"}


def test_a_manifest_cannot_be_built_without_some_images(tmp_path: Path) -> None:
    coco = write_coco(tmp_path / "coco", 2)
    recipe = replace(PETS, select=None, filters=Filters())
    built = build_set(recipe, tmp_path / "set", Inputs(roots={"coco": coco.root}))
    with serving(lambda name: None) as server:
        inputs = Inputs(mirrors={ADDRESS: server.url})
        with pytest.raises(InputError, match="2 of 2 images could not be downloaded") as caught:
            rebuild_set(built.root, tmp_path / "again", inputs)
    assert "--mirror" in str(caught.value)
    assert "--skip-missing" not in str(caught.value)  # which would give another set


def test_a_compared_dataset_has_its_own_names_of_the_classes(tmp_path: Path) -> None:
    coco = write_coco(tmp_path / "coco", 2)
    coco.data["categories"] = [{"id": i, "name": n} for i, n in enumerate(COCO_NAMES, start=1)]
    coco.save()
    recipe = replace(PETS, taxonomy="voc20", compare=("coco-train2017",))
    recipe = replace(recipe, sources=(SourceSpec("voc", ("val",)),))
    inputs = Inputs(roots={"coco": coco.root})
    compared = open_compared(recipe, inputs)
    (found,) = compared_statistics(recipe, compared, tmp_path / "scan", inputs)
    wanted = Counter(annotation["category_id"] for annotation in coco.data["annotations"])
    counts = found["statistics"]["counts"]
    for number, name in enumerate(("aeroplane", "diningtable", "dog"), start=1):
        assert 0 < sum(counts[name].values()) <= wanted[number]


@pytest.mark.slow
def test_killed_and_started_again_it_ends_with_the_same_set(tmp_path: Path) -> None:
    coco = write_coco(tmp_path / "coco", 60, with_photos=False)
    recipe = tmp_path / "pets.yaml"
    recipe.write_text(
        "{name: pets, version: pets.v1, taxonomy: [cat, dog], filters: {with_instances: true}, "
        "sources: [{name: coco, splits: [train2017]}], select: {quota: 4}}"
    )
    out = tmp_path / "killed"
    killed = threading.Event()

    def answer(name: str) -> bytes:
        if server.asked.index(name) >= 3:
            killed.wait(HANGS)  # so that the build cannot end before
        return photo(int(name[:-4]))

    with serving(answer) as server:
        command = [
            sys.executable, "-m", "sbdata", "dataset", "build", str(recipe), "--out", str(out),
            "--source-root", f"coco={coco.root}", "--mirror", f"{ADDRESS}={server.url}",
        ]  # fmt: skip
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
        wait_until(lambda: len(server.asked) > 3)
        time.sleep(0.4)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        killed.set()
        assert not out.exists()
        subprocess.run(command, check=True, capture_output=True)
    with serving(lambda name: photo(int(name[:-4]))) as server:
        inputs = Inputs(roots={"coco": coco.root}, mirrors={ADDRESS: server.url})
        unbroken = build_set(load_recipe(str(recipe)), tmp_path / "unbroken", inputs)
    assert read_manifest(out).logical_hash == unbroken.manifest.logical_hash
    assert verify_set(out) == []
