from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sbdata_baselines.bbam import attribution_maps, values_in_box
from sbdata_baselines.methods.bbam import (
    BASELINE,
    BbamSettings,
    BoxMaskSettings,
    DetectorSettings,
    PerturbationSettings,
)
from sbdata_baselines.presets import presets_of
from sbdata_baselines.settings import NetworkSettings, Refinement, Schedule, Sgd, ViewSettings
from sbdata_baselines.stages.boxes import edges_in
from sbdata_baselines.stages.detector import Detector, load_detector, train_detector
from sbdata_baselines.stages.perturbation import (
    Kept,
    enlarged,
    first_mask,
    masked,
    optimised_masks,
    window_of,
)
from torch import Tensor
from torchvision.ops import box_iou

from sbdata.benchmark.stage import StageContext, in_order
from sbdata.errors import InputError
from sbdata.masks import VOID, read_index_png
from sbdata.train.augment import View, cut_image
from sbdata.train.refine import CRF_PARAMETERS
from sbdata.weak_labels.weak_set import Box, WeakSet
from tests.baselines.boxed_examples import write_boxed
from tests.baselines.weak_examples import last_stage, run_paper, task_of, tiny

DETECTOR = DetectorSettings(
    NetworkSettings(frozen=3),
    ViewSettings(64, flip=True),
    Sgd(1e-3, 0.9, head=3),
    Schedule(60, 6),
    width=32,
    hidden=64,
    samples=32,
    proposals="drawn",
    drawn=16,
    random=16,
    visible=0.25,
)
PERTURBATION = PerturbationSettings(
    side=64, context=2, drawn=60, overlaps=(0.7, 0.6, 0.5), plenty=8, keep=8, grid=(6, 0), lr=0.1,
    steps=20, area=0.005, batch=4,
)  # fmt: skip
OBJECTS = BoxMaskSettings(blur=(1, 4), certain=0.5, refine=Refinement("par", 3, (1, 2)), margin=8)
PAPER = (
    *tiny("detector", "{crop: 64, rescale: [0.5, 1.0]}"),
    "detector.width=16",
    "detector.hidden=32",
    "perturbation.side=64",
    "perturbation.steps=2",
    "perturbation.drawn=10",
    "perturbation.overlaps=[-1]",
    "objects.refine={name: par, iterations: 2, dilations: [1, 2]}",
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[WeakSet, Path, dict]:
    """Six photos of red and blue squares, and a detector that knows them by heart."""
    root = tmp_path_factory.mktemp("bbam")
    weak, truth = write_boxed(root / "photos", n=6)
    train_detector(task_of(weak, root / "detector"), DETECTOR)
    return weak, root / "detector", truth


def answers(model: Detector, images: Tensor, proposals: list[Tensor]) -> tuple[Tensor, Tensor]:
    return model.read(model.features(images), proposals, (images.shape[-2], images.shape[-1]))


def seen_object(weak: WeakSet, model: Detector, number: int) -> tuple[Tensor, Kept, View]:
    """Return a photo's window around its first box, and what the detector says of that box."""
    row = weak.rows[number]
    assert row.boxes is not None
    box = row.boxes[0]
    view = window_of(box, row.size, PERTURBATION)
    cut = cut_image(Image.open(row.photo).convert("RGB"), view)
    image = torch.from_numpy(cut.copy()).permute(2, 0, 1)[None] / 255
    proposals = torch.from_numpy(edges_in(box, view)[None].astype(np.float32))
    with torch.inference_mode():
        probabilities, deltas = answers(model, image, [proposals])
        regressed = model.decoded(deltas[:, box.class_id], proposals, (view.crop, view.crop))
    class_id = box.class_id
    return (
        image.clone(),
        Kept(class_id, proposals, regressed.clone(), probabilities[:, class_id].clone(),
             deltas[:, class_id].clone()),
        view,
    )  # fmt: skip


def test_a_detector_learns_a_few_photos_by_heart(
    trained: tuple[WeakSet, Path, dict], tmp_path: Path
) -> None:
    weak, folder, _ = trained
    model = load_detector(task_of(weak, tmp_path / "x"), folder)
    for number in range(len(weak)):
        _, kept, _ = seen_object(weak, model, number)
        assert float(kept.probabilities[0]) > 0.8
        assert float(box_iou(kept.boxes, kept.proposals)[0, 0]) > 0.7


def test_a_mask_shrinks_and_the_detector_says_the_same(
    trained: tuple[WeakSet, Path, dict], tmp_path: Path
) -> None:
    weak, folder, _ = trained
    model = load_detector(task_of(weak, tmp_path / "x"), folder)
    model.requires_grad_(False)
    for number in range(3):
        image, kept, view = seen_object(weak, model, number)
        first = first_mask(kept.boxes, view.crop, 11)

        def read(images: Tensor, proposals: list[Tensor]) -> tuple[Tensor, Tensor]:
            return answers(model, images, proposals)

        mean = model.pyramid.mean
        settings = replace(PERTURBATION, steps=40, area=0.03)
        (mask,) = optimised_masks(read, image, mean, [kept], [first], settings)
        shown = enlarged(mask, view.crop)[None]
        after, deltas = answers(model, masked(image, shown, mean), [kept.proposals])
        assert float(mask.sum()) < 0.7 * float(first.sum())
        assert abs(float(after[0, kept.class_id] - kept.probabilities[0])) < 0.15
        box = model.decoded(deltas[:, kept.class_id], kept.proposals, (view.crop, view.crop))
        assert float(box_iou(box, kept.boxes)[0, 0]) > 0.7
        nothing, _ = answers(model, masked(image, 0 * shown, mean), [kept.proposals])
        assert float(nothing[0, kept.class_id]) < 0.5 * float(kept.probabilities[0])


def test_from_boxes_to_masks(trained: tuple[WeakSet, Path, dict], tmp_path: Path) -> None:
    weak, folder, truth = trained
    for stage in list(in_order(BASELINE.build(BbamSettings(DETECTOR, PERTURBATION, OBJECTS))))[1:]:
        stage.loaded()(task_of(weak, tmp_path / stage.name), stage.settings, folder)
        folder = tmp_path / stage.name
    masks = folder
    right = void = there = 0
    for row in weak.rows:
        mask, true = read_index_png(masks / f"{row.image_id}.png"), truth[row.image_id]
        assert set(mask.ravel().tolist()) <= {0, *row.classes, VOID}
        assert not mask[true == 0].any()  # boxes are as large as the squares
        right += int((mask[true > 0] == true[true > 0]).sum())
        void += int((mask == VOID).sum())
        there += int((true > 0).sum())
    assert right + void > 0.9 * there
    assert right > 0.2 * there


def test_the_paper_preset_runs_on_tiny_photos(tmp_path: Path) -> None:
    weak, _ = write_boxed(tmp_path / "photos", n=2, empty=1)
    masks = run_paper(BASELINE, PAPER, weak, tmp_path / "run", others=(0, VOID))
    assert read_index_png(masks / "p0.png").any()
    assert not read_index_png(masks / "p1.png").any()


def test_the_constants_of_the_paper() -> None:
    settings = BASELINE.resolved("paper")
    assert settings.objects == BoxMaskSettings(refine=CRF_PARAMETERS["bbam"])
    assert settings.perturbation == PerturbationSettings()
    p = settings.perturbation
    assert (p.lr, p.steps, p.area, p.smooth) == (0.02, 300, 0.007, 1e-4)
    assert (p.grid, p.overlaps, p.keep, p.drawn) == ((16, 48), (0.9, 0.85, 0.8), 100, 1000)
    assert settings.detector.proposals == "network"
    assert settings.detector.schedule.steps(10_582) == pytest.approx(18_000, rel=0.01)
    assert (
        presets_of("bbam")["photos"]["perturbation"]
        == (presets_of("bbam")["smoke"]["perturbation"])
    )


def test_the_steps() -> None:
    names = [stage.name for stage in in_order(last_stage(BASELINE, "smoke"))]
    assert names == ["detector", "attributions", "objects", "masks"]


class KilledError(Exception):
    pass


def killed_at(when: int) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done == when:
            raise KilledError

    return progress


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_every_stage_goes_on_after_a_kill_and_ends_the_same(tmp_path: Path) -> None:
    weak, _ = write_boxed(tmp_path / "photos", n=3)
    tiny_detector = replace(
        DETECTOR,
        network=NetworkSettings("mobilenetv3_small_050", "none", frozen=0),
        optimiser=Sgd(1e-3, 0.9, head=1),
        schedule=Schedule(4, 3, checkpoint_every=1),
    )
    few = replace(PERTURBATION, steps=2, overlaps=(-1.0,), batch=1)
    last = BASELINE.build(BbamSettings(tiny_detector, few, OBJECTS))
    inputs: list[Path] = []
    for stage in in_order(last):
        whole, broken = (tmp_path / f"{stage.name}-{name}" for name in ("whole", "broken"))
        run = stage.loaded()
        run(task_of(weak, whole), stage.settings, *inputs)
        task: StageContext = replace(task_of(weak, broken), progress=killed_at(2))
        with pytest.raises(KilledError):
            run(task, stage.settings, *inputs)
        left = contents(broken)
        assert left
        run(task_of(weak, broken), stage.settings, *inputs)
        if stage.name == "detector":
            one, other = (
                torch.load(folder / "model.pt", weights_only=True)["model"]
                for folder in (whole, broken)
            )
            assert all(torch.equal(one[key], other[key]) for key in one)
        else:
            assert contents(whole) == contents(broken)
            assert left.items() <= contents(broken).items()
        inputs = [whole]


def test_equal_seeds_give_equal_maps_and_others_do_not(
    trained: tuple[WeakSet, Path, dict], tmp_path: Path
) -> None:
    weak, folder, _ = trained
    two = replace(weak, rows=weak.rows[:2])
    few = replace(PERTURBATION, steps=5)
    found = {}
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        attribution_maps(task_of(two, tmp_path / name, seed), few, folder)
        found[name] = contents(tmp_path / name)
    assert found["one"] == found["two"]
    assert found["one"] != found["three"]


def test_the_values_in_a_box_are_those_of_the_mask_there() -> None:
    ramp = torch.linspace(2, 4, 9).repeat(9, 1)  # from left to right
    box = Box(1, 10, 20, 8, 4)
    view = View((6.0, 14.0, 22.0, 30.0), 32, flip=False)  # two pixels of the view for one
    values = values_in_box(ramp, box, view)
    wanted = [((x + 0.5 - 6) * 2 - 0.5) / 31 for x in range(10, 18)]
    np.testing.assert_allclose(values, np.tile(wanted, (4, 1)), atol=1e-5)
    assert not values_in_box(torch.ones(9, 9), box, view).any()


def test_photos_without_boxes_are_refused(tmp_path: Path) -> None:
    weak, _ = write_boxed(tmp_path / "photos", n=2)
    blind = replace(weak, rows=tuple(replace(row, boxes=None) for row in weak.rows))
    with pytest.raises(InputError, match="image p0 has no boxes"):
        train_detector(task_of(blind, tmp_path / "detector"), DETECTOR)


def test_a_damaged_file_of_maps_is_named(tmp_path: Path) -> None:
    weak, _ = write_boxed(tmp_path / "photos", n=1)
    stage = next(s for s in in_order(last_stage(BASELINE, "smoke")) if s.name == "objects")
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "p0.npz").write_bytes(b"PK no archive")
    with pytest.raises(InputError, match=r"p0\.npz: not a readable file of object maps"):
        stage.loaded()(task_of(weak, tmp_path / "out"), stage.settings, tmp_path / "maps")


def test_it_says_what_it_sees_and_what_differs() -> None:
    assert BASELINE.supervision == ("image_labels", "boxes")
    assert any("MCG" in sentence for sentence in BASELINE.differences)
