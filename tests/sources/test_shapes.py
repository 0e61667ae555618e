"""The generated source: the same bytes for the same seed, and pictures worth training on."""

import hashlib
import io
import itertools
import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from sbdata.errors import InputError
from sbdata.masks import decode_mask, draw_masks, drawing_order, measure_visible, rle_area
from sbdata.recipe import SourceSpec
from sbdata.sources import Chunk, open_source
from sbdata.sources.shapes import _pixels, draws
from sbdata.sources.shapes import layout as layout_module
from sbdata.sources.shapes.layout import lay_out
from sbdata.sources.shapes.outlines import (
    COLUMNS,
    KIND,
    RADIUS,
    REACH,
    SIDE,
    X,
    Y,
    frame,
    whole_masks,
)
from sbdata.sources.shapes.picture import _paint, render, texture
from sbdata.sources.shapes.scene import background, clutter
from sbdata.storage import is_safe_name, is_safe_stem
from sbdata.taxonomy import SHAPES8

# Of seed 0: the same on every machine and with every version of NumPy and Numba.
PIXELS = {
    "train": "33c731cb3e99c36f0407a87408383306d863fa059ac9d0b5ac6476137f1dadd4",
    "pool": "8f87612c9cf65a5471391ba93f8302f76211b715da2fb6806d00514b6decc466",
}
LAYOUTS = "d102882eb29e85a111d00cfad29f8e8b97459d12df3d25874aff2b09392a6c89"


def opened(split="pool", **options):
    return open_source(SourceSpec("shapes", ("train", "pool"), options=options), split, None)


def drawn(image):
    """Draw and measure an image's objects as the generic scan does."""
    rles = [thing.rle for thing in image.objects]
    areas = [rle_area(rle, image.height, image.width) for rle in rles]
    order = drawing_order(areas)
    label_map = draw_masks([rles[i] for i in order], image.height, image.width)
    return order, np.array(areas)[order], label_map, measure_visible(label_map, len(order))


@pytest.fixture(scope="module")
def tables():
    """One row an object of the first images of each split: image, class, whole, visible, x, y."""
    found = {}
    for split in ("train", "pool"):
        rows = []
        images, rejections = opened(split).read(Chunk(0, 300))
        assert rejections == []
        for i, image in enumerate(images):
            order, whole, _, visible = drawn(image)
            middle = visible.bbox[:, :2] + visible.bbox[:, 2:] / 2
            rows += [
                (i, SHAPES8.id_of(image.objects[k].category), whole[j], visible.area[j], *middle[j])
                for j, k in enumerate(order)
            ]
        found[split] = np.array(rows, float)
    return found


# --- the same everywhere -------------------------------------------------------------------------


@pytest.mark.parametrize("split", PIXELS)
def test_pixels_are_the_pinned_ones(split):
    source = opened(split)
    names = [member.file_name for member in source.members()[:12]]
    images = source.read(Chunk(0, 12))[0]
    assert len({thing.category for image in images for thing in image.objects}) == 8
    joint = hashlib.sha256()
    for name in names:
        joint.update(source.pixel_sha256(name).encode())
    assert joint.hexdigest() == PIXELS[split]


def test_drawing_again_gives_the_same_bytes():
    source = opened()
    name = source.members()[123].file_name
    first, pixels = source.image_bytes(name), source.pixels(name).tobytes()
    assert source.pixel_sha256(name) == hashlib.sha256(pixels).hexdigest()
    _pixels.cache_clear()
    assert source.image_bytes(name) == first
    assert source.pixels(name).tobytes() == pixels
    with pytest.raises(ValueError, match="read-only"):
        source.pixels(name)[0, 0] = 0


def test_layouts_are_the_pinned_ones():
    digest = hashlib.sha256()
    for split in ("train", "pool"):
        for image in opened(split).read(Chunk(0, 40))[0]:
            digest.update(repr(image).encode())
    assert digest.hexdigest() == LAYOUTS


def test_chunks_and_the_length_of_the_split_change_nothing():
    source = opened(pool=23)
    whole = source.read(Chunk(0, 23))[0]
    for images in (1, 5, 23, 100):
        chunks = source.chunks(images)
        assert all(chunk.stop - chunk.start <= images for chunk in chunks)
        assert [image for chunk in chunks for image in source.read(chunk)[0]] == whole
    longer = opened(pool=50)
    assert longer.read(Chunk(0, 23))[0] == whole
    assert pickle.loads(pickle.dumps(source)) == source  # noqa: S301 - as a worker gets it


def test_seed_split_and_index_each_give_another_image():
    names = [("pool", 0, 0), ("pool", 1, 0), ("pool", 0, 1), ("train", 0, 0)]
    seen = {
        opened(split, seed=seed).pixel_sha256(f"{split}/shapes_{split}_{index:06d}.jpg")
        for split, seed, index in names
    }
    assert len(seen) == len(names)


def test_generator_is_splitmix64():
    """Against the published recurrence in Python's own integers."""
    state, low = np.zeros(1, np.uint64), (1 << 64) - 1
    plain = 0
    for below in (2, 10, 1 << 31, 7):
        plain = (plain + 0x9E3779B97F4A7C15) & low
        z = plain
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & low
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & low
        z ^= z >> 31
        assert draws.draw(state, below) == (z >> 32) * below >> 32
    assert int(draws.mixed(np.uint64(0x9E3779B97F4A7C15))) == 0xE220A8397B1DCDAF


def test_tables_do_not_hang_on_the_last_bit_of_the_c_library():
    exact = [draws.ONE * math.cos(2 * math.pi * k / draws.TURN) for k in range(draws.TURN)]
    exact += [65536 * 2 ** (k / draws.OCTAVE) for k in range(draws.OCTAVE)]
    from_tie = [abs(value % 1 - 0.5) for value in exact]
    assert min(from_tie) > 1e-6


# --- what the tables say is what the picture shows -----------------------------------------------


def test_images_are_named_and_annotated_consistently():
    source = opened(pool=30)
    images, _ = source.read(Chunk(0, 30))
    assert [(m.source_image_id, m.file_name) for m in source.members()] == [
        (image.source_image_id, image.file_name) for image in images
    ]
    assert images[12].image_id == "shapes_pool_000012"
    assert images[12].file_name == "pool/shapes_pool_000012.jpg"
    assert source.name == "shapes"
    assert source.generated
    for image in images:
        assert is_safe_stem(image.image_id)
        assert is_safe_name(image.file_name)
        assert (image.url, image.license) == (None, "CC0-1.0")
        assert (image.sha256, image.sha256_of) == (None, "pixels")
        assert 1 <= len(image.objects) <= 8
        ids = [thing.annotation_id for thing in image.objects]
        assert ids == sorted(set(ids))
        assert max(image.width, image.height) == 320
        assert min(image.width, image.height) >= 240
        with Image.open(io.BytesIO(source.image_bytes(image.file_name))) as picture:
            assert picture.format == "JPEG"
            assert picture.size == (image.width, image.height)
            # The encoder changes little: it is the picture that was hashed.
            shown = np.asarray(picture.convert("RGB"), float)
        assert np.abs(shown - source.pixels(image.file_name)).mean() < 6


def test_generic_drawing_shows_what_was_painted():
    source = opened()
    for i, image in enumerate(source.read(Chunk(0, 40))[0]):
        layout = lay_out(0, "pool", i, 320)
        order, whole, label_map, visible = drawn(image)
        assert order.tolist() == list(range(len(image.objects)))  # annotated in drawing order
        assert np.array_equal(label_map, layout.label_map)
        assert (visible.area >= 12).all()
        assert (visible.area >= 0.15 * whole).all()
        # Each shape's paint, on a canvas of its own, covers exactly its label.
        for k, row in enumerate(layout.shapes):
            assert image.objects[k].category == SHAPES8.classes[row[KIND]]
            canvas = np.full((image.height, image.width, 3), -1, np.int32)
            _paint(layout.looks, canvas, layout.label_map.T, row, k)
            assert np.array_equal((canvas >= 0).all(axis=2), label_map == k + 1)
            assert np.array_equal((canvas >= 0).any(axis=2), label_map == k + 1)


def test_shapes_that_are_almost_hidden_are_left_out(monkeypatch):
    rows = np.zeros((3, COLUMNS), np.int64)
    for row, radius in zip(rows, (40, 38, 12), strict=True):
        row[X], row[Y] = 60 * 16, 50 * 16
        frame(row, radius * 16, 0, 1024)
    monkeypatch.setattr(layout_module, "_place", lambda *_: (100, 120, rows))
    layout = lay_out(0, "pool", 0, 320)
    # The first disc shows a tenth of itself, the second nine tenths.
    assert layout.shapes[:, RADIUS].tolist() == [38 * 16, 12 * 16]
    assert layout.masks.shape == (2, 120, 100)
    inner, outer = (layout.label_map == 2).sum(), (layout.label_map == 1).sum()
    assert inner == pytest.approx(math.pi * 12**2, rel=0.03)
    assert outer == pytest.approx(math.pi * (38**2 - 12**2), rel=0.03)
    assert layout.masks[0].sum() == inner + outer


def test_objects_stand_out_in_the_pixels():
    """The finished picture differs from its scene where, and nearly only where, a shape is."""
    hits, misses = [], []
    for i in range(25):
        layout = lay_out(0, "pool", i, 320)
        scene = replace(layout, shapes=layout.shapes[:0])
        difference = np.abs(_rendered(layout) - _rendered(scene)).max(axis=2) > 12
        inside = layout.label_map > 0
        far = ~_grown(inside, 16)  # shadows reach a little way
        hits.append(difference[inside].mean())
        misses.append(difference[far].mean() if far.any() else 0)
    assert np.mean(hits) > 0.8
    assert np.max(misses) == 0


def _rendered(layout):
    return render(layout).astype(int)


def _grown(mask, pixels):
    grown = mask.copy()
    for axis, sign in itertools.product((0, 1), (-1, 1)):
        for step in range(1, pixels + 1):
            shifted = np.zeros_like(mask)
            source = [slice(None)] * 2
            target = [slice(None)] * 2
            source[axis] = slice(step, None) if sign > 0 else slice(None, -step)
            target[axis] = slice(None, -step) if sign > 0 else slice(step, None)
            shifted[tuple(target)] = mask[tuple(source)]
            grown |= shifted
        mask = grown.copy()
    return grown


# --- what the classes are ------------------------------------------------------------------------


def _reference_outline(kind, u, v):
    """The eight outlines in floating point, from their everyday definitions (radius 1)."""
    far = np.hypot(u, v)
    corners = {"triangle": 3, "hexagon": 6, "star": 5}
    if kind in corners:
        n = corners[kind]
        turn = np.arange(n) * 2 * np.pi / n + (0 if kind == "star" else np.pi / n)
        tips = np.stack([np.cos(turn), np.sin(turn)], 1)
        if kind == "star":  # the tips of a pentagram and the notches between them
            inner = math.cos(2 * math.pi / 5) / math.cos(math.pi / 5)
            notch = turn + np.pi / n
            notches = inner * np.stack([np.cos(notch), np.sin(notch)], 1)
            tips = np.stack([tips, notches], 1).reshape(-1, 2)
        odd = np.zeros(u.shape, bool)  # even-odd rule
        for (ax, ay), (bx, by) in zip(tips, np.roll(tips, -1, 0), strict=True):
            spans = (ay <= v) != (by <= v)
            with np.errstate(divide="ignore", invalid="ignore"):
                odd ^= spans & (u < ax + (v - ay) * (bx - ax) / (by - ay))
        return odd
    if kind == "square":
        return np.maximum(abs(u), abs(v)) <= 0.703
    if kind == "ring":
        return (far <= 1) & (far >= 0.56)
    if kind == "cross":
        arm, long = 0.3, 0.95
        upright = (abs(u) <= arm) & (abs(v) <= long)
        return upright | ((abs(v) <= arm) & (abs(u) <= long))
    if kind == "crescent":
        return (far <= 1) & (np.hypot(u - 0.42, v) > 0.8)
    return far <= 1


@pytest.mark.parametrize("kind", SHAPES8.classes)
@pytest.mark.parametrize("angle", [0, 100, 777])
def test_outlines_are_the_shapes_they_are_named_after(kind, angle):
    radius, height, width = 90, 200, 220
    row = np.zeros((1, COLUMNS), np.int64)
    row[0, KIND], row[0, X], row[0, Y] = SHAPES8.id_of(kind) - 1, 110 * 16, 100 * 16
    frame(row[0], radius * 16, angle, 1024)
    masks, areas = whole_masks(row, height, width)
    y, x = np.mgrid[:height, :width] + 0.5
    turn = angle / 1024 * 2 * math.pi
    dx, dy = (x - 110) / radius, (y - 100) / radius
    u, v = dx * math.cos(turn) + dy * math.sin(turn), dy * math.cos(turn) - dx * math.sin(turn)
    wanted = _reference_outline(kind, u, v)
    assert areas[0] == masks[0].sum()
    assert (masks[0].T.astype(bool) != wanted).sum() < 0.015 * wanted.sum()
    # REACH makes equal sides equal areas, whatever the class.
    side = radius * 1024 / REACH[row[0, KIND]]
    assert side**2 == pytest.approx(areas[0], rel=0.02)


def _features(kind, rng):
    """What tells textures apart whatever their angle, scale and colours.

    How the directions of the gradient are spread (its even Fourier harmonics), how often the 8
    pixels around a pixel are on its side, and how much of the patch is the rarer colour.
    """
    turn, start = rng.uniform(0, 2 * math.pi), rng.integers(0, 1 << 12, 2)
    if kind == 3:  # rings, whose middle is near the shape's
        start = rng.integers(-1500, 1500, 2)
    key, scale = np.uint64(rng.integers(1 << 31)), 1024 / rng.uniform(10, 16)
    field = np.zeros((64, 64))
    for y, x in np.ndindex(field.shape):
        dx, dy = (x - 32) * scale, (y - 32) * scale
        p = int(dx * math.cos(turn) + dy * math.sin(turn)) + int(start[0])
        q = int(dy * math.cos(turn) - dx * math.sin(turn)) + int(start[1])
        field[y, x] = texture(kind, key, p, q)
    dy, dx = np.gradient(np.clip(field, -300, 300))
    strength, angle = np.hypot(dx, dy), np.arctan2(dy, dx)
    harmonics = [abs((strength * np.exp(1j * k * angle)).sum()) / strength.sum() for k in (2, 4, 6)]
    side = field > 0
    middle = side[4:60, 4:60]
    same = np.zeros(middle.shape, int)
    for k in range(8):
        dy, dx = (round(4 * f(k * math.pi / 4)) for f in (math.sin, math.cos))
        same += side[4 + dy : 60 + dy, 4 + dx : 60 + dx] == middle
    counts = np.bincount(same.ravel(), minlength=9) / same.size
    return np.array([*harmonics, *counts, 2 * min(side.mean(), 1 - side.mean())])


def test_textures_are_told_apart_without_the_outline():
    rng = np.random.default_rng(1)
    known = [np.mean([_features(kind, rng) for _ in range(6)], 0) for kind in range(8)]
    right = 0
    for kind in range(8):
        for _ in range(4):
            seen = _features(kind, rng)
            right += int(np.argmin([np.abs(seen - k).sum() for k in known])) == kind
    assert right >= 31


def test_texture_shows_at_every_size():
    """Light and dark differ within nearly every object that has some 50 pixels or more."""
    contrast = []
    for i in range(40):
        layout = lay_out(0, "pool", i, 320)
        grey = _rendered(layout).mean(axis=2)
        for k in range(len(layout.shapes)):
            inside = grey[layout.label_map == k + 1]
            if inside.size >= 50:
                contrast.append(inside.std())
    assert np.percentile(contrast, 10) > 12


def test_colour_carries_no_class():
    """Knowing an object's mean colour barely helps to guess its class."""
    colours, classes = [], []
    for i in range(110):
        layout = lay_out(3, "pool", i, 320)
        picture = _rendered(layout)
        for k, row in enumerate(layout.shapes):
            inside = layout.label_map == k + 1
            if inside.sum() >= 300:
                colours.append(picture[inside].mean(axis=0))
                classes.append(row[KIND])
    colours, classes = np.array(colours), np.array(classes)
    assert len(classes) > 200
    total = ((colours - colours.mean(0)) ** 2).sum(0)
    between = sum(
        (classes == c).sum() * (colours[classes == c].mean(0) - colours.mean(0)) ** 2
        for c in range(8)
    )
    # By chance alone the explained share is about 7 / n.
    assert (between / total < 0.06).all()


def test_paint_is_the_same_whatever_the_class():
    """Two classes at one place share their two colours, and so about half of their pixels."""
    size = 200
    label_map = np.zeros((size, size), np.uint8, order="F")
    label_map[70:130, 70:130] = 1
    painted = []
    for kind in range(8):
        row = np.zeros(COLUMNS, np.int64)
        row[KIND], row[X], row[Y], row[SIDE] = kind, 100 * 16, 100 * 16, 120 * 16
        frame(row, 90 * 16, 50, 1024)
        canvas = np.zeros((size, size, 3), np.int32)
        _paint(np.uint64(5), canvas, label_map.T, row, 0)
        painted.append(canvas[70:130, 70:130])
    for one, other in itertools.combinations(painted, 2):
        assert 0.15 < (one == other).all(axis=2).mean() < 0.85


# --- how many, how large, where ------------------------------------------------------------------


def test_train_is_mostly_large_and_small_ones_lie_beside_their_class(tables):
    rows = tables["train"]
    sizes = np.digitize(rows[:, 3], [1024, 9216])
    shares = np.bincount(sizes, minlength=3) / len(sizes)
    assert 0.45 < shares[2] < 0.75
    assert 0.10 < shares[0] < 0.30
    assert np.mean(np.bincount(rows[:, 0].astype(int))) < 3
    companions = []
    for row in rows[sizes == 0]:
        image = rows[rows[:, 0] == row[0]]
        larger = image[image[:, 2] > 4 * row[2]]
        if len(larger) and len(np.unique(image[:, 1])) > 1:
            near = np.hypot(*(larger[:, 4:] - row[4:]).T) < 1.5 * np.sqrt(larger[:, 2])
            companions.append(bool((near & (larger[:, 1] == row[1])).any()))
    assert len(companions) > 25
    assert np.mean(companions) > 0.75


def test_pool_has_every_size_of_every_class(tables):
    rows = tables["pool"]
    cells = np.zeros((8, 3), int)
    np.add.at(cells, (rows[:, 1].astype(int) - 1, np.digitize(rows[:, 3], [1024, 9216])), 1)
    # As a share of the default pool: 2,000 images have over twice the 60 wanted in each.
    assert cells.min() >= 2 * 60 * 300 / 2000
    assert cells.max() < 4 * cells.min()


def test_images_have_one_to_eight_shapes_of_6_pixels_to_most_of_the_image(tables):
    counts = [np.bincount(tables[s][:, 0].astype(int), minlength=300) for s in ("train", "pool")]
    for of_split in counts:
        assert of_split.min() == 1
        assert of_split.max() <= 8
    assert len(np.unique(counts[1])) == 8
    diameters = np.concatenate(
        [lay_out(0, "pool", i, 320).shapes[:, RADIUS] / 8 for i in range(300)]
    )
    assert diameters.min() == pytest.approx(6, abs=0.2)
    assert diameters.max() > 0.85 * 320
    hidden = 1 - tables["pool"][:, 3] / tables["pool"][:, 2]
    assert 0.08 < (hidden > 0.05).mean() < 0.5  # occlusion is there, and not everywhere


# --- the scene -----------------------------------------------------------------------------------


def test_background_amplitude_falls_as_one_over_frequency():
    slopes = []
    for i in range(12):
        grey = background(draws.keys(0, 1, i)[1], 256, 256).mean(axis=2)
        window = np.hanning(256)
        grey = (grey - grey.mean()) * window * window[:, None]
        power = np.abs(np.fft.fft2(grey)) ** 2
        line = np.fft.fftfreq(256)
        radius = np.hypot(line, line[:, None])
        edges = np.geomspace(4 / 256, 0.35, 10)
        places = [(radius >= a) & (radius < b) for a, b in itertools.pairwise(edges)]
        amplitude = [np.sqrt(power[place].mean()) for place in places]
        middle = np.sqrt(edges[1:] * edges[:-1])
        slopes.append(np.polyfit(np.log(middle), np.log(amplitude), 1)[0])
    assert -1.3 < np.mean(slopes) < -0.8


def test_clutter_is_drawn_and_differs_between_images():
    shares = []
    for i in range(12):
        looks = draws.keys(0, 1, i)[1]
        canvas = background(looks, 240, 320)
        before = canvas.copy()
        clutter(looks, canvas)
        shares.append((canvas != before).any(axis=2).mean())
    assert min(shares) > 0.005
    assert len(set(shares)) == 12


# --- options and bad input -----------------------------------------------------------------------


def test_size_changes_the_images():
    for size in (64, 128, 480):
        source = opened(size=size, pool=8)
        for image in source.read(Chunk(0, 8))[0]:
            assert max(image.width, image.height) == size
            assert image.objects
            for thing in image.objects:
                assert decode_mask(thing.rle, image.height, image.width).sum() >= 12
            assert source.pixels(image.file_name).shape == (image.height, image.width, 3)


def test_defaults_are_those_of_the_recipes():
    assert len(opened("train").members()) == 1200
    assert len(opened("pool").members()) == 2000
    assert lay_out(0, "pool", 0, 320).shapes[:, SIDE].min() > 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"colour": 1}, "unknown option 'colour'; valid options: seed, train, pool, size"),
        ({"seed": "7"}, "seed must be a whole number, not '7'"),
        ({"seed": True}, "seed must be a whole number"),
        ({"seed": -1}, "seed must be 0 to"),
        ({"pool": 0}, "pool must be 1 to"),
        ({"train": 1.5}, "train must be a whole number"),
        ({"size": 32}, "size must be 64 to 1024, not 32"),
    ],
)
def test_bad_options(options, says):
    with pytest.raises(InputError, match=says):
        opened(**options)


def test_unknown_split():
    with pytest.raises(InputError, match=r"no split 'val'; valid splits: train, pool"):
        opened("val")


@pytest.mark.parametrize(
    "name",
    [
        "pool/shapes_pool_000030.jpg",
        "train/shapes_train_000001.jpg",
        "pool/shapes_pool_1.jpg",
        "pool/shapes_pool_00001.jpg",
        "../pool/shapes_pool_000001.jpg",
        "pool/shapes_pool_-00001.jpg",
        "pool/shapes_pool_²00001.jpg",
        f"pool/shapes_pool_{'9' * 5000}.jpg",
        "",
    ],
)
def test_names_that_are_not_of_the_split(name):
    source = opened(pool=30)
    for ask in (source.image_bytes, source.pixel_sha256):
        with pytest.raises(InputError, match="is not an image of shapes pool"):
            ask(name)
