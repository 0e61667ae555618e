"""Fates of instances against a count by hand, and scores of masks of known quality."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from sbdata.cli.pseudo import pseudo
from sbdata.curate.materialise import write_checksums
from sbdata.errors import InputError
from sbdata.manifest import make_manifest, write_manifest
from sbdata.mask_files import voc_palette, write_index_png
from sbdata.recipe import SourceSpec
from sbdata.score.inputs import ProblemsError
from sbdata.score.pseudo_masks import (
    MASKS,
    THRESHOLDS,
    instance_outcomes,
    label_outcomes,
    losses_by_stage,
    pseudo_as_dict,
    score_pseudo,
)
from sbdata.sets import EvaluationSet, open_set
from sbdata.sizes import SizeBins
from sbdata.sources import open_source
from sbdata.sources.scan import scan_source
from sbdata.taxonomy import VOC20, class_map
from tests.mask_examples import png_of_bits

BINS = SizeBins((8, 30))  # so that tiny maps have all three sizes
CAT, DOG = 8, 12
SIDE = 14


def truth(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return class and object map of four rectangles, later ones on top, and a void row."""
    rng = np.random.default_rng(seed)
    classes, objects = np.zeros((2, SIDE, SIDE), np.uint8)
    for number, (height, width) in enumerate(((9, 8), (5, 5), (3, 2), (1, 2)), start=1):
        y, x = rng.integers(0, SIDE - height), rng.integers(0, SIDE - width)
        classes[y : y + height, x : x + width] = rng.choice((CAT, DOG))
        objects[y : y + height, x : x + width] = number
    classes[0], objects[0] = 255, 255
    for new, number in enumerate(sorted(set(np.unique(objects).tolist()) - {0, 255}), start=1):
        objects[objects == number] = new
    return classes, objects


MAPS = {f"{k:04d}": truth(k) for k in range(6)}


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> EvaluationSet:
    root = tmp_path_factory.mktemp("pseudo") / "tiny"
    for image_id, (classes, objects) in MAPS.items():
        (root / "JPEGImages").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (SIDE, SIDE)).save(root / "JPEGImages" / f"{image_id}.jpg")
        write_index_png(root / "SegmentationClass" / f"{image_id}.png", classes)
        write_index_png(root / "SegmentationObject" / f"{image_id}.png", objects)
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("".join(f"{image_id}\n" for image_id in MAPS))
    source = open_source(SourceSpec("voc", ("val",)), "val", root)
    scan = scan_source(source, class_map(VOC20, None), BINS, "val", root.parent / "scan")
    manifest = make_manifest(
        "tiny", scan.images(), scan.instances(), VOC20, BINS, {"synthetic": True}
    )
    write_manifest(manifest, root)
    write_checksums(root)
    return open_set(root)


def save(folder: Path, maps: Mapping[str, np.ndarray]) -> Path:
    for image_id, values in maps.items():
        write_index_png(folder / f"{image_id}.png", values.astype(np.uint8))
    return folder


def perfect() -> dict[str, np.ndarray]:
    return {i: np.where(c == 255, 0, c).astype(np.uint8) for i, (c, _) in MAPS.items()}


def sizes_to(value: int, *names: str) -> dict[str, np.ndarray]:
    """Return perfect masks but for the instances of some sizes, which have that value."""
    found = perfect()
    for image_id, (_, objects) in MAPS.items():
        for number in set(np.unique(objects).tolist()) - {0, 255}:
            if BINS.name_of(int((objects == number).sum())) in names:
                found[image_id][objects == number] = value
    return found


# --- fates ----------------------------------------------------------------------------------------


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_fates_are_a_count_by_hand(
    opened: EvaluationSet, tmp_path: Path, data: st.DataObject
) -> None:
    values = st.sampled_from((0, CAT, DOG, 3, 255))
    drawn = {i: data.draw(arrays(np.uint8, (SIDE, SIDE), elements=values)) for i in MAPS}
    rows = instance_outcomes(save(tmp_path, drawn), opened).to_pylist()
    expected = []
    for image_id, (classes, objects) in sorted(MAPS.items()):
        for number in sorted(set(np.unique(objects).tolist()) - {0, 255}):
            inside = [
                (int(classes[y, x]), int(drawn[image_id][y, x]))
                for y in range(SIDE)
                for x in range(SIDE)
                if objects[y, x] == number
            ]
            area = len(inside)
            own = sum(is_ == true for true, is_ in inside)
            ignored = sum(is_ == 255 for _, is_ in inside)
            background = sum(is_ == 0 for _, is_ in inside)
            expected.append(
                {
                    "image_id": image_id,
                    "instance_id": number,
                    "class_id": inside[0][0],
                    "class_name": VOC20.name_of(inside[0][0]),
                    "size": "small" if area < 8 else "medium" if area < 30 else "large",
                    "area": area,
                    "share_own_class": own / area,
                    "share_ignored": ignored / area,
                    "share_background": background / area,
                    "share_other": (area - own - ignored - background) / area,
                }
            )
    assert rows == expected


def test_each_instance_once(opened: EvaluationSet, tmp_path: Path) -> None:
    fates = instance_outcomes(save(tmp_path, perfect()), opened)
    pairs = list(zip(fates["image_id"].to_pylist(), fates["instance_id"].to_pylist(), strict=True))
    manifest = opened.manifest.instances
    both = (manifest[name].to_pylist() for name in ("image_id", "instance_id"))
    assert pairs == list(zip(*both, strict=True))
    assert len(set(pairs)) == len(pairs) > 15
    assert set(fates["share_own_class"].to_pylist()) == {1.0}
    assert set(fates["size"].to_pylist()) == set(BINS.names)


def test_what_is_wrong_with_the_masks_is_listed(opened: EvaluationSet, tmp_path: Path) -> None:
    maps = perfect()
    maps["0000"] = np.full((SIDE, SIDE), 21, np.uint8)  # VOC has 20 classes
    del maps["0003"]
    with pytest.raises(ProblemsError) as caught:
        instance_outcomes(save(tmp_path, maps), opened)
    found = [(p.file, p.kind) for p in caught.value.problems]
    assert found == [("0000.png", "values"), ("0003.png", "missing")]


def test_a_set_whose_masks_changed_is_refused(opened: EvaluationSet, tmp_path: Path) -> None:
    path = opened.root / "SegmentationObject" / "0002.png"
    before = path.read_bytes()
    try:
        write_index_png(path, np.zeros((SIDE, SIDE), np.uint8))
        with pytest.raises(InputError, match=r"image 0002 has 0 pixels.*dataset verify"):
            instance_outcomes(save(tmp_path, perfect()), opened)
    finally:
        path.write_bytes(before)


def test_labels_have_an_instance_or_not(opened: EvaluationSet) -> None:
    labels = dict.fromkeys(opened, (DOG,))
    rows = label_outcomes(labels, opened).to_pylist()
    assert {row["class_id"] for row in rows} == {CAT, DOG}
    for row in rows:
        has = row["class_id"] == DOG
        assert (row["share_own_class"], row["share_background"]) == (has, not has)
        assert row["share_ignored"] == row["share_other"] == 0
    assert len(rows) == opened.manifest.instances.num_rows


# --- losses ---------------------------------------------------------------------------------------


def test_losses_are_a_group_by_of_the_fates(opened: EvaluationSet, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noisy = {
        i: np.where(rng.random((SIDE, SIDE)) < 0.5, rng.choice((0, CAT, DOG, 255), (SIDE, SIDE)), m)
        for i, m in perfect().items()
    }
    stages = [
        ("noisy", instance_outcomes(save(tmp_path / "a", noisy), opened)),
        ("flat", instance_outcomes(save(tmp_path / "b", sizes_to(255, "small", "large")), opened)),
    ]
    losses = losses_by_stage(stages, BINS).to_pylist()
    assert [(r["stage"], r["size"], r["threshold"]) for r in losses] == [
        (stage, size, threshold)
        for stage in ("noisy", "flat")
        for size in BINS.names
        for threshold in THRESHOLDS
    ]
    limit = {"no pixel": 0.0, "under 25 %": 0.25, "under 50 %": 0.5}
    first = stages[0][1].to_pylist()
    for row in losses:
        own = dict(stages)[row["stage"]].to_pylist()
        bar = limit[row["threshold"]]

        def is_lost(fate: dict[str, float], bar: float = bar) -> bool:
            share = fate["share_own_class"]
            return share == 0 if bar == 0 else share < bar

        pairs = [(a, b) for a, b in zip(first, own, strict=True) if b["size"] == row["size"]]
        lost = [is_lost(b) for _, b in pairs]
        before = [is_lost(a) and row["stage"] == "flat" for a, _ in pairs]
        assert row["n"] == len(pairs)
        assert row["lost"] == sum(lost)
        assert row["newly_lost"] == sum(n and not b for n, b in zip(lost, before, strict=True))
        assert row["regained"] == sum(b and not n for n, b in zip(lost, before, strict=True))
        places = [
            max(("ignored", "background", "other"), key=lambda place: fate[f"share_{place}"])
            for (_, fate), gone in zip(pairs, lost, strict=True)
            if gone
        ]
        counted = {p: places.count(p) for p in ("ignored", "background", "other")}
        assert {p: row[f"to_{p}"] for p in counted} == counted
    assert any(row["regained"] for row in losses)


def test_where_small_objects_die_is_told_apart(opened: EvaluationSet, tmp_path: Path) -> None:
    """Seeds lose the small ones to background; an ignore rule then takes the medium ones."""
    seeds = save(tmp_path / "seeds", sizes_to(0, "small"))
    both = sizes_to(0, "small")
    ignored = sizes_to(255, "medium")
    masks = save(tmp_path / "masks", {i: np.where(ignored[i] == 255, 255, both[i]) for i in MAPS})
    found = score_pseudo(masks, opened, [("seeds", seeds)], resamples=0)
    rows = {
        (r["stage"], r["size"]): r for r in found.losses.to_pylist() if r["threshold"] == "no pixel"
    }
    n = {size: rows["seeds", size]["n"] for size in BINS.names}
    assert min(n.values()) > 0
    assert rows["seeds", "small"]["newly_lost"] == rows["seeds", "small"]["to_background"]
    assert rows["seeds", "small"]["lost"] == n["small"]
    assert rows["seeds", "medium"]["lost"] == 0
    assert rows[MASKS, "small"]["newly_lost"] == 0
    assert rows[MASKS, "medium"]["newly_lost"] == rows[MASKS, "medium"]["to_ignored"] == n["medium"]
    assert rows[MASKS, "large"]["lost"] == 0


# --- scores ---------------------------------------------------------------------------------------


def test_ignored_as_background_and_left_out(opened: EvaluationSet, tmp_path: Path) -> None:
    """Perfect but for the lower half of each large instance, which is ignored."""
    maps = perfect()
    kept: list[tuple[int, int]] = []
    excluded = 0
    for image_id, (_, objects) in MAPS.items():
        for number in set(np.unique(objects).tolist()) - {0, 255}:
            inside = np.argwhere(objects == number)
            if len(inside) >= 30:
                half = inside[len(inside) // 2 :]
                maps[image_id][tuple(half.T)] = 255
                kept.append((len(inside) - len(half), len(inside)))
                excluded += len(half)
    found = score_pseudo(save(tmp_path, maps), opened, resamples=0)
    background = found.as_background.summary
    expected = np.mean([part / whole for part, whole in kept])
    assert background.ia["ia_large"].instance_mean == pytest.approx(expected)
    assert background.ia["ia_small"].instance_mean == 1.0
    assert found.excluded.figures["miou"] == 1.0
    # What is left of a large instance is smaller than large, yet it stays a large one.
    assert found.excluded.n_instances["ia_large"] == len(kept)
    assert found.excluded.figures["ia_large.class_mean"] == 1.0
    counted = sum(int((classes != 255).sum()) for classes, _ in MAPS.values())
    assert found.excluded.excluded_pixels == pytest.approx(excluded / counted)


def test_an_instance_that_is_ignored_wholly_is_left_out(
    opened: EvaluationSet, tmp_path: Path
) -> None:
    found = score_pseudo(save(tmp_path, sizes_to(255, "small")), opened, resamples=0)
    assert found.as_background.summary.ia["ia_small"].instance_mean == 0.0
    assert found.excluded.n_instances["ia_small"] == found.excluded.n_classes["ia_small"] == 0
    assert found.excluded.figures["ia_small.class_mean"] is None
    assert found.excluded.figures["ia.instance_mean"] == 1.0


def test_without_ignored_pixels_both_scores_are_one(opened: EvaluationSet, tmp_path: Path) -> None:
    shifted = {i: np.roll(m, (1, -2), (0, 1)) for i, m in perfect().items()}
    found = score_pseudo(save(tmp_path, shifted), opened, resamples=0)
    headline = found.as_background.summary.headline()
    for name, value in found.excluded.figures.items():
        assert value == pytest.approx(headline[name])
    assert found.excluded.excluded_pixels == 0.0


# --- command --------------------------------------------------------------------------------------


def test_command(opened: EvaluationSet, tmp_path: Path) -> None:
    masks = save(tmp_path / "masks", sizes_to(255, "small"))
    seeds = save(tmp_path / "seeds", perfect())
    given_ = ["score", str(masks), "--set", str(opened.root), "--stage", f"seeds={seeds}"]
    said = CliRunner().invoke(pseudo, [*given_, "--resamples", "20"], catch_exceptions=False)
    assert said.exit_code == 0
    assert "masks on tiny (synthetic): 6 pseudo-masks" in said.output
    cells = [line.split() for line in said.output.splitlines()]
    (lost,) = (c for c in cells if c[:4] == ["masks:", "small", "no", "pixel"])
    assert lost[4] == lost[5] == lost[8] == lost[10] != "0"  # n, lost, newly lost, to ignored
    done = CliRunner().invoke(
        pseudo, [*given_, "--resamples", "0", "--json"], catch_exceptions=False
    )
    found = score_pseudo(masks, opened, [("seeds", seeds)], resamples=0)
    assert json.loads(done.output) == json.loads(json.dumps(pseudo_as_dict(found)))
    assert json.loads(done.output)["synthetic"] is True


@pytest.mark.parametrize("stage", ["seeds", "seeds=", "=x"])
def test_a_stage_needs_name_and_folder(opened: EvaluationSet, tmp_path: Path, stage: str) -> None:
    given_ = ["score", str(tmp_path), "--set", str(opened.root), "--stage", stage]
    with pytest.raises(InputError, match="--stage takes NAME=FOLDER"):
        CliRunner().invoke(pseudo, given_, catch_exceptions=False)


def test_two_stages_of_one_name(opened: EvaluationSet, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two stages are called 'masks'"):
        score_pseudo(tmp_path, opened, [(MASKS, tmp_path)])


# --- what people hand in --------------------------------------------------------------------------


def test_masks_are_read_as_everywhere(opened: EvaluationSet, tmp_path: Path) -> None:
    plain = score_pseudo(save(tmp_path / "plain", perfect()), opened, resamples=0)
    order = np.random.default_rng(2).permutation(256)
    palette = np.frombuffer(voc_palette(), np.uint8).reshape(256, 3)[order].tobytes()
    (tmp_path / "odd").mkdir()
    for image_id, values in perfect().items():
        image = Image.fromarray(np.argsort(order).astype(np.uint8)[values])
        image.putpalette(palette)
        image.save(tmp_path / "odd" / f"{image_id}.png")
    odd = score_pseudo(tmp_path / "odd", opened, resamples=0)
    assert odd.losses.equals(plain.losses)
    assert odd.as_background.summary == plain.as_background.summary
    assert "VOC's colours under other numbers" in odd.as_background.notes[0]

    first = next(iter(MAPS))
    few = png_of_bits(np.ones((SIDE, SIDE), np.uint8), 4, 0)
    (tmp_path / "odd" / f"{first}.png").write_bytes(few)
    with pytest.raises(ProblemsError, match="a 4-bit grey image"):
        score_pseudo(tmp_path / "odd", opened, resamples=0)
