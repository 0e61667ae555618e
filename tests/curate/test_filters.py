from __future__ import annotations

import pyarrow as pa

from sbdata.curate.filters import filter_images
from sbdata.recipe import Filters

TABLE = pa.table(
    {
        "image_id": ["good", "unsure", "crowded", "empty", "worst"],
        "source": ["coco"] * 5,
        "file_name": [f"{i}.jpg" for i in range(5)],
        "crowd_share": [0.01, 0.0, 0.02, 0.0, 0.5],
        "not_exhaustive": pa.array([[], [3], [], [], [1]], pa.list_(pa.int16())),
        "labels": pa.array([[1], [1], [2], [], []], pa.list_(pa.int16())),
    }
)


def test_each_image_has_the_first_reason_that_applies() -> None:
    kept, rejected = filter_images(TABLE, Filters(True, 0.01, True))
    assert kept == ["good"]
    assert {r.image_id: r.reason for r in rejected} == {
        "unsure": "not_exhaustive",
        "crowded": "crowd_share",
        "empty": "no_instances",
        "worst": "not_exhaustive",
    }
    assert [r.file for r in rejected] == ["1.jpg", "2.jpg", "3.jpg", "4.jpg"]


def test_every_filter_can_be_opened() -> None:
    kept, rejected = filter_images(TABLE, Filters(False, 1.0, False))
    assert (len(kept), rejected) == (5, [])
