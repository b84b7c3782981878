#include <math.h>
#include <stdlib.h>

#include "marks.h"

enum { MOST_BINS = 200 };

typedef struct {
    double low, width;
    size_t count;
} bins;

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* All present values, sorted. */
static double *sorted_values(const chart *c) {
    double *values = allocate(c->points * sizeof *values);
    size_t count = 0;
    for (size_t i = 0; i < c->series_count; i++)
        for (size_t k = 0; k < c->series[i].count; k++)
            if (!isnan(c->series[i].y[k])) values[count++] = c->series[i].y[k];
    qsort(values, count, sizeof *values, by_value);
    return values;
}

/* The smaller of Freedman and Diaconis' width and Sturges', which suits few values. */
static double good_width(const double *values, size_t count) {
    double spread = values[count * 3 / 4] - values[count / 4];
    double whole = values[count - 1] - values[0];
    double width = 2 * spread / cbrt((double)count), plain = whole / (log2((double)count) + 1);
    if (!(width > 0) || plain < width) width = plain;
    return fmax(width, whole / 60);
}

static bool are_whole(const double *values, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (values[i] != floor(values[i])) return false;
    return true;
}

static bins choose_bins(const chart *c) {
    double *values = sorted_values(c), low = values[0], high = values[c->points - 1];
    bins b;
    if (!(high - low > fmax(fabs(low), fabs(high)) * 1e-12) || high - low < 1e-290) {
        double room = fabs(low) > 1e-280 ? fabs(low) * 0.1 : 1;
        if (are_whole(values, 1) && fabs(low) < 1e15) room = 1;
        size_t count = c->bins ? (size_t)c->bins : 1;
        b = (bins){low - room / 2, room / (double)count, count};
    } else if (c->bins) {
        b = (bins){low, (high - low) / c->bins, (size_t)c->bins};
    } else {
        double width = round_step(good_width(values, c->points));
        if (width < 1 && are_whole(values, c->points)) width = 1;
        double first = floor(low / width + 1e-9);
        b = (bins){first * width, width, (size_t)(floor(high / width + 1e-9) - first) + 1};
        if (b.count > MOST_BINS) b = (bins){low, (high - low) / MOST_BINS, MOST_BINS};
        /* A value on the last edge belongs to the bin below it. */
        if (b.count > 1 && !are_whole(values, c->points) &&
            high <= b.low + width * (double)(b.count - 1))
            b.count--;
    }
    release(values);
    return b;
}

static size_t *count_series(const series *s, bins b) {
    size_t *counts = allocate_zeroed(b.count, sizeof *counts);
    for (size_t i = 0; i < s->count; i++) {
        if (isnan(s->y[i])) continue;
        double place = floor((s->y[i] - b.low) / b.width + 1e-9);
        counts[place < 0 ? 0 : place >= (double)b.count ? b.count - 1 : (size_t)place]++;
    }
    return counts;
}

static slice bin_tip(const chart *c, size_t index, bins b, size_t bin, size_t count) {
    slice from = number_label(b.low + b.width * (double)bin);
    slice to = number_label(b.low + b.width * (double)(bin + 1));
    if (c->series_count == 1) return format("%.*s to %.*s: %zu", SLICE(from), SLICE(to), count);
    slice name = shortened(series_name(c, index), 200);
    return format("%.*s, %.*s to %.*s: %zu", SLICE(name), SLICE(from), SLICE(to), count);
}

void draw_histogram(const chart *c, rectangle room) {
    bins b = choose_bins(c);
    size_t **counts = allocate(c->series_count * sizeof *counts), most = 0;
    for (size_t i = 0; i < c->series_count; i++) {
        counts[i] = count_series(&c->series[i], b);
        for (size_t k = 0; k < b.count; k++)
            if (counts[i][k] > most) most = counts[i][k];
    }
    range x = {b.low, b.low + b.width * (double)b.count}, y = {0, (double)most};
    frame f = draw_axes(c, room, y, true, true, x, false);
    double width = f.plot.width / (double)b.count, gap = width > 6 ? 1 : 0;
    draw->clip((rectangle){f.plot.x, f.plot.y - 2, f.plot.width, f.plot.height + 4});
    for (size_t i = 0; i < c->series_count; i++)
        for (size_t k = 0; k < b.count; k++) {
            if (!counts[i][k]) continue;
            double top = y_at(&f, (double)counts[i][k]), bottom = y_at(&f, 0);
            rectangle bar = {f.plot.x + width * (double)k + gap / 2, top, width - gap, bottom - top};
            draw->rectangle(bar, ink_of(c, i), c->series_count > 1 ? 0.6 : 1,
                            bin_tip(c, i, b, k, counts[i][k]));
        }
    draw->unclip();
    draw_baseline(&f);
}
