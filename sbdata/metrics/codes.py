"""Numbers that the kernels share: faults, what an instance number stands for, counts by class.

``sbdata/kernels.c`` has the same numbers.
"""

from __future__ import annotations

VOID = 255

# What can be wrong with a map, with the place of the pixel; image.py puts it into words.
FINE, PREDICTION_RANGE, PREDICTION_VOID, TRUTH_RANGE, UNKNOWN_INSTANCE, OTHER_CLASS = range(6)
CONFLICT = -1

# Columns of the counts by class.
TRUE_PIXELS, PREDICTED, MATCHED, FALSE, ORPHAN_PIXELS, ORPHAN_FALSE, ORPHANS, REGIONS = range(8)

# What an instance number can stand for, beside the place of an instance.
NO_INSTANCE, UNKNOWN, INSTANCE_VOID = -1, -2, -3
