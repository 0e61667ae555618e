"""``ia_iou.v1`` written down as slowly and plainly as it can be: sets of pixels and fractions.

Nothing here is shared with the package, and nothing in the package imports it.
"""

from __future__ import annotations

from fractions import Fraction

VOID = 255


def pixels_of(rows, wanted):
    """Return the set of (y, x) whose value is ``wanted``."""
    return {
        (y, x) for y, row in enumerate(rows) for x, value in enumerate(row) if int(value) == wanted
    }


def neighbours(pixel, connectivity):
    y, x = pixel
    four = {(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)}
    corners = {(y - 1, x - 1), (y - 1, x + 1), (y + 1, x - 1), (y + 1, x + 1)}
    return four | corners if connectivity == 8 else four


def components_of(pixels, connectivity):
    """Return the connected parts of a set of pixels, by their first pixel in reading order."""
    left = set(pixels)
    parts = []
    for seed in sorted(pixels):
        if seed not in left:
            continue
        left.remove(seed)
        part, front = {seed}, [seed]
        while front:
            for other in neighbours(front.pop(), connectivity) & left:
                left.remove(other)
                part.add(other)
                front.append(other)
        parts.append(part)
    return parts


def score(prediction, class_map, instance_map, classes, n_classes, *, connectivity=8, share="area"):
    """Score one image.

    Args:
        prediction: rows of class numbers.
        class_map: rows of class numbers, 255 is void.
        instance_map: rows of instance numbers.
        classes: the class of each instance number.
        n_classes: C.
        connectivity: 4 or 8.
        share: area, equal or all.

    Returns:
        ``instances`` by number, ``components`` in reading order of their first pixel that is
        predicted so, ``confusion`` as rows, and ``orphans`` by class as (components, pixels, all
        false pixels).
    """
    void = pixels_of(class_map, VOID)
    everything = {(y, x) for y, row in enumerate(class_map) for x in range(len(row))}
    truth = {i: pixels_of(instance_map, i) - void for i in classes}
    predicted = {c: pixels_of(prediction, c) for c in range(n_classes + 1)}
    if n_classes < VOID:
        predicted[0] |= pixels_of(prediction, VOID)  # a predicted void is background
    of_class = {c: pixels_of(class_map, c) for c in range(n_classes + 1)}

    instances = {}
    components = []
    orphans = {}
    for c in range(1, n_classes + 1):
        mine = {i: pixels for i, pixels in truth.items() if classes[i] == c}
        fp = dict.fromkeys(mine, Fraction(0))
        touched_by = dict.fromkeys(mine, 0)
        orphan_components, orphan_pixels, false_pixels = 0, 0, 0
        for whole in components_of(predicted[c], connectivity):
            part = whole - void
            if not part:
                continue
            false = len(part - set().union(*mine.values()))
            touches = [i for i, pixels in mine.items() if pixels & part]
            false_pixels += false
            if not touches:
                orphan_components += 1
                orphan_pixels += false
            for i in touches:
                touched_by[i] += 1
                fp[i] += {
                    "area": Fraction(false * len(mine[i]), sum(len(mine[k]) for k in touches)),
                    "equal": Fraction(false, len(touches)),
                    "all": Fraction(false),
                }[share]
            components.append(
                {
                    "first": min(whole),
                    "class_id": c,
                    "area": len(part),
                    "matched": len(part & of_class[c]),
                    "touched_instances": len(touches),
                    "false_pixels": false,
                }
            )
        for i, pixels in mine.items():
            tp = len(pixels & predicted[c])
            instances[i] = {
                "instance_id": i,
                "class_id": c,
                "area": len(pixels),
                "tp": tp,
                "fp": fp[i],
                "ia_iou": Fraction(tp) / (len(pixels) + fp[i]),
                "touched_components": touched_by[i],
            }
        orphans[c] = (orphan_components, orphan_pixels, false_pixels)
    components.sort(key=lambda row: row["first"])
    confusion = [
        [len(of_class[t] & predicted[p] & (everything - void)) for p in range(n_classes + 1)]
        for t in range(n_classes + 1)
    ]
    return {
        "instances": instances,
        "components": components,
        "orphans": orphans,
        "confusion": confusion,
    }


def mean_iou(confusion):
    """Return the mean IoU over the classes that are in the truth, and how many those are."""
    values = []
    for c, row in enumerate(confusion):
        if sum(row):
            union = sum(row) + sum(other[c] for other in confusion) - row[c]
            values.append(Fraction(row[c], union))
    return (sum(values) / len(values) if values else None), len(values)


def class_and_instance_mean(rows):
    """Return the mean over classes of the class means, and the mean over (class, IA) rows."""
    by_class = {}
    for class_id, value in rows:
        by_class.setdefault(class_id, []).append(value)
    if not by_class:
        return None, None
    means = [sum(values) / len(values) for values in by_class.values()]
    everything = [value for values in by_class.values() for value in values]
    return sum(means) / len(means), sum(everything) / len(everything)
