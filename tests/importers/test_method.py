"""Imports as methods: found by name, linked into a stage, and not changed unseen."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra `train` is not installed")

from sbdata.benchmark.imported import (
    absolute_import,
    find_import,
    import_folder,
    method_name,
    paper_of,
)
from sbdata.benchmark.stage import Stage, code_of
from sbdata.errors import InputError
from sbdata.importers.folder import Request, import_masks
from sbdata.importers.target import Target
from sbdata.masks import read_index_png, write_index_png
from sbdata.train.devices import DistributedContext
from sbdata.weak_labels.weak_set import WeakSet, weak_set
from tests.benchmark.stage_runs import folder_of, key_of, run_stage
from tests.importers.published import MASKS, save_picture


@pytest.fixture
def work(target: Target, tmp_path: Path) -> Path:
    """A work folder with the import ``right``."""
    for image_id, mask in MASKS.items():
        save_picture(tmp_path / "published" / f"{image_id}.png", mask, "L")
    request = Request(tmp_path / "published", target, "right", source="rca")
    import_masks(request, tmp_path / "work" / "imports" / "right")
    return tmp_path / "work"


@pytest.fixture
def weak(target: Target, tmp_path: Path) -> WeakSet:
    assert target.opened is not None
    return weak_set(target.opened, tmp_path / "weak")


def run(stage: Stage, weak: WeakSet, root: Path) -> Path:
    place = DistributedContext.__new__(DistributedContext)  # is not looked at
    return run_stage(stage, weak, root, 0, place, lambda done, total: None)


def test_the_stage_has_the_masks(work: Path, weak: WeakSet, tmp_path: Path) -> None:
    record, stage = find_import("import:right", work)
    assert (method_name(record), record.supervision) == ("import-right", ("image_labels",))
    assert paper_of(record) == ("imported masks: RCA, CVPR 2022, https://github.com/maeve07/RCA")
    folder = run(stage, weak, tmp_path / "stages")
    masks = {p.stem: read_index_png(p) for p in folder.glob("*.png")}
    assert sorted(masks) == sorted(MASKS)
    for image_id, mask in MASKS.items():
        np.testing.assert_array_equal(masks[image_id], mask)
        assert not (folder / f"{image_id}.png").is_symlink()


def test_the_key_depends_on_the_masks_and_not_on_where_they_lie(work, weak, tmp_path) -> None:
    _, stage = find_import("import:right", work)
    shutil.copytree(work / "imports" / "right", tmp_path / "elsewhere" / "moved")
    _, moved = find_import(f"import:{tmp_path / 'elsewhere' / 'moved'}", work)
    assert key_of(moved, weak, 0) == key_of(stage, weak, 0)
    assert code_of(stage) == code_of(moved)
    record = tmp_path / "elsewhere" / "moved" / "import.json"
    digest = stage.settings.masks_sha256
    record.write_text(record.read_text().replace(digest, "0" * 64))
    _, changed = find_import(f"import:{record.parent}", work)
    assert key_of(changed, weak, 0) != key_of(stage, weak, 0)


def test_masks_that_changed_are_refused(work: Path, weak: WeakSet, tmp_path: Path) -> None:
    masks = work / "imports" / "right" / "masks"
    _, stage = find_import("import:right", work)
    write_index_png(masks / "2007_000039.png", np.zeros_like(MASKS["2007_000039"]))
    with pytest.raises(InputError, match=r"not those recorded in import\.json"):
        run(stage, weak, tmp_path / "stages")
    folder = folder_of(stage, weak, tmp_path / "stages", 0)
    assert not (folder / ".stage.json").exists()
    write_index_png(masks / "2007_000039.png", np.zeros((3, 4), np.uint8))
    with pytest.raises(InputError, match="4 x 3 pixels, but its image has 11 x 16"):
        run(stage, weak, tmp_path / "stages")
    (masks / "2007_000039.png").unlink()
    with pytest.raises(InputError, match="no mask of image 2007_000039"):
        run(stage, weak, tmp_path / "stages")


def test_names_of_imports(work: Path, tmp_path: Path, monkeypatch) -> None:
    assert import_folder("import:right", work) == work / "imports" / "right"
    assert import_folder("import:some/where", work) == Path("some/where")
    assert import_folder("import:./right/", work) == Path("right")
    with pytest.raises(InputError, match=r"no such import \(existing: right\)"):
        import_folder("import:wrong", work)
    with pytest.raises(InputError, match=r"no such import \(existing: none\)"):
        import_folder("import:wrong", tmp_path / "nowhere")
    with pytest.raises(InputError, match="invalid import name"):
        import_folder("import:", work)
    with pytest.raises(InputError, match="not an import; make one by `sbdata pseudo import`"):
        find_import(f"import:{tmp_path}", work)
    monkeypatch.chdir(tmp_path)
    assert absolute_import("import:some/where") == f"import:{tmp_path}/some/where"
    assert absolute_import("import:right") == "import:right"
    assert absolute_import("some/where") == "some/where"
