"""What is uploaded to the Hub, seen by a client that only remembers; no network."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

from sbdata.errors import InputError
from sbdata.export.export_set import export_set
from sbdata.export.push import check_repository, open_hub, push_export, withheld_photos
from sbdata.sets import EvaluationSet, open_set
from tests.export.sets import with_columns

VOC = "PASCAL VOC 2012; images under the Flickr terms of use"


class Hub:
    """A client of the Hub that remembers what it was asked for."""

    def __init__(self) -> None:
        self.made: list[tuple[tuple, dict]] = []
        self.uploads: list[dict[str, Any]] = []

    def create_repo(self, *arguments: Any, **named: Any) -> str:
        self.made.append((arguments, named))
        return f"https://huggingface.co/datasets/{arguments[0]}"

    def upload_folder(self, **named: Any) -> None:
        root = Path(named["folder_path"])
        files = {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()}
        card = (root / "README.md").read_text()
        self.uploads.append({**named, "files": files, "card": card})


@pytest.fixture(scope="module")
def exported(pets: EvaluationSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("push") / "out"
    export_set(pets, "hf", out)
    return out


def test_photos_go_where_all_terms_allow_it(pets: EvaluationSet, exported: Path) -> None:
    hub = Hub()
    pushed = push_export(pets, exported, "lab/pets", hub)
    (upload,) = hub.uploads
    assert (pushed.note, pushed.url) == ("", "https://huggingface.co/datasets/lab/pets")
    assert upload["folder_path"] == exported
    assert "data/val-00000-of-00001.parquet" in upload["files"]
    assert {"export.json", "checksums.txt"} <= set(upload["ignore_patterns"])
    assert hub.made == [
        (("lab/pets",), {"repo_type": "dataset", "private": True, "exist_ok": True})
    ]


def test_terms_that_forbid_copies_leave_the_photos_out(
    one_split: Path, exported: Path, tmp_path: Path
) -> None:
    licences = [VOC, None, "Attribution License", "Attribution License", VOC, "CC0-1.0"]
    opened = open_set(with_columns(one_split, tmp_path / "set", license=licences))
    export_set(opened, "hf", tmp_path / "out")
    assert list((tmp_path / "out/data").iterdir()), "the folder has the photos"
    hub = Hub()
    pushed = push_export(opened, tmp_path / "out", "lab/pets", hub)
    (upload,) = hub.uploads
    assert upload["files"] == {
        "README.md", "size_distribution.svg", "manifest/images.parquet",
        "manifest/instances.parquet", "manifest/rejected.csv",
    }  # fmt: skip
    front = yaml.safe_load(upload["card"].split("---")[1])
    assert [config["config_name"] for config in front["configs"]] == ["images", "instances"]
    assert "The photos\nare not here" in upload["card"]
    assert pushed.note == (
        "the manifest alone is uploaded, because the terms of 3 of 6 photos do not allow copies "
        f"({VOC}: 2; no terms stated: 1); `sbdata dataset build` builds the set from it"
    )


def test_an_earlier_upload_of_photos_is_deleted(one_split: Path, tmp_path: Path) -> None:
    opened = open_set(with_columns(one_split, tmp_path / "set", license=[VOC] * 6))
    hub = Hub()
    push_export(opened, tmp_path, "lab/pets", hub)
    assert "data/*-of-*.parquet" in hub.uploads[0]["delete_patterns"]


@pytest.mark.parametrize(
    ("terms", "free"),
    [
        ("CC0-1.0", True),
        ("CC BY 4.0", True),
        ("CC-BY-NC-SA-4.0", True),
        ("http://creativecommons.org/licenses/by-nc-nd/2.0/", True),
        ("Attribution-NonCommercial-ShareAlike License", True),
        ("Attribution-NoDerivs License", True),
        ("No known copyright restrictions", True),
        ("United States Government Work", True),
        (VOC, False),
        ("none stated by SBD; images are VOC 2011's, under the Flickr terms of use", False),
        ("CC BY 4.0 annotations; images under the Flickr terms of use", False),
        ("not CC0", False),
        ("All rights reserved", False),
        ("", False),
        (None, False),
    ],
)
def test_terms(one_split: Path, tmp_path: Path, terms: str | None, free: bool) -> None:
    opened = open_set(one_split)
    images = opened.manifest.images
    place = images.schema.get_field_index("license")
    field = images.schema.field("license")
    changed = images.set_column(place, field, pa.array([terms] * 6, field.type))
    of = type(opened.manifest)(changed, opened.manifest.instances, opened.manifest.meta)
    assert (withheld_photos(EvaluationSet(one_split, of)) == "") is free


def test_a_refusal_of_the_hub_is_one_sentence(pets: EvaluationSet, exported: Path) -> None:
    class Closed(Hub):
        def create_repo(self, *_: Any, **__: Any) -> str:
            msg = "401 Client Error\n\x1b[2J(Request ID: 1)"
            raise RuntimeError(msg)

    with pytest.raises(InputError, match=r"--push lab/pets: the Hub did not take it \(401 Client"):
        push_export(pets, exported, "lab/pets", Closed())


@pytest.mark.parametrize("name", ["pets", "lab/pets/x", "../pets", "lab/", "a b/c", "lab/..", ""])
def test_a_name_that_is_no_repository(name: str) -> None:
    with pytest.raises(InputError, match="not ORG/NAME"):
        check_repository(name)


def test_the_real_client_takes_these_arguments(pets: EvaluationSet, exported: Path) -> None:
    pytest.importorskip("huggingface_hub", reason="the extra `hf` is not installed")
    real, hub = open_hub(), Hub()
    push_export(pets, exported, "lab/pets", hub)
    arguments, named = hub.made[0]
    inspect.signature(real.create_repo).bind(*arguments, **named)
    (upload,) = hub.uploads
    asked = {key: value for key, value in upload.items() if key not in ("files", "card")}
    inspect.signature(real.upload_folder).bind(**asked)


def test_without_the_extra_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"install it by pip install 'sbdata\[hf\]'"):
        open_hub()
