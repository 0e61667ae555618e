from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sbdata.errors import InputError
from sbdata.masks import decode_mask, voc_palette
from sbdata.recipe import SourceSpec
from sbdata.score.truth import truth_from_voc
from sbdata.sources import AnnotatedImage, Rejection, open_source
from tests.mask_examples import png_of_bits

SPEC = SourceSpec("voc", ("val",))


def save(path: Path, values: np.ndarray, mode: str = "P") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values.astype(np.uint8))
    if mode == "P":
        image.putpalette(voc_palette())
    image.convert(mode).save(path)


def devkit(root: Path, masks: dict[str, tuple[np.ndarray, np.ndarray]]) -> Path:
    for image_id, (classes, objects) in masks.items():
        save(root / "SegmentationClass" / f"{image_id}.png", classes)
        save(root / "SegmentationObject" / f"{image_id}.png", objects)
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("".join(f"{i}\n" for i in masks))
    return root


def simple() -> tuple[np.ndarray, np.ndarray]:
    classes, objects = np.zeros((6, 8), int), np.zeros((6, 8), int)
    classes[1:3, 1:3], objects[1:3, 1:3] = 8, 1
    classes[4:6, 2:7], objects[4:6, 2:7] = 15, 2
    classes[3], objects[3] = 255, 255
    return classes, objects


def read(root: Path, spec: SourceSpec = SPEC) -> tuple[list[AnnotatedImage], list[Rejection]]:
    source = open_source(spec, "val", root)
    images, rejections = [], []
    for chunk in source.chunks(2):
        found, left_out = source.read(chunk)
        images += found
        rejections += left_out
    return images, rejections


def test_masks_come_as_published(tmp_path: Path) -> None:
    classes, objects = simple()
    images, rejections = read(devkit(tmp_path, {"a": (classes, objects)}))
    assert not rejections
    (image,) = images
    assert (image.width, image.height, image.file_name) == (8, 6, "JPEGImages/a.jpg")
    assert [(o.annotation_id, o.category) for o in image.objects] == [("1", "cat"), ("2", "person")]
    for number, annotated in enumerate(image.objects, start=1):
        assert (decode_mask(annotated.rle, 6, 8) == (objects == number)).all()
    assert image.void is not None
    assert (decode_mask(image.void, 6, 8) == (classes == 255)).all()


def test_class_pixels_without_an_object_become_void_and_are_reported(tmp_path: Path) -> None:
    classes, objects = simple()
    classes[0, 7] = 15
    images, rejections = read(devkit(tmp_path, {"a": (classes, objects)}))
    assert [r.reason for r in rejections] == ["unassigned_pixels"]
    assert images[0].void is not None
    assert decode_mask(images[0].void, 6, 8)[0, 7]


def with_classes(change: dict[tuple[int, int], int]) -> tuple[np.ndarray, np.ndarray]:
    classes, objects = simple()
    for place, value in change.items():
        classes[place] = value
    return classes, objects


@pytest.mark.parametrize(
    ("masks", "reason"),
    [
        (with_classes({(1, 1): 0}), "masks_disagree"),
        (with_classes({(1, 1): 9}), "object_classes"),
        (with_classes({(1, 1): 21, (1, 2): 21, (2, 1): 21, (2, 2): 21}), "mask_values"),
        ((simple()[0], simple()[1][:, :-1]), "mask_sizes"),
    ],
)
def test_contradictory_masks_are_rejected(
    tmp_path: Path, masks: tuple[np.ndarray, np.ndarray], reason: str
) -> None:
    images, rejections = read(devkit(tmp_path, {"a": masks, "b": simple(), "c": simple()}))
    assert [i.image_id for i in images] == ["b", "c"]
    assert [(r.image_id, r.reason) for r in rejections] == [("a", reason)]


def test_a_mask_in_colours_or_in_pieces_is_rejected(tmp_path: Path) -> None:
    root = devkit(tmp_path, {i: simple() for i in "abcd"})
    save(root / "SegmentationClass" / "a.png", simple()[0], "RGB")
    whole = (root / "SegmentationObject" / "b.png").read_bytes()
    (root / "SegmentationObject" / "b.png").write_bytes(whole[:-30])
    (root / "SegmentationClass" / "c.png").unlink()
    images, rejections = read(root)
    assert [i.image_id for i in images] == ["d"]
    found = {r.image_id: (r.reason, r.file) for r in rejections}
    assert found == {
        "a": ("mask_unreadable", "SegmentationClass/a.png"),
        "b": ("mask_unreadable", "SegmentationObject/b.png"),
        "c": ("missing_mask", "SegmentationClass/c.png"),
    }
    assert "8-bit RGB image" in next(r.detail for r in rejections if r.image_id == "a")


def test_names_never_leave_the_root(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    devkit(outside, {"secret": simple()})
    root = devkit(tmp_path / "root", {"a": simple()})
    for folder in ("SegmentationClass", "SegmentationObject"):
        (root / folder / "link.png").symlink_to(outside / folder / "secret.png")
    names = ["../outside/secret", "/etc/passwd", "link", "a"]
    (root / "ImageSets/Segmentation/val.txt").write_text("\n".join(names))
    images, rejections = read(root)
    assert [i.image_id for i in images] == ["a"]
    assert [r.reason for r in rejections] == ["unsafe_path"] * 3
    source = open_source(SPEC, "val", root)
    with pytest.raises(InputError, match="points outside"):
        source.image_bytes("JPEGImages/../../outside/SegmentationClass/secret.png")


@pytest.mark.parametrize(
    "box",
    [
        (10, 2, 5, 2), (20, 2, 9, 2),  # as many pixels less than none as the cat has, or the person
        (2, 8, 3, 3), (8, 8, 3, 3), (3, 3, 2, 2), ("nan",) * 4, ("inf",) * 4,
    ],
)  # fmt: skip
def test_a_box_without_an_inside_makes_nothing_difficult(tmp_path: Path, box: tuple) -> None:
    """Some boxes have their corners exchanged, which once ended in a division by zero."""
    root = devkit(tmp_path, {"a": simple()})
    sides = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    place = "".join(f"<{side}>{at}</{side}>" for side, at in sides)
    parts = "".join(
        f"<object><name>{name}</name><difficult>1</difficult><bndbox>{place}</bndbox></object>"
        for name in ("cat", "person")
    )
    (root / "Annotations").mkdir()
    (root / "Annotations/a.xml").write_text(f"<annotation>{parts}</annotation>")
    (image,), _ = read(root)
    assert not any(o.difficult for o in image.objects)


def test_difficult_objects_are_found_by_their_box(tmp_path: Path) -> None:
    root = devkit(tmp_path, {"a": simple()})
    boxes = [("cat", (2, 2, 3, 3), 1), ("person", (1, 1, 8, 3), 1), ("person", (3, 5, 7, 6), 0)]
    parts = "".join(
        f"<object><name>{name}</name><difficult>{hard}</difficult><bndbox><xmin>{x0}</xmin>"
        f"<ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
        for name, (x0, y0, x1, y1), hard in boxes
    )
    (root / "Annotations").mkdir()
    (root / "Annotations/a.xml").write_text(f"<annotation>{parts}</annotation>")
    (image,), _ = read(root)
    assert [o.difficult for o in image.objects] == [True, False]
    (root / "Annotations/a.xml").write_text("<annotation>")
    with pytest.raises(InputError, match=r"a\.xml: not a VOC annotation"):
        read(root)


def test_trainaug_is_derived_from_the_lists(tmp_path: Path) -> None:
    root = devkit(tmp_path, {"v": simple()})
    (root / "ImageSets/Segmentation/train.txt").write_text("t1\nt2\n")
    with pytest.raises(InputError, match=r"trainaug\.txt: no such list; lists there: train, val"):
        open_source(SPEC, "trainaug", root)
    lists = root / "benchmark_RELEASE" / "dataset"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("t2\ns1\nv\n")
    (lists / "val.txt").write_text("s2\n")
    members = open_source(SPEC, "trainaug", root).members()
    assert [m.source_image_id for m in members] == ["s1", "s2", "t1", "t2"]


def test_the_devkit_is_found_from_above(tmp_path: Path) -> None:
    devkit(tmp_path / "VOCdevkit" / "VOC2012", {"a": simple()})
    images, _ = read(tmp_path)
    assert images[0].image_id == "a"


@pytest.mark.parametrize(
    ("text", "said"), [("", "the list is empty"), ("a\nb\na\n", "a is listed twice")]
)
def test_a_useless_list_is_refused(tmp_path: Path, text: str, said: str) -> None:
    root = devkit(tmp_path, {"a": simple()})
    (root / "ImageSets/Segmentation/val.txt").write_text(text)
    with pytest.raises(InputError, match=said):
        open_source(SPEC, "val", root)


def test_a_wrong_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no VOC devkit there"):
        open_source(SPEC, "val", tmp_path)
    with pytest.raises(InputError, match="--source-root voc=PATH"):
        open_source(SPEC, "val", None)
    with pytest.raises(InputError, match="valid options: classes"):
        open_source(SourceSpec("voc", ("val",), options={"clases": []}), "val", tmp_path)


def test_classes_of_ones_own(tmp_path: Path) -> None:
    classes, objects = simple()
    classes[classes == 8] = 1
    classes[classes == 15] = 2
    root = devkit(tmp_path, {"a": (classes, objects)})
    spec = SourceSpec("mine", ("val",), format="voc", options={"classes": ["cell", "debris"]})
    (image,), _ = read(root, spec)
    assert [o.category for o in image.objects] == ["cell", "debris"]


def test_an_id_with_blanks_is_the_whole_line(tmp_path: Path) -> None:
    masks = {name: simple() for name in ("my", "my photo", "my photo 1")}
    root = devkit(tmp_path, masks)  # the list of a built set
    images, rejections = read(root)
    assert [image.image_id for image in images] == list(masks)
    assert not rejections
    lists = root / "ImageSets" / "Segmentation"
    (lists / "val.txt").write_text("my -1\nmy photo\n")  # a flag, as VOC's other lists have
    assert [image.image_id for image in read(root)[0]] == ["my", "my photo"]


def test_classes_that_the_devkit_names_otherwise_are_refused(tmp_path: Path) -> None:
    root = devkit(tmp_path, {"a": simple()})
    (root / "labelmap.txt").write_text("background:0,0,0::\nhen:128,0,0::\nfox:0,128,0::\n")
    with pytest.raises(InputError, match="names 'hen' for number 1, not aeroplane"):
        read(root)
    with pytest.raises(InputError, match="names 'hen' for number 1, not aeroplane"):
        truth_from_voc(root)
    with pytest.raises(InputError, match="names 'fox' for number 2, not owl"):
        read(root, SourceSpec("mine", ("val",), format="voc", options={"classes": ["hen", "owl"]}))


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        ("person", "must be a list of names, .*, not 'person'"),  # not its letters
        ([1, 2], "must be a list of names"),
        (None, "must be a list of names"),
        (["cell", "cell"], "class names, which are distinct"),
        (["_background_", "cell"], "'_background_' is not a class but number 0"),
    ],
)
def test_classes_that_are_no_list_of_names_are_refused(
    tmp_path: Path, classes: object, said: str
) -> None:
    spec = SourceSpec("mine", ("val",), format="voc", options={"classes": classes})
    with pytest.raises(InputError, match=said):
        open_source(spec, "val", devkit(tmp_path, {"a": simple()}))


@pytest.mark.parametrize("reader", ["voc", "sbd", "cityscapes", "ade20k", "shapes"])
@pytest.mark.parametrize("key", ["annotations", "images"])
def test_folders_of_other_names_are_refused_where_they_would_not_be_read(
    tmp_path: Path, reader: str, key: str
) -> None:
    spec = SourceSpec("mine", ("pool",), format=reader, **{key: "SegmentationClassAug"})
    with pytest.raises(InputError, match=f"{key} is 'SegmentationClassAug', but .* fixed names"):
        open_source(spec, "pool", tmp_path)


# --- what people hand in --------------------------------------------------------------------------


def test_grey_of_few_bits_is_never_scaled(tmp_path: Path) -> None:
    root = devkit(tmp_path, {i: simple() for i in "abc"})
    small = np.where(simple()[0] == 255, 0, simple()[0]).astype(np.uint8)
    (root / "SegmentationClass" / "a.png").write_bytes(png_of_bits(small, 4, 0))
    (root / "SegmentationObject" / "b.png").write_bytes(png_of_bits(small % 4, 2, 0))
    images, rejections = read(root)
    assert [i.image_id for i in images] == ["c"]
    assert [(r.image_id, r.reason) for r in rejections] == [
        ("a", "mask_unreadable"),
        ("b", "mask_unreadable"),
    ]
    assert "4-bit grey" in rejections[0].detail
    assert "2-bit grey" in rejections[1].detail


def test_palettes_of_few_bits_are_read(tmp_path: Path) -> None:
    root = devkit(tmp_path, {"a": simple()})
    wanted, _ = read(root)
    small = np.where(simple()[0] == 255, 0, simple()[0]).astype(np.uint8)
    (root / "SegmentationClass" / "a.png").write_bytes(png_of_bits(small, 4, 3, voc_palette()[:48]))
    images, rejections = read(root)
    assert not rejections
    assert images[0].objects == wanted[0].objects


def test_colours_under_other_numbers_tell_the_classes_and_are_reported(tmp_path: Path) -> None:
    root = devkit(tmp_path, {"a": simple()})
    wanted, _ = read(root)
    order = np.random.default_rng(1).permutation(256)
    palette = np.frombuffer(voc_palette(), np.uint8).reshape(256, 3)[order].tobytes()
    for folder, values in zip(("SegmentationClass", "SegmentationObject"), simple(), strict=True):
        image = Image.fromarray(np.argsort(order).astype(np.uint8)[values])
        image.putpalette(palette)
        image.save(root / folder / "a.png")
    images, rejections = read(root)
    assert images == wanted
    assert [(r.reason, r.file) for r in rejections] == [
        ("palette_order", "SegmentationClass/a.png"),
        ("palette_order", "SegmentationObject/a.png"),
    ]


def test_palettes_of_other_classes_are_not_guessed_at(tmp_path: Path) -> None:
    root = devkit(tmp_path, {"a": simple()})
    classes = np.where(simple()[0] == 8, 1, np.where(simple()[0] == 15, 2, 0))
    image = Image.fromarray(classes.astype(np.uint8))
    image.putpalette(voc_palette()[:3] + voc_palette()[6:9] + voc_palette()[3:6])
    image.save(root / "SegmentationClass" / "a.png")
    spec = SourceSpec("voc", ("val",), options={"classes": ["cat", "person"]})
    images, rejections = read(root, spec)
    assert not images
    assert "either may be the classes" in rejections[0].detail


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_list_that_begins_with_a_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    root = devkit(tmp_path, {"a": simple(), "b": simple()})
    (root / "ImageSets/Segmentation/val.txt").write_bytes("a\r\nb\r\n".encode(encoding))
    images, rejections = read(root)
    assert [i.image_id for i in images] == ["a", "b"]
    assert not rejections
