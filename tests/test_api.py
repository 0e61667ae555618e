"""The public API: what it is, that it is lazy, and that its types help those who use it."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sbdata

ROOT = Path(__file__).resolve().parent.parent

HEAVY = ("numpy", "pandas", "torch", "pyarrow", "numba", "PIL", "click", "scipy")


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folders(shapes_set: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Predictions: the truth, and the truth without its upper half."""
    root = tmp_path_factory.mktemp("predictions")
    for name in ("whole", "half"):
        (root / name).mkdir()
    for path in (shapes_set / "SegmentationClass").iterdir():
        mask = np.asarray(Image.open(path)).copy()
        mask[mask == 255] = 0
        Image.fromarray(mask).save(root / "whole" / path.name)
        mask[: len(mask) // 2] = 0
        Image.fromarray(mask).save(root / "half" / path.name)
    return root / "whole", root / "half"


def test_every_public_name_is_there() -> None:
    pytest.importorskip("torch", reason="the extra `train` is not installed")
    for module in (sbdata, importlib.import_module("sbdata.metrics")):
        for name in module.__all__:
            assert hasattr(module, name), name
    assert set(sbdata.__all__) <= set(dir(sbdata))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        sbdata.nothing  # noqa: B018


def test_the_page_lists_the_public_names() -> None:
    text = (ROOT / "docs" / "api.md").read_text()
    parts = re.split(r"^## `(.*)`$", text, flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert list(sections) == ["sbdata", "sbdata.metrics", "sbdata.losses"]
    for module, section in sections.items():
        if module == "sbdata.losses":
            pytest.importorskip("torch", reason="the extra `train` is not installed")
        firsts = [row.split("|")[1] for row in section.splitlines() if row.startswith("| `")]
        named = {name for first in firsts for name in re.findall(r"`(\w+)", first)}
        assert named == set(importlib.import_module(module).__all__)


def test_import_loads_nothing_heavy() -> None:
    found = run(f"import sys, sbdata; print([m for m in {HEAVY} if m in sys.modules])")
    assert found == "[]\n"


def test_a_set_is_built_opened_and_scored(tmp_path: Path) -> None:
    few = ["sources.0.options={seed: 0, pool: 16, train: 3}"]
    built = sbdata.build_set("shapes-train", tmp_path / "set", overrides=few)
    again = sbdata.build_set("shapes-train", tmp_path / "set", overrides=few)
    assert built.logical_hash == again.logical_hash == sbdata.open_set(built.root).logical_hash
    masks = built.root / "SegmentationClass"
    result = sbdata.score(masks, built, predicted_void=True, resamples=0)
    assert result.summary.miou == result.summary.ia["ia"].class_mean == 1.0


def test_score_is_the_package_too(shapes_set: Path, folders: tuple[Path, Path]) -> None:
    from sbdata.score.run import ScoreOptions, score_folder
    from sbdata.score.truth import truth_from_set

    whole, half = folders
    result = sbdata.score(str(half), str(shapes_set), resamples=50)
    same = score_folder(half, truth_from_set(shapes_set), ScoreOptions(resamples=50))
    assert result.summary == same.summary
    assert result.intervals == same.intervals
    with pytest.raises(sbdata.InputError, match="no such folder"):
        sbdata.score(whole / "absent", shapes_set)
    code = "from sbdata import score; import sbdata.score.run; print(callable(score))"
    assert run(code) == "True\n"


def test_a_comparison_is_a_minus_b(shapes_set: Path, folders: tuple[Path, Path]) -> None:
    whole, half = folders
    found = sbdata.compare(whole, half, sbdata.open_set(shapes_set))
    difference = found.differences["miou"]
    assert difference is not None
    assert difference.value > 0
    assert found.name == "half"


CONSUMER = """
import numpy as np

import sbdata
from sbdata.metrics import Accumulator, score_image, truth_from_maps

opened = sbdata.open_set("data/shapes-b")
built = sbdata.build_set("shapes-b", "data/shapes-b", overrides=["select.quota=2"])
result = sbdata.score("predictions", opened, bins=sbdata.SizeBins(), workers=2)
reveal_type(opened.logical_hash)
reveal_type(result.summary.ia["ia_small"].class_mean)
reveal_type(sbdata.compare("a", "b", built).differences["miou"])
counted = Accumulator(num_classes_are_not_this=2)
sbdata.score("predictions", 3)
mask = np.zeros((4, 6), np.uint8)
counted.update("image", score_image(mask, truth_from_maps(mask, mask), 20))
try:
    pass
except sbdata.InputError as error:
    reveal_type(error)
"""


@pytest.mark.slow
def test_types_help_a_consumer(tmp_path: Path) -> None:
    api = pytest.importorskip("mypy.api", reason="the extra `lint` is not installed")
    consumer = tmp_path / "consumer.py"
    consumer.write_text(CONSUMER)
    config = (
        "--config-file",
        str(ROOT / "pyproject.toml"),
        "--cache-dir",
        str(ROOT / ".mypy_cache"),
    )
    said, problems, _ = api.run([*config, "--no-error-summary", str(consumer)])
    assert not problems
    lines = [line.partition(": ")[2] for line in said.splitlines()]
    assert [line for line in lines if line.startswith("note: Revealed")] == [
        'note: Revealed type is "str"',
        'note: Revealed type is "float | None"',
        'note: Revealed type is "sbdata.metrics.bootstrap.Difference | None"',
        'note: Revealed type is "sbdata.errors.InputError"',
    ]
    errors = [line for line in lines if line.startswith("error")]
    assert len(errors) == 2, said
    assert "num_classes_are_not_this" in errors[0]
    assert "int" in errors[1]
