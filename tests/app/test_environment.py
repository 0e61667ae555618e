"""What FiftyOne is told, and what the user said before stays."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sbdata.app.environment import configured_uri, link_plugins, prepare_environment


@pytest.fixture(autouse=True)
def bare(monkeypatch, tmp_path):
    """No settings but those of the test."""
    for name in (
        "FIFTYONE_DATABASE_URI",
        "FIFTYONE_PLUGINS_DIR",
        "FIFTYONE_DEFAULT_DATASET_DIR",
        "FIFTYONE_DO_NOT_TRACK",
        "FIFTYONE_DATABASE_VALIDATION",
        "FIFTYONE_APP_DEFAULT_QUERY_PERFORMANCE",
        "FIFTYONE_SHOW_PROGRESS_BARS",
        "FIFTYONE_LOGGING_LEVEL",
    ):
        monkeypatch.setenv(name, "x")  # so that the test's own changes are undone
        monkeypatch.delenv(name)
    monkeypatch.setenv("FIFTYONE_CONFIG_PATH", str(tmp_path / "config.json"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def said() -> dict[str, str]:
    import os

    return {name: value for name, value in os.environ.items() if name.startswith("FIFTYONE_")}


def test_no_call_home_unless_the_user_wants_it(monkeypatch):
    prepare_environment("mongodb://127.0.0.1:1", Path("plugins"), validate=False)
    assert said()["FIFTYONE_DO_NOT_TRACK"] == "true"
    assert said()["FIFTYONE_DATABASE_URI"] == "mongodb://127.0.0.1:1"
    assert said()["FIFTYONE_PLUGINS_DIR"] == "plugins"
    assert said()["FIFTYONE_DATABASE_VALIDATION"] == "false"
    monkeypatch.setenv("FIFTYONE_DO_NOT_TRACK", "false")
    prepare_environment("mongodb://127.0.0.1:1", Path("plugins"), validate=False)
    assert said()["FIFTYONE_DO_NOT_TRACK"] == "false"


def test_a_database_of_the_users_own_is_validated_as_ever():
    prepare_environment("mongodb://127.0.0.1:1", Path("plugins"), validate=True)
    assert "FIFTYONE_DATABASE_VALIDATION" not in said()


def test_the_database_is_that_of_the_environment_or_else_of_the_configuration(
    tmp_path, monkeypatch
):
    assert configured_uri() is None
    (tmp_path / "config.json").write_text(json.dumps({"database_uri": "mongodb://there"}))
    assert configured_uri() == "mongodb://there"
    monkeypatch.setenv("FIFTYONE_DATABASE_URI", "mongodb://here")
    assert configured_uri() == "mongodb://here"


@pytest.mark.parametrize("text", ["{", "[]", "null", '{"database_uri": ""}'])
def test_an_odd_configuration_names_no_database(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    assert configured_uri() is None


@pytest.mark.parametrize("place", ["default", "datasets", "file", "variable"])
def test_the_users_plugins_are_linked_beside_ours(tmp_path, monkeypatch, place):
    folders = {
        "default": tmp_path / "home" / "fiftyone" / "__plugins__",
        "datasets": tmp_path / "datasets" / "__plugins__",
        "file": tmp_path / "file",
        "variable": tmp_path / "variable",
    }
    folder = folders[place]
    (folder / "theirs").mkdir(parents=True)
    (folder / "theirs" / "fiftyone.yml").write_text("name: theirs")
    (folder / "notes.txt").write_text("no plugin")
    if place == "datasets":
        monkeypatch.setenv("FIFTYONE_DEFAULT_DATASET_DIR", str(tmp_path / "datasets"))
    if place == "file":
        (tmp_path / "config.json").write_text(json.dumps({"plugins_dir": str(folder)}))
    if place == "variable":
        monkeypatch.setenv("FIFTYONE_PLUGINS_DIR", str(folder))
    linked = link_plugins(tmp_path / "linked")
    assert sorted(entry.name for entry in linked.iterdir()) == ["sbdata", "theirs"]
    assert (linked / "theirs" / "fiftyone.yml").read_text() == "name: theirs"
    assert (linked / "sbdata" / "fiftyone.yml").is_file()
    assert (folder / "theirs").is_dir()
    assert not (folder / "theirs").is_symlink()


def test_links_are_made_anew_and_may_be_of_links(tmp_path, monkeypatch):
    theirs = tmp_path / "variable"
    (theirs / "one").mkdir(parents=True)
    monkeypatch.setenv("FIFTYONE_PLUGINS_DIR", str(theirs))
    linked = link_plugins(tmp_path / "linked")
    (theirs / "one").rename(theirs / "two")
    link_plugins(linked)
    assert sorted(entry.name for entry in linked.iterdir()) == ["sbdata", "two"]
    monkeypatch.setenv("FIFTYONE_PLUGINS_DIR", str(linked))  # as in a process that we started
    link_plugins(linked)
    assert sorted(entry.name for entry in linked.iterdir()) == ["sbdata", "two"]
    assert (linked / "two").resolve() == (theirs / "two").resolve()
