"""``labelmap.txt`` against the colours that masks have on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sbdata.errors import InputError
from sbdata.labelmap import check_labelmap, labelmap_problem, labelmap_text
from sbdata.masks import write_index_png
from sbdata.taxonomy import COCO80, SHAPES8, VOC20, Taxonomy


@pytest.mark.parametrize("taxonomy", [VOC20, COCO80, SHAPES8], ids=lambda t: t.name)
def test_the_colours_are_those_of_the_masks(taxonomy: Taxonomy, tmp_path: Path) -> None:
    numbers = [*range(len(taxonomy) + 1), 255]
    write_index_png(tmp_path / "a.png", np.array([numbers], np.uint8))
    with Image.open(tmp_path / "a.png") as image:
        colours = np.array(image.convert("RGB"))[0].tolist()
    head, *lines = labelmap_text(taxonomy).splitlines()
    assert head == "# label:color_rgb:parts:actions"
    names = ["background", *taxonomy.classes, "ignored"]
    assert lines == [
        f"{name}:{r},{g},{b}::" for name, (r, g, b) in zip(names, colours, strict=True)
    ]
    assert len({tuple(colour) for colour in colours}) == len(names)
    assert labelmap_problem(taxonomy) == ""


def test_as_many_classes_as_a_mask_holds() -> None:
    most = Taxonomy("many", tuple(f"class {n}" for n in range(1, 255)))
    lines = labelmap_text(most).splitlines()[1:]
    assert len({line.split(":")[1] for line in lines}) == len(lines) == 256


@pytest.mark.parametrize(
    "name", ["a:b", "#a", " a", "a ", "a\t", "a\u2028b", "background", "ignored", ":"]
)
def test_a_name_that_would_be_lost_is_named(name: str) -> None:
    assert labelmap_problem(Taxonomy("odd", ("cat", name))).startswith(f"class {name!r}: ")


@pytest.mark.parametrize("name", ["traffic light", "a#b", "Ignored", "日本", "a,b", "it's"])
def test_other_names_are_held(name: str) -> None:
    assert labelmap_problem(Taxonomy("plain", ("cat", name))) == ""
    assert f"\n{name}:0,128,0::\n" in labelmap_text(Taxonomy("plain", ("cat", name)))


@pytest.mark.parametrize("taxonomy", [VOC20, COCO80, SHAPES8], ids=lambda t: t.name)
def test_a_devkit_of_the_same_classes_passes(taxonomy: Taxonomy, tmp_path: Path) -> None:
    check_labelmap(tmp_path, taxonomy.classes)  # none is there
    (tmp_path / "labelmap.txt").write_text(labelmap_text(taxonomy))
    check_labelmap(tmp_path, taxonomy.classes)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("background:0,0,0::\ncat:128,0,0::", "names 'cat' for number 1, not hen"),
        ("fox:0,128,0::\nhen:128,0,0::", ""),  # in any order
        ("hen:0,128,0::\nfox:128,0,0::", "names 'hen' for number 2, not fox"),
        ("background:::\nfox:::\nhen:::", "names 'fox' for number 1, not hen"),
        ("background:::\nhen:::\nfox:::", ""),
        ("cat:1,2,3::", "names 'cat', so these masks have other classes"),
        ("hen:1,2,3::\nvoid:300,0,0::", ""),  # colours that tell no number
        ("hen:128,0,0::\nfox:0,128,0::\nowl:128,128,0::", ""),  # 3 is refused in a mask
        # as people write it, and as Datumaro reads it
        ("background:0,0,0\ncat:128,0,0", "names 'cat' for number 1, not hen"),
        ("background: 0, 0, 0::\ncat : 128 0 0 ::", "names 'cat' for number 1, not hen"),
        ("background\ncat\nfox", "names 'cat' for number 1, not hen"),
        ("background: 0\ncat: 1", "names 'cat' for number 1, not hen"),
        ("background\nhen\nfox", ""),
    ],
)
def test_a_devkit_of_other_classes_is_refused(lines: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "labelmap.txt").write_text(f"# label:color_rgb:parts:actions\n{lines}\n")
    if not said:
        check_labelmap(tmp_path, ("hen", "fox"))
        return
    with pytest.raises(InputError, match=f"labelmap.txt: {said}"):
        check_labelmap(tmp_path, ("hen", "fox"))
