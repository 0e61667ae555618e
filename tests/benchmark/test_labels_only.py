"""A training set with labels only, from photos and labels to the board; photos are generated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from sbdata.benchmark.leaderboard import read_boards
from sbdata.benchmark.records import read_result
from sbdata.cli.bench import bench
from sbdata.curate.build import build_set
from sbdata.curate.inputs import Inputs
from sbdata.recipe import recipe_from_dict
from sbdata.sets import open_set
from tests.benchmark.conftest import Sets

TINY = [
    "cam:classifier.network.weights=none", "cam:classifier.schedule={epochs: 1, batch_size: 6}",
    "cam:classifier.views={crop: 48}", "bana:pooled.network.weights=none",
    "bana:pooled.schedule={epochs: 1, batch_size: 6}", "bana:pooled.views={crop: 48}",
]  # fmt: skip


@pytest.fixture(scope="module")
def training(sets: Sets, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The training set of six images again, as photos with labels and boxes."""
    full, root = open_set(sets.training), tmp_path_factory.mktemp("labels-only")
    names = full.taxonomy.classes
    content: dict[str, list[dict]] = {"images": [], "annotations": []}
    content["categories"] = [{"id": c, "name": name} for c, name in enumerate(names, start=1)]
    lines = []
    for number, image_id in enumerate(full, start=1):
        lines.append(" ".join([image_id, *(names[c - 1] for c in full.labels_of(image_id))]))
        content["images"].append({"id": number, "file_name": f"{image_id}.jpg"})
        content["annotations"] += [
            {"id": len(content["annotations"]) + i, "image_id": number,
             "category_id": c, "bbox": box}
            for i, (c, *box) in enumerate(full.boxes_of(image_id))
        ]  # fmt: skip
    (root / "labels.txt").write_text("\n".join(lines))
    (root / "boxes.json").write_text(json.dumps(content))
    recipe = recipe_from_dict(
        {
            "name": "six-labels",
            "version": "test.v1",
            "taxonomy": "shapes8",
            "synthetic": True,
            "sources": [
                {"name": "photos", "format": "labels", "splits": ["train"], "images": "photos",
                 "annotations": "labels.txt", "options": {"boxes": "boxes.json"}}
            ],
            "split": "train",
        },
        "test",
    )  # fmt: skip
    (root / "photos").mkdir()
    for photo in (full.root / "JPEGImages").iterdir():
        (root / "photos" / photo.name).hardlink_to(photo)
    return build_set(recipe, root / "set", Inputs(roots={"photos": root})).root


def run(*arguments: object, status: int = 0) -> str:
    done = CliRunner().invoke(bench, [*map(str, arguments), "--device", "cpu", "--threads", "1"])
    assert done.exit_code == status, (done.output, done.exception)
    return done.output


def test_methods_learn_from_labels_and_boxes_alone(
    training: Path, sets: Sets, preset_file: Path, tmp_path: Path
) -> None:
    asked = [
        "--method", "cam", "--method", "bana", "--strategy", "ce", "--train-set", training,
        "--set", sets.scored, "--train-preset", preset_file, "--preset", "smoke",
        "--work", tmp_path / "work", "--results", tmp_path / "results",
        *(part for option in TINY for part in ("--method-option", option)),
    ]  # fmt: skip
    planned = json.loads(run(*asked, "--dry-run", "--json"))
    assert "pseudo" not in {task["kind"] for task in planned["tasks"]}
    assert "labels only, no pixel truth" in planned["left_out"][0]
    run(*asked)
    files = sorted((tmp_path / "results").glob("*.seed0.*.json"))
    results = [read_result(file) for file in files]
    assert [found.method for found in results] == ["bana", "cam"]
    for found in results:
        assert found.pseudo is None
        assert found.training.labels == "manifest; labels only, no pixel truth"
        assert found.sets["three"].n_images == 3
    (board,) = read_boards([tmp_path / "results"])
    assert board.pseudo_masks is None
    assert any("pseudo-masks of six-labels were not scored" in note for note in board.notes)
    assert {row.method for row in board.rows} == {"bana", "cam"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda t, s: ["--method", "full", "--train-set", t, "--set", s],
            "full needs masks",
        ),
        (lambda t, s: ["--method", "cam", "--train-set", s, "--set", t], "scoring needs masks"),
    ],
)
def test_what_needs_truth_is_refused(
    training: Path, sets: Sets, tmp_path: Path, change, said: str
) -> None:
    done = CliRunner().invoke(
        bench, [*map(str, change(training, sets.scored)), "--work", str(tmp_path / "w")]
    )
    assert said in str(done.exception)
    assert not (tmp_path / "w").exists()
