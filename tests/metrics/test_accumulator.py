"""Gathering, merging and summing up; parity of the class figures with numpy and hotcoco."""

from __future__ import annotations

import json
import pickle
from fractions import Fraction

import numpy as np
import pytest
from hotcoco.semantic import SemanticEval
from hypothesis import given, settings
from hypothesis import strategies as st

from sbdata.errors import InputError
from sbdata.metrics import Accumulator, ImageTruth, MetricOptions, score_image, truth_from_maps
from sbdata.metrics.image import FP_ATTRIBUTIONS, ROUNDINGS, ia_iou
from sbdata.metrics.outcomes import OUTCOMES
from sbdata.metrics.summary import half_octaves
from sbdata.sizes import SizeBins
from tests.metrics.random_maps import N_CLASSES, images
from tests.reference import ia_iou as reference

TINY = SizeBins((2, 6), ("tiny", "middling", "big"))
NAMES = ("one", "two", "three")


OPTIONS = [MetricOptions(a, r) for a in FP_ATTRIBUTIONS for r in ROUNDINGS]


def score(image, options=MetricOptions()):  # noqa: B008 - frozen
    truth = truth_from_maps(image.class_map, image.instance_map)
    return score_image(image.prediction, truth, N_CLASSES, options)


def gather(scores):
    accumulator = Accumulator(N_CLASSES)
    for image_id, one in scores:
        accumulator.update(image_id, one)
    return accumulator


def bits(accumulator):
    """Return everything that is computed, as text that shows every bit."""
    tables = accumulator.tables()
    return (
        json.dumps(accumulator.compute(TINY).as_dict()),  # repr of floats is exact
        tables.image_ids,
        tables.confusion.tobytes(),
        *(getattr(tables, n).tobytes() for n in ("instance_image", "instances")),
        *(getattr(tables, n).tobytes() for n in ("region_image", "regions")),
        *(getattr(tables, n).tobytes() for n in ("class_image", "classes")),
    )


sets_of_images = st.lists(images(), min_size=1, max_size=6)


@settings(deadline=None, max_examples=60)
@given(sets_of_images, st.data())
def test_any_division_over_workers_gives_the_same_bits(drawn, data):
    scores = [(f"image {k}", score(image)) for k, image in enumerate(drawn)]
    want = bits(gather(scores))
    shuffled = data.draw(st.permutations(scores))
    workers = data.draw(
        st.lists(st.integers(0, 2), min_size=len(scores), max_size=len(scores)), label="worker"
    )
    parts = [gather(s for s, w in zip(shuffled, workers, strict=True) if w == k) for k in range(3)]
    whole = Accumulator(N_CLASSES)
    for part in data.draw(st.permutations(parts)):
        whole.merge(pickle.loads(pickle.dumps(part)))  # noqa: S301 - as a process pool does
    assert len(whole) == len(scores)
    assert bits(whole) == want


def test_merging_leaves_the_other_as_it_was():
    image = (np.array([[1, 1, 0, 2]]), np.array([[1, 1, 0, 2]]))
    one = score_image(image[0], truth_from_maps(*image), N_CLASSES)
    a, b = gather([("a", one)]), gather([("b", one)])
    before = bits(b)
    a.merge(b)
    a.update("c", one)
    assert bits(b) == before
    b.update("d", one)
    assert (len(a), len(b)) == (3, 2)


def close(value, wanted):
    if wanted is None:
        return value is None
    return value == pytest.approx(float(wanted), rel=1e-12, abs=1e-15)


@settings(deadline=None, max_examples=60)
@given(sets_of_images, st.sampled_from(OPTIONS))
def test_summary_equals_the_reference(drawn, options):
    rows, regions, backgrounds, confusion = [], [], [], np.zeros((4, 4), int)
    orphans = {c: np.zeros(4, int) for c in range(1, N_CLASSES + 1)}
    accumulator = Accumulator(N_CLASSES, options)
    for k, image in enumerate(drawn):
        accumulator.update(str(k), score(image, options))
        found = reference.score(
            image.prediction,
            image.class_map,
            image.instance_map,
            image.classes,
            N_CLASSES,
            fp_attribution=options.fp_attribution,
            rounding=options.rounding,
        )
        rows += found["instances"].values()
        regions += found["regions"]
        backgrounds += [found["background"]] if found["background"] is not None else []
        confusion += np.array(found["confusion"])
        for c, counts in found["orphans"].items():
            orphans[c] += counts
    got = accumulator.compute(TINY)

    assert accumulator.tables().confusion.tolist() == confusion.tolist()
    miou, n = reference.mean_iou(confusion.tolist())
    assert close(got.miou, miou)
    assert got.n_miou_classes == n
    assert got.absent == tuple(np.flatnonzero(confusion.sum(1) == 0).tolist())
    total = int(confusion.sum())
    assert close(got.pixel_accuracy, Fraction(int(np.trace(confusion)), total) if total else None)

    # The overall class mean has background as one more class; nothing else has.
    assert close(got.background_ia.value, reference.mean(backgrounds))
    assert got.background_ia.n == len(backgrounds)
    chosen = {"ia": rows, "ia_objects": rows}
    for name in TINY.names:
        chosen[f"ia_{name}"] = [r for r in rows if TINY.name_of(r["area"]) == name]
    assert set(got.ia) == set(chosen)
    for name, some in chosen.items():
        figure = got.ia[name]
        with_background = backgrounds if name == "ia" else []
        class_mean, instance_mean = reference.class_and_instance_mean(
            [(r["class_id"], r["ia_iou"]) for r in some], with_background
        )
        assert close(figure.class_mean, class_mean)
        assert close(figure.instance_mean, instance_mean)
        assert figure.n_instances == len(some)
        assert figure.n_classes == len({r["class_id"] for r in some}) + bool(with_background)
        if name == "ia_objects":
            continue
        for row in got.classes:
            mine = [r["ia_iou"] for r in some if r["class_id"] == row.class_id]
            assert row.ia[name].n == len(mine)
            assert close(row.ia[name].value, reference.mean(mine))
    sizes = [got.ia[f"ia_{name}"].n_instances for name in TINY.names]
    assert sum(sizes) == got.ia["ia"].n_instances == len(rows)

    for name in ("", *TINY.names):
        some = [c for c in regions if not name or TINY.name_of(c["area"]) == name]
        cell = got.region_precision[f"region_precision_{name}".rstrip("_")]
        assert cell.n == len(some)
        good = sum(2 * c["matched"] >= c["area"] for c in some)
        assert close(cell.value, Fraction(good, len(some)) if some else None)

    iou = reference.class_iou(confusion.tolist())
    assert close(got.background_iou, iou.get(0))
    for row in got.classes:
        count, pixels, orphan_false, false = orphans[row.class_id].tolist()
        assert (row.orphans.regions, row.orphans.pixels) == (count, pixels)
        assert close(row.orphans.share, Fraction(orphan_false, false) if false else None)
        assert close(row.iou, iou.get(row.class_id))
    assert got.orphans.pixels == sum(int(c[1]) for c in orphans.values())

    assert {size: sum(counts.values()) for size, counts in got.outcomes.items()} == {
        name: got.ia[f"ia_{name}"].n_instances for name in TINY.names
    }
    if options.rounding == "floor":
        for name in TINY.names:
            for kind, count in got.outcomes[name].items():
                assert count == sum(r["outcome"] == kind for r in chosen[f"ia_{name}"])

    assert sum(point.n for point in got.curve) == len(rows)
    for point in got.curve:
        some = [r["ia_iou"] for r in rows if point.low <= r["area"] < point.high]
        assert point.n == len(some)
        assert close(point.value, reference.mean(some))
    assert list(got.headline()) == ["miou", "pixel_accuracy"] + [
        f"ia{s}.{m}"
        for s in ("", "_objects", "_tiny", "_middling", "_big")
        for m in ("class_mean", "instance_mean")
    ] + [f"region_precision{s}" for s in ("", "_tiny", "_middling", "_big")]


def test_background_is_one_iou_of_each_image_that_has_some():
    half, none, all_of_it = [[0, 0, 1, 1]], [[1, 1, 1, 1]], [[0, 0, 0, 0]]
    accumulator = Accumulator(1)
    for name, class_map, prediction in (
        ("half found", half, [[0, 1, 1, 1]]),  # background 1 of 2, the object 2 of 3
        ("no background", none, [[0, 0, 1, 1]]),  # no value of background; the object 1 of 2
        ("missed", half, none),  # background 0 of 2, the object 2 of 4
        ("nothing else", all_of_it, all_of_it),  # background 4 of 4
        ("all void", [[255, 255, 255, 255]], half),
    ):
        maps = np.array(class_map)
        truth = truth_from_maps(maps, maps)
        accumulator.update(name, score_image(np.array(prediction), truth, 1))
    summary = accumulator.compute()
    assert (summary.background_ia.value, summary.background_ia.n) == (0.5, 3)
    objects = (2 / 3 + 1 / 2 + 2 / 4) / 3
    assert summary.ia["ia"].class_mean == pytest.approx((0.5 + objects) / 2, rel=1e-15)
    assert summary.ia["ia_objects"].class_mean == pytest.approx(objects, rel=1e-15)
    assert (summary.ia["ia"].n_classes, summary.ia["ia_objects"].n_classes) == (2, 1)
    assert summary.ia["ia"].instance_mean == summary.ia["ia_objects"].instance_mean
    assert summary.ia["ia_small"] == summary.ia["ia_objects"]


def test_a_set_of_background_alone_has_an_ia_and_no_ia_of_objects():
    maps = np.zeros((2, 2), int)
    summary = gather([("a", score_image(maps, truth_from_maps(maps, maps), N_CLASSES))]).compute()
    assert (summary.ia["ia"].class_mean, summary.ia["ia"].n_classes) == (1, 1)
    assert (summary.ia["ia"].instance_mean, summary.ia["ia"].n_instances) == (None, 0)
    assert (summary.ia["ia_objects"].class_mean, summary.ia["ia_objects"].n_classes) == (None, 0)


# --- parity ---------------------------------------------------------------------------------------


def random_pairs(seed, n_classes, count):
    """Return truth and prediction of real proportions: classes missing, void, rare classes."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        height, width = rng.integers(20, 60, 2)
        blocks = rng.choice(n_classes + 1, (8, 8), p=rng.dirichlet(np.full(n_classes + 1, 0.2)))
        truth = np.kron(blocks, np.ones((8, 8), int))[:height, :width].astype(np.uint8)
        wrong = rng.random(truth.shape) < 0.3
        prediction = np.where(wrong, rng.integers(0, n_classes + 1, truth.shape), truth)
        truth[rng.random(truth.shape) < 0.05] = 255
        yield truth, prediction.astype(np.uint8)


@pytest.mark.parametrize("n_classes", [1, 20, 80, 254])
def test_class_figures_equal_numpy_and_hotcoco_exactly(n_classes):
    theirs = SemanticEval(n_classes + 1)
    accumulator = Accumulator(n_classes)
    confusion = np.zeros((n_classes + 1, n_classes + 1), np.int64)
    for k, (truth, prediction) in enumerate(random_pairs(n_classes, n_classes, 12)):
        no_instances = truth_from_maps(truth, np.zeros_like(truth))
        accumulator.update(f"{k:02d}", score_image(prediction, no_instances, n_classes))
        theirs.update(truth, prediction)
        seen = truth != 255
        code = truth[seen].astype(np.int64) * (n_classes + 1) + prediction[seen]
        confusion += np.bincount(code, minlength=confusion.size).reshape(confusion.shape)
    summary = accumulator.compute()
    assert (accumulator.tables().confusion == confusion).all()
    assert (accumulator.tables().confusion == theirs.confusion()).all()

    with np.errstate(invalid="ignore"):
        iou = np.diag(confusion) / (confusion.sum(0) + confusion.sum(1) - np.diag(confusion))
    present = confusion.sum(1) > 0
    assert (~present).sum() == len(summary.absent)
    ours = [summary.background_iou, *(row.iou for row in summary.classes)]
    assert ours == [value if seen else None for value, seen in zip(iou, present, strict=True)]
    assert summary.miou == pytest.approx(iou[present].mean(), rel=4e-16)
    assert summary.pixel_accuracy == np.trace(confusion) / confusion.sum()
    report = theirs.results()
    assert summary.pixel_accuracy == report["aAcc"]
    # hotcoco, as mmsegmentation, averages over classes that are true or predicted; we need truth.
    their_iou = [row["IoU"] for row in report["per_class"] if row["gt_area"]]
    assert [value for value in ours if value is not None] == their_iou
    if all(row["gt_area"] or not row["pred_area"] for row in report["per_class"]):
        assert summary.miou == report["mIoU"]
    else:
        assert summary.miou == sum(their_iou) / len(their_iou)


def test_classes_that_are_only_predicted_are_no_part_of_miou():
    theirs = SemanticEval(4)
    truth, prediction = np.array([[0, 1, 1]], np.uint8), np.array([[0, 1, 2]], np.uint8)
    theirs.update(truth, prediction)
    accumulator = Accumulator(3)
    accumulator.update("a", score_image(prediction, truth_from_maps(truth, truth), 3))
    summary = accumulator.compute()
    assert summary.miou == (1 + 1 / 2) / 2
    assert summary.absent == (2, 3)
    assert theirs.results()["mIoU"] == pytest.approx((1 + 1 / 2 + 0) / 3)


# --- what is refused, and what is nothing ---------------------------------------------------------


def test_images_and_settings_that_do_not_fit():
    maps = np.array([[1, 0, 2]])
    one = score_image(maps, truth_from_maps(maps, maps), 3)
    accumulator = gather([("a", one)])
    with pytest.raises(InputError, match="image a was scored twice"):
        accumulator.update("a", one)
    with pytest.raises(InputError, match="image a was scored twice"):
        accumulator.merge(gather([("b", one), ("a", one)]))
    assert len(accumulator) == 1
    with pytest.raises(InputError, match="was scored for 3 classes with"):
        Accumulator(2).update("a", one)
    other = MetricOptions(fp_attribution="equal")
    with pytest.raises(InputError, match="score it again"):
        Accumulator(3, other).update("a", one)
    with pytest.raises(InputError, match="cannot be merged"):
        accumulator.merge(Accumulator(3, other))
    with pytest.raises(InputError, match=r"1..254"):
        Accumulator(0)


def test_nothing_gives_no_figure():
    summary = Accumulator(2).compute()
    assert set(summary.headline().values()) == {None}
    assert (summary.n_images, summary.curve, summary.absent) == (0, (), (0, 1, 2))
    assert summary.ia["ia"].n_instances == 0
    tables = Accumulator(2).tables()
    assert all(len(c) == 0 for c in tables.instance_columns(SizeBins(), ("a", "b")).values())
    json.dumps(summary.as_dict(("a", "b")), allow_nan=False)


def test_rows_can_be_grouped_to_the_same_figures():
    scores = []
    rng = np.random.default_rng(0)
    for k in range(5):
        classes = np.repeat(rng.integers(0, 4, (6, 6)), 3, axis=1)
        truth = truth_from_maps(classes, np.where(classes > 0, classes + 10, 0))
        guess = np.where(rng.random(classes.shape) < 0.3, 0, classes)
        scores.append((f"image {4 - k}", score_image(guess, truth, 3)))
    accumulator = gather(scores)
    summary = accumulator.compute(TINY)
    columns = accumulator.tables().instance_columns(TINY, NAMES)
    assert list(columns) == [
        "image_id", "instance_id", "class_id", "class_name", "area", "size", "tp", "fp", "ia_iou",
        "recall", "met_regions", "outcome", "other_class", "other_pixels",
    ]  # fmt: skip
    assert columns["image_id"].tolist() == sorted(columns["image_id"])
    assert set(columns["class_name"]) == set(NAMES)
    for size in TINY.names:
        mine = columns["ia_iou"][columns["size"] == size]
        figure = summary.ia[f"ia_{size}"]
        assert figure.n_instances == mine.size
        if mine.size:
            assert figure.instance_mean == pytest.approx(mine.mean(), rel=1e-13)
        kinds = columns["outcome"][columns["size"] == size].tolist()
        assert summary.outcomes[size] == {kind: kinds.count(kind) for kind in OUTCOMES}
    found = columns["other_pixels"] > 0
    assert set(columns["other_class"][~found]) <= {""}
    assert set(columns["other_class"][found]) <= set(NAMES)
    regions = accumulator.tables().region_columns(TINY, NAMES)
    assert list(regions) == [
        "image_id", "region", "class_id", "class_name", "area", "size", "matched", "met_instances",
    ]  # fmt: skip
    precise = 2 * regions["matched"] >= regions["area"]
    assert summary.region_precision["region_precision"].value == pytest.approx(precise.mean())


def test_rows_are_sorted_by_image_and_number():
    maps = np.array([[7, 7, 0, 2, 0, 5, 5, 5]])
    truth = ImageTruth((maps > 0).astype(int), maps, np.array([7, 2, 5]), np.array([1, 1, 1]))
    one = score_image((maps > 0).astype(int), truth, N_CLASSES)
    assert one.instances["instance_id"].tolist() == [7, 2, 5]  # as the truth gives them
    columns = gather([("b", one), ("a", one)]).tables().instance_columns(TINY, NAMES)
    assert columns["image_id"].tolist() == ["a"] * 3 + ["b"] * 3
    assert columns["instance_id"].tolist() == [2, 5, 7] * 2
    assert columns["area"].tolist() == [1, 3, 2] * 2


def test_half_octaves_are_exact():
    # The smallest whole number whose square is at least 2^k, found without any root.
    wanted = {
        next(e for e in range(2 ** (k // 2), 2 ** (k // 2 + 1) + 1) if e * e >= 2**k)
        for k in range(28)
    }
    assert half_octaves(8192).tolist() == sorted(e for e in wanted if e <= 11586)
    assert half_octaves(1).tolist() == [1, 2]
    assert {32, 1024, 2**30} <= set(half_octaves(2**31).tolist())


def test_ia_iou_of_rows():
    maps = np.array([[1, 1, 0]])
    one = score_image(np.array([[0, 1, 1]]), truth_from_maps(maps, maps), 1)
    assert ia_iou(one.instances).tolist() == [1 / 3]
