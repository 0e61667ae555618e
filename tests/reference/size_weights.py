"""The size weights of ``sb_ce.v2`` as slowly and plainly as they can be: flood fill on sets.

Nothing here is shared with the package, and nothing in the package imports it. OpenCV is not used:
an outline is described by what it encloses.
"""

from __future__ import annotations

VOID = 255
BESIDE = [(-1, 0), (0, -1), (0, 1), (1, 0)]
AROUND = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]


def parts_of(pixels, steps):
    """Return the connected parts of a set of (y, x), in the order of their first pixels."""
    left, parts = set(pixels), []
    for seed in sorted(pixels):
        if seed not in left:
            continue
        part, front = set(), [seed]
        left.discard(seed)
        while front:
            y, x = front.pop()
            part.add((y, x))
            for other in [(y + dy, x + dx) for dy, dx in steps]:
                if other in left:
                    left.discard(other)
                    front.append(other)
        parts.append(part)
    return parts


def holes_of(part):
    """Return the holes of a component, each with all that lies inside it."""
    rows, columns = [y for y, _ in part], [x for _, x in part]
    window = {
        (y, x)
        for y in range(min(rows) - 1, max(rows) + 2)
        for x in range(min(columns) - 1, max(columns) + 2)
    }
    corner = (min(rows) - 1, min(columns) - 1)
    return [empty for empty in parts_of(window - part, BESIDE) if corner not in empty]


def outlines_of(pixels):
    """Return what each outline of a class encloses, in the order in which they are painted.

    A component comes before its holes and a hole before the components inside it; among several of
    one kind the last in scan order comes first. The outline of a hole runs on the component: it
    encloses the hole and the component's pixels that are 4-adjacent to it.
    """
    for part in reversed(parts_of(pixels, AROUND)):
        holes = holes_of(part)
        yield part.union(*holes)
        for hole in reversed(holes):
            rim = {(y + dy, x + dx) for y, x in hole for dy, dx in BESIDE} & part
            yield hole | rim
            yield from outlines_of(pixels & hole)


def size_weights(rows, tau=5.0, normalizer="image", regions="outlines"):
    """Return rows of weights of one mask, as Python floats."""
    classes = {}
    for y, row in enumerate(rows):
        for x, value in enumerate(row):
            if int(value) not in (0, VOID):
                classes.setdefault(int(value), set()).add((y, x))
    weights = [[1.0 for _ in row] for row in rows]
    for _, pixels in sorted(classes.items()):
        total = sum(map(len, classes.values())) if normalizer == "image" else len(pixels)
        kinds = outlines_of(pixels) if regions == "outlines" else parts_of(pixels, AROUND)
        for region in kinds:
            for y, x in region:
                weights[y][x] = min(tau, total / len(region))
    return [
        [0.0 if int(value) == VOID else weight for value, weight in zip(*both, strict=True)]
        for both in zip(rows, weights, strict=True)
    ]
