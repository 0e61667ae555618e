"""FiftyOne's dataset zoo loads the set from the repository as an archive at a URL."""

from __future__ import annotations

import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import pytest
import yaml

from sbdata.app.info import info_of
from sbdata.recipe import load_recipe
from sbdata.sets import open_set
from tests.fetch.server import running

REPOSITORY = Path(__file__).resolve().parents[2]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def archive_url(tmp_path):
    """The files of the repository that the zoo may look at, as an archive on a server."""
    folder = tmp_path / "server"
    folder.mkdir()
    with zipfile.ZipFile(folder / "sbdata.zip", "w") as archive:
        found = [*REPOSITORY.glob("zoo/*.*"), *REPOSITORY.glob("sbdata/app/plugin/*.*")]
        for path in found:
            archive.write(path, Path("sbdata-main") / path.relative_to(REPOSITORY))
    with running(partial(_Quiet, directory=str(folder))) as address:
        yield f"{address}/sbdata.zip"


def test_the_zoo_loads_the_set(fo, archive_url, tmp_path, monkeypatch):
    import fiftyone.zoo as foz

    monkeypatch.setattr(fo.config, "dataset_zoo_dir", str(tmp_path / "zoo"))
    recipe = tmp_path / "few.yaml"
    few = load_recipe("shapes-train", ["sources.0.options={seed: 0, pool: 16, train: 8}"])
    recipe.write_text(yaml.safe_dump(few.as_dict()))
    dataset = foz.load_zoo_dataset(archive_url, recipe=str(recipe), persistent=True)
    assert dataset.name == "sbdata-shapes-b"
    (root,) = (tmp_path / "zoo").glob("*/set")
    opened = open_set(root)
    assert len(dataset) == len(opened) == 8
    assert dataset.count("instances.detections") == opened.manifest.instances.num_rows
    assert info_of(dataset)["logical_hash"] == opened.logical_hash
    assert "small objects" in dataset.list_saved_views()
    assert all(Path(path).is_file() for path in dataset.values("ground_truth.mask_path"))


def test_its_description_is_that_of_a_dataset():
    described = yaml.safe_load((REPOSITORY / "zoo" / "fiftyone.yml").read_text())
    assert described["type"] == "dataset"
    assert described["name"] == "sbdata-shapes-b"
    plugin = yaml.safe_load((REPOSITORY / "sbdata/app/plugin/fiftyone.yml").read_text())
    assert plugin.get("type", "plugin") == "plugin"  # or the zoo would take it for the dataset
