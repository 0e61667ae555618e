"""The law of all formats: the same pixels give the same score, whatever file holds them."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask

from sbdata.mask_files import voc_palette
from sbdata.score.run import ScoreOptions, score_folder
from sbdata.score.truth import truth_from_masks

CLASSES = ("fox", "hen", "owl")
COLOURS = np.array([[0, 0, 0], [255, 0, 9], [1, 2, 3], [128, 0, 0]], np.uint8)
VOC = np.frombuffer(voc_palette(), np.uint8).reshape(256, 3)
ORDER = np.array([3, 1, 0, 2])


def maps(height: int, width: int) -> st.SearchStrategy[np.ndarray]:
    row = st.lists(st.integers(0, 3), min_size=width, max_size=width)
    return st.lists(row, min_size=height, max_size=height).map(lambda v: np.array(v, np.uint8))


def palette_image(indices: np.ndarray, colours: np.ndarray) -> Image.Image:
    image = Image.fromarray(indices.astype(np.uint8))
    image.putpalette(colours.tobytes())
    return image


def write_all(root: Path, predictions: dict[str, np.ndarray]) -> dict[str, dict[str, object]]:
    """Write predictions in every format; return the options that read each, by place."""
    (root / "farm.txt").write_text(
        "".join(
            f"{name}: {r} {g} {b}\n"
            for name, (r, g, b) in zip(("background", *CLASSES), COLOURS.tolist(), strict=True)
        )
    )
    (root / "ids.txt").write_text("background: 9\nfox: 500\nhen: 7\nowl: 0\n")
    ids = np.array([9, 500, 7, 0])
    colours = {"palette": str(root / "farm.txt")}
    numbers = {"palette": str(root / "ids.txt")}
    kinds = {
        "grey": ({}, Image.fromarray),
        "indices": ({}, lambda v: palette_image(v, VOC)),
        "voc": ({"decode_palette": True}, lambda v: Image.fromarray(VOC[v])),
        "voc by name": ({"palette": "voc"}, lambda v: Image.fromarray(VOC[v])),
        "colours": (colours, lambda v: Image.fromarray(COLOURS[v])),
        "reordered": (colours, lambda v: palette_image(np.argsort(ORDER)[v], COLOURS[ORDER])),
        "wide": ({}, lambda v: Image.fromarray(v.astype(np.uint16))),
        "numbers": (numbers, lambda v: Image.fromarray(ids[v].astype(np.uint16))),
    }
    for name, (_, make) in kinds.items():
        (root / name).mkdir()
        for image_id, values in predictions.items():
            make(values).save(root / name / f"{image_id}.png")
    arrays = {"npy": "u1", "npy F": "u1", "npy >": ">i4", "npy i": "i8"}
    for name, dtype in arrays.items():
        (root / name).mkdir()
        for image_id, values in predictions.items():
            order = "F" if name == "npy F" else "C"
            np.save(root / name / f"{image_id}.npy", np.array(values, dtype, order=order))
    (root / "coco.json").write_text(
        json.dumps({"categories": [{"id": 10 * k, "name": n} for k, n in enumerate(CLASSES)]})
    )
    told = {"coco_ids": str(root / "coco.json"), "allow_missing": True}
    content = []
    for image_id, values in predictions.items():
        for k in range(3):
            packed = coco_mask.encode(np.asfortranarray(values == k + 1, np.uint8))
            code = {"size": list(values.shape), "counts": packed["counts"].decode()}
            content.append({"image_id": image_id, "category_id": 10 * k, "segmentation": code})
    (root / "results.json").write_text(json.dumps(content))
    annotations = []
    for image_id, values in predictions.items():
        segments = [
            {"id": 257 * k, "category_id": 10 * (k - 1)} for k in np.unique(values).tolist() if k
        ]
        red = values.astype(np.uint8)  # 257 k = k + 256 k
        Image.fromarray(np.stack([red, red, 0 * red], -1)).save(root / f"{image_id}.png")
        annotations.append(
            {"image_id": image_id, "file_name": f"{image_id}.png", "segments_info": segments}
        )
    (root / "panoptic.json").write_text(json.dumps({"annotations": annotations}))
    options = {name: given_options for name, (given_options, _) in kinds.items()}
    return options | {key: {} for key in arrays} | {"results.json": told, "panoptic.json": told}


@settings(max_examples=12, deadline=None)
@given(st.data(), st.integers(1, 7), st.integers(1, 7))
def test_the_same_pixels_give_the_same_score(data, height: int, width: int) -> None:
    names = ("a", "b.1")
    classes = {name: data.draw(maps(height, width)) for name in names}
    predictions = {name: data.draw(maps(height, width)) for name in names}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "truth").mkdir()
        for name, values in classes.items():
            Image.fromarray(values).save(root / "truth" / f"{name}.png")
        (root / "names.txt").write_text("\n".join(CLASSES))
        truth = truth_from_masks(root / "truth", None, str(root / "names.txt"))
        places = write_all(root, predictions)
        scored = {
            name: score_folder(root / name, truth, ScoreOptions(resamples=0, **options))
            for name, options in places.items()
        }
    want = scored.pop("grey")
    confusion = np.zeros((4, 4), int)
    for name in names:
        np.add.at(confusion, (classes[name], predictions[name]), 1)
    assert (want.tables.confusion == confusion).all()
    for name, found in scored.items():
        assert (found.tables.confusion == confusion).all(), name
        assert (found.tables.instances == want.tables.instances).all(), name
        assert (found.tables.regions == want.tables.regions).all(), name
        assert found.summary == want.summary, name
