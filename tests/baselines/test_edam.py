from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sbdata_baselines.edam import (
    PairedAttention,
    asked_classes,
    pair_loss,
    positions,
    salient_mask,
    salient_pseudo_masks,
    train_attention,
)
from sbdata_baselines.methods.edam import BASELINE, AttentionSettings
from sbdata_baselines.methods.edam import SalientMaskSettings as Masks
from sbdata_baselines.settings import (
    NetworkSettings,
    Refinement,
    SaliencySettings,
    Schedule,
    Sgd,
    ViewSettings,
)
from sbdata_baselines.stages.maps import ClassMaps, write_maps
from sbdata_baselines.stages.pyramid import build_pyramid
from sbdata_baselines.stages.saliency_maps import saliency_maps

from sbdata.benchmark.stage import StageContext
from sbdata.errors import InputError
from sbdata.masks import read_index_png
from tests.baselines.shapes_examples import assert_above_labels_alone
from tests.baselines.weak_examples import CPU, run_paper, task_of, tiny, write_weak

PAPER = (
    *tiny("attention", "{crop: 64, long_side: [64, 80], jitter: [0.3, 0.3, 0.3, 0.1]}"),
    "activation.scales=[1.0]",
    "masks.refine={name: par, iterations: 2, dilations: [1, 2]}",
)
SMALL = (
    "attention.views={crop: 80, long_side: [80, 128]}",
    "attention.schedule={epochs: 3, batch_size: 8}",
    "activation.scales=[0.4]",
)
NETWORK = NetworkSettings("mobilenetv3_small_050", "none", frozen=0)
SETTINGS = AttentionSettings(
    NETWORK, ViewSettings(48), Sgd(0.01, 0.9), Schedule(4, 4, checkpoint_every=1), width=8
)


def network(shared: bool = False, n_classes: int = 3) -> PairedAttention:
    torch.manual_seed(0)
    settings = replace(SETTINGS, shared=shared)
    return PairedAttention(build_pyramid(NETWORK), n_classes, settings).eval()


def images(n: int) -> torch.Tensor:
    return torch.rand(n, 3, 48, 64, generator=torch.Generator().manual_seed(1))


def test_the_paper_preset_runs_on_tiny_photos(tmp_path: Path) -> None:
    weak, _ = write_weak(tmp_path / "photos", empty=3)
    run_paper(BASELINE, PAPER, weak, tmp_path / "run")


def test_forty_shapes_from_labels_to_masks(tmp_path: Path) -> None:
    assert_above_labels_alone(BASELINE, SMALL, tmp_path)


# --- the network ----------------------------------------------------------------------------------


def test_squares_of_the_class_masks_sum_to_one() -> None:
    with torch.no_grad():
        masks = network().class_masks(images(2))
    assert masks.shape == (2, 4, 3, 4)
    assert (masks >= 0).all()
    torch.testing.assert_close((masks**2).sum(1), torch.ones(2, 3, 4))


@pytest.mark.parametrize("shared", [False, True])
def test_swapped_photos_swap_the_logits_but_for_the_embedding_of_their_place(shared: bool) -> None:
    model, photos, asked = network(shared), images(2), torch.tensor([[0, 0], [0, 2]])
    with torch.no_grad():
        plain, swapped = model(photos, asked), model(photos.flip(0), asked)
        assert not torch.allclose(plain, swapped.flip(1), atol=1e-6)
        model.photo.weight[1] = model.photo.weight[0]
        plain, swapped = model(photos, asked), model(photos.flip(0), asked)
    torch.testing.assert_close(plain, swapped.flip(1))
    assert not torch.allclose(plain, plain.flip(1), atol=1e-6)


@pytest.mark.parametrize("shared", [False, True])
def test_each_pair_and_class_is_read_alone(shared: bool) -> None:
    """All at once as one by one; first photos are 0 and 1, partners 2 and 3."""
    model, photos = network(shared), images(4)
    asked = torch.tensor([[0, 0], [0, 2], [1, 1], [1, 2]])
    with torch.no_grad():
        together = model(photos, asked)
        for place, (pair, kind) in enumerate(asked.tolist()):
            two = photos[[pair, pair + 2]]
            alone = model(two, torch.tensor([[0, kind]]))[0]
            torch.testing.assert_close(together[place], alone, atol=1e-5, rtol=1e-4)


def test_the_logits_step_by_step() -> None:
    """The steps of the paper in order, for one pair and class, by plain loops."""
    model, photos, kind = network(), images(2), 1
    with torch.no_grad():
        features = model.pyramid(photos)[-1]
        raw = model.masks(features)
        sequence = []
        for photo in range(2):
            for cell in range(12):
                y, x = divmod(cell, 4)
                mask = abs(float(raw[photo, kind + 1, y, x])) / float(raw[photo, :, y, x].norm())
                token = model.reduce.weight[:, :, 0, 0] @ features[photo, :, y, x] * mask
                sequence.append(token + positions(12, 8)[cell] + model.photo.weight[photo])
        read = model.blocks[kind](torch.stack(sequence)[None])[0]
        wanted = torch.stack([read[:12].mean(0), read[12:].mean(0)]) @ model.score.weight[kind]
        torch.testing.assert_close(model(photos, torch.tensor([[0, kind]]))[0], wanted)


def test_each_class_has_a_transformer_unless_they_share_one() -> None:
    assert len(network().blocks) == 3
    assert network().kind is None
    shared = network(shared=True)
    assert len(shared.blocks) == 1
    both = shared(images(2), torch.tensor([[0, 0], [0, 1]]))
    both.sum().backward()
    assert shared.kind is not None
    assert (shared.kind.weight.grad.abs().sum(1) > 0).tolist() == [True, True, False]


def test_the_transformer_learns_at_the_backbones_rate() -> None:
    model = network(shared=True)
    slow = {id(p) for p in model.attending().parameters()}
    fast = {name for name, p in model.named_parameters() if id(p) not in slow}
    assert fast == {"masks.weight", "reduce.weight", "score.weight"}


def test_positions_against_the_formula() -> None:
    found = positions(5, 6)
    for cell in range(5):
        for k in range(3):
            angle = cell / 10_000 ** (2 * k / 6)
            assert float(found[cell, 2 * k]) == pytest.approx(math.sin(angle), abs=1e-6)
            assert float(found[cell, 2 * k + 1]) == pytest.approx(math.cos(angle), abs=1e-6)


# --- what is asked --------------------------------------------------------------------------------

LABELS = torch.tensor(
    [
        [1.0, 0.0, 0.0, 0.0, 0.0],
        [0.0, 1.0, 0.0, 0.0, 1.0],
        [1.0, 1.0, 0.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 0.0, 1.0],
    ]
)


@pytest.mark.parametrize("negatives", [0, 1, 2, 9])
def test_present_classes_are_asked_about_and_so_many_others(negatives: int) -> None:
    present = [{0, 1}, {1, 4}]
    drawn = set()
    for seed in range(20):
        torch.manual_seed(seed)
        asked = asked_classes(LABELS, negatives).tolist()
        assert asked == sorted(asked)
        for pair in (0, 1):
            classes = [kind for p, kind in asked if p == pair]
            assert len(classes) == len(set(classes)) == min(2 + negatives, 5)
            assert present[pair] <= set(classes)
            drawn |= {(pair, kind) for kind in set(classes) - present[pair]}
    assert len(drawn) == (6 if negatives else 0)


def test_all_classes_are_asked_about_by_default() -> None:
    assert asked_classes(LABELS, None).tolist() == [[p, k] for p in (0, 1) for k in range(5)]


def test_the_loss_by_hand() -> None:
    """Pair 1 is about photos 1 and 3; class 4 is in both, class 1 in the first."""
    asked = torch.tensor([[0, 1], [1, 1], [1, 4]])
    logits = torch.tensor([[0.3, -0.2], [1.0, 2.0], [-0.5, 0.0]])
    targets = [[0, 1], [1, 0], [1, 1]]
    wanted = [
        math.log1p(math.exp(-z if t else z))
        for row, truth in zip(logits.tolist(), targets, strict=True)
        for z, t in zip(row, truth, strict=True)
    ]
    assert float(pair_loss(logits, LABELS, asked)) == pytest.approx(sum(wanted) / 6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedule": Schedule(1, 3)}, "batch_size must be even"),
        ({"heads": 3}, "width must be a multiple"),
        ({"negatives": -1}, "negatives must be 0 or more"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(SETTINGS, **changes)  # type: ignore[arg-type]


# --- training -------------------------------------------------------------------------------------


class KilledError(Exception):
    pass


def test_a_killed_run_ends_with_the_same_weights(tmp_path: Path) -> None:
    """Dropout and the absent classes that are asked about are drawn again as they were."""
    weak, _ = write_weak(tmp_path / "photos", n=4)
    settings = replace(SETTINGS, shared=True, negatives=1)

    def kill(done: int, total: int) -> None:
        if done == 2:
            raise KilledError

    train_attention(task_of(weak, tmp_path / "whole"), settings)
    (tmp_path / "broken").mkdir()
    with pytest.raises(KilledError):
        train_attention(StageContext(weak, tmp_path / "broken", 0, CPU, kill), settings)
    train_attention(task_of(weak, tmp_path / "broken"), settings)
    one, other = (
        torch.load(tmp_path / name / "model.pt", weights_only=True)["model"]
        for name in ("whole", "broken")
    )
    assert all(torch.equal(one[key], other[key]) for key in one)


# --- pseudo-masks ---------------------------------------------------------------------------------


def test_the_saliency_rule_as_a_table() -> None:
    """Columns: strong, weak, below alpha, above beta; rows: salient, not salient."""
    values = np.array([[[0.9, 1e-3, 1e-7, 1.0]] * 2, [[0.5, 1e-4, 1e-7, 0.2]] * 2], np.float32)
    salience = np.array([[0.9] * 4, [0.08] * 4], np.float32)
    found = salient_mask(ClassMaps((3, 7), values), salience, 0.08, 1e-6, 0.99999)
    assert found.tolist() == [[3, 3, 0, 3], [0, 0, 0, 3]]


@pytest.mark.parametrize("seed", range(3))
def test_the_saliency_rule_against_the_official_scores(seed: int) -> None:
    """Background is 0 or 1; a class below alpha gets -2, one above beta 2; the largest wins."""
    rng = np.random.default_rng(seed)
    values = rng.random((3, 6, 7)).astype(np.float32)
    salience = rng.random((6, 7)).astype(np.float32)
    wanted = np.zeros((6, 7), np.uint8)
    for y in range(6):
        for x in range(7):
            scores = {0: 1.0 if salience[y, x] <= 0.5 else 0.0}
            for c in range(3):
                v = values[c, y, x]
                scores[c + 1] = -2 if v < 0.4 else 2 if v > 0.9 else v
            wanted[y, x] = max(scores, key=lambda c: scores[c])
    maps = ClassMaps((1, 2, 3), values)
    strong = (values > 0.9).sum(0) < 2  # the official scores tie where two are above beta
    found = salient_mask(maps, salience, 0.5, 0.4, 0.9)
    np.testing.assert_array_equal(found[strong], wanted[strong])
    assert strong.mean() > 0.5


def test_without_classes_all_is_background() -> None:
    maps = ClassMaps((), np.zeros((0, 2, 2), np.float32))
    assert not salient_mask(maps, np.ones((2, 2), np.float32), 0.1, 0, 1).any()


def test_masks_are_fitted_to_the_photo_before_saliency_decides(tmp_path: Path) -> None:
    """Noisy maps of a red and a blue square: neighbours of one colour outvote single pixels."""
    weak, truth = write_weak(tmp_path / "photos", n=3)
    rng = np.random.default_rng(0)
    for row in weak.rows:
        true = truth[row.image_id]
        noisy = [
            np.where(true == c, 0.6, 0.4) + rng.uniform(-0.4, 0.4, true.shape) for c in row.classes
        ]
        write_maps(
            tmp_path / "maps", row.image_id, ClassMaps(row.classes, np.array(noisy, np.float32))
        )
    saliency_maps(task_of(weak, tmp_path / "saliency"), SaliencySettings())
    errors = []
    for name in ("none", "par"):
        task = task_of(weak, tmp_path / name)
        settings = Masks(0.3, refine=Refinement(name, 10, (1, 2)))  # type: ignore[arg-type]
        salient_pseudo_masks(task, settings, tmp_path / "maps", tmp_path / "saliency")
        both = weak.rows[2].image_id
        mask = read_index_png(tmp_path / name / f"{both}.png")
        inside = truth[both] > 0
        errors.append(float((mask[inside] != truth[both][inside]).mean()))
    assert errors[0] > 0.1
    assert errors[1] < errors[0] / 2


def test_paper_constants() -> None:
    paper = BASELINE.presets["paper"]
    assert paper["attention"]["views"]["crop"] == 368
    assert paper["attention"]["negatives"] is None
    # 8-bit maps are cut at 20, whether they keep their levels or have 254 of them.
    theta = paper["masks"]["theta"]
    assert [level for level in range(256) if level / 255 <= theta][-1] == 20
    assert [level for level in range(256) if round(level * 254 / 255) / 254 <= theta][-1] == 20
