from __future__ import annotations

import errno
from pathlib import Path

import pytest

from sbdata.app.subset import COUNTS_FILE, RECIPE_FILE, subset_manifest, write_subset
from sbdata.curate.build import rebuild_set
from sbdata.curate.inputs import Inputs
from sbdata.curate.verify import verify_set
from sbdata.errors import InputError
from sbdata.manifest import Manifest, read_manifest
from sbdata.recipe import load_recipe
from sbdata.sets import open_set


@pytest.fixture(scope="module")
def whole(shapes_set: Path) -> Manifest:
    return read_manifest(shapes_set)


def test_images_keep_all_their_objects_and_nothing_else_stays(whole: Manifest) -> None:
    chosen = whole.images["image_id"].to_pylist()[1:4]
    found = subset_manifest(whole, [*reversed(chosen), chosen[0]], "few")
    assert found.images["image_id"].to_pylist() == chosen
    for table in ("images", "instances"):
        rows = [row for row in getattr(whole, table).to_pylist() if row["image_id"] in chosen]
        assert getattr(found, table).to_pylist() == rows
    assert found.logical_hash != whole.logical_hash
    assert found.meta["chosen_from"] == {"name": whole.name, "logical_hash": whole.logical_hash}
    assert found.meta["rejected"] == {"not chosen in the app": whole.images.num_rows - 3}
    assert found.meta["synthetic"] is True


def test_all_images_are_the_same_rows_under_another_name(whole: Manifest) -> None:
    """The hash covers the name and how the images were chosen too, so it is another one."""
    found = subset_manifest(whole, whole.images["image_id"].to_pylist(), "everything")
    assert found.images.equals(whole.images)
    assert found.instances.equals(whole.instances)
    assert found.logical_hash != whole.logical_hash


def test_what_is_written_builds_the_set_that_was_seen(
    whole: Manifest, shapes_set: Path, tmp_path: Path
) -> None:
    chosen = whole.images["image_id"].to_pylist()[::3]
    folder = write_subset(whole, chosen, "seen", tmp_path / "manifests")
    assert folder == tmp_path / "manifests" / "seen"
    recipe = load_recipe(str(folder / RECIPE_FILE))
    assert (recipe.name, recipe.select) == ("seen", None)
    assert recipe.as_dict() == read_manifest(folder).meta["recipe"]
    assert f"images {len(chosen)}" in (folder / COUNTS_FILE).read_text()
    rebuild_set(folder, tmp_path / "seen", Inputs())
    assert verify_set(tmp_path / "seen") == []
    built, original = open_set(tmp_path / "seen"), open_set(shapes_set)
    assert built.image_ids == tuple(chosen)
    assert original.instances_of(chosen[0]).num_rows > 0
    for image_id in chosen:
        assert (built.class_map(image_id) == original.class_map(image_id)).all()
        assert (built.instance_map(image_id) == original.instance_map(image_id)).all()
        assert built.image_path(image_id).read_bytes() == (
            original.image_path(image_id).read_bytes()
        )


@pytest.mark.parametrize(
    ("image_ids", "name", "said"),
    [
        ([], "few", "shows no image"),
        (None, "", "not a valid name"),
        (None, "a/b", "not a valid name"),
        (None, "..", "not a valid name"),
        (None, "shapes-train", "not a valid name"),
        (["nobody"], "few", "not an image of"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(
    whole: Manifest, tmp_path: Path, image_ids: list[str] | None, name: str, said: str
) -> None:
    if image_ids is None:
        image_ids = whole.images["image_id"].to_pylist()[:1]
    with pytest.raises(InputError, match=said) as caught:
        write_subset(whole, image_ids, name, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_set_without_a_recipe_cannot_be_built_again(whole: Manifest) -> None:
    meta = {key: value for key, value in whole.meta.items() if key != "recipe"}
    with pytest.raises(InputError, match="no recipe"):
        subset_manifest(
            Manifest(whole.images, whole.instances, meta),
            whole.images["image_id"].to_pylist(),
            "few",
        )


def test_a_place_that_is_taken_or_cannot_be_written(whole: Manifest, tmp_path: Path) -> None:
    chosen = whole.images["image_id"].to_pylist()[:1]
    write_subset(whole, chosen, "few", tmp_path)
    with pytest.raises(InputError, match="already exists"):
        write_subset(whole, chosen, "few", tmp_path)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot be written"):
        write_subset(whole, chosen, "few", tmp_path / "file")


def test_a_full_disk_leaves_no_half_of_a_set(
    whole: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    chosen = whole.images["image_id"].to_pylist()[:1]
    with monkeypatch.context() as patch:
        patch.setattr("sbdata.app.subset.write_text", full)
        with pytest.raises(InputError, match="No space left"):
            write_subset(whole, chosen, "few", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    assert write_subset(whole, chosen, "few", tmp_path / "out").is_dir()
