"""Rules against a computation pixel by pixel, and the figures of what an import holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sbdata.errors import InputError
from sbdata.importers.decoding import (
    Fit,
    fitted_maps,
    fitted_mask,
    mask_of_maps,
    merged,
)
from sbdata.importers.dictionaries import NOTHING, ClassMaps, LayoutError
from sbdata.importers.names import ImageNames, sort_files
from sbdata.importers.record import check_name, components_of, facts_of, shares_of
from sbdata.importers.rules import Changes, Rule
from sbdata.importers.sources import SOURCES, find_source, rule_for
from sbdata.sizes import SizeBins
from sbdata.taxonomy import VOC20, Taxonomy
from tests.importers.published import boxes_of


def pixel(scores: list[float], rule: Rule, salient: float, own: float, classes: tuple) -> int:
    """Decide one pixel, in plain Python."""
    scores = [0.0 if s < rule.floor else s for s in scores]
    largest = min(max([0.0, *scores]), 1.0)
    background = {
        "constant": rule.level,
        "power": (1 - largest) ** rule.level,
        "saliency": 1 - (float(salient > rule.level) if rule.level else salient),
        "map": own,
    }[rule.background]
    everything = [background, *scores]
    best = max(range(len(everything)), key=lambda k: (everything[k], -k))
    total = sum(everything)
    share = everything[best] / total if total else 1 / len(everything)
    if rule.confidence is not None and share < rule.confidence:
        return 255
    rivals = everything if rule.background == "saliency" else scores
    if rule.conflict is not None and sum(s > rule.conflict for s in rivals) > rule.most:
        return 255
    if best == 0:
        if rule.doubt is not None and any(s > rule.doubt for s in scores):
            return 255
        if rule.salient is not None and salient >= rule.salient:
            return 255
    return (0, *classes)[best]


# Sixteenths, so that sums and comparisons are exact and ties occur.
SIXTEENTHS = st.integers(0, 16).map(lambda k: k / 16)
MAYBE = st.one_of(st.none(), SIXTEENTHS)


@settings(deadline=None, max_examples=150)
@given(
    data=st.data(),
    kind=st.sampled_from(["constant", "power", "saliency", "map"]),
    level=st.sampled_from([0.25, 0.5, 1.0]),
    floor=SIXTEENTHS,
    conflict=MAYBE,
    most=st.sampled_from([1, 2]),
    doubt=MAYBE,
    salient=MAYBE,
    confidence=st.sampled_from([None, 0.3, 0.61]),
)
def test_rules_pixel_by_pixel(
    data, kind, level, floor, conflict, most, doubt, salient, confidence
) -> None:
    level = {"saliency": data.draw(st.sampled_from([0.0, 0.5])), "power": 1.0}.get(kind, level)
    rule = Rule(
        kind, level, floor=floor, conflict=conflict, most=most, doubt=doubt, salient=salient,
        confidence=confidence,
    )  # fmt: skip
    count = data.draw(st.integers(0, 3))
    values = data.draw(st.lists(SIXTEENTHS, min_size=6 * (count + 2), max_size=6 * (count + 2)))
    stack = np.array(values, np.float32).reshape(count + 2, 2, 3)
    saliency, own, maps = stack[0], stack[1], stack[2:]
    classes = (3, 1, 7)[:count]
    found = mask_of_maps(ClassMaps(classes, maps, own), rule, saliency)
    for y in range(2):
        for x in range(3):
            args = (maps[:, y, x].tolist(), rule, float(saliency[y, x]), float(own[y, x]))
            assert found[y, x] == pixel(*args, classes)


def test_a_photo_with_little_foreground_is_left_out() -> None:
    """NS-ROM's rule, under which a photo whose objects are all small teaches nothing."""
    maps = ClassMaps((2,), np.array([[[0.9, 0.1, 0.1, 0.1]]], np.float32))
    kept = mask_of_maps(maps, Rule("constant", 0.5, sparse=0.25))
    assert kept.tolist() == [[2, 0, 0, 0]]  # a quarter is not less than a quarter
    assert mask_of_maps(maps, Rule("constant", 0.5, sparse=0.26)).tolist() == [[255] * 4]
    doubted = Rule("constant", 0.95, doubt=0.5, sparse=0.01)  # nothing is left of its class
    assert mask_of_maps(maps, doubted).tolist() == [[255] * 4]
    empty = ClassMaps((), np.zeros((0, 1, 4), np.float32), np.zeros((1, 4), np.float32))
    assert mask_of_maps(empty, Rule("constant", 0.5, sparse=0.5)).tolist() == [[0] * 4]


@pytest.mark.parametrize("name", ["floor", "conflict", "doubt", "salient", "confidence", "sparse"])
def test_thresholds_that_are_no_numbers_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"{name} must be a finite number, not nan"):
        Rule("constant", 0.5, **{name: float("nan")})


def test_normalised_maps() -> None:
    maps = ClassMaps((2, 5), np.array([[[0, 2, 4]], [[1, 2, 1]]], np.float32))
    assert mask_of_maps(maps, Rule("constant", 0.6, "max")).tolist() == [[0, 5, 2]]
    assert mask_of_maps(maps, Rule("constant", 0.6, "min-max")).tolist() == [[0, 5, 2]]
    maps = ClassMaps((2,), np.array([[[1, 1, 1.5]]], np.float32))
    assert mask_of_maps(maps, Rule("constant", 0.6, "max")).tolist() == [[2, 2, 2]]
    assert mask_of_maps(maps, Rule("constant", 0.6, "min-max")).tolist() == [[0, 0, 2]]


def test_a_map_below_zero_stays_below_zero() -> None:
    """Maps before the ReLU, of a class that the network does not see anywhere in the photo."""
    maps = ClassMaps((2, 5), np.array([[[-5, -2, -1]], [[1, 4, 1]]], np.float32))
    assert mask_of_maps(maps, Rule("constant", 0.6, "max")).tolist() == [[0, 5, 0]]


def test_refined_scores_decide() -> None:
    maps = ClassMaps((4,), np.array([[[0.9, 0.9, 0.1]]], np.float32))

    def shifted(stack: np.ndarray) -> np.ndarray:
        np.testing.assert_allclose(stack.sum(axis=0), 1, rtol=1e-6)
        return np.roll(stack, 1, axis=2)

    assert mask_of_maps(maps, Rule("constant", 0.5), refine=shifted).tolist() == [[0, 4, 4]]


def test_what_a_rule_needs_must_be_there() -> None:
    maps = ClassMaps((4,), np.zeros((1, 2, 2), np.float32))
    with pytest.raises(LayoutError, match="no saliency map"):
        mask_of_maps(maps, Rule("saliency"))
    with pytest.raises(LayoutError, match="no map of the background"):
        mask_of_maps(maps, Rule("map"))


def test_the_rules_of_drs_and_nsrom_at_their_levels() -> None:
    """Saliency 50 is background in DRS and 51 is not; 31 is kept by NS-ROM and 32 is not."""
    maps = ClassMaps((4, 5), np.array([[[0.1, 0.1, 0.95]], [[0.0, 0.0, 0.95]]], np.float32))
    drs, nsrom = SOURCES["drs"].rule, SOURCES["ns-rom"].rule
    assert drs is not None
    assert nsrom is not None
    saliency = np.array([[50, 51, 51]], np.float32) / 255
    assert mask_of_maps(maps, drs, saliency).tolist() == [[0, 255, 4]]
    saliency = np.array([[50, 51, 50]], np.float32) / 255  # the background is the third strong one
    assert mask_of_maps(maps, drs, saliency).tolist() == [[0, 255, 255]]
    saliency = np.array([[31, 32, 0]], np.float32) / 255
    rule = replace(nsrom, sparse=None)
    assert mask_of_maps(maps, rule, saliency).tolist() == [[0, 255, 255]]


# --- rules as they are given ----------------------------------------------------------------------


def test_changes_of_a_rule() -> None:
    assert Changes(background="0.4").applied(None) == Rule("constant", 0.4)
    assert Changes(background="power:2", floor=0.1).applied(None) == Rule("power", 2, floor=0.1)
    assert Changes(floor=0.1).applied(None) is None
    drs = SOURCES["drs"].rule
    assert drs is not None
    assert Changes(conflict=0.5).applied(drs) == Rule(
        "saliency", 50 / 255, floor=0.2, conflict=0.5, most=2, salient=51 / 255
    )
    for text in ("cat", "power:x", "map:1", "-1", "nan", "inf", "power:0", ""):
        with pytest.raises(InputError, match="background"):
            Changes(background=text).applied(None)


@pytest.mark.parametrize(
    ("source", "layout", "expected"),
    [
        ("irn", "keys-high-res", "background 0.15 (of IRN, CVPR 2019)"),
        ("recam", "keys-high-res", "background 0.21 (of ReCAM, CVPR 2022)"),
        ("seam", "class-dictionary", "background 0.26 (of SEAM, CVPR 2020)"),
        ("eps", "class-dictionary", "background 0.2 (of EPS, CVPR 2021)"),
        ("mctformer", "class-dictionary", "background 0.39 (of MCTformer, CVPR 2022)"),
        ("seam", "crf-dictionary", "background from the file (of the layout)"),
        (None, "crf-dictionary", "background from the file (of the layout)"),
        ("wsss-bed-l2g", "class-pictures", "background 0.3 (of L2G, of WSSS-BED)"),
        ("clip-es", "keys-attention",
         "background (1 - largest class score)^1; refined by crf; 255 where less than 0.95 of the "
         "scores (of CLIP-ES, CVPR 2023)"),
        ("edam", "class-dictionary", "background 1 - saliency (0 or 1 at 0.2) (of EDAM, CVPR "
         "2021)"),
    ],
)  # fmt: skip
def test_each_source_has_its_authors_rule(source, layout, expected) -> None:
    found, said, assumed = rule_for(layout, source and find_source(source), Changes())
    assert said == expected
    assert found is not None
    assert not assumed


def test_a_rule_that_is_assumed_says_so() -> None:
    rule, said, assumed = rule_for("keys-high-res", None, Changes())
    assert (rule, assumed) == (Rule("constant", 0.15), True)
    assert "as IRN, CVPR 2019 has it; --source or --background change it" in said
    rule, said, assumed = rule_for("keys-attention", None, Changes(background="0.3"))
    assert (rule, said, assumed) == (Rule("constant", 0.3), "background 0.3 (as given)", False)


@pytest.mark.parametrize(
    ("layout", "source", "said"),
    [
        ("keys-high-res", "advcam", "between 0.15 and 0.34; say --background"),
        ("keys-high-res", "rib", "state no background"),
        ("padded-keys", None, "many sources use this layout"),
        ("class-pictures", None, "many sources use this layout.*irn: background 0.15"),
    ],
)
def test_no_rule_is_made_up(layout, source, said) -> None:
    with pytest.raises(InputError, match=said):
        rule_for(layout, source and find_source(source), Changes())


def test_finished_masks_take_no_rule() -> None:
    assert rule_for("index-pictures", find_source("irn"), Changes())[0] is None
    with pytest.raises(InputError, match="finished masks; leave out"):
        rule_for("index-pictures", None, Changes(floor=0.1))
    with pytest.raises(InputError, match="no source called 'nobody'; choose from irn"):
        find_source("nobody")


# --- sizes ----------------------------------------------------------------------------------------


def test_masks_of_another_size() -> None:
    mask = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert fitted_mask(mask, (3, 4), Fit())[1] == ""
    assert fitted_mask(mask, None, Fit())[0] is mask
    with pytest.raises(LayoutError, match="4 x 3 pixels, but its image has 3 x 2; --crop cuts, "):
        fitted_mask(mask, (2, 3), Fit())
    with pytest.raises(LayoutError, match="its image has 3 x 4; --resize scales"):
        fitted_mask(mask, (4, 3), Fit(crop=True))
    cropped, how = fitted_mask(mask, (2, 3), Fit(crop=True, resize=True))
    assert (cropped.tolist(), how) == (mask[:2, :3].tolist(), "cropped")
    scaled, how = fitted_mask(mask, (6, 8), Fit(crop=True, resize=True))
    assert how == "resized"
    np.testing.assert_array_equal(scaled, np.kron(mask, np.ones((2, 2), np.uint8)))


def test_maps_of_another_size() -> None:
    ramp = np.tile(np.arange(4, dtype=np.float32), (3, 1))
    maps = ClassMaps((2,), ramp[None], -ramp)
    scaled, how = fitted_maps(maps, (6, 8), Fit(resize=True))
    assert how == "resized"
    middle = [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]  # pixels' centres are kept
    assert scaled.background is not None
    np.testing.assert_allclose(scaled.maps[0], np.tile(middle, (6, 1)), atol=1e-6)
    np.testing.assert_allclose(scaled.background, -scaled.maps[0])
    cropped, how = fitted_maps(maps, (2, 3), Fit(crop=True))
    assert (cropped.maps.shape, how) == ((1, 2, 3), "cropped")
    nothing, _ = fitted_maps(ClassMaps((), NOTHING), (5, 6), Fit())
    assert mask_of_maps(nothing, Rule("constant", 0.1)).shape == (5, 6)
    with pytest.raises(LayoutError, match="size is unknown"):
        fitted_maps(ClassMaps((), NOTHING), None, Fit())


def test_two_masks_become_one() -> None:
    first = np.array([[0, 1, 255, 2]], np.uint8)
    second = np.array([[0, 2, 255, 255]], np.uint8)
    assert merged((first, second), "agree").tolist() == [[0, 255, 255, 255]]
    assert merged((first, second), "crf") is first
    assert merged((first, second), "ret") is second
    assert merged((first,), "ret") is first
    with pytest.raises(LayoutError, match="for one image"):
        merged((first, second[:, :2]), "agree")


# --- figures --------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 1000), known=st.booleans())
def test_figures_of_masks(seed: int, known: bool) -> None:
    rng = np.random.default_rng(seed)
    taxonomy, bins = Taxonomy("two", ("a", "b")), SizeBins((2, 5))
    masks = [rng.choice(np.array([0, 0, 1, 2, 255], np.uint8), (5, 6)) for _ in range(3)]
    facts = [facts_of(mask) for mask in masks]
    shares = shares_of(facts, taxonomy)
    pixels = np.concatenate([mask.ravel() for mask in masks])
    assert shares.pixels == pixels.size
    assert shares.ignored == pytest.approx((pixels == 255).mean())
    assert shares.background == pytest.approx((pixels == 0).mean())
    for number, name in enumerate(taxonomy.classes, start=1):
        assert shares.classes[name] == pytest.approx((pixels == number).mean())
        assert shares.images[name] == sum((mask == number).any() for mask in masks)

    areas = [(n, int(p.sum())) for m in masks for n in (1, 2) for p in boxes_of(m == n)]
    listed = {"area": [1, 4, 40], "size": ["small", "medium", "large"]}
    true = pa.table(listed) if known else None
    found = components_of(facts, taxonomy, bins, true)
    for number, name in enumerate(taxonomy.classes, start=1):
        sizes = [bins.name_of(area) for n, area in areas if n == number]
        assert found.by_class[name] == {size: sizes.count(size) for size in bins.names}
    assert sum(found.by_size.values()) == sum(found.histogram) == len(areas)
    for low, high, count in zip(found.edges, found.edges[1:], found.histogram, strict=False):
        assert count == sum(low <= area < high for _, area in areas)
    if known:
        assert found.instances_by_size == {"small": 1, "medium": 1, "large": 1}
        assert found.instances is not None
        assert sum(found.instances) == 3


def test_a_digest_knows_the_size_of_a_mask() -> None:
    mask = np.zeros((2, 6), np.uint8)
    assert facts_of(mask).digest == facts_of(mask.copy("F")).digest
    assert facts_of(mask).digest != facts_of(mask.reshape(3, 4)).digest


# --- names ----------------------------------------------------------------------------------------


def test_names_that_two_images_share_are_no_ones() -> None:
    names = ImageNames(("0009", "9", "2007_000032"))
    assert names.find("0009") == "0009"
    assert names.find("9") == "9"
    assert names.find("00009") is None
    assert names.find("002007000032") == "2007_000032"
    assert names.find("2007-000032") is None


def test_an_image_may_be_called_like_a_coloured_twin() -> None:
    files = [Path(f"{stem}.png") for stem in ("wood", "wood_palette", "tree", "tree_palette")]
    found = sort_files(files, ImageNames(("tree", "wood", "wood_palette")))
    assert {name: path.stem for name, path in found.whole.items()} == {
        "tree": "tree", "wood": "wood", "wood_palette": "wood_palette",
    }  # fmt: skip
    assert [path.stem for path in found.twins] == ["tree_palette"]


@pytest.mark.parametrize("name", ["", "a b", "a/b", "..", ".a", "a:b", "a" * 70, "-a"])
def test_names_of_imports(name: str) -> None:
    with pytest.raises(InputError, match="invalid import name"):
        check_name(name)
    assert check_name("irn-v1.2_final") == "irn-v1.2_final"
    assert VOC20.name_of(1) == "aeroplane"
