"""Annotations that change between two attempts at a build, or after it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sbdata.curate.build import build_set, built_already
from sbdata.curate.inputs import Inputs
from sbdata.errors import InputError
from sbdata.masks import encode_mask
from sbdata.recipe import Recipe, SourceSpec
from sbdata.sources import (
    FORMATS,
    AnnotatedImage,
    AnnotatedObject,
    Chunk,
    Member,
    PhotoFiles,
    Rejection,
    register_source,
)
from tests.curate.conftest import HEIGHT, WIDTH, photo

SIDES = "sides.txt"


@dataclass(frozen=True)
class Squares(PhotoFiles):
    """One photo with a square, whose side is the content of a file."""

    name: str
    split: str
    root: Path

    def chunks(self, images: int) -> Sequence[Chunk]:
        return [Chunk(0, 1)]

    def members(self) -> Sequence[Member]:
        return [Member("a", "a.jpg")]

    def read(self, chunk: Chunk) -> tuple[list[AnnotatedImage], list[Rejection]]:
        mask = np.zeros((HEIGHT, WIDTH), bool)
        side = int((self.root / SIDES).read_text())
        mask[:side, :side] = True
        thing = AnnotatedObject("1", "tile", encode_mask(mask))
        return [AnnotatedImage("a", "a", "a.jpg", WIDTH, HEIGHT, (thing,))], []


@dataclass(frozen=True)
class NamedSquares(Squares):
    """The same, naming its file."""

    def annotation_files(self) -> list[Path]:
        return [self.root / SIDES]


@pytest.fixture(autouse=True)
def formats() -> Iterator[None]:
    register_source("squares", lambda spec, split, root: Squares(spec.name, split, root))
    register_source("named", lambda spec, split, root: NamedSquares(spec.name, split, root))
    yield
    for name in ("squares", "named"):
        FORMATS.unregister(name)


def recipe_of(form: str) -> Recipe:
    return Recipe("tiles", "tiles.v1", ("tile",), (SourceSpec("mine", ("all",), format=form),))


@pytest.mark.parametrize("form", ["squares", "named"])
def test_a_build_that_goes_on_sees_changed_annotations(tmp_path: Path, form: str) -> None:
    root, out = tmp_path / "mine", tmp_path / "out"
    root.mkdir()
    (root / SIDES).write_text("10")
    inputs = Inputs(roots={"mine": root})
    with pytest.raises(InputError, match="could not be downloaded"):
        build_set(recipe_of(form), out, inputs)
    (root / SIDES).write_text("50")
    (root / "a.jpg").write_bytes(photo(1))
    built = build_set(recipe_of(form), out, inputs)
    assert built.manifest.instances["area"].to_pylist() == [2500]


def test_a_built_set_tells_that_a_file_that_its_source_names_has_changed(tmp_path: Path) -> None:
    root, out = tmp_path / "mine", tmp_path / "out"
    root.mkdir()
    (root / SIDES).write_text("10")
    (root / "a.jpg").write_bytes(photo(1))
    inputs = Inputs(roots={"mine": root})
    build_set(recipe_of("named"), out, inputs)
    assert built_already(out, recipe_of("named"), inputs) is not None
    (root / SIDES).write_text("11")
    with pytest.raises(InputError, match="annotations changed since"):
        built_already(out, recipe_of("named"), inputs)


def test_a_build_that_goes_on_sees_changed_masks_of_a_compared_set(tmp_path: Path) -> None:
    root, out = tmp_path / "mine", tmp_path / "out"
    root.mkdir()
    (root / SIDES).write_text("10")
    devkit = tmp_path / "voc"
    (devkit / "ImageSets" / "Segmentation").mkdir(parents=True)
    (devkit / "ImageSets" / "Segmentation" / "val.txt").write_text("b\n")

    def draw(side: int) -> None:
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[:side, :side] = 1
        for folder in ("SegmentationClass", "SegmentationObject"):
            (devkit / folder).mkdir(exist_ok=True)
            Image.fromarray(mask).save(devkit / folder / "b.png")

    draw(10)
    recipe = Recipe(
        "planes",
        "planes.v1",
        "voc20",
        (SourceSpec("mine", ("all",), format="squares", class_map={"tile": "aeroplane"}),),
        compare=("voc-val",),
    )
    inputs = Inputs(roots={"mine": root, "voc": devkit})
    (root / "a.jpg").write_bytes(photo(1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sbdata.curate.build._finish", _killed)
        with pytest.raises(KeyboardInterrupt):
            build_set(recipe, out, inputs)
    draw(100)
    (compared,) = build_set(recipe, out, inputs).manifest.meta["compared"]
    assert compared["statistics"]["area_quantiles"][0] == 10_000


def _killed(*_: object) -> None:
    raise KeyboardInterrupt
