/* The loops of scoring: runs of label maps, their regions and overlaps, and weighted sums.

   sbdata/compiled_code.py compiles this file at its first use and keeps the result. Without a C
   compiler the same is computed by numba (sbdata/metrics/kernel.py, sbdata/mask_kernels.py), to the
   bit. Maps are flat, row by row unless said otherwise, of at most 2^31 - 1 pixels. A function that
   allocates returns NO_MEMORY if that fails. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(_WIN32)
#define PUBLIC __declspec(dllexport)
#else
#define PUBLIC __attribute__((visibility("default")))
#endif

enum { VOID_ = 255 };
enum { FINE, PREDICTION_RANGE, PREDICTION_VOID, TRUTH_RANGE, UNKNOWN_INSTANCE, OTHER_CLASS };
enum { NO_MEMORY = -1 };
enum { UNKNOWN = -2, INSTANCE_VOID = -3 }; /* -1 is no instance */
enum { TRUE_PIXELS, PREDICTED, MATCHED, FALSE_, ORPHAN_PIXELS, ORPHAN_FALSE, ORPHANS, REGIONS };

static uint64_t word(const uint8_t *at) {
    uint64_t value;
    memcpy(&value, at, 8);
    return value;
}

/* Differences of eight neighbouring pixels from the ones before them; 0 if there are none. */
static uint64_t changes(const uint8_t *map, int64_t p) { return word(map + p) ^ word(map + p - 1); }

static uint64_t changes_16(const uint16_t *map, int64_t p) {
    const uint8_t *at = (const uint8_t *)(map + p);
    return (word(at) ^ word(at - 2)) | (word(at + 8) ^ word(at + 6));
}

/* Segments: stretches of a row in which no map changes. Write their starts, then n; return their
   number. `wide` replaces `c` if c is NULL. */
static int64_t segments(const uint8_t *a, const uint8_t *b, const uint8_t *c, const uint16_t *wide,
                        int64_t n, int64_t width, int32_t *starts) {
    int64_t found = 0;
    for (int64_t row = 0; row < n; row += width) {
        starts[found++] = (int32_t)row;
        int64_t p = row + 1, end = row + width;
        while (p < end) {
            int64_t stop = p + 8;
            if (stop <= end) {
                uint64_t some = changes(a, p) | changes(b, p);
                if (!(some | (c ? changes(c, p) : changes_16(wide, p)))) {
                    p = stop;
                    continue;
                }
            } else {
                stop = end;
            }
            for (; p < stop; p++) {
                starts[found] = (int32_t)p;
                found += (a[p] != a[p - 1]) | (b[p] != b[p - 1]) |
                         (c ? c[p] != c[p - 1] : wide[p] != wide[p - 1]);
            }
        }
    }
    starts[found] = (int32_t)n;
    return found;
}

/* The earliest run of a run's component, halving the path to it. */
static int32_t root(int32_t *parent, int32_t node) {
    while (parent[node] != node) {
        parent[node] = parent[parent[node]];
        node = parent[node];
    }
    return node;
}

/* Let each run's parent be the earliest run of its component: runs of one label (all, if label is
   NULL) that touch are joined. row_first has the first run of each row, and the number of runs.
   diagonal is 1 if touching corners join (8 neighbours), else 0. */
static void join_rows(int32_t *parent, const int32_t *start, const int32_t *stop,
                      const uint8_t *label, const int32_t *row_first, int64_t rows, int32_t width,
                      int32_t diagonal) {
    int32_t runs = row_first[rows];
    for (int32_t r = 0; r < runs; r++) parent[r] = r;
    for (int64_t y = 1; y < rows; y++) {
        int32_t k = row_first[y - 1], end = row_first[y];
        for (int32_t r = end; r < row_first[y + 1]; r++) {
            int32_t low = start[r] - width - diagonal, high = stop[r] - width + diagonal;
            while (k < end && stop[k] <= low) k++;
            for (int32_t j = k; j < end && start[j] < high; j++) {
                if (label && label[j] != label[r]) continue;
                int32_t a = root(parent, j), b = root(parent, r);
                if (a < b) parent[b] = a;
                else parent[a] = b;
            }
        }
    }
    for (int32_t r = 0; r < runs; r++) parent[r] = parent[parent[r]]; /* never a later run */
}

/* Join each component with the one of its class in whose hole it lies. A hole is a part of the
   class's complement, connected by 4 neighbours, that does not reach the map's border. On the left
   of a hole's first pixel lies the component around the hole, and on the left of a component's
   first pixel the hole around the component. */
static int join_nested(int32_t *parent, const int32_t *start, const int32_t *stop,
                       const uint8_t *label, int32_t runs, int64_t width, int64_t n_classes) {
    int32_t components[256] = {0}, first_of[257] = {0}, free_of[257];
    int several = 0;
    for (int32_t r = 0; r < runs; r++) {
        first_of[label[r] + 1]++;
        components[label[r]] += parent[r] == r;
        several |= components[label[r]] > 1;
    }
    if (!several) return FINE;
    int64_t height = start[runs - 1] / width - start[0] / width + 1, most = runs + height + 3;
    int32_t *space = malloc((size_t)(runs * 2 + most * 5 + 8) * sizeof(int32_t));
    if (!space) return NO_MEMORY;
    int32_t *by_class = space, *left_gap = by_class + runs, *gap_start = left_gap + runs;
    int32_t *gap_stop = gap_start + most, *left_run = gap_stop + most, *hole = left_run + most;
    int32_t *gap_first = hole + most;
    for (int64_t c = 0; c <= n_classes; c++) first_of[c + 1] += first_of[c];
    memcpy(free_of, first_of, sizeof first_of);
    for (int32_t r = 0; r < runs; r++) by_class[free_of[label[r]]++] = r;
    int nested = 0;
    for (int64_t c = 1; c <= n_classes; c++) {
        if (components[c] < 2) continue;
        const int32_t *own = by_class + first_of[c];
        int32_t count = first_of[c + 1] - first_of[c];
        /* The runs of the complement, in a frame of one pixel around the rows that have the class:
           run 0 is the row above them, and all that touches the frame is joined to it. */
        int64_t top = start[own[0]] / width, rows = start[own[count - 1]] / width - top + 3;
        int64_t wide = width + 2;
        int32_t gaps = 0, k = 0;
        for (int64_t y = 0; y < rows; y++) {
            int64_t shift = y * wide + 1 - (top + y - 1) * width;
            gap_first[y] = gaps;
            gap_start[gaps] = (int32_t)(y * wide);
            left_run[gaps] = -1;
            while (k < count && start[own[k]] < (top + y) * width) {
                gap_stop[gaps] = (int32_t)(start[own[k]] + shift);
                left_gap[k] = gaps++;
                gap_start[gaps] = (int32_t)(stop[own[k]] + shift);
                left_run[gaps] = own[k++];
            }
            gap_stop[gaps++] = (int32_t)((y + 1) * wide);
        }
        gap_first[rows] = gaps;
        join_rows(hole, gap_start, gap_stop, NULL, gap_first, rows, (int32_t)wide, 0);
        for (k = 0; k < count; k++) {
            int32_t r = own[k], around = hole[left_gap[k]];
            if (parent[r] == r && around) { /* the component around it is earlier, so settled */
                parent[r] = parent[parent[left_run[around]]];
                nested = 1;
            }
        }
    }
    if (nested)
        for (int32_t r = 0; r < runs; r++) parent[r] = parent[parent[r]];
    free(space);
    return FINE;
}

PUBLIC void release(void *block) { free(block); }

/* Count all that the metric needs of one image; kernel.count_image describes arguments and results.
   number_bytes: bytes of an instance number, 1 or 2. Arrays of a size that is known are written to
   the caller's memory. *rows gets a new block of int32 with class, area, pixels on their class and
   met instances of the sizes[0] regions, then region, instance and pixels of the sizes[1] pairs. */
PUBLIC int64_t count_image(const uint8_t *prediction, const uint8_t *truth,
                           const uint8_t *instances, int64_t number_bytes, int64_t n, int64_t width,
                           const int32_t *index_of, int64_t n_numbers, const uint8_t *class_of,
                           int64_t n_instances, int64_t n_classes, int64_t void_allowed,
                           int64_t *confusion, int32_t *area, int32_t *matched,
                           uint8_t *other_class, int32_t *other_pixels, int64_t *classes,
                           int64_t *place, int64_t *sizes, int32_t **rows_out) {
    int64_t across = n_classes + 1, rows = n / width, fault = FINE;
    const uint8_t *numbers = number_bytes == 1 ? instances : NULL;
    const uint16_t *wide_numbers = (const uint16_t *)(const void *)instances;
    int32_t *starts = malloc((size_t)(n + 1) * sizeof(int32_t));
    if (!starts) return NO_MEMORY;
    int64_t s = segments(prediction, truth, numbers, wide_numbers, n, width, starts);
    size_t need = (size_t)(13 * s + rows + 2 * n_instances + n_instances * across + 8);
    int32_t *space = calloc(need, sizeof(int32_t));
    if (!space) {
        free(starts);
        return NO_MEMORY;
    }
    int32_t *run_start = space, *run_stop = run_start + s, *run_area = run_stop + s;
    int32_t *run_on_class = run_area + s, *parent = run_on_class + s, *number_of = parent + s;
    int32_t *hit_run = number_of + s, *hit_instance = hit_run + s, *hit_pixels = hit_instance + s;
    int32_t *order = hit_pixels + s, *last = order + s, *last_pair = last + s;
    int32_t *row_first = last_pair + s, *first = row_first + rows + 1;
    int32_t *as_other = first + n_instances + 1;
    uint8_t *run_label = (uint8_t *)(as_other + n_instances * across);
    int32_t runs = 0, hits = 0;
    int64_t row = 0, next_row = 0, previous = 0;
    for (int64_t k = 0; k < s; k++) {
        int32_t p = starts[k], q = starts[k + 1], length = q - p;
        if (p == next_row) {
            row_first[row++] = runs;
            next_row += width;
            previous = 0;
        }
        *place = p;
        int64_t label = prediction[p], true_class = truth[p];
        if (label > n_classes) {
            if (label != VOID_) fault = PREDICTION_RANGE;
            else if (!void_allowed) fault = PREDICTION_VOID;
            if (fault) break;
            label = 0;
        }
        if (label && label == previous) {
            run_stop[runs - 1] = q;
        } else if (label) {
            run_start[runs] = p;
            run_stop[runs] = q;
            run_label[runs++] = (uint8_t)label;
        }
        previous = label;
        if (true_class == VOID_) continue;
        if (true_class > n_classes) {
            fault = TRUTH_RANGE;
            break;
        }
        int64_t number = numbers ? numbers[p] : wide_numbers[p];
        int64_t i = number < n_numbers ? index_of[number] : UNKNOWN;
        if (i == INSTANCE_VOID) continue;
        if (i == UNKNOWN || (i >= 0 && class_of[i] != true_class)) {
            fault = i == UNKNOWN ? UNKNOWN_INSTANCE : OTHER_CLASS;
            break;
        }
        confusion[true_class * across + label] += length;
        if (i >= 0) area[i] += length;
        if (!label) continue;
        run_area[runs - 1] += length;
        if (label == true_class) {
            run_on_class[runs - 1] += length;
            if (i >= 0) {
                matched[i] += length;
                hit_run[hits] = runs - 1;
                hit_instance[hits] = (int32_t)i;
                hit_pixels[hits++] = length;
            }
        } else if (i >= 0) {
            as_other[i * across + label] += length;
        }
    }
    int32_t *out = NULL;
    if (fault) goto done;
    *place = 0;
    row_first[row] = runs;

    /* Regions. One that lies wholly in void is none. */
    join_rows(parent, run_start, run_stop, run_label, row_first, row, (int32_t)width, 1);
    if (join_nested(parent, run_start, run_stop, run_label, runs, width, n_classes)) {
        fault = NO_MEMORY;
        goto done;
    }
    int32_t m = 0;
    for (int32_t r = 0; r < runs; r++)
        if (parent[r] != r) {
            run_area[parent[r]] += run_area[r];
            run_on_class[parent[r]] += run_on_class[r];
        }
    for (int32_t r = 0; r < runs; r++)
        if (parent[r] == r && run_area[r]) number_of[r] = m++;
    out = calloc((size_t)(4 * (int64_t)m + 3 * (int64_t)hits + 1), sizeof(int32_t));
    if (!out) {
        fault = NO_MEMORY;
        goto done;
    }
    int32_t *region_class = out, *region_area = out + m, *on_class = region_area + m;
    int32_t *met = on_class + m;
    for (int32_t r = 0; r < runs; r++)
        if (parent[r] == r && run_area[r]) {
            region_class[number_of[r]] = run_label[r];
            region_area[number_of[r]] = run_area[r];
            on_class[number_of[r]] = run_on_class[r];
        }

    /* Pairs of region and met instance, each once: hits are sorted by instance (counting sort), so
       a region's last instance tells whether the pair is new. */
    for (int32_t h = 0; h < hits; h++) first[hit_instance[h] + 1]++;
    for (int64_t i = 0; i < n_instances; i++) first[i + 1] += first[i];
    for (int32_t h = 0; h < hits; h++) order[first[hit_instance[h]]++] = h;
    int32_t pairs = 0, *pair = met + m; /* region, instance, pixels; brought together at the end */
    for (int32_t j = 0; j < m; j++) last[j] = -1;
    for (int32_t o = 0; o < hits; o++) {
        int32_t h = order[o], i = hit_instance[h], j = number_of[parent[hit_run[h]]];
        if (last[j] != i) {
            last[j] = i;
            last_pair[j] = pairs;
            met[j]++;
            pair[pairs] = j;
            pair[hits + pairs++] = i;
        }
        pair[2 * hits + last_pair[j]] += hit_pixels[h];
    }
    memmove(pair + pairs, pair + hits, (size_t)pairs * sizeof(int32_t));
    memmove(pair + 2 * pairs, pair + 2 * hits, (size_t)pairs * sizeof(int32_t));

    /* The other class that most pixels of an instance are predicted as; of equals the lowest. */
    for (int64_t i = 0; i < n_instances; i++)
        for (int64_t c = 1; c <= n_classes; c++)
            if (as_other[i * across + c] > other_pixels[i]) {
                other_class[i] = (uint8_t)c;
                other_pixels[i] = as_other[i * across + c];
            }

    /* Counts by class. */
    for (int64_t c = 0; c <= n_classes; c++) {
        classes[c * 8 + MATCHED] = confusion[c * across + c];
        for (int64_t d = 0; d <= n_classes; d++) {
            classes[c * 8 + TRUE_PIXELS] += confusion[c * across + d];
            classes[d * 8 + PREDICTED] += confusion[c * across + d];
        }
    }
    for (int32_t j = 0; j < m; j++) {
        int64_t *of_class = classes + 8 * region_class[j], false_pixels = region_area[j] - on_class[j];
        of_class[REGIONS]++;
        of_class[FALSE_] += false_pixels;
        if (!met[j]) {
            of_class[ORPHANS]++;
            of_class[ORPHAN_PIXELS] += region_area[j];
            of_class[ORPHAN_FALSE] += false_pixels;
        }
    }
    sizes[0] = m;
    sizes[1] = pairs;
done:
    *rows_out = out;
    free(space);
    free(starts);
    return fault;
}

/* Number the 8-connected parts of the foreground classes of a map, in scan order, with their
   classes in class_of (up to most of them). Return their number. */
PUBLIC int64_t label_parts(const uint8_t *truth, int64_t n, int64_t width, int32_t *numbers,
                           uint8_t *class_of, int64_t most) {
    int64_t rows = n / width, m = 0;
    int32_t *starts = malloc((size_t)(n + 1) * sizeof(int32_t));
    if (!starts) return NO_MEMORY;
    int64_t s = segments(truth, truth, truth, NULL, n, width, starts);
    int32_t *space = malloc((size_t)(5 * s + rows + 2) * sizeof(int32_t));
    if (!space) {
        free(starts);
        return NO_MEMORY;
    }
    int32_t *start = space, *stop = start + s, *parent = stop + s, *number_of = parent + s;
    int32_t *row_first = number_of + s, runs = 0;
    uint8_t *label = (uint8_t *)(row_first + rows + 1);
    int64_t row = 0;
    for (int64_t k = 0; k < s; k++) {
        int32_t p = starts[k];
        if (p == row * width) row_first[row++] = runs;
        if (!truth[p] || truth[p] == VOID_) continue;
        start[runs] = p;
        stop[runs] = starts[k + 1];
        label[runs++] = truth[p];
    }
    row_first[row] = runs;
    join_rows(parent, start, stop, label, row_first, rows, (int32_t)width, 1);
    for (int32_t r = 0; r < runs; r++) {
        if (parent[r] == r) {
            if (m < most) class_of[m] = label[r];
            number_of[r] = (int32_t)++m;
        }
        for (int32_t p = start[r]; p < stop[r]; p++) numbers[p] = number_of[parent[r]];
    }
    free(space);
    free(starts);
    return m;
}

/* Find the class of each instance number: 0 for one without a pixel outside void, -1 for one of
   several classes or on background. found has a zero for every number. */
PUBLIC int64_t classes_of_instances(const uint8_t *truth, const uint8_t *instances,
                                    int64_t number_bytes, int64_t n, int16_t *found) {
    const uint16_t *wide_numbers = (const uint16_t *)(const void *)instances;
    const uint8_t *numbers = number_bytes == 1 ? instances : NULL;
    int64_t p = 0;
    while (p < n) {
        int64_t stop = p + 8 <= n ? p + 8 : n;
        if (p && p + 8 <= n && !changes(truth, p) &&
            !(numbers ? changes(numbers, p) : changes_16(wide_numbers, p)))
            p = stop; /* all as the pixel before them */
        for (; p < stop; p++) {
            int64_t number = numbers ? numbers[p] : wide_numbers[p];
            int16_t c = truth[p];
            if (number && c != VOID_ && (c == 0 || found[number] != c))
                found[number] = c && found[number] == 0 ? c : -1;
        }
    }
    return FINE;
}

/* Draw masks one over the other on a column-major map, each from its COCO compressed run-length
   code. ends has the end of each code in `codes`. Return the number of the first code that does not
   cover the map exactly, n_masks if there is none. */
PUBLIC int64_t paint(uint8_t *map, int64_t pixels, const uint8_t *codes, const int64_t *ends,
                     const uint8_t *labels, int64_t n_masks) {
    int64_t i = 0;
    for (int64_t mask = 0; mask < n_masks; mask++) {
        int64_t end = ends[mask], place = 0, former[2] = {0, 0};
        for (int64_t count = 0; i < end; count++) {
            int64_t value = 0, shift = 0, chunk;
            do { /* five bits a character, lowest first; bit 5 says that more follow */
                if (i >= end || shift > 55) return mask;
                chunk = (int64_t)codes[i++] - 48;
                value |= (int64_t)((uint64_t)(chunk & 0x1F) << shift);
                shift += 5;
            } while (chunk & 0x20);
            if (chunk & 0x10) value |= (int64_t)(~(uint64_t)0 << shift);
            /* from the fourth run on, the change since the last run of the same kind */
            if (count > 2) value = (int64_t)((uint64_t)value + (uint64_t)former[count & 1]);
            if (value < 0 || value > pixels - place) return mask;
            if (count & 1) memset(map + place, labels[mask], (size_t)value);
            place += value;
            former[count & 1] = value;
        }
        if (place != pixels) return mask;
    }
    return n_masks;
}

/* Exchange bytes of two lines of a square, as turning it needs: those of `a` that the mask selects
   after a shift by `half` bytes, and those of `b` that it selects. */
static void exchange(uint64_t *a, uint64_t *b, int half, uint64_t mask) {
    uint64_t change = (*a >> 8 * half ^ *b) & mask;
    *b ^= change;
    *a ^= change << 8 * half;
}

/* Write a column-major map row by row, in squares of 8 x 8 pixels if the first byte of a number is
   its lowest. */
PUBLIC void by_rows(const uint8_t *map, int64_t height, int64_t width, uint8_t *restrict out) {
    const uint64_t four = 0x00000000FFFFFFFF, two = 0x0000FFFF0000FFFF, one = 0x00FF00FF00FF00FF;
    int64_t high = 0, wide = 0;
    if (*(const uint8_t *)&one == 0xFF) high = height - height % 8, wide = width - width % 8;
    for (int64_t x = 0; x < wide; x += 8) {
        for (int64_t y = 0; y < high; y += 8) {
            const uint8_t *from = map + x * height + y;
            uint64_t a = word(from), b = word(from + height), c = word(from + 2 * height),
                     d = word(from + 3 * height), e = word(from + 4 * height),
                     f = word(from + 5 * height), g = word(from + 6 * height),
                     h = word(from + 7 * height);
            exchange(&a, &e, 4, four), exchange(&b, &f, 4, four);
            exchange(&c, &g, 4, four), exchange(&d, &h, 4, four);
            exchange(&a, &c, 2, two), exchange(&b, &d, 2, two);
            exchange(&e, &g, 2, two), exchange(&f, &h, 2, two);
            exchange(&a, &b, 1, one), exchange(&c, &d, 1, one);
            exchange(&e, &f, 1, one), exchange(&g, &h, 1, one);
            const uint64_t lines[8] = {a, b, c, d, e, f, g, h};
            for (int k = 0; k < 8; k++) memcpy(out + (y + k) * width + x, lines + k, 8);
        }
    }
    for (int64_t y = 0; y < height; y++)
        for (int64_t x = y < high ? wide : 0; x < width; x++) out[y * width + x] = map[x * height + y];
}

/* Add to `out` (n_rows, width) the product of a sparse matrix (CSR) and `weights` (*, width), for
   each row the columns one after the other. */
PUBLIC void weighted_sums(const int64_t *indptr, const int64_t *columns, const double *data,
                          int64_t n_rows, const double *weights, int64_t width, double *restrict out) {
    for (int64_t k = 0; k < n_rows; k++) {
        double *sum = out + k * width;
        for (int64_t e = indptr[k]; e < indptr[k + 1]; e++) {
            const double *row = weights + columns[e] * width, value = data[e];
            for (int64_t j = 0; j < width; j++) sum[j] += value * row[j];
        }
    }
}
