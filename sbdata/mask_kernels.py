"""The loops over masks by numba: run-length codes, drawing (without a C compiler) and measuring."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def _unpack(code, pixels):
    """Return the run lengths of a compressed RLE; a single -1 if they are not ``pixels`` in all."""
    runs = np.empty(code.size, np.int64)
    bad = np.full(1, -1, np.int64)
    count, total, i = 0, 0, 0
    while i < code.size:
        value, shift = 0, 0
        while True:  # five bits a character, lowest first; bit 5 says that more follow
            if i >= code.size or shift > 55:
                return bad
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
            return bad
        total += value
        runs[count] = value
        count += 1
    return runs[:count] if total == pixels else bad


@numba.njit(cache=True, nogil=True)
def rle_area(code, pixels):
    """Return the area of a compressed RLE, or -1 if it does not cover ``pixels`` exactly."""
    runs = _unpack(code, pixels)
    if runs.size == 1 and runs[0] < 0:
        return -1
    return runs[1::2].sum()


@numba.njit(cache=True, nogil=True)
def paint(flat, codes, ends, labels):
    """Draw compressed RLEs; return the number of the first that does not cover ``flat`` exactly.

    It is the number of codes if all do. ``ends`` has the end of each code.
    """
    begin = 0
    for mask in range(ends.size):
        runs = _unpack(codes[begin : ends[mask]], flat.size)
        begin = ends[mask]
        if runs.size == 0 or runs[0] < 0:
            return mask
        place = 0
        for k in range(runs.size):
            if k % 2:
                flat[place : place + runs[k]] = labels[mask]
            place += runs[k]
    return ends.size


@numba.njit(cache=True, nogil=True)
def _root(parent, node):
    """Return the representative of a run's component, halving the path to it."""
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@numba.njit(cache=True, nogil=True)
def _pack(value, code, place):
    """Append one signed value to a compressed RLE; return the next free place."""
    while True:
        chunk = value & 0x1F
        value >>= 5
        more = value != -1 if chunk & 0x10 else value != 0
        code[place] = (chunk | 0x20 if more else chunk) + 48
        place += 1
        if not more:
            return place


@numba.njit(cache=True, nogil=True)
def measure(flat, height, width, count):
    """Find the column runs of every label, then measure, join and encode them."""
    # 1. Runs: maximal stretches of one label within one column, in scan order. Where eight pixels
    # of the run's label follow, they are stepped over as one word.
    capacity = 1024
    start = np.empty(capacity, np.int64)
    stop = np.empty(capacity, np.int64)
    label = np.empty(capacity, np.int64)
    column_first = np.zeros(width + 1, np.int64)
    words = flat[: flat.size // 8 * 8].view(np.uint64)
    runs, x, p = 0, 0, 0
    while p < flat.size:
        value = flat[p]
        pattern = np.uint64(0x0101010101010101) * np.uint64(value)
        q = p + 1
        while q < flat.size and flat[q] == value:
            if q % 8 == 0:
                while q // 8 < words.size and words[q // 8] == pattern:
                    q += 8
                if q == flat.size or flat[q] != value:
                    break
            q += 1
        if 0 < value <= count:  # cut the stretch at the feet of the columns
            while p < q:
                while x < p // height:
                    x += 1
                    column_first[x] = runs
                foot = min(q, (x + 1) * height)
                if runs == capacity:
                    capacity *= 2
                    start = np.append(start, np.empty(runs, np.int64))
                    stop = np.append(stop, np.empty(runs, np.int64))
                    label = np.append(label, np.empty(runs, np.int64))
                start[runs], stop[runs], label[runs] = p, foot, value
                runs += 1
                p = foot
        p = q
    column_first[x + 1 :] = runs

    # 2. Areas, boxes and border contact; runs of equal label that touch are joined (8 neighbours).
    area = np.zeros(count, np.int64)
    left = np.full(count, width, np.int32)
    right = np.full(count, -1, np.int32)
    top = np.full(count, height, np.int32)
    bottom = np.full(count, -1, np.int32)
    parent = np.arange(runs)
    for x in range(width):
        k = column_first[x - 1] if x else 0
        previous_end = column_first[x]
        for r in range(column_first[x], column_first[x + 1]):
            i = label[r] - 1
            y0, y1 = start[r] - x * height, stop[r] - x * height  # [y0, y1)
            area[i] += y1 - y0
            left[i], right[i] = min(left[i], x), max(right[i], x)
            top[i], bottom[i] = min(top[i], y0), max(bottom[i], y1 - 1)
            if x:
                while k < previous_end and stop[k] - (x - 1) * height < y0:
                    k += 1
                j = k
                while j < previous_end and start[j] - (x - 1) * height <= y1:
                    if label[j] == label[r]:
                        a, b = _root(parent, j), _root(parent, r)
                        if a < b:
                            parent[b] = a
                        else:
                            parent[a] = b
                    j += 1
    parts = np.zeros(count, np.int32)
    for r in range(runs):
        if parent[r] == r:
            parts[label[r] - 1] += 1
    box = np.zeros((count, 4), np.int32)
    border = np.zeros(count, np.bool_)
    for i in range(count):
        if area[i]:
            box[i, 0], box[i, 1] = left[i], top[i]
            box[i, 2], box[i, 3] = right[i] - left[i] + 1, bottom[i] - top[i] + 1
            border[i] = (
                left[i] == 0 or top[i] == 0 or right[i] == width - 1 or bottom[i] == height - 1
            )

    # 3. Run-length codes: a counting sort brings each label's runs together, still in scan order.
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
    code = np.empty(14 * (2 * runs + 2 * count + 2), np.uint8)  # at most 13 characters a length
    ends = np.empty(count, np.int64)
    lengths = np.empty(2 * runs + 2, np.int64)
    place = 0
    for i in range(count):
        n, position = 0, 0
        for o in range(first[i], first[i + 1]):
            r = order[o]
            if n and start[r] == position:  # goes on from the foot of one column to the next head
                lengths[n - 1] += stop[r] - start[r]
            else:
                lengths[n] = start[r] - position
                lengths[n + 1] = stop[r] - start[r]
                n += 2
            position = stop[r]
        if position < flat.size or n == 0:
            lengths[n] = flat.size - position
            n += 1
        for m in range(n):
            value = lengths[m] - lengths[m - 2] if m > 2 else lengths[m]
            place = _pack(value, code, place)
        ends[i] = place
    return area, box, parts, border, code[:place], ends
