"""Every shell block of README and docs is run, on sets small enough for a test.

Bash runs the commands in order, in a folder that has what they name. ``CHANGES`` lists what is
changed before: sizes, and the addresses of hosts. ``NOT_RUN`` lists what cannot be run in a test,
with the reason; the options of such an ``sbdata`` command are still checked.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from shutil import copytree

import click
import numpy as np
import pytest
from PIL import Image

from sbdata.cli import cli
from sbdata.curate.build import build_set
from sbdata.curate.inputs import Inputs
from sbdata.manifest import read_manifest, write_manifest
from sbdata.mask_files import voc_palette
from sbdata.recipe import load_recipe
from sbdata.sets import open_set
from tests.benchmark.result_examples import result, write
from tests.doc_pages import PAGES, ROOT, blocks, page_text
from tests.importers.published import irn, save
from tests.sources.label_map_examples import ade20k, cityscapes, street
from tests.sources.miniatures import (
    IMAGES,
    SIZE,
    VAL,
    coco_files,
    coco_json,
    lvis_files,
    photo,
    publish,
    serving,
    voc_files,
)

pytest.importorskip("torch", reason="the pages train and the extra `train` is not installed")

OPTIONS = (
    "--option model.backbone=mobilenetv3_small_050 --option model.weights=none "
    "--option optimisation.steps=2 --option optimisation.batch_size=2 --option augmentation.crop=64"
)
SMALL = "--set 'sources.0.options={seed: 0, pool: 16, train: 8}'"
CHANGES = (
    (r"^make ", "make --dry-run --directory {root} "),
    (r"^python -m pytest", "python -m pytest --collect-only -q -p no:randomly --rootdir {root}"),
    (r"tests\.fuzz (.*)--inputs \d+", r"tests.fuzz \1--inputs 5"),
    (r" tests/(?=fetch|cli)", " {root}/tests/"),
    (r"( dataset build shapes-b)$", rf"\1 {SMALL} --set select.quota=1"),
    (r"( dataset build shapes-(?:b|train))$", rf"\1 {SMALL}"),
    (r"( dataset build pascal-b.*)", r"\1 --set select.quota=2 {photos}"),
    (r"( sources fetch .*)", r"\1 {archives}"),
    (r" verify \[--repair\]", r" verify {registry}"),
    (r"( -m sbdata| sbdata)? train (?=.*--set)", r"\g<0>" + OPTIONS + " "),
    (r"optimisation\.steps=\d+", "optimisation.steps=2"),
    (r"(compare_strategies\.py .*)--seeds 3", rf"\1--row ce --only 0 {OPTIONS}"),
    (r"score PREDICTIONS (?=--(voc|cityscapes|ade20k))", r"score OF_\1 "),
    (r"score PREDICTIONS (?=--coco (instances|panoptic))", r"score OF_\1 "),
    (r"score results.json (?=--(?:coco )?(set|instances))", r"score results_\1.json "),
    (r"(rehearsal\.py) --scale 1 --record \S+", r"\1 --scale 0.001 --pool 4 --titles draw"),
    (r"(loss_share\.py data/)animals-train", r"\1shapes-train"),
    (r"pool: 2000, train: 600", "pool: 16, train: 8"),
    (r"(training_input\.py) --scale 0\.3", r"\1 --quick"),
    (r" --photos \$VOC/\S+ --masks \$VOC/\S+", ""),
    (r"( bench .*--method (?!.*--(?:dry-run|stages)).*)", r"\1 --dry-run"),
    (r"( bench --study (?!.*--dry-run).*)", r"\1 --dry-run"),
    (r"(benchmarks/steps\.py)", r"\1 --quick --only 'tf_efficientnet_lite0, stride 16'"),
    (r"irn \.\.\. ", "irn --strategy ce --train-set data/shapes-train --set data/shapes-b "),
)  # fmt: skip
"""Patterns and what takes their place in a line; in this order."""

NOT_RUN = {
    r"sbdata app ": "serves until it is stopped",
    r"pip install ": "changes the environment",
    r"sbdata dataset export .*--push": "needs an account of the Hugging Face Hub",
    r"python benchmarks/gpu\.py": "needs a GPU; tests/test_benchmarks.py runs it on the CPU",
    r"sbdata dataset build examples/animals/": "needs photos of VOC; tests/test_examples.py",
    r"sbdata bench --study examples/animals/": "trains on them for hours",
    r"sbdata predict RUN ": "needs a run; docs/guides/train.md predicts",
    r"sbdata pseudo score MASKS --set data/animals-train": "needs what that wrote",
    r"python examples/compare_strategies\.py data/animals": "trains on them for an hour",
    r"python examples/animals/": "needs what that wrote; tests/test_examples.py",
    r".*--preset wacv24 --weights deeplabv1": "the authors' weights file is not at hand",
}
"""Beginnings of lines that are not run, with the reason."""


def commands(text: str) -> list[str]:
    """Return the commands of a page's shell blocks, without comments, a line each."""
    found = []
    for block in re.findall(r"^```(?:sh|console)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            without_comment = re.sub(r"(^|\s+)#.*", "", line)
            found += [" ".join(part.split()) for part in without_comment.split("&&")]
    return [command for command in found if command]


def check_options(command: str) -> None:
    """Parse a command line by the command it names, without calling it."""
    words = shlex.split(command.partition(" > ")[0])
    group: click.Command = cli
    context = click.Context(cli)
    words = words[words.index("sbdata") + 1 :]
    while isinstance(group, click.Group):
        found = group.get_command(context, words.pop(0))
        assert found is not None, command
        group = found
    known = {option for p in group.params for option in (*p.opts, *p.secondary_opts)}
    unknown = {word.split("=")[0] for word in words if word.startswith("--")} - known
    assert not unknown, f"{command}: no such option: {sorted(unknown)}"


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def write_other_formats(here: Path) -> None:
    """Write truths and predictions of the formats that the guides on scores name."""
    ids = street(0)
    cityscapes(here / "CITYSCAPES", {"000000_000019": ids})
    (here / "OF_cityscapes").mkdir()
    bicycle = np.full(ids.shape, 18, np.uint8)
    Image.fromarray(bicycle).save(here / "OF_cityscapes/ulm_000000_000019_leftImg8bit.png")
    bed = np.full((20, 30), 1, np.uint8)
    ade20k(here / "ADEChallengeData2016", {"ADE_val_00000001": (bed, bed)})
    categories = [{"id": 1, "name": "person", "isthing": 1}, {"id": 7, "name": "sky", "isthing": 0}]
    segments = [{"id": 257, "category_id": 1}]
    panoptic = {
        "images": [{"id": 1, "file_name": "1.jpg", "width": 30, "height": 20}],
        "annotations": [{"image_id": 1, "file_name": "1.png", "segments_info": segments}],
        "categories": categories,
    }
    write_files(here, {"panoptic_val2017.json": json.dumps(panoptic).encode()})
    for folder, name, mask in (
        ("OF_ade20k", "ADE_val_00000001", bed),
        ("OF_panoptic", "1", bed),
        ("panoptic_val2017", "1", np.stack([bed, bed, 0 * bed], -1)),
    ):
        (here / folder).mkdir()
        Image.fromarray(mask).save(here / folder / f"{name}.png")
    opened = open_set(here / "data/shapes-b")
    names = [{"id": k, "name": name} for k, name in enumerate(opened.taxonomy.classes, 1)]
    colours = np.frombuffer(voc_palette(), np.uint8).reshape(256, 3)
    lines = [
        f"{name}:{','.join(map(str, colours[k].tolist()))}::"
        for k, name in enumerate(("background", *opened.taxonomy.classes))
    ]
    ids_file = {"categories": names}
    of_set = [
        {"image_id": image_id, "category_id": 1, "segmentation": whole(*opened.size_of(image_id))}
        for image_id in opened
    ]
    of_coco = [
        {"image_id": number, "category_id": 1, "segmentation": whole(*SIZE[::-1])}
        for number in IMAGES["val2017"]
    ]
    write_files(here, {
        "labelmap.txt": "\n".join(lines).encode(),
        "ids.json": json.dumps(ids_file).encode(),
        "results_set.json": json.dumps(of_set).encode(),
        "results_instances.json": json.dumps(of_coco).encode(),
    })  # fmt: skip


def whole(height: int, width: int) -> dict[str, list[int]]:
    """Return the run-length code of a whole image."""
    return {"size": [height, width], "counts": [0, width * height]}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that has what the pages name."""
    here = tmp_path_factory.mktemp("pages")
    few = "sources.0.options={seed: 0, pool: 16, train: 8}"
    for name, more in (("shapes-b", ["select.quota=1"]), ("shapes-train", [])):
        build_set(load_recipe(name, [few, *more]), here / "data" / name, Inputs())
    write_manifest(read_manifest(here / "data/shapes-b"), here / "manifests/shapes-b")
    for folder in ("PREDICTIONS", "OTHER", "predictions/perfect"):
        copytree(here / "data/shapes-b/SegmentationClass", here / folder)
    for name in ("Class", "Object"):
        copytree(here / "data/shapes-b" / f"Segmentation{name}", here / f"TRUE_{name.upper()}")
    opened = open_set(here / "data/shapes-train")
    (here / "MAPS").mkdir()
    for image_id in opened:
        save(here / "MAPS" / f"{image_id}.npy", irn(opened.class_map(image_id)))
    for folder in ("MASKS", "SEEDS", "WALK", "SEGMENTER", "PSEUDO_MASKS"):
        copytree(here / "data/shapes-train/SegmentationClass", here / folder)
    for folder in ("", "PATH", "data/voc2012-mini"):
        write_files(here / folder, voc_files())
    voc = here / "data/voc2012-mini/VOCdevkit"
    copytree(voc / "VOC2012", here / "data/voc2007-mini/VOCdevkit/VOC2007")
    for image_id in VAL:
        mask = voc / f"VOC2012/SegmentationClass/{image_id}.png"
        write_files(here, {f"OF_voc/{image_id}.png": mask.read_bytes()})
    (here / "OF_instances").mkdir()
    write_files(here / "PATH", {
        **coco_files(2017), **lvis_files("train"), **lvis_files("val"),
        **{f"{split}/{n:012}.jpg": photo(n) for split, ns in IMAGES.items() for n in ns},
    })  # fmt: skip
    annotations = "annotations/instances_val2017.json"
    write_files(here, {Path(annotations).name: coco_files(2017)[annotations]})
    for number in IMAGES["val2017"]:
        black = Image.fromarray(np.zeros(SIZE[::-1], np.uint8))
        black.save(here / "OF_instances" / f"{number:012}.png")
    write_other_formats(here)
    yard = coco_json({1: "photos", 2: "photos"}, {"hen": 1, "fox": 2, "cow": 3, "cat": 4})
    recipe, streets, labels_only = blocks("docs/guides/own-data.md", "yaml")
    write_files(here, {"yard.yaml": recipe.encode(), "PATH/labels.json": yard})
    write_files(here, {"streets.yaml": streets.encode()})
    labels, ids = b"000000000001 hen\n000000000002 fox\n", b"000000000001\n000000000002\n"
    write_files(here, {"PATH/labels.txt": labels, "PATH/train.txt": ids})
    bare = re.sub(r"      (boxes|classes): .*\n", "", labels_only)
    write_files(here, {"yard-train.yaml": bare.encode()})
    write_files(here, {f"PATH/photos/{n:012}.jpg": photo(n) for n in (1, 2)})
    marks = (
        "<!-- leaderboard:begin pets-train/pets-b -->\n<!-- leaderboard:end pets-train/pets-b -->\n"
    )
    write_files(here, {"README.md": marks.encode()})
    write(here / "results/mine", [result("cam", "ce"), result("cam", "sb-ewc")])
    copytree(ROOT / "results/drs-nsrom-bbam", here / "results/drs-nsrom-bbam")
    for name in ("examples", "benchmarks"):
        (here / name).symlink_to(ROOT / name)
    return here


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What CHANGES fills in: addresses of a local server in the place of all hosts."""
    with serving(publish(tmp_path_factory.mktemp("site"))) as site:
        registry = f"--registry {site.registry}"
        photos = f"--mirror http://={site.address}"
        yield {
            "root": str(ROOT),
            "photos": photos,
            "archives": f"{registry} {photos} --mirror https://={site.address}",
            "registry": registry,
        }


def as_run(command: str, values: dict[str, str]) -> str:
    for pattern, better in CHANGES:
        command = re.sub(pattern, better, command)
    return re.sub(r"{(root|photos|archives|registry)}", lambda found: values[found[1]], command)


def test_every_change_changes_a_command() -> None:
    """A change whose pattern no longer matches lets a command run at its full size."""
    lines = [line for page in PAGES for line in commands(page_text(page))]
    for pattern, better in CHANGES:
        changed = [re.sub(pattern, better, line) for line in lines]
        assert changed != lines, pattern
        lines = changed


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_the_shell_blocks_of_a_page_run(
    page: str,
    template: Path,
    values: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = commands(page_text(page))
    here = tmp_path / "here"
    copytree(template, here, symlinks=True)
    monkeypatch.chdir(here)
    for name, value in (
        ("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}"),
        ("PYTHONPATH", f"{ROOT}{os.pathsep}{ROOT / 'baselines'}"),
        ("OMP_NUM_THREADS", "1"),
        ("SBDATA_REAL_DATA", str(here / "data")),
        ("http_proxy", "http://127.0.0.1:9"),
        ("https_proxy", "http://127.0.0.1:9"),
        ("no_proxy", "127.0.0.1"),
    ):
        monkeypatch.setenv(name, value)
    for command in shown:
        if re.match(r"(\S+ -m )?sbdata ", command):
            check_options(command.replace(" ...", ""))
        if any(re.match(beginning, command) for beginning in NOT_RUN):
            continue
        line = as_run(command, values)
        if line.startswith("sbdata "):  # in this process: importing PyTorch takes seconds
            status = cli.main(shlex.split(line)[1:], prog_name="sbdata", standalone_mode=False)
            assert not status, f"{page}: {command}\nrun as: {line}"
        else:
            done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
            problem = f"{page}: {command}\nrun as: {line}\n{done.stderr[-6000:]}"
            assert done.returncode == 0, problem


def test_what_is_not_run_is_still_shown_somewhere() -> None:
    shown = [line for page in PAGES for line in commands(page_text(page))]
    for beginning in NOT_RUN:
        assert any(re.match(beginning, line) for line in shown), beginning


def test_a_wrong_option_is_noticed() -> None:
    with pytest.raises(AssertionError, match="--no-such"):
        check_options("sbdata score X --set Y --no-such")
