"""The command line as a user meets it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import sbdata as sbdata_package
from sbdata.cli import cli
from sbdata.curate.materialise import write_checksums
from sbdata.errors import InputError
from sbdata.manifest import Manifest, logical_hash, read_manifest, write_manifest
from tests.cli.command import sbdata

QUICKSTART = Path(sbdata_package.__file__).parent / "quickstart_set"
SETTINGS = (
    "--set", "sources.0.options={seed: 0, pool: 40, train: 8}",
    "--set", "select.quota=2",
    "--workers", "1",
)  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cli") / "set"
    sbdata("dataset", "build", "shapes-b", "--out", out, *SETTINGS)
    return out


def test_build_says_what_where_and_what_next(built: Path) -> None:
    said = sbdata("dataset", "build", "shapes-b", "--out", built, *SETTINGS).stdout
    for part in ("(synthetic)", "crescent", "before", "after", "every file verified", str(built)):
        assert part in said
    for part in ("logical hash", "sbdata dataset stats", "leakage, shapes-train"):
        assert part in said


def test_build_as_json(built: Path) -> None:
    done = sbdata("dataset", "build", "shapes-b", "--out", built, "--json", *SETTINGS)
    assert done.stderr == ""
    said = json.loads(done.stdout)
    assert said["fresh"] is False
    assert said["synthetic"] is True
    assert said["after"]["images"] < said["before"]["images"] == 40
    assert len(said["selection"]["cells"]) == 24


def test_verify_says_good_and_bad_by_its_status(built: Path, tmp_path: Path) -> None:
    assert "every file matches" in sbdata("dataset", "verify", built).stdout
    copy = tmp_path / "copy"
    shutil.copytree(built, copy)
    (copy / "extra.txt").write_text("hello")
    assert "extra.txt: extra_file" in sbdata("dataset", "verify", copy, status=1).stdout
    said = json.loads(sbdata("dataset", "verify", copy, "--json", status=1).stdout)
    assert said["damages"][0]["path"] == "extra.txt"


def test_verify_says_what_the_hash_of_an_older_set_does_not_cover(
    built: Path, tmp_path: Path
) -> None:
    said = json.loads(sbdata("dataset", "verify", built, "--json").stdout)
    assert said == {"set": str(built), "good": True, "damages": [], "manifest_version": 2}
    copy = tmp_path / "copy"
    shutil.copytree(built, copy)
    manifest = read_manifest(copy)
    meta = {**manifest.meta, "version": 1}
    old = Manifest(manifest.images, manifest.instances, meta)
    meta["logical_hash"] = logical_hash(old)
    write_manifest(old, copy)
    write_checksums(copy)
    said = sbdata("dataset", "verify", copy).stdout
    assert "manifest version 1, whose logical hash covers rows, classes and bins" in said


def test_stats_of_a_set_a_manifest_and_a_source(built: Path, tmp_path: Path) -> None:
    of_set = json.loads(sbdata("dataset", "stats", built, "--json").stdout)
    sbdata("dataset", "manifest", built, "--out", tmp_path / "manifest")
    of_manifest = json.loads(sbdata("dataset", "stats", tmp_path / "manifest", "--json").stdout)
    assert of_set["counts"] == of_manifest["counts"]
    source = sbdata("dataset", "stats", "shapes-b", "--json", *SETTINGS)
    assert json.loads(source.stdout)["images"] == 40
    text = sbdata("dataset", "stats", built).stdout
    assert all(word in text for word in ("area (pixels)", "50%", "entropy", "small"))
    assert "sizes: small is under 32² pixels, medium 32² to 96², large 96² and more." in text
    assert of_set["bins"] == {"edges": [1024, 9216], "names": ["small", "medium", "large"]}
    counts = (tmp_path / "manifest" / "counts.txt").read_text()
    assert counts.startswith("# shapes-b (synthetic)\n# logical hash ")


def test_stats_by_other_sizes(built: Path, tmp_path: Path) -> None:
    def stats(target: str, *more: str) -> dict:
        done = CliRunner().invoke(cli, ["dataset", "stats", target, "--json", *more])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    areas = read_manifest(built).instances["area"].to_pylist()
    found = stats(str(built), "--bins", "terciles")
    low, high = found["bins"]["edges"]
    assert 3 * sum(area < low for area in areas) >= len(areas)
    expected = [sum(a < low for a in areas), sum(low <= a < high for a in areas)]
    assert [
        sum(row[s] for row in found["counts"].values()) for s in ("small", "medium")
    ] == expected
    assert stats(str(built), "--bins", "1024,9216") == stats(str(built))
    source = stats("shapes-b", "--bins", "terciles", *SETTINGS)
    assert source["bins"]["edges"] != [1024, 9216]
    assert sum(sum(row.values()) for row in source["counts"].values()) == source["instances"]


def test_a_manifest_is_enough_to_build_again(built: Path, tmp_path: Path) -> None:
    sbdata("dataset", "manifest", built, "--out", tmp_path / "manifest")
    done = sbdata("dataset", "build", tmp_path / "manifest", "--out", tmp_path / "set", "--json")
    again = json.loads(done.stdout)
    first = json.loads(sbdata("dataset", "build", built, "--out", built, "--json").stdout)
    assert again["logical_hash"] == first["logical_hash"]


def refused(*arguments: object) -> str:
    with pytest.raises(InputError) as caught:
        CliRunner().invoke(cli, [*map(str, arguments)], catch_exceptions=False)
    return str(caught.value)


def test_a_manifest_is_never_written_over_a_set(tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(QUICKSTART, other)
    before = (other / "images.parquet").read_bytes()
    said = refused("dataset", "manifest", QUICKSTART, "--out", other)
    assert said.startswith(f"{other}: a set, whose own manifest would be lost")
    assert (other / "images.parquet").read_bytes() == before
    assert not (other / "counts.txt").exists()


def test_options_that_a_manifest_would_ignore_are_refused(tmp_path: Path) -> None:
    said = refused("dataset", "build", QUICKSTART, "--out", tmp_path / "set", "--skip-missing")
    assert "--skip-missing does not go with a manifest" in said
    said = refused("dataset", "stats", QUICKSTART, "--source-root", f"shapes={tmp_path}")
    assert "--source-root is for recipes" in said


def test_a_folder_named_like_a_bundled_recipe_is_not_taken_for_it(
    built: Path, tmp_path: Path
) -> None:
    (tmp_path / "shapes-b").mkdir()
    done = sbdata("dataset", "stats", "shapes-b", "--json", *SETTINGS, cwd=tmp_path)
    assert json.loads(done.stdout)["images"] == 40  # the recipe's pool
    assert "the bundled recipe is used; write ./shapes-b for the folder" in done.stderr
    done = sbdata("dataset", "build", "shapes-b", "--out", built, "--json", *SETTINGS, cwd=tmp_path)
    assert json.loads(done.stdout)["name"] == "shapes-b"
    for form in ("./shapes-b", tmp_path / "shapes-b", "../" + tmp_path.name + "/shapes-b"):
        done = sbdata("dataset", "stats", form, cwd=tmp_path, status=2)
        assert "images.parquet: no such file" in done.stderr


def test_a_folder_of_another_name_needs_no_path(built: Path, tmp_path: Path) -> None:
    sbdata("dataset", "manifest", built, "--out", tmp_path / "mine")
    done = sbdata("dataset", "stats", "mine", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["target"] == "mine"
    said = sbdata("dataset", "stats", "mine", "--set", "seed=3", cwd=tmp_path, status=2).stderr
    assert "--set changes recipes, but mine holds a built set" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("build", "no-such"), "bundled: coco-val"),
        (("build", "pascal-b"), "--source-root coco=PATH"),
        (("build", "voc-val"), "--source-root voc=PATH"),
        (("build", "voc-val", "--source-root", "voc"), "two parts separated by '='"),
        (("build", "voc-val", "--source-root", "voc=/no/such/folder"), "no such folder"),
        (("build", "voc-val", "--source-root", "coc=."), "voc-val has no source 'coc'"),
        (("build", "shapes-b", "--set", "quota=3"), "valid keys"),
        (("build", "shapes-b", "--workers", "0"), "--workers"),
        (("verify", "/no/such/folder"), "/no/such/folder"),
        (("stats", "no-such"), "bundled: coco-val"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(
    arguments: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    extra = ("--out", tmp_path / "out") if arguments[0] == "build" else ()
    done = sbdata("dataset", *arguments, *extra, status=2)
    assert said in done.stderr
    assert not (tmp_path / "out").exists()


def test_debug_shows_where(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sbdata", "dataset", "build", "no-such", "--debug"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" in done.stderr


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from sbdata.cli import cli; cli(['--help'], standalone_mode=False); "
        "heavy = {'torch', 'fiftyone', 'pandas', 'numba', 'pyarrow', 'jinja2'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("[]")


def test_no_command_of_the_core_imports_pandas(shapes_set: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv = ['sbdata', *sys.argv[1:]]\n"
        "from sbdata.cli import main\n"
        "try: main()\n"
        "finally: print(sorted({'pandas', 'torch'} & set(sys.modules)), file=sys.stderr)"
    )
    masks = shapes_set / "SegmentationClass"
    for arguments in (
        ("dataset", "stats", shapes_set),
        ("dataset", "verify", shapes_set),
        ("score", masks, "--set", shapes_set, "--pred-void"),
        ("sources", "list"),
    ):
        command = [sys.executable, "-c", code, *map(str, arguments)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stderr.endswith("[]\n"), arguments


def test_curation_and_metrics_import_without_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['fiftyone'] = None; "
        "import sbdata.curate.build, sbdata.metrics, sbdata.cli.dataset"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
