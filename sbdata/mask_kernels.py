"""Loops over masks, compiled by numba: codes, polygons, measuring, and drawing without C."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def _unpack(code, pixels, runs):
    """Write the run lengths of a compressed RLE; return their number, -1 if they do not fit."""
    count, total, i = 0, 0, 0
    while i < code.size:
        value, shift = 0, 0
        while True:  # five bits a character, lowest first; bit 5 says that more follow
            if i >= code.size or shift > 60:
                return -1
            chunk = np.int64(code[i]) - 48
            i += 1
            value |= (chunk & 0x1F) << shift
            shift += 5
            if not chunk & 0x20:
                if chunk & 0x10:
                    value |= -1 << shift
                break
        if count > 2:  # from the fourth run on, the change since the last run of the same kind
            value += runs[count - 2]
        if value < 0 or value > pixels - total:  # compared before the sum can wrap around
            return -1
        total += value
        runs[count] = value
        count += 1
    return count if total == pixels else -1


@numba.njit(cache=True, nogil=True)
def unpack_all(code, ends, pixels):
    """Unpack concatenated codes.

    Returns the run lengths, the index of each code's first run, ``(n + 1,)``, and the areas; an
    area of -1 says that a code does not cover ``pixels`` exactly.
    """
    runs = np.empty(code.size, np.int64)
    first = np.zeros(ends.size + 1, np.int64)
    area = np.zeros(ends.size, np.int64)
    start = 0
    for i in range(ends.size):
        place = first[i]
        count = _unpack(code[start : ends[i]], pixels, runs[place:])
        first[i + 1] = place + max(count, 0)
        area[i] = -1 if count < 0 else runs[place + 1 : place + count : 2].sum()
        start = ends[i]
    return runs, first, area


@numba.njit(cache=True, nogil=True)
def paint(flat, codes, ends, labels):
    """Draw compressed RLEs; return the index of the first that does not cover ``flat`` exactly.

    The result is the number of codes if all do. ``ends`` has the end of each code.
    """
    start = 0
    for i in range(ends.size):
        code = codes[start : ends[i]]
        runs = np.empty(code.size, np.int64)
        count = _unpack(code, flat.size, runs)
        if count < 0:
            return i
        _fill(flat, runs[:count], labels[i])
        start = ends[i]
    return ends.size


@numba.njit(cache=True, nogil=True)
def _fill(flat, runs, label):
    place = 0
    for k in range(runs.size):
        if k % 2:
            flat[place : place + runs[k]] = label
        place += runs[k]


@numba.njit(cache=True, nogil=True)
def _most_crossings(points, width):
    """Return an upper bound of one part's crossings: one for each column that an edge reaches."""
    most = 0
    for x in range(0, points.size, 2):
        most += min(width, int(abs(points[x] - points[x - 2])) + 2)
    return most


@numba.njit(cache=True, nogil=True)
def _crossings(points, height, width, found):
    """Write the positions at which a column-by-column scan crosses the outline of one part.

    Positions are ascending and none occurs twice. ``tests/test_masks.py`` compares the result with
    pycocotools.
    """
    count = points.size // 2
    m = 0
    for j in range(count):
        n = (j + 1) % count
        xs, ys = int(5 * points[2 * j] + 0.5), int(5 * points[2 * j + 1] + 0.5)
        xe, ye = int(5 * points[2 * n] + 0.5), int(5 * points[2 * n + 1] + 0.5)
        dx, dy = abs(xe - xs), abs(ye - ys)
        if (dx >= dy and xs > xe) or (dx < dy and ys > ye):
            xs, ys, xe, ye = xe, ye, xs, ys
        # Columns k whose fifths 5 k + 2 and 5 k + 3 both lie on the edge.
        low = max(0, (min(xs, xe) + 2) // 5)
        high = min(width - 1, (max(xs, xe) - 3) // 5)
        if low > high:
            continue
        flat = dx >= dy
        slope = (ye - ys) / dx if flat else (xe - xs) / dy
        for k in range(low, high + 1):
            if flat:
                t = 5 * k + 2 - xs
                v = min(int(ys + slope * t + 0.5), int(ys + slope * (t + 1) + 0.5))
            else:  # the first step whose fifth lies beyond
                t = int((5 * k + 2.5 - xs) / slope)
                if slope > 0:
                    while t > 0 and int(xs + slope * t + 0.5) > 5 * k + 2:
                        t -= 1
                    while int(xs + slope * t + 0.5) <= 5 * k + 2:
                        t += 1
                else:
                    while t > 0 and int(xs + slope * t + 0.5) < 5 * k + 3:
                        t -= 1
                    while int(xs + slope * t + 0.5) >= 5 * k + 3:
                        t += 1
                v = ys + t - 1
            found[m] = k * height + min(max((v + 2) // 5, 0), height)
            m += 1
    found[:m].sort()
    kept = 0
    for i in range(m):  # the second crossing of a place undoes the first
        if kept and found[kept - 1] == found[i]:
            kept -= 1
        else:
            found[kept] = found[i]
            kept += 1
    if kept and found[kept - 1] == height * width:
        kept -= 1
    return kept


@numba.njit(cache=True, nogil=True)
def _union(found, first):
    """Replace the crossings of several parts by those of their union; return their number."""
    for part in range(first.size - 1):  # into places times two, plus 1 where a part ends
        for i in range(first[part], first[part + 1]):
            found[i] = 2 * found[i] + (i - first[part]) % 2
    found.sort()
    kept, depth, odd = 0, 0, 0
    for i in range(found.size):
        odd = found[i] % 2
        depth += -1 if odd else 1
        if depth + odd == 1:  # the first that starts, or the last that ends
            found[kept] = found[i] // 2
            kept += 1
    return kept


@numba.njit(cache=True, nogil=True)
def outline_codes(points, parts, objects, height, width):
    """Return the concatenated codes of objects, and the end of each."""
    code = np.empty(1024, np.uint8)
    ends = np.empty(objects.size, np.int64)
    place, part, at = 0, 0, 0
    for i in range(objects.size):
        most = 0
        for count in parts[part : part + objects[i]]:
            most += _most_crossings(points[at : at + count], width)
            at += count
        at -= parts[part : part + objects[i]].sum()
        found = np.empty(most, np.int64)
        first = np.zeros(objects[i] + 1, np.int64)
        for j in range(objects[i]):
            own = points[at : at + parts[part]]
            first[j + 1] = first[j] + _crossings(own, height, width, found[first[j] :])
            at += parts[part]
            part += 1
        count = first[-1]
        if objects[i] > 1:
            count = _union(found[:count], first)
        lengths = np.empty(count + 1, np.int64)
        position = 0
        for k in range(count):
            lengths[k] = found[k] - position
            position = found[k]
        if position < height * width:
            lengths[count] = height * width - position
            count += 1
        if place + 7 * count > code.size:  # 7 characters hold 34 bits
            code = np.append(code, np.empty(code.size + 7 * count, np.uint8))
        place = _pack(lengths[:count], code, place)
        ends[i] = place
    return code[:place], ends


@numba.njit(cache=True, nogil=True)
def _pack(lengths, code, place):
    """Write run lengths as a compressed RLE; return the next free place."""
    for m in range(lengths.size):
        value = lengths[m] - lengths[m - 2] if m > 2 else lengths[m]
        while True:
            chunk = value & 0x1F
            value >>= 5
            more = value != -1 if chunk & 0x10 else value != 0
            code[place] = (chunk | 0x20 if more else chunk) + 48
            place += 1
            if not more:
                break
    return place


@numba.njit(cache=True, nogil=True)
def _end_of_stretch(flat, words, p, limit):
    """Return where the pixels from p on first have another label, at most ``limit``.

    Eight pixels of the same label are skipped as one word.
    """
    value = flat[p]
    pattern = np.uint64(0x0101010101010101) * np.uint64(value)
    q = p + 1
    while q < limit and flat[q] == value:
        if q & 7 == 0:
            while q + 8 <= limit and words[q >> 3] == pattern:
                q += 8
            if q == limit or flat[q] != value:
                break
        q += 1
    return q


@numba.njit(cache=True, nogil=True)
def _add_runs(p, q, foot, height, start, stop, runs):
    """Write the pixels from p to q as runs, cut at the ends of columns; the first end is given.

    Returns the number of runs and the end of the last one's column.
    """
    while foot <= p:
        foot += height
    while p < q:
        start[runs], stop[runs] = p, min(q, foot)
        p = stop[runs]
        runs += 1
        if p < q:
            foot += height
    return runs, foot


@numba.njit(cache=True, nogil=True)
def find_and_measure(flat, height, width, count):
    """Find the column runs of every label in the whole map and measure them."""
    start, stop, label = np.empty(512, np.int64), np.empty(512, np.int64), np.empty(512, np.uint8)
    words = flat[: flat.size // 8 * 8].view(np.uint64)
    limit = flat.size
    runs, p, foot = 0, 0, height
    while p < limit:
        q = _end_of_stretch(flat, words, p, limit)
        if 0 < flat[p] <= count:
            need = runs + (q - p) // height + 2
            if need > start.size:
                start = np.append(start, np.empty(need, np.int64))
                stop = np.append(stop, np.empty(need, np.int64))
                label = np.append(label, np.empty(need, np.uint8))
            before = runs
            runs, foot = _add_runs(p, q, foot, height, start, stop, runs)
            label[before:runs] = flat[p]
        p = q
    # A counting sort brings each label's runs together, still in scan order.
    first = np.zeros(count + 1, np.int64)
    for r in range(runs):
        first[label[r]] += 1
    for i in range(count):
        first[i + 1] += first[i]
    order = np.empty(runs, np.int64)
    free = first[:count].copy()
    for r in range(runs):
        i = label[r] - 1
        order[free[i]] = r
        free[i] += 1
    return _measure(start[order], stop[order], first, height, width)


@numba.njit(cache=True, nogil=True)
def draw_and_measure(flat, drawn, drawn_first, order, height, width):
    """Draw run lengths in some order, then find and measure what is visible of each."""
    for k in order:
        _fill(flat, drawn[drawn_first[k] : drawn_first[k + 1]], k + 1)
    # A visible stretch begins only where a drawn run begins or ends; each column's end cuts at most
    # one stretch.
    start = np.empty(drawn.size + width, np.int64)
    stop = np.empty(drawn.size + width, np.int64)
    words = flat[: flat.size // 8 * 8].view(np.uint64)
    first = np.zeros(order.size + 1, np.int64)
    runs = 0
    for i in range(order.size):
        end, foot = 0, height
        for k in range(drawn_first[i], drawn_first[i + 1]):
            p, end = end, end + drawn[k]
            if (k - drawn_first[i]) & 1:
                while p < end:
                    q = _end_of_stretch(flat, words, p, end)
                    if flat[p] == i + 1:
                        if runs > first[i] and stop[runs - 1] == p and p < foot:
                            runs -= 1  # a code may have empty runs, which separate nothing
                            p = start[runs]
                        runs, foot = _add_runs(p, q, foot, height, start, stop, runs)
                    p = q
        first[i + 1] = runs
    return _measure(start[:runs], stop[:runs], first, height, width)


@numba.njit(cache=True, nogil=True)
def _root(parent, node):
    """Return the representative of a run's component, halving the path to it."""
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@numba.njit(cache=True, nogil=True)
def _measure(start, stop, first, height, width):
    """Measure, join and encode the column runs of each label, which are in scan order."""
    count = first.size - 1
    area = np.zeros(count, np.int64)
    box = np.zeros((count, 4), np.int32)
    parts = np.zeros(count, np.int32)
    border = np.zeros(count, np.bool_)
    parent = np.arange(start.size)
    code = np.empty(7 * (2 * start.size + count), np.uint8)  # 7 characters hold 34 bits
    ends = np.empty(count, np.int64)
    lengths = np.empty(2 * start.size + 1, np.int64)
    place = 0
    for i in range(count):
        left, right, top, bottom = width, -1, height, -1
        column, head, k, last = -2, first[i], first[i], first[i]
        n, position, x = 0, 0, 0
        for r in range(first[i], first[i + 1]):
            while start[r] >= (x + 1) * height:
                x += 1
            if x != column:  # the runs of the column before this one are those from k to last
                k, last = (head, r) if x == column + 1 else (r, r)
                column, head = x, r
            y0, y1 = start[r] - x * height, stop[r] - x * height  # [y0, y1)
            area[i] += y1 - y0
            left, right = min(left, x), max(right, x)
            top, bottom = min(top, y0), max(bottom, y1 - 1)
            # Runs that touch are joined (8 neighbours).
            while k < last and stop[k] - (x - 1) * height < y0:
                k += 1
            j = k
            while j < last and start[j] - (x - 1) * height <= y1:
                a, b = _root(parent, j), _root(parent, r)
                parent[max(a, b)] = min(a, b)
                j += 1
            if n and start[r] == position:  # continues from the end of the column before
                lengths[n - 1] += stop[r] - start[r]
            else:
                lengths[n] = start[r] - position
                lengths[n + 1] = stop[r] - start[r]
                n += 2
            position = stop[r]
        for r in range(first[i], first[i + 1]):
            parts[i] += parent[r] == r
        if area[i]:
            box[i, 0], box[i, 1] = left, top
            box[i, 2], box[i, 3] = right - left + 1, bottom - top + 1
            border[i] = left == 0 or top == 0 or right == width - 1 or bottom == height - 1
        if position < height * width or n == 0:
            lengths[n] = height * width - position
            n += 1
        place = _pack(lengths[:n], code, place)
        ends[i] = place
    return area, box, parts, border, code[:place], ends
