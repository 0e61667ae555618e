"""Numbers that the kernels share: faults, meanings of instance numbers, columns of class counts.

``sbdata/kernels.c`` has the same numbers.
"""

from __future__ import annotations

VOID = 255

# Faults of a map, reported with the place of the pixel; image.py has their messages.
FINE, PREDICTION_RANGE, PREDICTION_VOID, TRUTH_RANGE, UNKNOWN_INSTANCE, OTHER_CLASS = range(6)
CONFLICT = -1

# Columns of the counts by class.
TRUE_PIXELS, PREDICTED, MATCHED, FALSE, ORPHAN_PIXELS, ORPHAN_FALSE, ORPHANS, REGIONS = range(8)

# Meanings of an instance number other than the index of an instance.
NO_INSTANCE, UNKNOWN, INSTANCE_VOID = -1, -2, -3
