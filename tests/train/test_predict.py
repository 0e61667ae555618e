"""Prediction: native size, averages over scales and flips, files, and going on after a stop."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from sbdata.completion import check_marker
from sbdata.errors import InputError
from sbdata.masks import read_index_png, voc_palette, write_index_png
from sbdata.train import predict
from sbdata.train.photos import read_photo
from sbdata.train.predict import PREDICTED, predict_folder, predict_image
from sbdata.train.segmenter import build_segmenter


class Pointwise(nn.Module):
    """Logits that are a function of each pixel alone, so flips do not change them."""

    def __init__(self, n_outputs=3, stride=1):
        super().__init__()
        self.stride = stride
        self.mix = nn.Conv2d(3, n_outputs, 1)
        self.dropout = nn.Dropout(0.5)  # would show training mode
        self.seen = []

    def forward(self, images):
        self.seen.append(tuple(images.shape))
        return self.dropout(self.mix(images))[..., :: self.stride, :: self.stride]


class Leftish(nn.Module):
    """Class 1 is certain in the left half, whatever the photo."""

    def forward(self, images):
        logits = torch.zeros(len(images), 2, *images.shape[-2:])
        logits[:, 1, :, : images.shape[-1] // 2] = 4.0
        return logits


@pytest.fixture
def pointwise():
    torch.manual_seed(0)
    return Pointwise()


def photo(height=12, width=17, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def by_hand(model, image):
    values = torch.from_numpy(image / 255).float().permute(2, 0, 1)[None]
    with torch.no_grad():
        logits = functional.conv2d(values, model.mix.weight, model.mix.bias)
        return logits.softmax(1)[0].numpy()


# --- one image ------------------------------------------------------------------------------------


def test_probabilities_are_those_of_the_model(pointwise):
    image = photo()
    found = predict_image(pointwise, image)
    assert found.shape == (3, 12, 17)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, by_hand(pointwise, image), atol=1e-6)


@pytest.mark.parametrize("size", [(33, 47), (64, 48), (5, 3)])
def test_probabilities_have_the_size_of_the_photo(size):
    model = build_segmenter("resnet18", n_classes=4, weights="none", rates=(1, 2))
    found = predict_image(model, photo(*size), scales=(1.0, 0.5), flip=True)
    assert found.shape == (5, *size)
    np.testing.assert_allclose(found.sum(0), 1, atol=1e-5)


def test_flips_change_nothing_for_a_model_that_does_not_see_them(pointwise):
    image = photo()
    plain, flipped = predict_image(pointwise, image), predict_image(pointwise, image, flip=True)
    np.testing.assert_allclose(flipped, plain, atol=1e-6)


def test_flips_are_averaged():
    image = photo(4, 10)
    plain, flipped = predict_image(Leftish(), image), predict_image(Leftish(), image, flip=True)
    np.testing.assert_allclose(flipped, (plain + plain[..., ::-1]) / 2, atol=1e-6)
    assert abs(flipped[1] - flipped[1, 0, 0]).max() < 1e-6  # left and right became alike
    assert plain[1, 0, 0] > 0.9 > 0.6 > plain[1, 0, -1]


def test_scales_resize_the_photo_and_are_averaged(pointwise):
    image = photo(12, 16)
    parts = [predict_image(pointwise, image, scales=(s,)) for s in (0.5, 1.0, 1.5)]
    pointwise.seen.clear()
    found = predict_image(pointwise, image, scales=(0.5, 1.0, 1.5))
    assert pointwise.seen == [(1, 3, 6, 8), (1, 3, 12, 16), (1, 3, 18, 24)]
    np.testing.assert_allclose(found, np.mean(parts, 0), atol=1e-6)
    assert np.abs(parts[0] - parts[1]).max() > 0.01


def test_logits_are_resized_before_they_become_probabilities():
    torch.manual_seed(1)
    model = Pointwise(stride=4)
    nn.init.normal_(model.mix.weight, std=5)
    image = photo(16, 16)
    values = torch.from_numpy(image / 255).float().permute(2, 0, 1)[None]
    with torch.no_grad():
        logits = model.eval()(values)
        up = functional.interpolate(logits, size=(16, 16), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(predict_image(model, image), up.softmax(1)[0], atol=1e-5)


def test_the_mode_of_every_part_comes_back(pointwise):
    pointwise.train()
    pointwise.mix.eval()
    predict_image(pointwise, photo())
    assert pointwise.training
    assert pointwise.dropout.training
    assert not pointwise.mix.training

    class Breaks(nn.Module):
        def forward(self, images):
            raise RuntimeError("broken")

    breaks = Breaks().train()
    with pytest.raises(RuntimeError, match="broken"):
        predict_image(breaks, photo())
    assert breaks.training


def test_a_model_can_be_trained_after_it_predicted(pointwise):
    before = pointwise.mix.weight.detach().clone()
    predict_image(pointwise, photo())
    assert torch.equal(pointwise.mix.weight, before)
    pointwise(torch.rand(1, 3, 4, 4)).sum().backward()
    assert pointwise.mix.weight.grad is not None


@pytest.mark.parametrize("scales", [(), (0.0, 1.0)])
def test_scales_are_checked(pointwise, scales, tmp_path):
    with pytest.raises(InputError, match="scales above 0"):
        predict_image(pointwise, photo(), scales=scales)
    with pytest.raises(InputError, match="scales above 0"):
        predict_folder(pointwise, [], tmp_path, scales=scales)


# --- a folder -------------------------------------------------------------------------------------


@pytest.fixture
def photos(tmp_path):
    pairs = []
    for place, (image_id, suffix) in enumerate([("b", "png"), ("a", "jpg"), ("c", "png")]):
        path = tmp_path / "photos" / f"{image_id}.{suffix}"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(photo(10 + place, 14, seed=place)).save(path)
        pairs.append((image_id, path))
    return pairs


def test_class_maps_are_written_as_the_contract_asks(pointwise, photos, tmp_path):
    out, calls = tmp_path / "out", []
    count = predict_folder(pointwise, photos, out, progress=lambda *done: calls.append(done))
    assert count == 3
    assert calls == [(1, 3), (2, 3), (3, 3)]
    assert sorted(path.name for path in out.glob("[!.]*")) == ["a.png", "b.png", "c.png"]
    assert [shape[2] for shape in pointwise.seen] == [11, 10, 12]  # by id
    for image_id, path in photos:
        expected = by_hand(pointwise, np.array(Image.open(path).convert("RGB"))).argmax(0)
        np.testing.assert_array_equal(read_index_png(out / f"{image_id}.png"), expected)
        with Image.open(out / f"{image_id}.png") as image:
            assert image.mode == "P"
            assert bytes(image.getpalette()) == voc_palette()[: len(image.getpalette())]


def test_a_stopped_run_goes_on(pointwise, photos, tmp_path):
    out = tmp_path / "out"

    class StoppedError(Exception):
        pass

    def stop(done, total):
        if done == 2:
            raise StoppedError

    with pytest.raises(StoppedError):
        predict_folder(pointwise, photos, out, progress=stop)
    (out / ".c.png.0123abcd.part").write_bytes(b"half")
    kept = {path.name: path.stat().st_mtime_ns for path in out.glob("*.png")}
    assert sorted(kept) == ["a.png", "b.png"]
    calls = []
    assert predict_folder(pointwise, photos, out, progress=lambda *done: calls.append(done)) == 1
    assert calls == [(1, 3), (2, 3), (3, 3)]
    assert {name: (out / name).stat().st_mtime_ns for name in kept} == kept
    assert sorted(path.name for path in out.glob("[!.]*")) == ["a.png", "b.png", "c.png"]
    assert predict_folder(pointwise, photos, out) == 0


def test_overwrite_predicts_again(pointwise, photos, tmp_path):
    out = tmp_path / "out"
    predict_folder(Leftish(), photos, out)
    first = read_index_png(out / "a.png")
    assert predict_folder(pointwise, photos, out, overwrite=True) == 3
    assert (read_index_png(out / "a.png") != first).any()


def test_overwriting_some_masks_leaves_none_of_another_model(pointwise, photos, tmp_path):
    """The record would say that the new model made them, and a score would take them for its."""
    out = tmp_path / "out"
    predict_folder(Leftish(), photos, out)
    said = r"out: holds predictions of other photos made with another model, such as c\.png; choose"
    with pytest.raises(InputError, match=said):
        predict_folder(pointwise, photos[:2], out, overwrite=True)
    assert predict_folder(Leftish(), photos, out) == 0  # nothing is lost
    assert predict_folder(Leftish(), photos[:2], out, overwrite=True) == 2
    assert predict_folder(Leftish(), photos, out) == 0  # the third one is still known


def test_a_mask_never_replaces_its_photo(pointwise, tmp_path):
    """Even if the photos are PNG files and the folder of the masks is theirs."""
    for name in ("a", "b"):
        Image.fromarray(photo()).save(tmp_path / f"{name}.png")
    (tmp_path / "link").symlink_to(tmp_path)
    images = [(name, tmp_path / f"{name}.png") for name in ("a", "b")]
    before = [path.read_bytes() for _, path in images]
    for out in (tmp_path, tmp_path / "link"):
        with pytest.raises(InputError, match=r"a\.png: its mask would replace this photo; choose"):
            predict_folder(pointwise, images, out, overwrite=True)
    assert [path.read_bytes() for _, path in images] == before


def test_masks_are_not_written_among_the_photos(pointwise, tmp_path):
    """Beside a.jpg, a.png would be a second photo of the same id: neither could be used again."""
    Image.fromarray(photo()).save(tmp_path / "a.jpg")
    (tmp_path / "link").symlink_to(tmp_path)
    for out in (tmp_path, tmp_path / "link"):
        with pytest.raises(InputError, match=r": holds the photos; choose another folder"):
            predict_folder(pointwise, [("a", tmp_path / "a.jpg")], out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jpg", "link"]


def test_predictions_of_another_model_or_way_are_not_mixed(pointwise, photos, tmp_path):
    out = tmp_path / "out"
    predict_folder(Leftish(), photos[:2], out)
    with pytest.raises(InputError, match=r"predictions made with another model, such as a\.png"):
        predict_folder(pointwise, photos, out)
    with pytest.raises(InputError, match="made with another scales and flip"):
        predict_folder(Leftish(), photos, out, scales=(1.0, 2.0), flip=True)


def test_masks_of_unknown_origin_are_not_called_predictions(pointwise, photos, tmp_path):
    """They may be a ground truth, which --overwrite would replace."""
    out = tmp_path / "out"
    predict_folder(Leftish(), photos, out)
    (out / ".made-by.json").unlink()
    with pytest.raises(InputError) as refused:
        predict_folder(Leftish(), photos, out)
    assert str(refused.value) == (
        f"{out}: holds masks of unknown origin (no usable .made-by.json), such as a.png; choose "
        "another folder"
    )


def test_a_mask_that_was_lost_is_predicted_again(pointwise, photos, tmp_path):
    out = tmp_path / "out"
    predict_folder(pointwise, photos, out)
    first = (out / "b.png").read_bytes()
    (out / "b.png").unlink()
    assert predict_folder(pointwise, photos, out) == 1
    assert (out / "b.png").read_bytes() == first
    assert not check_marker(out, name=PREDICTED)


def test_a_mask_that_was_altered_is_refused(pointwise, photos, tmp_path):
    out = tmp_path / "out"
    predict_folder(pointwise, photos, out)
    write_index_png(out / "b.png", np.ones((10, 14), np.uint8))
    with pytest.raises(InputError, match=r"out: 1 file is not as recorded \(b\.png: .*--overwrite"):
        predict_folder(pointwise, photos, out)
    assert predict_folder(pointwise, photos, out, overwrite=True) == 3


def test_another_photo_of_the_same_name_is_predicted_again(pointwise, photos, tmp_path):
    out = tmp_path / "out"
    predict_folder(pointwise, photos, out)
    Image.fromarray(photo(7, 9, seed=5)).save(dict(photos)["c"])
    assert predict_folder(pointwise, photos, out) == 1
    assert read_index_png(out / "c.png").shape == (7, 9)
    assert predict_folder(pointwise, photos[:2], out) == 0
    assert predict_folder(pointwise, photos, out) == 0  # the third one is still known


def test_other_code_and_a_damaged_note_are_refused(pointwise, photos, tmp_path, monkeypatch):
    out = tmp_path / "out"
    predict_folder(pointwise, photos, out)
    with monkeypatch.context() as edited:
        edited.setattr(predict, "code_fingerprint", lambda *modules: "edited")
        with pytest.raises(InputError, match="made with another code, such as"):
            predict_folder(pointwise, photos, out)
        assert predict_folder(pointwise, photos, out, replace_others=True) == 3
    for text in ("", "[" * 3000, "3", '{"photos": 3}'):
        (out / ".made-by.json").write_text(text)
        with pytest.raises(InputError, match=r"\.made-by\.json|made with another"):
            predict_folder(pointwise, photos, out)


def test_a_kill_while_predicting_again_mixes_nothing(pointwise, photos, tmp_path):
    out = tmp_path / "out"
    predict_folder(Leftish(), photos, out)

    class KilledError(Exception):
        pass

    def kill(done, total):
        raise KilledError

    with pytest.raises(KilledError):
        predict_folder(pointwise, photos, out, overwrite=True, progress=kill)
    assert [path.name for path in out.glob("*.png")] == ["a.png"]
    assert predict_folder(pointwise, photos, out) == 2


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_outputs_that_are_not_finite_are_no_prediction(pointwise, photos, tmp_path, value):
    with torch.no_grad():
        pointwise.mix.bias[1] = value
    with pytest.raises(InputError, match=r"a\.jpg: the model's outputs for it are not finite"):
        predict_folder(pointwise, photos, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.png"))


def test_a_refiner_sees_the_photo_and_the_probabilities(pointwise, photos, tmp_path):
    seen = []

    def always_two(image, probabilities):
        seen.append((image.shape, probabilities.shape, image.dtype, probabilities.dtype))
        return np.stack([probabilities[0] * 0, probabilities[0] * 0, probabilities[0] * 0 + 1])

    predict_folder(pointwise, photos, tmp_path / "out", refine=always_two)
    assert seen[0] == ((11, 14, 3), (3, 11, 14), np.uint8, np.float32)
    assert (read_index_png(tmp_path / "out" / "a.png") == 2).all()


@pytest.mark.parametrize("content", [b"", b"not a photo", b"\xff\xd8\xff\xe0 cut", b"GIF89a"])
def test_an_unreadable_photo_is_named(pointwise, tmp_path, content):
    path = tmp_path / "bad.jpg"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.jpg: not a readable JPEG or PNG"):
        predict_folder(pointwise, [("bad", path)], tmp_path / "out")


def test_a_missing_and_a_truncated_photo_are_named(pointwise, photos, tmp_path):
    whole = photos[1][1].read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    for name in ("cut.jpg", "none.jpg"):
        with pytest.raises(InputError, match=name):
            read_photo(tmp_path / name)


def test_other_formats_and_depths_are_refused(tmp_path):
    Image.fromarray(photo()).save(tmp_path / "a.bmp")
    Image.fromarray(photo()[..., 0].astype(np.uint16) * 256).save(tmp_path / "deep.png")
    with pytest.raises(InputError, match=r"a\.bmp"):
        read_photo(tmp_path / "a.bmp")
    with pytest.raises(InputError, match=r"deep\.png.*8 bits"):
        read_photo(tmp_path / "deep.png")


def test_grey_and_palette_photos_become_rgb(tmp_path):
    grey = photo()[..., 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_photo(tmp_path / "grey.png"), np.stack([grey] * 3, -1))


@pytest.mark.parametrize("ids", [["../a"], ["a/b"], [""], ["a", "a"]])
def test_ids_must_be_names_and_differ(pointwise, tmp_path, ids):
    with pytest.raises(InputError, match="image id"):
        predict_folder(pointwise, [(i, Path("x.jpg")) for i in ids], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_map_holds_254_classes_at_most(photos, tmp_path):
    assert predict_folder(Pointwise(255), photos, tmp_path / "out") == 3
    with pytest.raises(InputError, match="255 classes"):
        predict_folder(Pointwise(256), photos, tmp_path / "more")
    assert not list((tmp_path / "more").glob("*.png"))
