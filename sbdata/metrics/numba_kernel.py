"""The pass over one image in numba, for machines without a C compiler: regions, overlaps, counts.

``kernel`` chooses between this and C; both use this algorithm and give the same numbers.

All three maps are scanned together. A *segment* begins wherever one of them changes, so a segment
is a stretch of one row with one prediction, one true class and one instance, and everything is
counted by segments. Neighbouring segments with the same foreground prediction form a *run*; runs of
equal prediction that touch the row above are joined into components (union-find, in which the
earliest run represents its component). A component in a hole of another one of its class is then
joined with it, which gives the regions by outer outline. A clean 500 x 375 map has some thousand
segments for its 187,500 pixels.
"""

from __future__ import annotations

import numba
import numpy as np

from sbdata.metrics.codes import (
    CONFLICT,
    FALSE,
    FINE,
    INSTANCE_VOID,
    MATCHED,
    ORPHAN_FALSE,
    ORPHAN_PIXELS,
    ORPHANS,
    OTHER_CLASS,
    PREDICTED,
    PREDICTION_RANGE,
    PREDICTION_VOID,
    REGIONS,
    TRUE_PIXELS,
    TRUTH_RANGE,
    UNKNOWN,
    UNKNOWN_INSTANCE,
    VOID,
)


@numba.njit(cache=True, nogil=True)
def _starts(change):
    """Return the places of the set bytes of a flag array, whose size is a multiple of eight."""
    count = 0
    for k in range(change.size):
        count += change[k]
    starts = np.empty(count + 1, np.int32)
    words = change.view(np.uint64)
    n = 0
    for w in range(words.size):
        if words[w]:
            for k in range(8 * w, 8 * w + 8):
                if change[k]:
                    starts[n] = k
                    n += 1
    return starts


@numba.njit(cache=True, nogil=True)
def _root(parent, node):
    """Return the earliest run of a run's component, halving the path to it."""
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@numba.njit(cache=True, nogil=True)
def _join_rows(start, stop, label, row_first, width, diagonal):
    """Join touching runs of one label; return the earliest run of each run's component.

    Args:
        start: Start of each run, a place in the flat map; runs do not cross rows.
        stop: One past the last place of each run.
        label: Label of each run.
        row_first: First run of each row, and the number of runs at the end.
        width: Width of the map.
        diagonal: 1 if touching corners join (8 neighbours), else 0.
    """
    parent = np.arange(label.size, dtype=np.int32)
    for y in range(1, row_first.size - 1):
        k = row_first[y - 1]
        end = row_first[y]
        for r in range(row_first[y], row_first[y + 1]):
            low = start[r] - width - diagonal  # runs above with stop > low and start < high touch
            high = stop[r] - width + diagonal
            while k < end and stop[k] <= low:
                k += 1
            j = k
            while j < end and start[j] < high:
                if label[j] == label[r]:
                    a, b = _root(parent, j), _root(parent, r)
                    if a < b:
                        parent[b] = a
                    elif b < a:
                        parent[a] = b
                j += 1
    for r in range(label.size):  # a run's parent is never a later one, so one sweep is enough
        parent[r] = parent[parent[r]]
    return parent


@numba.njit(cache=True, nogil=True)
def _join_nested(parent, start, stop, label, width, n_classes):
    """Join each component with the one of its class in whose hole it lies, in place.

    A hole is a part of the class's complement, connected by 4 neighbours, that does not reach the
    map's border. On the left of a hole's first pixel (in scan order) lies the component around the
    hole, and on the left of a component's first pixel the hole around the component.

    Args:
        parent: Earliest run of each run's component; becomes that of its region.
        start: Start of each run, a place in the flat map; runs do not cross rows.
        stop: One past the last place of each run.
        label: Label of each run, at most ``n_classes``.
        width: Width of the map.
        n_classes: Highest label.
    """
    components = np.zeros(n_classes + 1, np.int32)
    first_of = np.zeros(n_classes + 2, np.int32)
    for r in range(label.size):
        first_of[label[r] + 1] += 1
        components[label[r]] += parent[r] == r
    if components.max() < 2:
        return
    for c in range(n_classes + 1):
        first_of[c + 1] += first_of[c]
    free = first_of.copy()
    by_class = np.empty(label.size, np.int32)
    for r in range(label.size):
        by_class[free[label[r]]] = r
        free[label[r]] += 1
    nested = False
    for c in range(1, n_classes + 1):
        if components[c] < 2:
            continue
        runs = by_class[first_of[c] : first_of[c + 1]]
        # The runs of the complement, in a frame of one pixel around the rows that have the class:
        # run 0 is the row above them, and all that touches the frame is joined to it.
        top = start[runs[0]] // width
        rows = start[runs[-1]] // width - top + 3
        wide = width + 2
        gap_start = np.empty(runs.size + rows, np.int32)
        gap_stop = np.empty(runs.size + rows, np.int32)
        left_run = np.empty(runs.size + rows, np.int32)  # where a gap does not begin a row
        left_gap = np.empty(runs.size, np.int32)
        gap_first = np.empty(rows + 1, np.int32)
        gaps, k = 0, 0
        for y in range(rows):
            gap_first[y] = gaps
            gap_start[gaps], left_run[gaps] = y * wide, -1
            shift = y * wide + 1 - (top + y - 1) * width
            while k < runs.size and start[runs[k]] < (top + y) * width:
                gap_stop[gaps] = start[runs[k]] + shift
                left_gap[k] = gaps
                gaps += 1
                gap_start[gaps], left_run[gaps] = stop[runs[k]] + shift, runs[k]
                k += 1
            gap_stop[gaps] = (y + 1) * wide
            gaps += 1
        gap_first[rows] = gaps
        one = np.zeros(gaps, np.uint8)
        hole = _join_rows(gap_start[:gaps], gap_stop[:gaps], one, gap_first, wide, 0)
        for k in range(runs.size):
            r = runs[k]
            first = hole[left_gap[k]]
            if parent[r] == r and first:  # the component around it comes earlier, and is settled
                parent[r] = parent[parent[left_run[first]]]
                nested = True
    if nested:
        for r in range(label.size):
            parent[r] = parent[parent[r]]


@numba.njit(cache=True, nogil=True)
def count_image(prediction, truth, instances, width, index_of, class_of, n_classes, void_allowed):
    """Count everything that the metric needs of one image.

    Args:
        prediction: Predicted class of every pixel, uint8, row by row.
        truth: True class, uint8; 255 is void.
        instances: Instance number, uint8 or uint16.
        width: Width of the image.
        index_of: By instance number, int32: its index in ``class_of``, or another meaning.
        class_of: Class of each instance, uint8.
        n_classes: Highest class number.
        void_allowed: Whether a predicted 255 is read as background.

    Returns:
        The fault and its place; the confusion matrix (truth x prediction); each instance's area,
        matched pixels, and the other foreground class that most of its pixels are predicted as,
        with their number; the regions in scan order with class, area, pixels on their class and
        count of met instances; the pairs of region and met instance, by instance, with their
        common pixels; the counts by class.
    """
    n = prediction.size
    n_instances = class_of.size
    # 1. Segments.
    change = np.zeros((n + 7) // 8 * 8, np.uint8)
    for p in range(1, n):
        change[p] = (
            (prediction[p] != prediction[p - 1])
            | (truth[p] != truth[p - 1])
            | (instances[p] != instances[p - 1])
        )
    for p in range(0, n, width):
        change[p] = 1
    starts = _starts(change)
    n_segments = starts.size - 1
    starts[n_segments] = n

    # 2. Counts by segment, and the runs of foreground predictions.
    fault, place = FINE, 0
    confusion = np.zeros((n_classes + 1, n_classes + 1), np.int64)
    area = np.zeros(n_instances, np.int32)
    matched = np.zeros(n_instances, np.int32)
    as_other = np.zeros((n_instances, n_classes + 1), np.int32)
    run_start = np.empty(n_segments, np.int32)
    run_stop = np.empty(n_segments, np.int32)
    run_label = np.empty(n_segments, np.uint8)
    run_area = np.empty(n_segments, np.int32)
    run_on_class = np.empty(n_segments, np.int32)
    row_first = np.empty(n // width + 1, np.int32)
    # Segments where a run lies on an instance of its class.
    hit_run = np.empty(n_segments, np.int32)
    hit_instance = np.empty(n_segments, np.int32)
    hit_pixels = np.empty(n_segments, np.int32)
    runs, hits, rows, next_row = 0, 0, 0, 0
    previous = 0
    for s in range(n_segments):
        p, q = starts[s], starts[s + 1]
        length = q - p
        if p == next_row:
            row_first[rows] = runs
            rows += 1
            next_row += width
            previous = 0
        label = np.int64(prediction[p])
        if label > n_classes:
            if label != VOID:
                fault, place = PREDICTION_RANGE, p
                break
            if not void_allowed:
                fault, place = PREDICTION_VOID, p
                break
            label = 0
        if label:
            if label == previous:
                run_stop[runs - 1] = q
            else:
                run_start[runs], run_stop[runs], run_label[runs] = p, q, label
                run_area[runs] = run_on_class[runs] = 0
                runs += 1
        previous = label
        true = np.int64(truth[p])
        if true == VOID:
            continue
        if true > n_classes:
            fault, place = TRUTH_RANGE, p
            break
        number = np.int64(instances[p])
        i = np.int64(index_of[number]) if number < index_of.size else UNKNOWN
        if i == INSTANCE_VOID:
            continue
        confusion[true, label] += length
        if i >= 0:
            if class_of[i] != true:
                fault, place = OTHER_CLASS, p
                break
            area[i] += length
        elif i == UNKNOWN:
            fault, place = UNKNOWN_INSTANCE, p
            break
        if label:
            run_area[runs - 1] += length
            if label == true:
                run_on_class[runs - 1] += length
                if i >= 0:
                    matched[i] += length
                    hit_run[hits], hit_instance[hits] = runs - 1, i
                    hit_pixels[hits] = length
                    hits += 1
            elif i >= 0:
                as_other[i, label] += length
    row_first[rows] = runs

    # 3. Regions. A region that lies entirely in void is ignored.
    run_start, run_stop, run_label = run_start[:runs], run_stop[:runs], run_label[:runs]
    parent = _join_rows(run_start, run_stop, run_label, row_first[: rows + 1], width, 1)
    _join_nested(parent, run_start, run_stop, run_label, width, n_classes)
    for r in range(runs):
        a = parent[r]
        if a != r:
            run_area[a] += run_area[r]
            run_on_class[a] += run_on_class[r]
    m = 0
    number_of = np.empty(runs, np.int32)
    for r in range(runs):
        if parent[r] == r and run_area[r]:
            number_of[r] = m
            m += 1
    region_class = np.empty(m, np.uint8)
    region_area = np.empty(m, np.int32)
    on_class = np.empty(m, np.int32)
    met = np.zeros(m, np.int32)
    for r in range(runs):
        if parent[r] == r and run_area[r]:
            j = number_of[r]
            region_class[j], region_area[j], on_class[j] = (
                run_label[r],
                run_area[r],
                run_on_class[r],
            )

    # 4. Pairs of region and met instance, each once: hits are sorted by instance (counting sort),
    #    so a region's last instance tells whether the pair is new.
    first = np.zeros(n_instances + 1, np.int32)
    for h in range(hits):
        first[hit_instance[h] + 1] += 1
    for i in range(n_instances):
        first[i + 1] += first[i]
    free = first.copy()
    order = np.empty(hits, np.int32)
    for h in range(hits):
        order[free[hit_instance[h]]] = h
        free[hit_instance[h]] += 1
    last = np.full(m, -1, np.int32)
    last_pair = np.empty(m, np.int32)
    pair_region = np.empty(hits, np.int32)
    pair_instance = np.empty(hits, np.int32)
    pair_pixels = np.zeros(hits, np.int32)
    pairs = 0
    for o in range(hits):
        i = hit_instance[order[o]]
        j = number_of[parent[hit_run[order[o]]]]
        if last[j] != i:
            last[j], last_pair[j] = i, pairs
            met[j] += 1
            pair_region[pairs], pair_instance[pairs] = j, i
            pairs += 1
        pair_pixels[last_pair[j]] += hit_pixels[order[o]]

    # 5. The other class that most pixels of an instance are predicted as; the lowest if tied.
    other_class = np.zeros(n_instances, np.uint8)
    other_pixels = np.zeros(n_instances, np.int32)
    for i in range(n_instances):
        if area[i] > matched[i]:
            for c in range(1, n_classes + 1):
                if as_other[i, c] > other_pixels[i]:
                    other_class[i], other_pixels[i] = c, as_other[i, c]

    # 6. Counts by class.
    classes = np.zeros((n_classes + 1, 8), np.int64)
    for c in range(n_classes + 1):
        classes[c, MATCHED] = confusion[c, c]
        for d in range(n_classes + 1):
            classes[c, TRUE_PIXELS] += confusion[c, d]
            classes[d, PREDICTED] += confusion[c, d]
    for j in range(m):
        c = region_class[j]
        false = region_area[j] - on_class[j]
        classes[c, REGIONS] += 1
        classes[c, FALSE] += false
        if met[j] == 0:
            classes[c, ORPHANS] += 1
            classes[c, ORPHAN_PIXELS] += region_area[j]
            classes[c, ORPHAN_FALSE] += false
    return (
        fault, place, confusion, area, matched, other_class, other_pixels, region_class,
        region_area, on_class, met, pair_region[:pairs], pair_instance[:pairs],
        pair_pixels[:pairs], classes,
    )  # fmt: skip


@numba.njit(cache=True, nogil=True)
def label_parts(truth, width):
    """Number the 8-connected parts of the foreground classes of a flat map, in scan order.

    Returns:
        int32 numbers of all pixels (0 for background and void), and the class of each part.
    """
    n = truth.size
    change = np.zeros((n + 7) // 8 * 8, np.uint8)
    for p in range(1, n):
        change[p] = truth[p] != truth[p - 1]
    for p in range(0, n, width):
        change[p] = 1
    starts = _starts(change)
    starts[-1] = n
    start = np.empty(starts.size - 1, np.int32)
    stop = np.empty(starts.size - 1, np.int32)
    label = np.empty(starts.size - 1, np.uint8)
    row_first = np.empty(n // width + 1, np.int32)
    runs, rows, next_row = 0, 0, 0
    for s in range(starts.size - 1):
        if starts[s] == next_row:
            row_first[rows] = runs
            rows += 1
            next_row += width
        if truth[starts[s]] != 0 and truth[starts[s]] != VOID:
            start[runs], stop[runs], label[runs] = starts[s], starts[s + 1], truth[starts[s]]
            runs += 1
    row_first[rows] = runs
    parent = _join_rows(start[:runs], stop[:runs], label[:runs], row_first, width, 1)
    numbers = np.zeros(n, np.int32)
    number_of = np.empty(runs, np.int32)
    class_of = np.empty(runs, np.uint8)
    m = 0
    for r in range(runs):
        if parent[r] == r:
            number_of[r] = m + 1
            class_of[m] = label[r]
            m += 1
        numbers[start[r] : stop[r]] = number_of[parent[r]]
    return numbers, class_of[:m]


@numba.njit(cache=True, nogil=True)
def classes_of_instances(truth, instances, count):
    """Return, for instance numbers below ``count``, the class their pixels have in a flat map.

    0 is an instance without a pixel outside void, -1 (``CONFLICT``) one with several classes or on
    background.
    """
    found = np.zeros(count, np.int16)
    for p in range(truth.size):
        number = instances[p]
        c = np.int16(truth[p])
        if number and c != VOID and (c == 0 or found[number] != c):
            found[number] = c if c and found[number] == 0 else CONFLICT
    return found
