from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sbdata_baselines.methods.drs import BASELINE as DRS
from sbdata_baselines.methods.nsrom import BASELINE, FirstLabelSettings
from sbdata_baselines.nsrom import first_round_labels, round_loss, whole_maps
from sbdata_baselines.settings import SquareViewSettings
from sbdata_baselines.stages.accumulation import Accumulator, Visits, integral_loss, visits_of
from sbdata_baselines.stages.maps import ClassMaps, read_maps
from sbdata_baselines.stages.potential import (
    second_labels,
    threshold_of,
    without_potential_objects,
)
from sbdata_baselines.stages.reasoning import GlobalReasoning
from torch.nn import functional

from sbdata.benchmark.stage import in_order
from sbdata.errors import InputError
from sbdata.masks import read_index_png
from sbdata.train.segmenter import build_segmenter
from tests.baselines.weak_examples import (
    assert_kills_change_nothing,
    last_stage,
    run_all,
    run_paper,
    task_of,
    with_true_saliency,
    write_weak,
)
from tests.benchmark.stage_runs import key_of

NETWORK = "network={backbone: resnet10t, weights: none, output_stride: 16, frozen: 0}"
CLASSIFIERS = ("accumulating", "integral")
PAPER = (  # VGG-16 rounds a side that is no multiple of its stride of 8 down, other backbones up
    *(
        f"{part}.{key}"
        for part in CLASSIFIERS
        for key in (
            "network.weights=none",
            "views={side: 36, crop: 36, flip: false, jitter: [0.3, 0.3, 0.3, 0.1]}",
            "schedule={epochs: 1, batch_size: 4}",
            "optimiser.lr=1e-4",
            "width=16",
        )
    ),
    "earlier.side=36",
    "activation.side=36",
    "segmenter.model={backbone: resnet10t, weights: none, output_stride: 8, scales: [0.5, 0.75]}",
    "segmenter.views={crop: 48, rescale: [0.5, 1.5]}",
    "segmenter.schedule={epochs: 1, batch_size: 4}",
    "prediction.refine={name: par, iterations: 2, dilations: [1, 2]}",
    "prediction.labelled=true",
)
TINY = (
    *(
        f"{part}.{key}"
        for part in CLASSIFIERS
        for key in (
            NETWORK,
            "views={side: 32, crop: 32, flip: false}",
            "schedule={epochs: 4, batch_size: 4, checkpoint_every: 1}",
            "width=8",
        )
    ),
    "earlier.side=32",
    "activation.side=32",
    "segmenter.model={backbone: resnet10t, weights: none, output_stride: 16, rates: [1]}",
    "segmenter.views={crop: 32}",
    "segmenter.schedule={epochs: 4, batch_size: 4, checkpoint_every: 1}",
    "prediction.refine={name: none}",
)


def test_the_paper_preset_runs_on_tiny_photos(tmp_path: Path) -> None:
    weak, _ = write_weak(tmp_path / "photos", empty=3)
    run_paper(BASELINE, PAPER, weak, tmp_path / "run", others=(0, 255))


def test_every_stage_goes_on_after_a_kill(tmp_path: Path) -> None:
    """The accumulated maps, too, are those of an unbroken run."""
    weak, _ = write_weak(tmp_path / "photos", n=4, empty=3)
    assert_kills_change_nothing(last_stage(BASELINE, "smoke", TINY), weak, tmp_path / "run")


@pytest.mark.parametrize("preset", ["paper", "smoke"])
def test_nsrom_and_drs_share_the_saliency_maps(tmp_path: Path, preset: str) -> None:
    weak, _ = write_weak(tmp_path / "photos", n=1)
    keys = {
        key_of(stage, weak, 0)
        for method in (BASELINE, DRS)
        for stage in in_order(last_stage(method, preset))
        if stage.name == "saliency"
    }
    assert len(keys) == 1


def test_two_squares_from_labels_to_masks(tmp_path: Path) -> None:
    """Overfit: three photos of a red square, a blue one, or both, each on grey noise."""
    weak, truth = write_weak(tmp_path / "photos", n=6)
    weak = with_true_saliency(weak, truth, tmp_path / "saliency")
    overrides = (
        *(
            f"{part}.{key}"
            for part in CLASSIFIERS
            for key in (
                "network={backbone: tf_efficientnet_lite0, output_stride: 16, frozen: 3}",
                "views={side: 96, crop: 96, flip: false}",
                "schedule={epochs: 20, batch_size: 6}",
                "optimiser.milestones=[18]",
                "optimiser.lr=5e-4",
                "width=32",
            )
        ),
        "earlier.side=96",
        "activation.side=96",
        "labels.salient=0.5",
        "segmenter.views={crop: 64, flip: true}",
        "segmenter.schedule={epochs: 60, batch_size: 6}",
    )
    last = last_stage(BASELINE, "smoke", overrides)
    masks = run_all(last, weak, tmp_path / "run")
    right, known, seen = [], [], []
    for row in weak.rows:
        mask, true = read_index_png(masks / f"{row.image_id}.png"), truth[row.image_id]
        right.append((mask[mask != 255] == true[mask != 255]).mean())
        known.append((mask != 255).mean())
        seen.append((mask == true)[true > 0].mean())
    assert np.mean(known) > 0.5
    assert np.mean(right) > 0.8  # the segmenter has 4 x 4 cells
    assert np.mean(seen) > 0.5  # 0.57 or more, by the processor; 0 if nothing is learned


# --- reasoning ------------------------------------------------------------------------------------


def reasoning() -> GlobalReasoning:
    torch.manual_seed(0)
    return GlobalReasoning(6, nodes=3, states=4).double()


def test_reasoning_keeps_the_shape_and_adds_to_the_features() -> None:
    part, features = reasoning(), torch.randn(2, 6, 3, 5).double()
    assert part(features).shape == features.shape
    part.norm.weight.data.zero_()
    torch.testing.assert_close(part(features), features)


def test_reasoning_against_loops() -> None:
    part, features = reasoning().eval(), torch.randn(1, 6, 2, 3).double()
    found = part(features)[0].flatten(1)
    x = features[0].flatten(1)  # (6, 6 pixels)
    states = part.reduce.weight[:, :, 0, 0] @ x + part.reduce.bias[:, None]
    nodes = part.project.weight[:, :, 0, 0] @ x + part.project.bias[:, None]
    graph = torch.zeros(4, 3).double()
    for pixel in range(6):
        graph += states[:, pixel, None] * nodes[None, :, pixel]
    mixed = torch.zeros_like(graph)
    for node in range(3):
        mixed[:, node] = graph[:, node] + part.mix.bias[node]
        for other in range(3):
            mixed[:, node] += part.mix.weight[node, other, 0] * graph[:, other]
    updated = part.update.weight[:, :, 0] @ mixed.clamp(min=0)
    for pixel in range(6):
        spread = sum(updated[:, node] * nodes[node, pixel] for node in range(3))
        added = part.extend.weight[:, :, 0, 0] @ spread / np.sqrt(1 + 1e-4)
        torch.testing.assert_close(found[:, pixel], x[:, pixel] + added)


def test_places_and_nodes_have_no_order() -> None:
    """Pixels that change places take their results along; nodes may be numbered anew."""
    part, features = reasoning().eval(), torch.randn(2, 6, 3, 4).double()
    order = torch.randperm(12)
    moved = features.flatten(2)[:, :, order].view_as(features)
    wanted = part(features).flatten(2)[:, :, order].view_as(features)
    torch.testing.assert_close(part(moved), wanted)
    before, nodes = part(features), torch.tensor([2, 0, 1])
    with torch.no_grad():
        for values in (part.project.weight, part.project.bias, part.mix.bias):
            values.copy_(values[nodes].clone())
        part.mix.weight.copy_(part.mix.weight[nodes][:, nodes].clone())
    torch.testing.assert_close(part(features), before)


def test_far_pixels_tell_each_other() -> None:
    part, features = reasoning().eval(), torch.randn(1, 6, 1, 8).double()
    changed = features.clone()
    changed[..., 0] += 1
    assert not torch.allclose(part(features)[..., -1], part(changed)[..., -1])


# --- accumulation ---------------------------------------------------------------------------------


def test_maps_are_accumulated_by_their_maximum() -> None:
    """Photo 0 has classes 1 and 3, photo 1 has class 2; epochs 0 to 3, of which 3 is the last."""
    part = Accumulator((2, 1), (1, 2))
    labels = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    steps = [
        (0, [[[8, 2]], [[9, 9]], [[4, 4]]], [[[1, 1]], [[1, 1]], [[1, 1]]]),
        (1, [[[4, 2]], [[9, 9]], [[-9, -1]]], [[[1, 1]], [[2, 1]], [[1, 1]]]),
        (2, [[[1, 5]], [[9, 9]], [[-9, 1]]], [[[1, 1]], [[-9, 2]], [[1, 1]]]),
        (3, [[[1, 1]], [[9, 9]], [[-9, 3]]], [[[1, 1]], [[0, 1]], [[1, 1]]]),
    ]
    for epoch, first, second in steps:
        activations = torch.tensor([first, second], dtype=torch.float32)
        part.keep(
            activations, labels, torch.tensor([0, 1]), torch.full((2,), epoch),
            first=1, last=3, least=0.1,
        )  # fmt: skip
    found = part.maps_of(0, (1, 3))
    assert found.classes == (1, 3)
    # Class 1: [1, 0.5], [0.2, 1], [1, 1]. Class 3 is unlikely until it is written at last.
    np.testing.assert_allclose(found.maps[0], [[1, 1]])
    np.testing.assert_allclose(found.maps[1], [[0, 1]])
    np.testing.assert_allclose(part.maps_of(1, (2,)).maps[0], [[1, 1]])


def test_levels_are_those_of_8_bits() -> None:
    part = Accumulator((1,), (1, 3))
    activations = torch.tensor([[[[3.0, 1.0, -2.0]]]])
    zeros = torch.zeros(1, dtype=torch.long)
    part.keep(activations, torch.ones(1, 1), zeros, zeros, first=0, last=0, least=0.0)
    assert part.kept.tolist() == [[[255, 85, 0]]]


def test_visits_tell_photo_and_epoch(tmp_path: Path) -> None:
    weak, _ = write_weak(tmp_path / "photos", n=3)
    visits = [Visits(weak.rows, 5)(position) for position in range(9)]
    assert [visit.epoch for visit in visits] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    for epoch in range(3):
        assert {v.number for v in visits[3 * epoch : 3 * epoch + 3]} == {0, 1, 2}
    assert all(weak.rows[visit.number] is visit.row for visit in visits)
    pixels, labels, number, epoch = visits_of(weak, SquareViewSettings(16, 16, flip=False), 5)[4]
    assert pixels.shape == (16, 16, 3)
    assert (int(number), int(epoch)) == (visits[4].number, 1)
    assert (np.flatnonzero(labels) + 1).tolist() == list(visits[4].row.classes)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_the_integral_loss_against_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 2, (2, 3, 2, 2))
    levels = rng.choice([0, 0, 51, 255], (2, 3, 2, 2)).astype(np.uint8)
    positive, absent = [], []
    for value, level in zip(z.ravel().tolist(), levels.ravel().tolist(), strict=True):
        if level:
            positive.append(-level / 255 * np.log(1 / (1 + np.exp(-value))))
        else:
            absent.append(np.log1p(np.exp(value)))
    wanted = sum(np.mean(part) if part else 0 for part in (positive, absent))
    found = integral_loss(torch.tensor(z), torch.tensor(levels))
    assert float(found) == pytest.approx(float(wanted))


def test_accumulated_maps_lie_in_cells(tmp_path: Path) -> None:
    weak, _ = write_weak(tmp_path / "photos", n=3)
    stages = {s.name: s for s in in_order(last_stage(BASELINE, "smoke", TINY))}
    first, second = stages["accumulating"], stages["accumulated-maps"]
    first.loaded()(task_of(weak, tmp_path / "net"), first.settings)
    second.loaded()(task_of(weak, tmp_path / "maps"), second.settings, tmp_path / "net")
    for row in weak.rows:
        found = read_maps(tmp_path / "maps", row.image_id)
        assert (found.classes, found.size) == (row.classes, (2, 2))


# --- labels ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_first_labels_against_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    raw = rng.random((2, 5, 6)).astype(np.float32)
    salience = rng.choice([0.0, 0.05, 0.2, 0.95, 1.0], (5, 6)).astype(np.float32)
    chosen = FirstLabelSettings(0.125, potential=False, least=0)
    wanted = np.zeros((5, 6), np.uint8)
    for y in range(5):
        for x in range(6):
            scores = [1 - float(salience[y, x])]
            for c in range(2):
                low, high = raw[c].min(), raw[c].max()
                value = float((raw[c, y, x] - low) / (high - low + 1e-5))
                scores.append(value if value >= 0.3 else 0.0)
            wanted[y, x] = (0, 4, 7)[int(np.argmax(scores))]
            if sum(score > 0.9 for score in scores) > 1:
                wanted[y, x] = 255
            if wanted[y, x] == 0 and (salience[y, x] >= 0.125 or max(scores[1:]) > 0.8):
                wanted[y, x] = 255
    maps = ClassMaps((4, 7), raw)
    np.testing.assert_array_equal(first_round_labels(maps, maps, salience, chosen), wanted)


def test_a_photo_without_classes_is_background() -> None:
    maps = ClassMaps((), np.zeros((0, 3, 3), np.float32))
    salience = np.ones((3, 3), np.float32)
    assert not first_round_labels(maps, maps, salience, FirstLabelSettings(0.1)).any()


def test_the_threshold_of_potential_objects() -> None:
    values = np.array([[0.1, 0.2, 0.6, 0.8, 0.9]], np.float32)
    inside = np.array([[True, True, True, False, False]])
    none = np.zeros_like(inside)
    assert threshold_of(values, inside, 0.3) == pytest.approx(0.2)
    # Above 0.3: 0.6, 0.8, 0.9, of median 0.8; above that 0.9.
    assert threshold_of(values, none, 0.3) == pytest.approx(0.9)
    assert threshold_of(values, none, 0.95) == 1.0
    assert threshold_of(np.full((1, 3), 0.5, np.float32), none[:, :3], 0.3) == 1.0
    # Labelled where the map is 0: as without labelled pixels, or all the rest would be open.
    dark = np.where(inside, np.float32(0), values)
    assert threshold_of(dark, inside, 0.3) == threshold_of(dark, none, 0.3) == pytest.approx(0.9)


def test_background_that_may_be_an_object_is_left_open() -> None:
    labels = np.array([[1, 1, 0, 0, 255]], np.uint8)
    earlier = ClassMaps((1,), np.array([[[0.4, 0.6, 0.55, 0.5, 0.9]]], np.float32))
    found = without_potential_objects(labels, earlier, 0.3)
    assert found.tolist() == [[1, 1, 255, 0, 255]]
    assert labels[0, 2] == 0


def test_an_earlier_map_is_stretched_before_its_threshold() -> None:
    """Without a labelled pixel, values above 0.3 count: those of the stretched map."""
    labels = np.zeros((1, 4), np.uint8)
    earlier = ClassMaps((1,), np.array([[[0.5, 0.55, 0.9, 1.0]]], np.float32))
    # Stretched: 0, 0.1, 0.8, 1; above 0.3 the median is 0.9, above that 1, which none exceeds.
    assert without_potential_objects(labels, earlier, 0.3).tolist() == [[0, 0, 0, 0]]


def test_the_second_round_as_a_table() -> None:
    """Predicted background takes the first label's class; beyond the reach all is open."""
    predicted, labels = np.zeros((2, 1, 40), np.uint8)
    salient = np.zeros((1, 40), np.bool_)
    predicted[0, 2], labels[0, 3], labels[0, 10], salient[0, 20] = 1, 2, 255, True
    found = second_labels(predicted, labels, salient, (1, 2), reach=4, least=0)
    assert found[0, 2:5].tolist() == [1, 2, 0]
    # A square of 4 reaches two pixels to the right and one to the left, as OpenCV's does.
    near = [any(-1 <= x - place <= 2 for place in (2, 3, 20)) for x in range(40)]
    assert (found[0] != 255).tolist() == near
    single = second_labels(predicted, labels, salient, (1,), reach=4, least=0)
    np.testing.assert_array_equal(single, predicted)
    assert (second_labels(predicted, labels, salient, (1,), least=0.1) == 255).all()
    assert not second_labels(np.zeros_like(labels), labels, salient, (), least=0.1).any()


@pytest.mark.parametrize("seed", range(4))
def test_the_second_round_against_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    predicted = rng.choice([0, 0, 0, 0, 0, 0, 0, 3], (9, 11)).astype(np.uint8)
    labels = rng.choice([0, 0, 0, 0, 0, 0, 5, 255], (9, 11)).astype(np.uint8)
    salient = rng.random((9, 11)) < 0.05
    wanted = predicted.copy()
    for y in range(9):
        for x in range(11):
            if predicted[y, x] == 0 and labels[y, x] == 5:
                wanted[y, x] = 5
    seen = [(y, x) for y in range(9) for x in range(11) if wanted[y, x] or salient[y, x]]
    for y in range(9):
        for x in range(11):
            if not any(abs(y - v) <= 1 and abs(x - u) <= 1 for v, u in seen):
                wanted[y, x] = 255
    found = second_labels(predicted, labels, salient, (3, 5), reach=3, least=0)
    np.testing.assert_array_equal(found, wanted)
    assert 0 < (wanted == 255).sum() < wanted.size


def test_labels_of_255_alone_cost_nothing() -> None:
    model = build_segmenter("resnet10t", n_classes=2, weights="none", output_stride=16)
    images = torch.rand(1, 3, 32, 32)
    void = torch.full((1, 32, 32), 255, dtype=torch.uint8)
    loss = round_loss(model.train(), images, void)
    assert float(loss) == 0
    loss.backward()
    labels = void.clone()
    labels[:, :16] = 1
    logits = functional.interpolate(model(images), size=(32, 32), mode="bilinear")
    wanted = functional.cross_entropy(logits, labels.long(), ignore_index=255)
    torch.testing.assert_close(round_loss(model, images, labels), wanted)


def test_whole_maps_are_normalised_and_of_the_photos_size() -> None:
    def maps_of(images: torch.Tensor) -> torch.Tensor:
        assert images.shape == (1, 3, 32, 32)
        return torch.tensor([[[[-1.0, 2.0]], [[3.0, 6.0]]]])

    found = whole_maps(maps_of, np.zeros((6, 10, 3), np.uint8), (1, 2), 32, "cpu")
    assert found.size == (6, 10)
    assert found.maps[0].min() == 0
    assert found.maps[1, 0, 0] == pytest.approx(0.5, abs=0.1)  # bicubic overshoots a little
    assert found.maps[:, 0, -1].tolist() == pytest.approx([1, 1], abs=0.01)


# --- settings -------------------------------------------------------------------------------------


def test_paper_constants() -> None:
    paper = BASELINE.presets["paper"]
    assert (paper["accumulating"]["nodes"], paper["accumulating"]["states"]) == (64, 128)
    assert (paper["accumulating"]["first"], paper["accumulating"]["least"]) == (1, 0.1)
    assert paper["masks"] == {"reach": 30, "salient": 0, "least": 0.01}
    cut = paper["labels"]["salient"]  # 32 of 255, in 254 levels
    assert next(level for level in range(256) if round(level * 254 / 255) / 254 >= cut) == 32


def test_views_must_show_all_of_a_photo() -> None:
    for views in ("{side: 64, crop: 32, flip: false}", "{side: 64, crop: 64, flip: true}"):
        with pytest.raises(InputError, match="maps of whole photos are stored"):
            last_stage(BASELINE, "smoke", (f"accumulating.views={views}",))
