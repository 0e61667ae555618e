"""Size statistics of a table of instances."""

from __future__ import annotations

import pyarrow as pa

from sbdata.curate.statistics import statistics_of
from sbdata.sizes import SizeBins
from sbdata.taxonomy import Taxonomy


def test_every_area_is_in_the_histogram() -> None:
    areas = [1, 2, 2**24 - 1, 2**24, 80_000_000]  # the largest image has 89,478,485 pixels
    table = pa.table({"class_name": ["hen"] * 5, "size": ["large"] * 5, "area": areas})
    found = statistics_of(1, table, Taxonomy("yard", ("hen",)), SizeBins())
    assert sum(found.area_histogram) == found.instances == 5
    assert found.area_histogram[0] == 1
    assert found.area_histogram[-1] == 3
