from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sbdata.errors import InputError
from sbdata.train.samples import (
    check_images,
    views_of,
)
from tests.train.test_samples import CROP, drawn
from tests.train.training_sets import write_pictures


def test_views_do_not_depend_on_batches_or_workers(tmp_path: Path) -> None:
    images = write_pictures(tmp_path)
    once = drawn(images, [[0, 1, 2], [3, 4, 5]])
    apart = drawn(images, [[0, 1, 2], [3, 4, 5]], workers=2)
    assert all(torch.equal(a, b) for a, b in zip(once, apart, strict=True))
    later = drawn(images, [[3, 4, 5]])
    assert all(torch.equal(a, b) for a, b in zip(once[5:], later, strict=True))


def test_every_epoch_has_each_image_once_in_another_order(tmp_path: Path) -> None:
    views = views_of(write_pictures(tmp_path, 7), CROP, seed=0)
    epochs = [
        [views.row_at(7 * epoch + place).image_id for place in range(7)] for epoch in range(4)
    ]
    assert all(sorted(epoch) == [f"p{n}" for n in range(7)] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_streams_and_seeds_see_different_views(tmp_path: Path) -> None:
    images = write_pictures(tmp_path)
    variants = [
        views_of(images, CROP, 0), views_of(images, CROP, 0, stream=1), views_of(images, CROP, 1)
    ]  # fmt: skip
    first = [view[0][0] for view in variants]
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first[0], first[2])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_photo_damaged_after_the_check(tmp_path: Path, workers: int) -> None:
    images = write_pictures(tmp_path)
    whole = (tmp_path / "photos" / "p0.png").read_bytes()
    (tmp_path / "photos" / "p0.png").write_bytes(whole[: len(whole) // 2])
    check_images(images)  # headers only
    with pytest.raises(InputError) as caught:
        drawn(images, [[0, 1, 2, 3]], workers)
    assert str(caught.value).startswith(str(tmp_path / "photos" / "p0.png"))
    assert "\n" not in str(caught.value)
