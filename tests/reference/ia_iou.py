"""``ia_iou.v2`` written down as slowly and plainly as it can be: sets of pixels and fractions.

Nothing here is shared with the package, and nothing in the package imports it.
"""

from __future__ import annotations

import math
from fractions import Fraction

VOID = 255


def pixels_of(rows, wanted):
    """Return the set of (y, x) whose value is ``wanted``."""
    return {
        (y, x) for y, row in enumerate(rows) for x, value in enumerate(row) if int(value) == wanted
    }


def side_neighbours(pixel):
    y, x = pixel
    return {(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)}


def all_neighbours(pixel):
    y, x = pixel
    return {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} - {pixel}


def flood(seed, pixels, neighbours):
    """Return the pixels that are connected with the seed, which is one of them."""
    found, front = {seed}, [seed]
    while front:
        for other in (neighbours(front.pop()) & pixels) - found:
            found.add(other)
            front.append(other)
    return found


def components_of(pixels):
    """Return the 8-connected parts of a set of pixels, by their first pixel in reading order."""
    left, parts = set(pixels), []
    for seed in sorted(pixels):
        if seed in left:
            part = flood(seed, left, all_neighbours)
            left -= part
            parts.append(part)
    return parts


def with_holes_filled(pixels):
    """Return the pixels and all those that cannot be left by side steps without crossing them."""
    if not pixels:
        return set()
    ys, xs = {y for y, _ in pixels}, {x for _, x in pixels}
    frame = {
        (y, x) for y in range(min(ys) - 1, max(ys) + 2) for x in range(min(xs) - 1, max(xs) + 2)
    }
    outside = flood((min(ys) - 1, min(xs) - 1), frame - pixels, side_neighbours)
    return frame - outside


def regions_of(pixels):
    """Return the parts of a set of pixels by outer outline, by their first pixel."""
    return [part & pixels for part in components_of(with_holes_filled(pixels))]


def part_of_false(fp_attribution, rounding, *, false, own, on_class, area, areas):
    """Return which part of a region's false pixels one of the instances that it meets is given.

    Args:
        fp_attribution: overlap, area, equal or all.
        rounding: floor or exact.
        false: pixels of the region whose true class is another.
        own: pixels of the region in the instance.
        on_class: pixels of the region whose true class is its own.
        area: of the instance.
        areas: of all instances that the region meets.
    """
    part, whole = {
        "overlap": (own, on_class),
        "area": (area, sum(areas)),
        "equal": (1, len(areas)),
        "all": (1, 1),
    }[fp_attribution]
    if rounding == "floor":  # float64 and in this order, as released: 1 / 49 * 49 gives 0
        return Fraction(math.floor((part / whole) * false))
    return Fraction(part * false, whole)


def outcome_of(area, tp, fp, other_pixels):
    """Return what became of an instance: the first of the kinds that holds."""
    if tp / (area + fp) >= Fraction(1, 2):
        return "found"
    if 2 * other_pixels >= area:
        return "wrong_class"
    if Fraction(tp, area) < Fraction(1, 20):
        return "missed"
    if Fraction(tp, area) < Fraction(1, 4):
        return "mostly_missed"
    return "bled" if fp > area else "partial"


def score(
    prediction,
    class_map,
    instance_map,
    classes,
    n_classes,
    *,
    fp_attribution="overlap",
    rounding="floor",
):
    """Score one image.

    Args:
        prediction: rows of class numbers; a predicted 255 is background.
        class_map: rows of class numbers, 255 is void.
        instance_map: rows of instance numbers; 255 is void too, unless ``classes`` names it.
        classes: the class of each instance number.
        n_classes: C, below 255.
        fp_attribution: overlap, area, equal or all.
        rounding: floor or exact.

    Returns:
        ``instances`` by number; ``regions`` in reading order of their first pixel that is predicted
        so; ``confusion`` as rows; ``orphans`` by class as (regions, pixels, their false pixels, all
        false pixels of the class); ``background``, the IoU of class 0 or None.
    """
    void = pixels_of(class_map, VOID)
    if VOID not in classes:
        void |= pixels_of(instance_map, VOID)
    truth = {i: pixels_of(instance_map, i) - void for i in classes}
    predicted = {c: pixels_of(prediction, c) for c in range(n_classes + 1)}
    predicted[0] |= pixels_of(prediction, VOID)
    of_class = {c: pixels_of(class_map, c) - void for c in range(n_classes + 1)}

    instances, regions, orphans = {}, [], {}
    for c in range(1, n_classes + 1):
        mine = {i: pixels for i, pixels in truth.items() if classes[i] == c}
        fp = dict.fromkeys(mine, Fraction(0))
        met_regions = dict.fromkeys(mine, 0)
        orphan_regions, orphan_pixels, orphan_false, all_false = 0, 0, 0, 0
        for whole in regions_of(predicted[c]):
            region = whole - void
            if not region:
                continue
            on_class = len(region & of_class[c])
            false = len(region) - on_class
            all_false += false
            met = [i for i, pixels in mine.items() if pixels & region]
            if not met:
                orphan_regions += 1
                orphan_pixels += len(region)
                orphan_false += false
            for i in met:
                met_regions[i] += 1
                fp[i] += part_of_false(
                    fp_attribution,
                    rounding,
                    false=false,
                    own=len(region & mine[i]),
                    on_class=on_class,
                    area=len(mine[i]),
                    areas=[len(mine[k]) for k in met],
                )
            regions.append(
                {
                    "first": min(whole),
                    "class_id": c,
                    "area": len(region),
                    "matched": on_class,
                    "met_instances": len(met),
                }
            )
        for i, pixels in mine.items():
            area, tp = len(pixels), len(pixels & predicted[c])
            others = {d: len(pixels & predicted[d]) for d in range(1, n_classes + 1) if d != c}
            other_pixels = max(others.values(), default=0)
            instances[i] = {
                "instance_id": i,
                "class_id": c,
                "area": area,
                "tp": tp,
                "fp": fp[i],
                "ia_iou": tp / (area + fp[i]),
                "met_regions": met_regions[i],
                "outcome": outcome_of(area, tp, fp[i], other_pixels),
                "other_class": min(
                    (d for d, n in others.items() if n and n == other_pixels), default=0
                ),
                "other_pixels": other_pixels,
            }
        orphans[c] = (orphan_regions, orphan_pixels, orphan_false, all_false)
    regions.sort(key=lambda row: row["first"])
    confusion = [
        [len(of_class[t] & predicted[p]) for p in range(n_classes + 1)]
        for t in range(n_classes + 1)
    ]
    union = of_class[0] | (predicted[0] & set().union(*of_class.values()))
    return {
        "instances": instances,
        "regions": regions,
        "orphans": orphans,
        "confusion": confusion,
        "background": (
            Fraction(len(of_class[0] & predicted[0]), len(union)) if of_class[0] else None
        ),
    }


def class_iou(confusion):
    """Return the IoU of each class that is in the truth, by class."""
    found = {}
    for c, row in enumerate(confusion):
        if sum(row):
            union = sum(row) + sum(other[c] for other in confusion) - row[c]
            found[c] = Fraction(row[c], union)
    return found


def mean(values):
    """Return the mean of some fractions, None of none."""
    values = list(values)
    return sum(values, Fraction(0)) / len(values) if values else None


def mean_iou(confusion):
    """Return the mean IoU over the classes that are in the truth, and how many those are."""
    found = class_iou(confusion)
    return mean(found.values()), len(found)


def class_and_instance_mean(rows, backgrounds=()):
    """Return the mean over classes of the class means, and the mean over (class, IA) rows.

    Args:
        rows: (class, IA) of each instance.
        backgrounds: the IoU of class 0 in each image that has some; one more class in the first
            mean, and in the second nothing.
    """
    by_class = {0: list(backgrounds)} if backgrounds else {}
    for class_id, value in rows:
        by_class.setdefault(class_id, []).append(value)
    return mean(map(mean, by_class.values())), mean(value for _, value in rows)
