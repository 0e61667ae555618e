"""A small set, runs scored on it, and a database of their own for the tests of the app."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from sbdata.app.database import Database, find_mongod, running_database
from sbdata.app.environment import prepare_environment
from sbdata.curate.materialise import write_set
from sbdata.errors import InputError
from sbdata.manifest import INSTANCES_SCHEMA, images_schema, make_manifest
from sbdata.masks import encode_mask
from sbdata.score.run import ScoreOptions, score_folder
from sbdata.score.truth import truth_from_set
from sbdata.score.write import write_result
from sbdata.sets import open_set
from sbdata.sizes import SizeBins
from sbdata.taxonomy import Taxonomy

PETS = Taxonomy("pets", ("cat", "dog"))
BINS = SizeBins((16, 64), ("small", "medium", "large"))
# image id -> squares (class, top, left, side); the last image has none
SQUARES = {
    "a": [(1, 1, 1, 2), (2, 1, 6, 3), (1, 8, 8, 9)],
    "b": [(2, 0, 0, 5), (2, 10, 10, 7), (1, 20, 2, 3)],
    "c": [(1, 4, 4, 12)],
    "d": [],
}
HEIGHT, WIDTH = 26, 30

BuildAlbum = Callable[..., Path]
ScoreAlbum = Callable[..., Path]


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A real mongod for these tests alone, which FiftyOne is told to use."""
    fiftyone_variables = [name for name in os.environ if name.startswith("FIFTYONE_")]
    with pytest.MonkeyPatch.context() as patch:
        for name in fiftyone_variables:  # the tests must not meet anybody's own database
            patch.delenv(name)
        home = tmp_path_factory.mktemp("fiftyone")
        patch.setenv("FIFTYONE_CONFIG_PATH", str(home / "config.json"))
        patch.setenv("FIFTYONE_APP_CONFIG_PATH", str(home / "app_config.json"))
        patch.setenv("FIFTYONE_DEFAULT_DATASET_DIR", str(home / "datasets"))
        pytest.importorskip("fiftyone.constants", reason="FiftyOne is not installed")
        try:
            find_mongod()
        except InputError as error:
            pytest.skip(str(error))
        with running_database(home / "database") as found:
            for name in ("FIFTYONE_DATABASE_URI", "FIFTYONE_PLUGINS_DIR"):
                patch.setenv(name, "")  # so that what follows is undone in the end
            prepare_environment(found.uri, home / "plugins", validate=False)
            import fiftyone as fo

            fo.config.database_uri = found.uri  # another test may have imported it before
            fo.config.show_progress_bars = False
            yield found


@pytest.fixture
def fo(database: Database) -> Iterator[object]:
    """FiftyOne, without any dataset before and after."""
    import fiftyone

    yield fiftyone
    for name in fiftyone.list_datasets():
        fiftyone.delete_dataset(name)


@pytest.fixture
def build_album(tmp_path: Path) -> BuildAlbum:
    """A function that writes a set of squares to a folder."""

    def build(
        folder: str = "album", squares: dict | None = None, name: str = "album", bins=BINS
    ) -> Path:
        squares = SQUARES if squares is None else squares
        root = tmp_path / folder
        (root / "JPEGImages").mkdir(parents=True, exist_ok=True)
        images, instances = [], []
        for image_id, found in squares.items():
            rows = [
                _instance(image_id, number, *square, bins)
                for number, square in enumerate(found, start=1)
            ]
            images.append(_image(image_id, rows, bins))
            instances += rows
            path = root / "JPEGImages" / f"{image_id}.jpg"
            Image.new("RGB", (WIDTH, HEIGHT), (len(rows) * 40, 90, 120)).save(path)
        manifest = make_manifest(
            name,
            pa.Table.from_pylist(images, images_schema(bins)),
            pa.Table.from_pylist(instances, INSTANCES_SCHEMA),
            PETS,
            bins,
            {"synthetic": True},
        )
        write_set(manifest, root)
        return root

    return build


def _mask(top: int, left: int, side: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top : top + side, left : left + side] = True
    return mask


def _instance(image_id, number, class_id, top, left, side, bins) -> dict:
    mask = _mask(top, left, side)
    area = int(mask.sum())
    return {
        "image_id": image_id,
        "instance_id": number,
        "source": "squares" if class_id == 1 else "other",
        "source_annotation_id": f"{image_id}-{number}",
        "class_id": class_id,
        "class_name": PETS.name_of(class_id),
        "area": area,
        "area_fraction": area / mask.size,
        "bbox_x": left,
        "bbox_y": top,
        "bbox_w": side,
        "bbox_h": side,
        "size": bins.name_of(area, class_id, mask.size),
        "components": 1,
        "touches_border": top == 0,
        "is_difficult": False,
        "rle": encode_mask(mask),
    }


def _image(image_id, rows, bins) -> dict:
    void = np.zeros((HEIGHT, WIDTH), bool)
    void[:, -1] = True
    return {
        "image_id": image_id,
        "split": "val",
        "source": "squares",
        "source_image_id": image_id,
        "file_name": f"{image_id}.jpg",
        "width": WIDTH,
        "height": HEIGHT,
        "url": f"https://example.org/{image_id}.jpg",
        "license": "CC0-1.0",
        "sha256_of": "file",
        "labels": sorted({row["class_id"] for row in rows}),
        "void_rle": encode_mask(void),
        **{f"n_{size}": sum(row["size"] == size for row in rows) for size in bins.names},
    }


@pytest.fixture
def score_album(tmp_path: Path) -> ScoreAlbum:
    """A function that predicts a set with a class lost, swapped or shifted, and scores that.

    Further keywords are options of the score; ``against`` names folders that it wrote before.
    """

    def score(
        root: Path,
        name: str,
        lost: int = 0,
        shift: int = 0,
        palette: bool = False,
        swap: bool = False,
        leave_out: tuple[str, ...] = (),
        against: Sequence[str] = (),
        **options: object,
    ) -> Path:
        folder = tmp_path / "predictions" / name
        folder.mkdir(parents=True, exist_ok=True)
        opened = open_set(root)
        for image_id in opened:
            if image_id in leave_out:
                continue
            values = opened.class_map(image_id)
            values[values == 255] = 0
            values[values == lost] = 0
            if swap:
                values[values > 0] = 3 - values[values > 0]
            image = Image.fromarray(np.roll(values, shift, axis=1))
            if palette:
                image.putpalette([9, 9, 9, 0, 255, 0, 0, 0, 255])  # of fewer bits, and not VOC's
            image.save(folder / f"{image_id}.png")
        settings = ScoreOptions(**{"resamples": 0, "allow_missing": bool(leave_out), **options})
        others = [folder.parent / other for other in against]
        scored = score_folder(folder, truth_from_set(root), settings, against=others, name=name)
        return write_result(scored, tmp_path / "scores")

    return score


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the browser tests in the order of their file: they share one page, as a user does."""
    places = [place for place, item in enumerate(items) if item.path.name == "test_browser.py"]
    ordered = sorted((items[place] for place in places), key=lambda item: item.location[1] or 0)
    for place, item in zip(places, ordered, strict=True):
        items[place] = item
