"""Each layout that authors publish, generated in small, comes back as the mask it was made of."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sbdata.errors import InputError
from sbdata.importers.decoding import Fit
from sbdata.importers.dictionaries import DICTIONARIES as DICTIONARY_LAYOUTS
from sbdata.importers.folder import Request, import_masks
from sbdata.importers.layouts import detect_layout
from sbdata.importers.rules import Changes
from sbdata.importers.target import Target, target_of_list
from sbdata.masks import read_index_png
from sbdata.taxonomy import COCO80, VOC20
from tests.importers.published import (
    CAT,
    DOG,
    EMPTY,
    MASKS,
    PLANE,
    amn,
    clip_es,
    irn,
    psa_crf,
    puzzle,
    rectangles,
    save,
    save_class_pictures,
    save_picture,
    seam,
)


def import_folder(folder: Path, target: Target, **changes: Any) -> Path:
    request = Request(folder, target, "it", **changes)
    out = folder.parent / "imported"
    import_masks(request, out)
    return out / "masks"


def assert_same(masks: Path, expected: Mapping[str, np.ndarray]) -> None:
    assert sorted(p.stem for p in masks.iterdir()) == sorted(expected)
    for image_id, mask in expected.items():
        np.testing.assert_array_equal(read_index_png(masks / f"{image_id}.png"), mask)


def torch_keys(mask: np.ndarray) -> dict[str, Any]:
    torch = pytest.importorskip("torch")
    found = irn(mask)
    return {
        "keys": torch.tensor(found["keys"]),
        "cam": torch.tensor(found["cam"]),
        "high_res": found["high_res"],
    }


DICTIONARIES: dict[str, tuple[str, Callable[[np.ndarray], Any], dict[str, Any]]] = {
    "IRN": ("keys-high-res", irn, {}),
    "IRN with tensors": ("keys-high-res", torch_keys, {}),
    "AMN": ("keys-background", amn, {}),
    "AMN with its own background": (
        "keys-background", amn, {"changes": Changes(background="map")}),
    "PuzzleCAM": ("padded-keys", puzzle, {"changes": Changes(background="0.3")}),
    "PuzzleCAM's random walk": (
        "padded-keys", lambda m: puzzle(m, "rw"), {"changes": Changes(background="0.3")}),
    "CLIP-ES": (
        "keys-attention", clip_es, {"changes": Changes(confidence=0.0, refine="none")}),
    "SEAM": ("class-dictionary", seam, {}),
    "EPS": ("class-dictionary", seam, {"source": "eps"}),
    "PSA's CRF": ("crf-dictionary", psa_crf, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", DICTIONARIES)
def test_dictionaries(name: str, target: Target, tmp_path: Path) -> None:
    layout, write, changes = DICTIONARIES[name]
    for image_id, mask in MASKS.items():
        save(tmp_path / "published" / f"{image_id}.npy", write(mask))
    assert detect_layout(tmp_path / "published", target).name == layout
    assert_same(import_folder(tmp_path / "published", target, **changes), MASKS)


def empty_target(tmp_path: Path, masks: Mapping[str, np.ndarray]) -> Target:
    """Return a target of a list with photos, none of which need have an object."""
    (tmp_path / "photos").mkdir()
    for image_id, mask in masks.items():
        Image.fromarray(np.repeat(mask[..., None], 3, 2)).save(tmp_path / f"photos/{image_id}.jpg")
    (tmp_path / "ids.txt").write_text("".join(f"{i}\n" for i in masks))
    return target_of_list(tmp_path / "ids.txt", VOC20, tmp_path / "photos")


@pytest.mark.parametrize(
    ("write", "nothing"),
    [(irn, {"keys": []}), (irn, {"keys": np.empty(0, np.int64)}), (amn, {"keys": []}),
     (seam, {}), (psa_crf, {0: np.ones((8, 9), np.float32)})],
)  # fmt: skip
def test_images_without_objects(write, nothing, tmp_path: Path) -> None:
    masks = {**MASKS, "2009_000001": EMPTY}
    target = empty_target(tmp_path, masks)
    for image_id, mask in MASKS.items():
        save(tmp_path / "published" / f"{image_id}.npy", write(mask))
    save(tmp_path / "published" / "2009_000001.npy", nothing)
    assert_same(import_folder(tmp_path / "published", target), masks)


def test_only_images_without_objects(tmp_path: Path) -> None:
    target = empty_target(tmp_path, {"2009_000001": EMPTY})
    save(tmp_path / "published" / "2009_000001.npy", {"keys": []})
    assert detect_layout(tmp_path / "published", target).name == "keys-only"
    assert_same(import_folder(tmp_path / "published", target), {"2009_000001": EMPTY})


PICTURES = {
    "grey": ("L", "index-pictures"),
    "palette": ("P", "index-pictures"),
    "colours": ("RGB", "colour-pictures"),
    "a palette of its own": ("own-palette", "colour-pictures"),
}


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("ignored", [False, True])
def test_pictures(name: str, ignored: bool, target: Target, tmp_path: Path) -> None:
    mode, layout = PICTURES[name]
    masks = {k: np.where((m == 0) & ignored, 255, m).astype(np.uint8) for k, m in MASKS.items()}
    for image_id, mask in masks.items():
        save_picture(tmp_path / "published" / f"{image_id}.png", mask, mode)
    assert detect_layout(tmp_path / "published", target).name == layout
    assert_same(import_folder(tmp_path / "published", target), masks)


def test_twins_are_passed_over_where_the_numbers_lie_beside_them(target, tmp_path) -> None:
    for image_id, mask in MASKS.items():
        save_picture(tmp_path / "published" / f"{image_id}.png", mask, "L")
        save_picture(tmp_path / "published" / f"{image_id}_palette.png", np.zeros_like(mask), "P")
    layout = detect_layout(tmp_path / "published", target)
    assert layout.twins == len(MASKS)
    assert "are ignored" in layout.decisions[-1]
    assert_same(import_folder(tmp_path / "published", target), MASKS)


def test_twins_alone_are_the_masks(target: Target, tmp_path: Path) -> None:
    for image_id, mask in MASKS.items():
        save_picture(tmp_path / "published" / f"{image_id}_palette.png", mask, "P")
    assert_same(import_folder(tmp_path / "published", target), MASKS)


def test_a_picture_a_class(target: Target, tmp_path: Path) -> None:
    save_class_pictures(tmp_path / "published", MASKS)
    assert detect_layout(tmp_path / "published", target).name == "class-pictures"
    found = import_folder(tmp_path / "published", target, source="wsss-bed-cam")
    assert_same(found, MASKS)


def test_a_picture_a_class_and_saliency(target: Target, tmp_path: Path) -> None:
    save_class_pictures(tmp_path / "published", MASKS)
    for image_id, mask in MASKS.items():
        save_picture(tmp_path / "saliency" / f"{image_id}.png", (mask > 0) * np.uint8(255), "L")
    changes = Changes(background="saliency")
    found = import_folder(
        tmp_path / "published", target, changes=changes, saliency=tmp_path / "saliency"
    )
    assert_same(found, MASKS)


@pytest.mark.parametrize("names", [("Ycrf", "Yret"), ("Y_crf", "Y_ret")])
@pytest.mark.parametrize("merge", ["agree", "crf", "ret"])
def test_two_folders(names, merge, target, tmp_path) -> None:
    second = {k: np.where(m == CAT, DOG, m).astype(np.uint8) for k, m in MASKS.items()}
    for name, masks in zip(names, (MASKS, second), strict=True):
        for image_id, mask in masks.items():
            save_picture(tmp_path / "Generation" / name / f"{image_id}.png", mask, "L")
    (tmp_path / "Generation" / "BgMaskfromBoxes").mkdir()
    agreed = {k: np.where(m == CAT, 255, m).astype(np.uint8) for k, m in MASKS.items()}
    expected = {"agree": agreed, "crf": MASKS, "ret": second}[merge]
    assert_same(import_folder(tmp_path / "Generation", target, merge=merge), expected)


# --- ids ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spell",
    [str, lambda i: i.replace("_", ""), lambda i: f"{i}_crf", lambda i: f"{i}_crf_palette"],
)
def test_spellings_of_voc(spell: Callable[[str], str], target: Target, tmp_path: Path) -> None:
    for image_id, mask in MASKS.items():
        save_picture(tmp_path / "published" / f"{spell(image_id)}.png", mask, "L")
    assert_same(import_folder(tmp_path / "published", target), MASKS)


SPELLINGS = [
    "{0}", "{0:06d}", "{0:012d}", "COCO_train2014_{0:012d}", "COCO_val2014_{0:012d}",
]  # fmt: skip


@pytest.mark.parametrize("ours", SPELLINGS)
@pytest.mark.parametrize("theirs", SPELLINGS)
@pytest.mark.parametrize("by_class", [False, True])
def test_spellings_of_coco(ours: str, theirs: str, by_class: bool, tmp_path: Path) -> None:
    masks = {ours.format(n): rectangles(6, 7, (80, 1, 1, 2, 3), (3, 4, 4, 1, 1)) for n in (9, 25)}
    (tmp_path / "ids.txt").write_text("".join(f"{image_id}\n" for image_id in masks))
    target = target_of_list(tmp_path / "ids.txt", COCO80)
    named = {theirs.format(n): m for n, m in zip((9, 25), masks.values(), strict=True)}
    if by_class:
        save_class_pictures(tmp_path / "published", named)
    else:
        for name, mask in named.items():
            save_picture(tmp_path / "published" / f"{name}.png", mask, "L")
    changes = Changes(background="0.3") if by_class else Changes()
    assert_same(import_folder(tmp_path / "published", target, changes=changes), masks)


# --- background or first class --------------------------------------------------------------------


def numbered(tmp_path: Path, dictionaries: Mapping[str, Any]) -> Path:
    for image_id, found in dictionaries.items():
        save(tmp_path / "published" / f"{image_id}.npy", found)
    return tmp_path / "published"


def maps(*keys: int, total: float | None = None) -> dict[int, np.ndarray]:
    rng = np.random.default_rng(0)
    stack = rng.random((len(keys), 4, 5)).astype(np.float32)
    if total is not None:
        stack *= total / stack.sum(axis=0)
    return dict(zip(keys, stack, strict=True))


def listed(tmp_path: Path, *image_ids: str) -> Target:
    (tmp_path / "ids.txt").write_text("".join(f"{i}\n" for i in image_ids))
    return target_of_list(tmp_path / "ids.txt", VOC20)


@pytest.mark.parametrize(
    ("first", "second", "layout"),
    [
        (maps(0, 3), maps(7), "class-dictionary"),
        (maps(0, 3), maps(0, 20), "crf-dictionary"),
        (maps(0, 3, total=1), maps(0, 19, total=1), "crf-dictionary"),
        ({}, {}, "class-dictionary"),
    ],
)
def test_what_0_is_without_labels(first, second, layout, tmp_path) -> None:
    folder = numbered(tmp_path, {"a": first, "b": second})
    assert detect_layout(folder, listed(tmp_path, "a", "b")).name == layout


def test_what_0_is_when_all_images_have_the_first_class(target: Target, tmp_path: Path) -> None:
    planes = {k: np.where(m > 0, PLANE, 0).astype(np.uint8) for k, m in MASKS.items()}
    assert PLANE in MASKS["2007_000032"]  # labels agree with classes from 0 in this one only
    folder = numbered(tmp_path, {"2007_000032": seam(MASKS["2007_000032"])})
    assert detect_layout(folder, target).name == "class-dictionary"
    folder = numbered(tmp_path / "crf", {k: psa_crf(m) for k, m in MASKS.items()})
    assert detect_layout(folder, target).name == "crf-dictionary"
    folder = numbered(tmp_path / "planes", {"a": seam(planes["2007_000032"])})
    with pytest.raises(InputError, match="--layout crf-dictionary or --layout class-dictionary"):
        detect_layout(folder, listed(tmp_path, "a"))
    for layout in ("crf-dictionary", "class-dictionary"):
        found = detect_layout(folder, listed(tmp_path, "a"), forced=layout)
        assert found.name == layout


def test_a_later_file_that_contradicts_the_sample_is_named(tmp_path: Path) -> None:
    names = [f"{k:04d}" for k in range(70)]
    folder = numbered(tmp_path, {n: maps(0, 3, total=1) for n in names})
    save(folder / "0069.npy", maps(3))  # not among the 64 that decide
    with pytest.raises(InputError, match=r"0069\.npy: .*no background under 0"):
        import_folder(folder, listed(tmp_path, *names))


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"foo": np.zeros((2, 3)), 3: 1}, r"'foo' \(float64 2 x 3\), 3 \(int\); give dictionaries"),
        ({"keys": [1]}, r"'keys' \(list of 1\)"),
        ({"cam": np.zeros((1, 2, 3))}, r"'cam' \(float64 1 x 2 x 3\)"),
        ({"keys": [1, 2, 3], "high_res": np.zeros((1, 4, 4))}, "'high_res'"),
        ({"keys": [1, 2, 3], "hr_cam": np.zeros((2, 4, 4))}, "'hr_cam'"),
        ({"keys": [1], "attn_highres": np.zeros((2, 4, 4))}, "'attn_highres'"),
        ({"keys": [0.5], "high_res": np.zeros((1, 4, 4))}, "'keys'"),
        ({"keys": np.array([np.inf]), "high_res": np.zeros((1, 4, 4))}, "not whole numbers"),
        ({"keys": np.array([np.nan]), "high_res": np.zeros((1, 4, 4))}, "not whole numbers"),
        ({"keys": "cat", "high_res": np.zeros((1, 4, 4))}, "'keys' \\(str\\)"),
        ({"keys": [1], "high_res": np.zeros((4, 4))}, "float64 4 x 4"),
        ({1: np.zeros((1, 4, 4))}, r"1 \(float64 1 x 4 x 4\)"),
        ({True: np.zeros((4, 4))}, "True"),
        ({-1: np.zeros((4, 4)), 2: np.zeros((4, 4))}, "class numbers -1"),
        ({2: np.zeros((4, 4)), 25: np.zeros((4, 4))}, r"class numbers 25, but each of 0\.\.19"),
        ({2: np.zeros((4, 4)), 3: np.zeros((4, 5))}, "maps of different sizes"),
        ({2: np.full((4, 4), np.nan)}, "not finite"),
        ({2: np.zeros((0, 4))}, "without pixels"),
        ({"keys": [1, 1], "high_res": np.zeros((2, 4, 4))}, "class numbers 1, 1"),
        ({"keys": [20], "high_res": np.zeros((1, 4, 4))}, r"class numbers 20, .* 0\.\.19"),
        ({"keys": [0, 21], "hr_cam": np.zeros((1, 4, 4))}, r"class numbers 21, .* 1\.\.20"),
    ],
)
def test_dictionaries_of_unknown_layouts(found, said, tmp_path) -> None:
    folder = numbered(tmp_path, {"a": found})
    changes = Changes(background="0.1")
    with pytest.raises(InputError, match=said) as raised:
        import_folder(folder, listed(tmp_path, "a"), changes=changes)
    assert "a.npy" in str(raised.value)
    assert not (tmp_path / "imported").exists()


def test_one_damaged_dictionary_among_others_is_listed(tmp_path: Path) -> None:
    folder = numbered(tmp_path, {i: irn(MASKS["2007_000032"]) for i in ("a", "b")})
    header = b"-" * 9000 + b"1"
    (folder / "b.npy").write_bytes(b"\x93NUMPY\x01\0" + len(header).to_bytes(2, "little") + header)
    found = detect_layout(folder, listed(tmp_path, "a", "b"))
    assert "1 of those looked into cannot be imported" in found.decisions
    with pytest.raises(
        InputError, match=r"1 file cannot be imported.*\n.*b\.npy: not a NumPy file"
    ):
        import_folder(folder, listed(tmp_path, "a", "b"), changes=Changes(background="0.1"))
    (folder / "a.npy").write_bytes((folder / "b.npy").read_bytes())
    with pytest.raises(InputError, match=r"a\.npy: not a NumPy file.* cannot be imported"):
        detect_layout(folder, listed(tmp_path, "a", "b"))


def test_litter_of_desktops_is_no_picture(tmp_path: Path) -> None:
    folder = tmp_path / "published"
    save_picture(folder / "a.png", MASKS["2007_000032"], "P")
    for name in ("._a.png", "Thumbs.db", "desktop.ini"):
        (folder / name).write_bytes(b"litter")
    (folder / "__MACOSX").mkdir()
    assert_same(import_folder(folder, listed(tmp_path, "a")), {"a": MASKS["2007_000032"]})


def test_dictionaries_of_two_layouts(tmp_path: Path) -> None:
    folder = numbered(tmp_path, {"a": irn(MASKS["2007_000032"]), "b": seam(MASKS["2007_000032"])})
    with pytest.raises(InputError, match=r"different layouts \(a.npy: .*; b.npy: .*\)"):
        detect_layout(folder, listed(tmp_path, "a", "b"))
    folder = numbered(tmp_path / "numbers", {"a": maps(3), "b": maps(0, 20)})
    with pytest.raises(InputError, match="one class too many"):
        detect_layout(folder, listed(tmp_path, "a", "b"))


def save_image(path: Path, image: Image.Image, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path.parent


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (Image.new("RGBA", (4, 5)), "8-bit RGBA image"),
        (Image.new("LA", (4, 5)), "grey and alpha"),
        (Image.new("I;16", (4, 5)), "16-bit grey"),
        (Image.new("1", (4, 5)), "1-bit grey"),
        (Image.new("RGB", (4, 5), (1, 2, 3)), r"colours .* lacks: \(1, 2, 3\) in 20 pixels"),
        (Image.new("L", (4, 5), 21), r"class numbers 21, but only 0\.\.20 and 255"),
    ],
)
def test_pictures_of_unknown_kinds(image, said, tmp_path) -> None:
    folder = save_image(tmp_path / "published" / "a.png", image)
    with pytest.raises(InputError, match=said) as raised:
        import_folder(folder, listed(tmp_path, "a"))
    assert "a.png" in str(raised.value)


def test_a_palette_of_other_colours_keeps_its_numbers(tmp_path: Path) -> None:
    image = Image.fromarray(MASKS["2007_000032"])
    image.putpalette(bytes(range(1, 256)) * 3)
    folder = save_image(tmp_path / "published" / "a.png", image)
    expected = {"a": MASKS["2007_000032"]}
    assert_same(import_folder(folder, listed(tmp_path, "a")), expected)


def test_palettes_that_contradict_each_other(tmp_path: Path) -> None:
    mask = MASKS["2007_000032"]
    image = Image.fromarray(mask)
    image.putpalette(bytes(range(1, 256)) * 3)
    folder = save_image(tmp_path / "published" / "a.png", image)
    save_picture(folder / "b.png", mask, "own-palette")
    with pytest.raises(InputError, match="some files hold class numbers and some colours"):
        detect_layout(folder, listed(tmp_path, "a", "b"))


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_is_refused_by_what_it_holds(tmp_path: Path, protocol: int) -> None:
    folder = tmp_path / "published"
    folder.mkdir()
    held = {"box": np.arange(200, dtype=np.uint8), "ids": [1, 2]}
    (folder / "all.pkl").write_bytes(pickle.dumps(held, protocol))
    with pytest.raises(
        InputError, match=r"all\.pkl: a pickle of a dictionary with 'box' \(uint8 200"
    ):
        detect_layout(folder, listed(tmp_path, "a"))
    (folder / "all.pkl").write_bytes(b"S'no end")
    with pytest.raises(InputError, match=r"all\.pkl: a pickle that is not read: a damaged pickle"):
        detect_layout(folder, listed(tmp_path, "a"))


def test_folders_of_several_kinds_or_none(tmp_path: Path) -> None:
    mask = MASKS["2007_000032"]
    target = listed(tmp_path, "a", "b")
    folder = tmp_path / "published"
    with pytest.raises(InputError, match="no such folder"):
        detect_layout(folder, target)
    folder.mkdir()
    with pytest.raises(InputError, match="an empty folder"):
        detect_layout(folder, target)
    (folder / "notes.mat").write_text("")
    with pytest.raises(InputError, match=r"no \.png or \.npy here \(1 with \.mat\)"):
        detect_layout(folder, target)
    save_picture(folder / "inner" / "a.png", mask, "L")
    with pytest.raises(InputError, match="but in inner; give"):
        detect_layout(folder, target)
    save_picture(folder / "other.png", mask, "L")
    with pytest.raises(
        InputError, match=r"none of the 1 files .*\(a file: other.png, an image: a\)"
    ):
        detect_layout(folder, target)
    save_picture(folder / "a.png", mask, "L")
    save_picture(folder / "a_crf.png", mask, "L")
    with pytest.raises(InputError, match=r"a\.png and a_crf\.png both belong to image a"):
        detect_layout(folder, target)
    (folder / "a_crf.png").unlink()
    save_picture(folder / "b_7.png", mask, "L")
    with pytest.raises(InputError, match=r"whole images \(a\.png\) and of single classes \(b_7"):
        detect_layout(folder, target)
    save(folder / "a.npy", irn(mask))
    with pytest.raises(InputError, match=r"1 \.npy and 3 \.png files"):
        detect_layout(folder, target)


def test_a_layout_that_the_files_are_not(tmp_path: Path) -> None:
    folder = numbered(tmp_path, {"a": irn(MASKS["2007_000032"])})
    target = listed(tmp_path, "a")
    with pytest.raises(InputError, match="leave out --layout class-pictures"):
        detect_layout(folder, target, forced="class-pictures")
    with pytest.raises(InputError, match="no layout called 'mat'; choose from"):
        detect_layout(folder, target, forced="mat")


def test_two_folders_must_agree(target: Target, tmp_path: Path) -> None:
    save_picture(tmp_path / "Ycrf" / "2007_000032.png", MASKS["2007_000032"], "L")
    save_picture(tmp_path / "Ycrf" / "2007_000039.png", MASKS["2007_000039"], "L")
    (tmp_path / "Yret").mkdir()
    with pytest.raises(InputError, match="a file in both Ycrf and Yret"):
        detect_layout(tmp_path, target)
    save_picture(tmp_path / "Yret" / "2007_000032.png", MASKS["2007_000032"], "L")
    with pytest.raises(InputError, match=r"Yret: no file for image 2007_000039"):
        detect_layout(tmp_path, target)


def test_a_class_picture_of_a_class_that_there_is_not(tmp_path: Path) -> None:
    save_picture(tmp_path / "published" / "a_20.png", MASKS["2007_000032"], "L")
    changes = Changes(background="0.1")
    with pytest.raises(InputError, match=r"a_20\.png: class 20, but the classes are 0\.\.19"):
        import_folder(tmp_path / "published", listed(tmp_path, "a"), changes=changes)


def test_what_is_known_is_told(tmp_path: Path) -> None:
    folder = numbered(tmp_path, {"a": {"foo": 1}})
    with pytest.raises(InputError) as raised:
        detect_layout(folder, listed(tmp_path, "a"))
    assert all(what in str(raised.value) for what in DICTIONARY_LAYOUTS.values())


def test_maps_at_a_quarter_are_scaled_where_that_is_allowed(tmp_path: Path) -> None:
    masks = {"2009_000007": rectangles(32, 48, (CAT, 0, 0, 32, 24))}
    target = empty_target(tmp_path, masks)
    found = irn(masks["2009_000007"])
    del found["high_res"]
    save(tmp_path / "published" / "2009_000007.npy", found)
    with pytest.raises(InputError, match="12 x 8 pixels, but its image has 48 x 32; --resize"):
        import_folder(tmp_path / "published", target)
    made = import_folder(
        tmp_path / "published", target, fit=Fit(resize=True), changes=Changes(background="0.47")
    )
    assert_same(made, masks)  # the middle between high and low lies on the edge
