"""The size weights of ``sb_ce.v1`` as slowly and plainly as they can be: flood fill on lists.

Nothing here is shared with the package, and nothing in the package imports it.
"""

from __future__ import annotations

VOID = 255


def regions_of(rows):
    """Return the 8-connected foreground regions as (class, set of (y, x))."""
    left = {
        (y, x): int(value)
        for y, row in enumerate(rows)
        for x, value in enumerate(row)
        if int(value) not in (0, VOID)
    }
    regions = []
    while left:
        seed, kind = left.popitem()
        region, front = {seed}, [seed]
        while front:
            y, x = front.pop()
            for other in [(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]:
                if left.get(other) == kind:
                    del left[other]
                    region.add(other)
                    front.append(other)
        regions.append((kind, region))
    return regions


def size_weights(rows, tau=5.0, normalizer="class"):
    """Return rows of weights of one mask, as Python floats."""
    weights = [[0.0 if int(value) == VOID else 1.0 for value in row] for row in rows]
    regions = regions_of(rows)
    for kind, region in regions:
        total = sum(len(r) for k, r in regions if normalizer == "image" or k == kind)
        for y, x in region:
            weights[y][x] = min(tau, total / len(region))
    return weights
