from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sbdata_baselines.mctformer import token_maps, train_tokens
from sbdata_baselines.methods.mctformer import BASELINE, TokenMapSettings, TokenSettings
from sbdata_baselines.presets import presets_of
from sbdata_baselines.settings import (
    AdamW,
    Distortion,
    HybridSettings,
    MaskSettings,
    NetworkSettings,
    PairwiseSettings,
    PairwiseWalkSettings,
    Schedule,
    Sgd,
    ViewSettings,
)
from sbdata_baselines.stages.labels import pseudo_masks
from sbdata_baselines.stages.maps import ClassMaps, read_maps, write_maps
from sbdata_baselines.stages.masks import write_pseudo_mask
from sbdata_baselines.stages.pairwise import AffinityNetwork, train_pairwise, walk_pairwise
from sbdata_baselines.stages.photos import pixels_of
from sbdata_baselines.stages.pyramid import build_pyramid
from sbdata_baselines.stages.tokens import build_network
from sbdata_baselines.stages.training import load_trained
from sbdata_baselines.stages.walk import feature_affinities, neighbours

from sbdata.benchmark.stage import in_order
from sbdata.errors import InputError
from sbdata.masks import read_index_png
from tests.baselines.shapes_examples import assert_above_labels_alone
from tests.baselines.weak_examples import last_stage, run_paper, task_of, tiny, write_weak

# The part that seam tests, too, has a small backbone here.
PAPER = (
    "tokens.transformer.weights=none",
    "tokens.views.crop=32",
    "tokens.schedule={epochs: 1, batch_size: 4}",
    *tiny("pairwise", "{crop: 48, jitter: [0.3, 0.3, 0.3, 0.1]}"),
    "pairwise.network.backbone=resnet18",
    "pairwise.network.output_stride=16",
    "seeds.refine.name=none",
)
SMALL = (
    "tokens.views={crop: 80, long_side: [80, 128]}",
    "tokens.schedule={epochs: 16, batch_size: 8}",
    "tokens.transformer.depth=2",
    "maps.scales=[0.4]",
    "pairwise.views={crop: 80, rescale: [0.4, 0.6]}",
    "pairwise.schedule={epochs: 2, batch_size: 8}",
    "walk.steps=16",
)
TOKENS = TokenSettings(
    HybridSettings(NetworkSettings("mobilenetv3_small_050", "none", frozen=5), 12, 2, 2),
    ViewSettings(48),
    AdamW(1e-3),
    Schedule(1, 2),
)


def test_the_paper_preset_runs_on_tiny_photos(tmp_path: Path) -> None:
    weak, _ = write_weak(tmp_path / "photos", empty=3)
    run_paper(BASELINE, PAPER, weak, tmp_path / "run")


def test_forty_shapes_from_labels_to_masks(tmp_path: Path) -> None:
    assert_above_labels_alone(BASELINE, SMALL, tmp_path, margin=0.05)


def test_presets_say_what_they_are() -> None:
    """Constants of the official code that a typing error would hide in."""
    assert any("is a hybrid" in sentence for sentence in BASELINE.differences)
    called = {preset: BASELINE.variant(BASELINE.resolved(preset)) for preset in BASELINE.presets}
    assert called == {"paper": "", "photos": "hybrid", "smoke": "hybrid"}
    paper: Any = presets_of("mctformer")["paper"]
    assert paper["tokens"]["optimiser"]["lr"] == pytest.approx(5e-4 * 64 / 512)
    assert paper["walk"]["steps"] == 2**6
    assert paper["masks"]["background"] == 0.39
    for preset in BASELINE.presets:
        assert next(reversed(list(in_order(last_stage(BASELINE, preset))))).name == "masks"
    smoke = last_stage(BASELINE, "smoke").after[0].after[0].after[0].settings
    assert isinstance(smoke.transformer, HybridSettings)


# --- the network's stages -------------------------------------------------------------------------


def test_maps_of_each_scale_and_side_are_summed_then_stretched(tmp_path: Path) -> None:
    weak, _ = write_weak(tmp_path / "photos", n=3, empty=2)
    train_tokens(task_of(weak, tmp_path / "tokens"), TOKENS)
    settings = TokenMapSettings((1.0, 0.5), last_layers=1)
    token_maps(task_of(weak, tmp_path / "maps"), settings, tmp_path / "tokens")

    model = build_network(TOKENS.transformer, 2, 48)
    load_trained(model, tmp_path / "tokens")
    model.eval()
    photo = torch.tensor(pixels_of(weak.rows[0])).permute(2, 0, 1)[None] / 255
    small = torch.nn.functional.interpolate(photo, (32, 36), mode="bicubic", antialias=True)
    total = torch.zeros(1, 2, 64, 72)
    with torch.no_grad():
        for image in (photo, small.clamp(0, 1)):
            for flipped in (False, True):
                maps = model.maps(image.flip(3) if flipped else image, last_layers=1)
                maps = maps.flip(3) if flipped else maps
                total += torch.nn.functional.interpolate(maps, (64, 72), mode="bilinear")
    wanted = total[0, 0].numpy()
    wanted = (wanted - wanted.min()) / np.ptp(wanted)
    found = read_maps(tmp_path / "maps", "p0")
    assert found.classes == (1,)
    assert found.normalisation == "minmax"
    np.testing.assert_allclose(found.maps[0], wanted, atol=0.02)  # photos are rounded on the way
    assert found.maps.max() > 0.999
    assert read_maps(tmp_path / "maps", "p2").maps.shape == (0, 64, 72)


def test_distorted_photos_are_what_it_learns_from(tmp_path: Path) -> None:
    weak, _ = write_weak(tmp_path / "photos")
    settings = replace(TOKENS, distortion=Distortion())
    train_tokens(task_of(weak, tmp_path / "distorted"), settings)
    train_tokens(task_of(weak, tmp_path / "plain"), TOKENS)
    one, other = (
        torch.load(tmp_path / name / "model.pt", weights_only=True)["model"]
        for name in ("distorted", "plain")
    )
    assert not torch.equal(one["head.weight"], other["head.weight"])
    with pytest.raises(InputError, match="leave out long_side"):
        replace(settings, views=ViewSettings(48, long_side=(48, 64)))


def test_training_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    weak, _ = write_weak(tmp_path / "photos")
    settings = replace(
        TOKENS,
        schedule=Schedule(2, 2, checkpoint_every=1),
        transformer=replace(TOKENS.transformer, drop_path=0.5),
        distortion=Distortion(),
    )
    train_tokens(task_of(weak, tmp_path / "whole"), settings)

    class KilledError(Exception):
        pass

    def kill(done: int, total: int) -> None:
        if done == 2:
            raise KilledError

    task = task_of(weak, tmp_path / "broken")
    with pytest.raises(KilledError):
        train_tokens(replace(task, progress=kill), settings)
    train_tokens(task, settings)
    one, other = (
        torch.load(tmp_path / name / "model.pt", weights_only=True)["model"]
        for name in ("whole", "broken")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_no_layer_is_refused() -> None:
    with pytest.raises(InputError, match="last_layers"):
        TokenMapSettings(last_layers=0)


# --- the end, as the official code has it ---------------------------------------------------------


def test_one_score_of_background_walks_along_unchanged(tmp_path: Path) -> None:
    """Against ``[0.39; maps] T^64``, a dense matrix squared six times, and its argmax."""
    weak, truth = write_weak(tmp_path / "photos", n=3)
    rng = np.random.default_rng(0)
    for row in weak.rows:
        maps = [(truth[row.image_id] == c) * rng.random(row.size) for c in row.classes]
        stack = np.array(maps, np.float32).reshape(len(maps), *row.size)
        write_maps(tmp_path / "maps", row.image_id, ClassMaps(row.classes, stack, None, "minmax"))
        write_pseudo_mask(tmp_path / "seeds", row.image_id, truth[row.image_id])
    settings = PairwiseSettings(
        NetworkSettings("resnet18", "none", frozen=5),
        ViewSettings(48),
        Sgd(0.02, 0.9, head=1),
        Schedule(4, 3),
        radius=3,
        widths=(8, 8, 16),
    )
    train_pairwise(task_of(weak, tmp_path / "pairs"), settings, tmp_path / "seeds")
    walk = PairwiseWalkSettings(beta=8, steps=64, background_power=0)
    walk_pairwise(task_of(weak, tmp_path / "walk"), walk, tmp_path / "maps", tmp_path / "pairs")
    pseudo_masks(task_of(weak, tmp_path / "masks"), MaskSettings(0.39), tmp_path / "walk")

    model = AffinityNetwork(build_pyramid(settings.network), settings.widths)
    load_trained(model, tmp_path / "pairs")
    model.eval()
    for row in weak.rows:
        image = torch.tensor(pixels_of(row)).permute(2, 0, 1)[None]
        with torch.no_grad():
            affinities = feature_affinities(model(image), 3)[0].numpy()
        height, width = affinities.shape[1:]
        dense = np.eye(height * width)
        for (dy, dx), plane in zip(neighbours(3), affinities, strict=True):
            for y in range(height - dy):
                for x in range(max(-dx, 0), width - max(dx, 0)):
                    one, other = y * width + x, (y + dy) * width + x + dx
                    dense[one, other] = dense[other, one] = float(plane[y, x]) ** 8
        dense /= dense.sum(axis=0)
        for _ in range(6):
            dense = dense @ dense
        maps = read_maps(tmp_path / "maps", row.image_id).maps
        stack = torch.tensor(np.concatenate([np.full((1, *row.size), 0.39, np.float32), maps]))
        block = (row.size[0] // height, row.size[1] // width)
        cells = torch.nn.functional.avg_pool2d(stack[None], block)[0].flatten(1).numpy()
        spread = torch.tensor((cells @ dense).reshape(1, -1, height, width))
        scores = torch.nn.functional.interpolate(spread, row.size, mode="bilinear")[0].numpy()
        wanted = np.array((0, *row.classes), np.uint8)[scores.argmax(0)]
        best = np.sort(scores, axis=0)
        sure = best[-1] - best[-2] > 1e-3  # maps are kept in 16 bits
        found = read_index_png(tmp_path / "masks" / f"{row.image_id}.png")
        assert sure.mean() > 0.9
        assert np.array_equal(found[sure], wanted[sure])
    assert {int(c) for r in weak.rows for c in np.unique(truth[r.image_id])} == {0, 1, 2}
