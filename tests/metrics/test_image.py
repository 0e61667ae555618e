"""``score_image`` against the reference, and the laws that any reading of the metric must keep."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sbdata.errors import InputError
from sbdata.metrics import (
    ImageTruth,
    MetricOptions,
    score_image,
    truth_from_components,
    truth_from_maps,
)
from sbdata.metrics.image import CLASS_ROW, FP_ATTRIBUTIONS, ROUNDINGS
from sbdata.metrics.outcomes import OUTCOMES, outcome_index
from tests.metrics.random_maps import N_CLASSES, Image, images
from tests.reference import ia_iou as reference
from tests.reference import ia_iou_arrays

OPTIONS = [MetricOptions(a, r) for a in FP_ATTRIBUTIONS for r in ROUNDINGS]

COUNTS = ("class_id", "area", "tp")
REGION = ("class_id", "area", "matched", "met_instances")
ORPHANS = ("orphan_regions", "orphan_pixels", "orphan_false_pixels", "false_pixels")


def truth_of(image: Image) -> ImageTruth:
    ids = sorted(image.classes)
    return ImageTruth(
        image.class_map,
        image.instance_map,
        np.array(ids, np.int32),
        np.array([image.classes[i] for i in ids], np.uint8),
    )


def score(image: Image, options=MetricOptions()):  # noqa: B008 - frozen
    return score_image(image.prediction, truth_of(image), N_CLASSES, options)


def rows(table, *names):
    return list(zip(*(table[name].tolist() for name in names), strict=True))


def canonical(result):
    """Return a score as values that can be compared, without the order of the regions."""
    names = [n for n in result.regions.dtype.names if n != "region"]
    return (
        result.confusion.tolist(),
        sorted(rows(result.instances, *result.instances.dtype.names)),
        sorted(rows(result.regions, *names)),
        rows(result.classes, *CLASS_ROW.names),
    )


# --- against the references -----------------------------------------------------------------------


@settings(max_examples=400, deadline=None)
@given(image=images(predicted_void=True), options=st.sampled_from(OPTIONS))
def test_equals_the_sets_of_pixels(image, options):
    got = score(image, replace(options, predicted_void=True))
    want = reference.score(
        image.prediction,
        image.class_map,
        image.instance_map,
        image.classes,
        N_CLASSES,
        fp_attribution=options.fp_attribution,
        rounding=options.rounding,
    )
    assert got.confusion.tolist() == want["confusion"]
    assert got.instances["instance_id"].tolist() == sorted(want["instances"])
    kinds = [OUTCOMES[k] for k in outcome_index(got.instances)]
    for row, ia, kind in zip(got.instances, got.ia_iou, kinds, strict=True):
        wanted = want["instances"][int(row["instance_id"])]
        for name in (*COUNTS, "met_regions", "other_class", "other_pixels"):
            assert row[name] == wanted[name], name
        assert row["fp"] == pytest.approx(float(wanted["fp"]), rel=1e-12, abs=1e-12)
        assert ia == pytest.approx(float(wanted["ia_iou"]), rel=1e-12, abs=1e-12)
        if options.rounding == "floor":  # whole pixels: equal to the last bit
            assert (row["fp"], ia) == (wanted["fp"], float(wanted["ia_iou"]))
            assert kind == wanted["outcome"]
    assert rows(got.regions, *REGION) == [tuple(c[n] for n in REGION) for c in want["regions"]]
    assert got.regions["region"].tolist() == list(range(1, len(want["regions"]) + 1))
    for row in got.classes:
        if row["class_id"]:
            assert tuple(row[n] for n in ORPHANS) == want["orphans"][int(row["class_id"])]


def shapes_image(seed, height, width, noise, *, dtype=np.uint8):
    """Draw overlapping ellipses with void rings, and a shifted and noisy prediction of them."""
    rng = np.random.default_rng(seed)
    class_map = np.zeros((height, width), np.uint8)
    instance_map = np.zeros((height, width), dtype)
    classes = {}
    y, x = np.mgrid[:height, :width]
    for number in range(1, 9):
        centre, radius = rng.random(2) * (height, width), 3 + rng.random(2) * (height, width) / 5
        away = ((y - centre[0]) / radius[0]) ** 2 + ((x - centre[1]) / radius[1]) ** 2
        class_map[away < 1.2] = 255
        classes[number] = int(rng.integers(1, N_CLASSES + 1))
        class_map[away < 1] = classes[number]
        instance_map[away < 1.2] = number
    prediction = np.roll(class_map, (3, -4), (0, 1))
    prediction[prediction == 255] = 1
    salt = rng.random((height, width)) < noise
    prediction[salt] = rng.integers(0, N_CLASSES + 1, salt.sum())
    seen = set(np.unique(instance_map[class_map != 255]).tolist()) - {0}
    return Image(prediction, class_map, instance_map, {i: classes[i] for i in sorted(seen)})


@pytest.mark.parametrize("noise", [0.0, 0.01, 1.0])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_equals_the_array_path_at_real_size(noise, dtype):
    for seed, options in enumerate(OPTIONS):
        image = shapes_image(seed % 3, 187, 251, noise, dtype=dtype)
        got = score(image, options)
        want = ia_iou_arrays.score(
            image.prediction,
            image.class_map,
            image.instance_map,
            image.classes,
            N_CLASSES,
            fp_attribution=options.fp_attribution,
            rounding=options.rounding,
        )
        assert got.confusion.tolist() == want["confusion"].tolist()
        assert sorted(rows(got.regions, *REGION)) == want["regions"]
        for row in got.instances:
            area, tp, fp, met = want["instances"][int(row["instance_id"])]
            assert (row["area"], row["tp"], row["met_regions"]) == (area, tp, met)
            assert row["fp"] == pytest.approx(fp, rel=1e-12)
            assert options.rounding == "exact" or row["fp"] == fp


@settings(deadline=None)
@given(images(), st.sampled_from(OPTIONS))
def test_the_references_agree(image, options):
    given_ = (image.prediction, image.class_map, image.instance_map, image.classes, N_CLASSES)
    by_name = {"fp_attribution": options.fp_attribution, "rounding": options.rounding}
    slow, quick = reference.score(*given_, **by_name), ia_iou_arrays.score(*given_, **by_name)
    assert slow["confusion"] == quick["confusion"].tolist()
    assert sorted(tuple(r[n] for n in REGION) for r in slow["regions"]) == quick["regions"]
    for number, row in slow["instances"].items():
        area, tp, fp, met = quick["instances"][number]
        assert (row["area"], row["tp"], row["met_regions"]) == (area, tp, met)
        assert fp == pytest.approx(float(row["fp"]), rel=1e-12, abs=1e-12)
    background = slow["background"]
    assert quick["background"] == (None if background is None else float(background))


# --- regions --------------------------------------------------------------------------------------

CLOSED, CORNER_OFF, OPEN = "closed", "corner off", "open"


@settings(deadline=None)
@given(st.lists(st.sampled_from([CLOSED, CORNER_OFF, OPEN]), min_size=1, max_size=4), st.data())
def test_what_lies_in_a_closed_ring_belongs_to_it(rings, data):
    # Rings from the outermost in; a ring without a corner still closes, one with a gap does not.
    side = 4 * len(rings) + 1
    prediction = np.zeros((side, side), np.uint8)
    separate, closed = 0, False
    for k, kind in enumerate(rings):
        low, high = 2 * k, side - 1 - 2 * k
        prediction[low : high + 1, low : high + 1] = 1
        prediction[low + 1 : high, low + 1 : high] = 0
        if kind == CORNER_OFF:
            prediction[low, low] = 0
        if kind == OPEN:
            prediction[low, data.draw(st.integers(low + 1, high - 1))] = 0
        separate += not closed
        closed = closed or kind != OPEN
    nothing = np.zeros_like(prediction)
    for turn in (np.asarray, np.fliplr, np.flipud, np.transpose):
        result = score_image(turn(prediction), truth_from_maps(nothing, nothing), 1)
        assert len(result.regions) == separate
        assert result.regions["area"].sum() == prediction.sum()


@settings(deadline=None)
@given(images(), st.sampled_from(OPTIONS))
def test_a_frame_of_a_class_makes_one_region_of_it(image, options):
    framed = [
        np.pad(a, 2, constant_values=v)
        for a, v in ((image.prediction, 0), (image.class_map, 255), (image.instance_map, 255))
    ]
    framed[0][[0, -1]] = 1
    framed[0][:, [0, -1]] = 1  # the frame lies on void: it joins, and counts nowhere
    result = score(Image(*framed, image.classes), options)
    plain = score(image, options)
    assert result.confusion.tolist() == plain.confusion.tolist()
    ones, others = result.regions["class_id"] == 1, plain.regions["class_id"] == 1
    assert ones.sum() == min(1, others.sum())
    for name in ("area", "matched"):
        assert result.regions[name][ones].sum() == plain.regions[name][others].sum()
    rest = [r[r["class_id"] != 1][list(REGION)].tolist() for r in (result.regions, plain.regions)]
    assert rest[0] == rest[1]


@pytest.mark.parametrize("density", [0.3, 0.4, 0.5])
def test_regions_are_what_lies_in_the_outer_outlines_of_opencv(density):
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    rng, nested = np.random.default_rng(0), 0
    for zoom in (1, 1, 2, 3):
        cells = (rng.random((60 // zoom, 80 // zoom)) < density).astype(np.uint8)
        prediction = np.kron(cells, np.ones((zoom, zoom), np.uint8))
        outlines, _ = cv2.findContours(prediction, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        want = []
        for outline in outlines:
            inside = cv2.drawContours(np.zeros_like(prediction), [outline], -1, 1, cv2.FILLED)
            want.append(int((inside & prediction).sum()))
        nothing = np.zeros_like(prediction)
        found = score_image(prediction, truth_from_maps(nothing, nothing), 1).regions
        assert sorted(found["area"].tolist()) == sorted(want)
        nested += len(reference.components_of(reference.pixels_of(prediction, 1))) - len(want)
    assert nested > 0


def test_a_region_runs_on_behind_void():
    class_map = np.array([[1, 255, 1, 0]])
    for void_in_both in (False, True):
        instance_map = np.array([[1, 255 * void_in_both, 2, 0]])
        result = score_image(np.array([[1, 1, 1, 1]]), truth_from_maps(class_map, instance_map), 1)
        assert rows(result.regions, *REGION) == [(1, 3, 2, 2)]


def test_shares_are_rounded_down_in_float64_and_in_the_released_order():
    # 48 instances of one pixel, one class pixel of none, 49 false pixels: 1 / 49 * 49 is below 1.
    class_map = np.array([[1] * 49 + [0] * 49])
    instance_map = np.array([[*range(1, 49)] + [0] * 50])
    found = score_image(np.ones((1, 98), int), truth_from_maps(class_map, instance_map), 1)
    assert (1 / 49) * 49 < 1
    assert set(found.instances["fp"].tolist()) == {0}
    exact = MetricOptions(rounding="exact")
    found = score_image(np.ones((1, 98), int), truth_from_maps(class_map, instance_map), 1, exact)
    assert found.instances["fp"] == pytest.approx(1, rel=1e-15)


# --- laws -----------------------------------------------------------------------------------------


@settings(deadline=None)
@given(images(), st.sampled_from(OPTIONS))
def test_every_instance_has_exactly_one_row(image, options):
    assert score(image, options).instances["instance_id"].tolist() == sorted(image.classes)


@settings(deadline=None)
@given(images(), st.sampled_from(OPTIONS), st.integers(0, N_CLASSES))
def test_the_truth_itself_scores_one(image, options, under_void):
    # Whatever is predicted under void; class pixels of no instance are right as well.
    prediction = np.where(image.class_map == 255, under_void, image.class_map).astype(np.uint8)
    perfect = Image(prediction, image.class_map, image.instance_map, image.classes)
    result = score(perfect, options)
    assert (result.ia_iou == 1).all()
    assert (result.instances["fp"] == 0).all()
    off_diagonal = result.confusion - np.diag(np.diag(result.confusion))
    assert not off_diagonal.any()


@settings(deadline=None)
@given(images(), st.sampled_from(OPTIONS), st.randoms(use_true_random=False))
def test_renaming_instances_changes_nothing(image, options, random):
    names = random.sample(range(1, 250), len(image.classes))
    renamed = np.where(image.instance_map == 255, 255, 0).astype(np.uint8)
    new_name = dict(zip(image.classes, names, strict=True))
    for old, new in new_name.items():
        renamed[image.instance_map == old] = new
    other = Image(
        image.prediction,
        image.class_map,
        renamed,
        {new_name[i]: c for i, c in image.classes.items()},
    )
    a, b = score(image, options), score(other, options)
    assert canonical(a)[0] == canonical(b)[0]
    assert canonical(a)[2:] == canonical(b)[2:]
    names = (*COUNTS, "fp", "met_regions", "other_class", "other_pixels")
    before = dict(zip(a.instances["instance_id"].tolist(), rows(a.instances, *names), strict=True))
    after = dict(zip(b.instances["instance_id"].tolist(), rows(b.instances, *names), strict=True))
    assert {new_name[i]: row for i, row in before.items()} == after  # fp to the last bit


@settings(deadline=None)
@given(images(), st.sampled_from(OPTIONS))
def test_turning_the_image_changes_nothing(image, options):
    want = canonical(score(image, options))
    for turn in (np.fliplr, np.flipud, np.transpose, lambda a: np.rot90(a, 2)):
        turned = Image(
            turn(image.prediction), turn(image.class_map), turn(image.instance_map), image.classes
        )
        assert canonical(score(turned, options)) == want  # fp to the last bit


@settings(deadline=None)
@given(images(), st.sampled_from(OPTIONS), st.integers(0, N_CLASSES))
def test_void_is_never_counted(image, options, under_void):
    void = (image.class_map == 255) | (image.instance_map == 255)
    result = score(image, options)
    assert result.confusion.sum() == (~void).sum()
    assert result.regions["area"].sum() == ((image.prediction > 0) & ~void).sum()
    # It does not matter which of the two maps says void.
    for in_class_map, in_instance_map in ((True, True), (True, False), (False, True)):
        other = Image(
            image.prediction,
            np.where(void & in_class_map, 255, image.class_map % 255).astype(np.uint8),
            np.where(void & in_instance_map, 255, image.instance_map % 255).astype(np.uint8),
            image.classes,
        )
        assert canonical(score(other, options)) == canonical(result)
    # A prediction under void may join regions, but is no TP, no area and no class pixel.
    changed = np.where(void, under_void, image.prediction).astype(np.uint8)
    other = score(Image(changed, image.class_map, image.instance_map, image.classes), options)
    assert other.confusion.tolist() == result.confusion.tolist()
    assert other.instances[["area", "tp"]].tolist() == result.instances[["area", "tp"]].tolist()
    assert other.regions["area"].sum() == result.regions["area"].sum()
    # A frame of void around the image is nothing at all.
    maps = ((image.prediction, 0), (image.class_map, 255), (image.instance_map, 255))
    framed = Image(*(np.pad(a, 1, constant_values=v) for a, v in maps), image.classes)
    assert canonical(score(framed, options)) == canonical(result)


@settings(deadline=None)
@given(images())
def test_every_false_pixel_is_attributed_or_of_an_orphan(image):
    strays = set(image.class_map[np.isin(image.instance_map, list(image.classes), invert=True)])
    for fp_attribution in FP_ATTRIBUTIONS:
        exact = score(image, MetricOptions(fp_attribution, "exact"))
        floored = score(image, MetricOptions(fp_attribution, "floor"))
        lost = exact.instances["fp"] - floored.instances["fp"]
        assert (lost >= -1e-9).all()
        assert (lost < exact.instances["met_regions"] + (lost == 0)).all()  # under 1 a region
        for row in exact.classes:
            mine = exact.instances["class_id"] == row["class_id"]
            attributed = exact.instances["fp"][mine].sum()
            total = row["false_pixels"] - row["orphan_false_pixels"]
            if fp_attribution in ("area", "equal") or row["class_id"] not in strays:
                if fp_attribution != "all" and row["class_id"]:
                    assert attributed == pytest.approx(total)
            elif fp_attribution == "overlap":  # class pixels of no instance take their part
                assert attributed <= total + 1e-9
    everyone_pays = score(image, MetricOptions("all"))
    for fp_attribution in FP_ATTRIBUTIONS:
        some_pay = score(image, MetricOptions(fp_attribution, "exact"))
        assert (everyone_pays.instances["fp"] >= some_pay.instances["fp"] - 1e-9).all()


@settings(deadline=None)
@given(images(), st.sampled_from(OPTIONS))
def test_a_single_instance_without_orphan_has_the_iou_of_its_class(image, options):
    result = score(image, options)
    listed = np.isin(image.instance_map, [0, 255])
    stray = set(image.class_map[listed].tolist())
    for row, ia in zip(result.instances, result.ia_iou, strict=True):
        c = int(row["class_id"])
        counts = result.classes[result.classes["class_id"] == c][0]
        alone = (result.instances["class_id"] == c).sum() == 1
        if alone and counts["orphan_regions"] == 0 and c not in stray:
            union = counts["true_pixels"] + counts["predicted_pixels"] - counts["matched_pixels"]
            assert ia == counts["matched_pixels"] / union


def test_that_law_is_not_empty():
    truth = truth_from_maps(np.array([[1, 1, 1, 0, 0, 0]]), np.array([[1, 1, 1, 0, 0, 0]]))
    result = score_image(np.array([[0, 1, 1, 1, 1, 0]]), truth, 1)
    assert result.ia_iou.tolist() == [2 / 5]
    assert result.confusion.tolist() == [[1, 2], [1, 2]]


@settings(deadline=None)
@given(images(predicted_void=True), st.sampled_from(OPTIONS))
def test_predicted_void_is_background(image, options):
    background = np.where(image.prediction == 255, 0, image.prediction).astype(np.uint8)
    same = Image(background, image.class_map, image.instance_map, image.classes)
    allowed = score(image, replace(options, predicted_void=True))
    assert canonical(allowed) == canonical(score(same, options))
    if (image.prediction == 255).any():
        with pytest.raises(InputError, match="void"):
            score(image, options)


@settings(deadline=None)
@given(images())
def test_classes_rows_follow_from_the_confusion_matrix(image):
    result = score(image)
    for row in result.classes:
        c = int(row["class_id"])
        assert row["true_pixels"] == result.confusion[c].sum()
        assert row["predicted_pixels"] == result.confusion[:, c].sum()
        assert row["matched_pixels"] == result.confusion[c, c]
        mine = result.regions["class_id"] == c
        assert row["regions"] == (mine.sum() if c else 0)
        if c:
            assert row["false_pixels"] == row["predicted_pixels"] - row["matched_pixels"]
    seen = result.confusion.sum(0) + result.confusion.sum(1) > 0
    assert result.classes["class_id"].tolist() == np.flatnonzero(seen).tolist()


def test_fractions_are_added_in_an_order_that_no_turn_changes():
    # Bars over columns of unequal width: every bar touches several instances and has false pixels.
    instance_map = np.zeros((60, 34), int)
    for number, (start, stop) in enumerate(((1, 4), (5, 10), (12, 19), (22, 33)), start=1):
        instance_map[:, start:stop] = number
    instance_map[50:, 3:9] = 0
    rng = np.random.default_rng(3)
    prediction = np.zeros((60, 34), int)
    for y in range(0, 60, 2):
        start = int(rng.integers(0, 12))
        prediction[y, start : start + int(rng.integers(8, 23))] = 1
    found = []
    for turn in (np.asarray, np.flipud, np.fliplr, np.transpose):
        truth = truth_from_maps(turn((instance_map > 0).astype(int)), turn(instance_map))
        exact = MetricOptions(rounding="exact")
        found.append(score_image(turn(prediction), truth, 1, exact).instances["fp"])
    assert (found[0] % 1 > 0).all()
    for other in found[1:]:
        assert other.tobytes() == found[0].tobytes()
    truth = (instance_map > 0).astype(int)
    classes = dict.fromkeys(range(1, 5), 1)
    want = reference.score(prediction, truth, instance_map, classes, 1, rounding="exact")
    for number, fp in enumerate(found[0], start=1):
        exact = want["instances"][number]["fp"]
        assert abs(Fraction(float(fp)) - exact) < Fraction(1, 10**12)


# --- arrays of any kind ---------------------------------------------------------------------------


def test_layout_and_integer_type_of_the_arrays_do_not_matter():
    image = shapes_image(0, 60, 80, 0.05)
    want = canonical(score(image))
    read_only = image.prediction.copy()
    read_only.flags.writeable = False
    wide = np.zeros((60, 160), np.uint8)
    wide[:, ::2] = image.prediction
    for prediction in (
        np.asfortranarray(image.prediction),
        image.prediction.astype(np.int64),
        read_only,
        wide[:, ::2],
    ):
        assert canonical(score_image(prediction, truth_of(image), N_CLASSES)) == want
    for kind in (np.uint16, np.int64):
        other = Image(
            image.prediction, image.class_map, image.instance_map.astype(kind), image.classes
        )
        assert canonical(score(other)) == want


def test_the_arguments_are_not_changed():
    image = shapes_image(1, 40, 40, 0.2)
    copies = [a.copy() for a in (image.prediction, image.class_map, image.instance_map)]
    score(image)
    for copy, array in zip(
        copies, (image.prediction, image.class_map, image.instance_map), strict=True
    ):
        assert (copy == array).all()


# --- what is refused ------------------------------------------------------------------------------

LINE = np.array([[1, 1, 0, 2]])


@pytest.mark.parametrize(
    ("prediction", "match"),
    [
        (np.array([[1, 1, 0]]), "3 x 1 pixels and the truth 4 x 1"),
        (np.array([[1, 1, 0, 3]]), r"class 3 at x = 3, y = 0; classes lie in 0..2"),
        (np.array([[1, 255, 0, 2]]), r"void \(255\) at x = 1, y = 0"),
        (np.array([[1, 1, 0, -1]]), r"-1..1"),
        (np.array([[1, 1, 0, 256]]), r"0..256"),
        (np.array([[1.0, 1, 0, 2]]), "integers"),
        (np.array([1, 1, 0, 2]), "height, width"),
        (np.zeros((0, 4), np.uint8), "height, width"),
        (np.zeros((1, 4, 3), np.uint8), "height, width"),
    ],
)
def test_predictions_that_cannot_be_scored(prediction, match):
    with pytest.raises(InputError, match=match):
        score_image(prediction, truth_from_maps(LINE, LINE), 2)


def test_truth_that_contradicts_itself():
    ids, classes = np.array([1, 2], np.int32), np.array([1, 2], np.uint8)
    with pytest.raises(InputError, match="instance 1 has a pixel of class 2 at x = 3"):
        score_image(LINE, ImageTruth(LINE, np.array([[1, 1, 0, 1]]), ids, classes), 2)
    with pytest.raises(InputError, match="number 3 at x = 3, y = 0, which is none"):
        score_image(LINE, ImageTruth(LINE, np.array([[1, 1, 0, 3]]), ids, classes), 2)
    with pytest.raises(InputError, match="instance 2 has no pixel outside void"):
        score_image(LINE, ImageTruth(LINE, np.array([[1, 1, 0, 0]]), ids, classes), 2)
    with pytest.raises(InputError, match=r"truth holds class 2 at x = 3, y = 0"):
        score_image(np.array([[1, 1, 0, 1]]), truth_from_maps(LINE, LINE), 1)


def test_options_that_do_not_exist():
    with pytest.raises(InputError, match="attribution must be one of overlap, area, equal, all, n"):
        MetricOptions(fp_attribution="half")
    with pytest.raises(InputError, match="rounding must be one of floor, exact, not 'up'"):
        MetricOptions(rounding="up")
    for name in ("connectivity", "share"):
        with pytest.raises(TypeError, match=name):
            MetricOptions(**{name: 8})
    for n_classes in (0, 255):
        with pytest.raises(InputError, match=r"1..254"):
            score_image(LINE, truth_from_maps(LINE, LINE), n_classes)


# --- truth ----------------------------------------------------------------------------------------


@settings(deadline=None)
@given(images())
def test_truth_from_maps_finds_the_classes(image):
    truth = truth_from_maps(image.class_map, image.instance_map)
    found = dict(zip(truth.instance_ids.tolist(), truth.class_ids.tolist(), strict=True))
    assert found == image.classes


def test_truth_from_maps_refuses_an_instance_of_two_classes():
    for classes in ([[1, 2]], [[2, 1]], [[0, 1]], [[1, 0]], [[1, 1, 0]]):
        with pytest.raises(InputError, match="instance 9 covers pixels of the classes"):
            truth_from_maps(np.array(classes), np.full(np.shape(classes), 9))
    with pytest.raises(InputError, match="2 x 1 pixels and the instance map 3 x 1"):
        truth_from_maps(np.array([[1, 1]]), np.array([[1, 1, 1]]))


@settings(deadline=None)
@given(images())
def test_truth_from_components_equals_the_reference(image):
    truth = truth_from_components(image.class_map)
    parts = sorted(
        (min(part), c, part)
        for c in range(1, N_CLASSES + 1)
        for part in reference.components_of(reference.pixels_of(image.class_map, c))
    )
    assert truth.class_ids.tolist() == [c for _, c, _ in parts]
    assert truth.instance_ids.tolist() == list(range(1, len(parts) + 1))
    for number, (_, _, part) in enumerate(parts, start=1):
        assert reference.pixels_of(truth.instance_map, number) == part


def test_components_of_a_truth_are_not_joined_by_outlines():
    ring_with_a_blob = np.ones((5, 5), np.uint8)
    ring_with_a_blob[1:4, 1:4] = 0
    ring_with_a_blob[2, 2] = 1
    truth = truth_from_components(ring_with_a_blob)
    assert truth.instance_ids.tolist() == [1, 2]
    result = score_image(ring_with_a_blob, truth, 1)
    assert rows(result.regions, *REGION) == [(1, 17, 17, 2)]  # predicted, they are one region


def test_number_255_of_an_8_bit_instance_map_is_void():
    class_map = np.array([[1, 1, 1, 0, 255]], np.uint8)
    instance_map = np.array([[1, 1, 255, 255, 255]], np.uint8)
    truth = truth_from_maps(class_map, instance_map)
    assert truth.instance_ids.tolist() == [1]
    result = score_image(np.array([[1, 1, 1, 1, 1]]), truth, 1)
    assert result.instances["fp"].tolist() == [0]
    assert result.confusion.tolist() == [[0, 0], [0, 2]]
    sixteen = np.array([[1, 1, 255, 0, 0]], np.uint16)  # there 255 is a number like any other
    truth = truth_from_maps(class_map, sixteen)
    assert truth.instance_ids.tolist() == [1, 255]
    result = score_image(np.array([[1, 1, 1, 0, 0]]), truth, 1)
    assert result.confusion.tolist() == [[1, 0], [0, 3]]


def test_class_pixels_of_no_instance_are_true_and_never_false():
    class_map = np.array([[1, 1, 1, 0, 0, 0]])
    truth = truth_from_maps(class_map, np.array([[1, 0, 0, 0, 0, 0]]))
    result = score_image(np.array([[1, 1, 1, 1, 1, 1]]), truth, 1)
    assert result.confusion.tolist() == [[0, 3], [0, 3]]  # mIoU reads the class map alone
    assert rows(result.instances, "area", "tp", "fp") == [(1, 1, 1)]  # 1 of 3 shares of 3


def test_gaps_in_the_instance_numbers_change_nothing():
    class_map, prediction = np.array([[1, 1, 0, 2, 0]]), np.array([[1, 1, 1, 2, 2]])
    found = []
    for numbers in ((1, 2), (1, 3), (7, 254), (300, 65535)):
        instance_map = np.array([[numbers[0]] * 2 + [0, numbers[1], 0]])
        found.append(score_image(prediction, truth_from_maps(class_map, instance_map), 2))
        assert found[-1].instances["instance_id"].tolist() == list(numbers)
    for other in found[1:]:
        assert other.ia_iou.tolist() == found[0].ia_iou.tolist()
        assert other.classes.tolist() == found[0].classes.tolist()


def test_truth_from_components_of_many_parts():
    dots = np.zeros((60, 60), np.uint8)
    dots[::2, ::2] = 1
    truth = truth_from_components(dots)
    assert truth.instance_map.dtype == np.uint16
    assert truth.instance_ids.size == 900
    assert (score_image(dots, truth, 1).ia_iou == 1).all()
    many = np.zeros((514, 514), np.uint8)
    many[::2, ::2] = 1
    with pytest.raises(InputError, match="66049 connected parts in one class map; at most 65535"):
        truth_from_components(many)


@pytest.mark.parametrize(
    ("ids", "classes", "match"),
    [
        ([1, 1], [1, 2], "distinct"),
        ([0], [1], r"1..254"),
        ([255], [1], r"1..254"),
        ([1], [0], "classes of instances"),
        ([1], [255], "classes of instances"),
        ([1, 2], [1], "2 instances with 1 classes"),
    ],
)
def test_truth_with_impossible_instances(ids, classes, match):
    maps = np.zeros((2, 2), np.uint8)
    with pytest.raises(InputError, match=match):
        ImageTruth(maps, maps, np.array(ids), np.array(classes))


def test_truth_with_impossible_maps():
    maps, none = np.zeros((2, 2), np.uint8), np.zeros(0, np.int32)
    with pytest.raises(InputError, match="cover the image"):
        ImageTruth(maps, np.zeros((2, 3), np.uint8), none, none)
    with pytest.raises(InputError, match="the class map must be"):
        ImageTruth(maps.astype(float), maps, none, none)
    with pytest.raises(InputError, match=r"0..65536; use 0..65535"):
        ImageTruth(maps, np.array([[0, 0], [0, 65536]]), none, none)
    truth = ImageTruth(maps, np.array([[0, 0], [0, 300]]), np.array([300]), np.array([1]))
    assert truth.instance_map.dtype == np.uint16
