#include "marks.h"

#include <math.h>
#include <stdlib.h>

#include "font.h"

enum { MOST_TIPS = 400, SMALL = 12, TINY = 11 };

static void include(range *r, double value) {
    if (isnan(value)) return;
    if (isnan(r->low) || value < r->low) r->low = value;
    if (isnan(r->high) || value > r->high) r->high = value;
}

static double value_of(const series *s, size_t index) {
    return index < s->count ? s->y[index] : NAN;
}

/* The sums below each series of a stacked area: base[i] is what series i stands on. */
static double **area_bases(const chart *c, size_t count) {
    double **bases = allocate((c->series_count + 1) * sizeof *bases);
    for (size_t i = 0; i <= c->series_count; i++) {
        bases[i] = allocate_zeroed(count, sizeof **bases);
        for (size_t k = 0; k < count && i; k++) {
            double value = value_of(&c->series[i - 1], k);
            bases[i][k] = bases[i - 1][k] + (isnan(value) ? 0 : value);
        }
    }
    return bases;
}

static size_t place_count(const chart *c) {
    return c->numeric_x ? c->series[0].count : c->label_count;
}

static void include_stacks(const chart *c, range *r) {
    for (size_t k = 0; k < place_count(c); k++) {
        double above = 0, below = 0, sum = 0;
        for (size_t i = 0; i < c->series_count; i++) {
            double value = value_of(&c->series[i], k);
            if (isnan(value)) continue;
            if (value > 0) above += value;
            else below += value;
            sum += value;
            if (c->kind == AREA) include(r, sum);
        }
        if (c->kind == BAR) include(r, above), include(r, below);
    }
}

range value_range(const chart *c) {
    range r = {NAN, NAN};
    if (c->stacked && (c->kind == BAR || c->kind == AREA)) include_stacks(c, &r);
    else
        for (size_t i = 0; i < c->series_count; i++)
            for (size_t k = 0; k < c->series[i].count; k++) include(&r, c->series[i].y[k]);
    bool from_zero = c->kind == BAR || c->kind == AREA;
    /* Where 0 is near anyway, a line shows how large values are too. */
    from_zero |= c->kind == LINE && r.low > 0 && r.low < r.high * 0.4;
    if (from_zero) include(&r, 0);
    /* Numbers at bars stand above or below them. */
    double room = (r.high - r.low) * 0.06;
    if (c->show_values && !c->stacked && r.high > 0) r.high += room;
    if (c->show_values && !c->stacked && r.low < 0) r.low -= room;
    return r;
}

range place_range(const chart *c) {
    range r = {NAN, NAN};
    for (size_t i = 0; i < c->series_count; i++)
        for (size_t k = 0; k < c->series[i].count && c->numeric_x; k++)
            include(&r, c->series[i].x[k]);
    return r;
}

slice value_tip(const chart *c, size_t series_index, size_t index) {
    const series *s = &c->series[series_index];
    buffer tip = {0};
    if (s->x) add_slice(&tip, number_label(s->x[index]));
    else if (index < c->label_count) add_slice(&tip, c->labels[index]);
    if (c->series_count > 1 || s->name.length) {
        if (tip.length) add_text(&tip, ", ");
        add_slice(&tip, series_name(c, series_index));
    }
    if (tip.length) add_text(&tip, ": ");
    add_slice(&tip, number_label(s->y[index]));
    return (slice){tip.bytes, tip.length};
}

static double place_of_value(const frame *f, const series *s, size_t index) {
    return s->x ? x_at(f, s->x[index]) : slot_at(f, index);
}

static point point_of(const frame *f, const series *s, size_t index) {
    return (point){place_of_value(f, s, index), y_at(f, s->y[index])};
}

/*
 * Many points on few pixels: of those in one column the first, lowest, highest and last are kept,
 * which draws the same line. Returns how many are left.
 */
static size_t thinned(point *points, size_t count, double width) {
    if ((double)count < 4 * width) return count;
    size_t kept = 0;
    for (size_t start = 0; start < count;) {
        size_t end = start, low = start, high = start;
        double column = floor(points[start].x);
        for (; end < count && floor(points[end].x) == column; end++) {
            if (points[end].y < points[low].y) low = end;
            if (points[end].y > points[high].y) high = end;
        }
        size_t first = low < high ? low : high, second = low < high ? high : low;
        point some[] = {points[start], points[first], points[second], points[end - 1]};
        size_t places[] = {start, first, second, end - 1};
        for (size_t i = 0; i < 4; i++)
            if (!i || places[i] != places[i - 1]) points[kept++] = some[i];
        start = end;
    }
    return kept;
}

/* The end of the run of present values from `start` on. */
static size_t run_end(const series *s, size_t start) {
    while (start < s->count && !isnan(s->y[start])) start++;
    return start;
}

static bool has_markers(const frame *f, const series *s) {
    return s->count <= 60 && f->plot.width / (double)(s->count ? s->count : 1) >= 11;
}

static void draw_line_series(const frame *f, size_t index, double width) {
    const series *s = &f->chart->series[index];
    colour ink = ink_of(f->chart, index);
    point *points = allocate(s->count * sizeof *points);
    for (size_t start = 0; start < s->count;) {
        size_t end = run_end(s, start), count = end - start;
        for (size_t i = 0; i < count; i++) points[i] = point_of(f, s, start + i);
        if (count == 1) draw->disc(points[0], width * 1.4, ink, 1, value_tip(f->chart, index, start));
        count = thinned(points, count, f->plot.width);
        if (count > 1) draw->line(points, count, ink, width);
        start = end + 1;
    }
    for (size_t i = 0; i < s->count && has_markers(f, s); i++)
        if (!isnan(s->y[i]))
            draw->disc(point_of(f, s, i), width + 1, ink, 1, value_tip(f->chart, index, i));
    release(points);
}

void draw_lines(const frame *f) {
    const chart *c = f->chart;
    draw->clip((rectangle){f->plot.x - 4, f->plot.y - 4, f->plot.width + 8, f->plot.height + 8});
    for (size_t i = 0; i < c->series_count; i++)
        draw_line_series(f, i, (double)c->series[i].count > f->plot.width ? 1.25 : 2);
    draw->unclip();
}

/* The surface between a run of values and what it stands on, and the line on its upper edge. */
static void draw_surface(const frame *f, size_t index, size_t start, size_t end, const double *base,
                         const double *top) {
    const series *s = &f->chart->series[index];
    colour ink = ink_of(f->chart, index);
    size_t count = end - start;
    point *upper = allocate(2 * count * sizeof *upper), *lower = allocate(count * sizeof *lower);
    for (size_t i = 0; i < count; i++) {
        double x = s->x || start + i >= s->count ? 0 : slot_at(f, start + i);
        if (f->chart->numeric_x) x = x_at(f, f->chart->stacked ? f->chart->series[0].x[start + i]
                                                                : s->x[start + i]);
        else x = slot_at(f, start + i);
        upper[i] = (point){x, y_at(f, top[start + i])};
        lower[i] = (point){x, y_at(f, base ? base[start + i] : 0)};
    }
    size_t above = thinned(upper, count, f->plot.width);
    size_t below = thinned(lower, count, f->plot.width);
    point *edge = allocate(above * sizeof *edge);
    for (size_t i = 0; i < above; i++) edge[i] = upper[i];
    upper = resize(upper, (above + below) * sizeof *upper);
    for (size_t i = 0; i < below; i++) upper[above + i] = lower[below - 1 - i];
    draw->polygon(upper, above + below, ink, f->chart->stacked ? 0.8 : 0.28);
    if (above > 1) draw->line(edge, above, ink, 1.75);
    else draw->disc(edge[0], 3, ink, 1, value_tip(f->chart, index, start));
    release(edge);
    release(lower);
    release(upper);
}

void draw_areas(const frame *f) {
    const chart *c = f->chart;
    draw->clip((rectangle){f->plot.x - 4, f->plot.y - 4, f->plot.width + 8, f->plot.height + 8});
    if (c->stacked) {
        size_t count = place_count(c);
        double **bases = area_bases(c, count);
        for (size_t i = 0; i < c->series_count; i++)
            draw_surface(f, i, 0, count, bases[i], bases[i + 1]);
    } else {
        for (size_t i = 0; i < c->series_count; i++) {
            const series *s = &c->series[i];
            for (size_t start = 0; start < s->count;) {
                size_t end = run_end(s, start);
                if (end > start) draw_surface(f, i, start, end, NULL, s->y);
                start = end + 1;
            }
        }
    }
    draw->unclip();
}

static rectangle bar_between(const frame *f, double x, double width, double from, double to) {
    double a = y_at(f, from), b = y_at(f, to);
    return (rectangle){x, fmin(a, b), width, fabs(a - b)};
}

static void draw_bar_value(const frame *f, rectangle bar, double value, colour ink) {
    const chart *c = f->chart;
    slice text = number_label(value);
    double middle = bar.x + bar.width / 2, width = text_width(text, TINY);
    double y = value < 0 ? bar.y + bar.height + 13 : bar.y - 5;
    text_style style = {TINY, c->look->text, MIDDLE, false, 0};
    if (c->stacked) {
        if (bar.height < 14 || bar.width < width + 4) return;
        if (lightness(ink) > 0.55) style.ink = (colour){20, 24, 31};
        else style.ink = (colour){255, 255, 255};
        y = bar.y + bar.height / 2 + 4;
    } else if (width > slot_width(f) / (double)c->series_count * 1.25) {
        return;
    }
    if (y > f->plot.y && y < f->plot.y + f->plot.height) draw->text(middle, y, text, style);
}

/* The bars of all series, each given to `each`; stacked, or side by side in their slots. */
static void for_each_bar(const frame *f, void (*each)(const frame *f, rectangle bar, size_t index,
                                                      size_t place)) {
    const chart *c = f->chart;
    size_t bars = c->stacked ? 1 : c->series_count;
    double slot = slot_width(f), group = slot > 4 ? slot * 0.74 : slot;
    double step = fmin(group / (double)bars, 90), gap = step > 6 ? 1.5 : 0;
    double *above = allocate_zeroed(c->label_count, sizeof *above);
    double *below = allocate_zeroed(c->label_count, sizeof *below);
    for (size_t i = 0; i < c->series_count; i++)
        for (size_t k = 0; k < c->series[i].count; k++) {
            double value = c->series[i].y[k], *base = value < 0 ? &below[k] : &above[k];
            if (isnan(value)) continue;
            double from = c->stacked ? *base : 0, x = slot_at(f, k) - step * (double)bars / 2;
            if (!c->stacked) x += step * (double)i;
            each(f, bar_between(f, x + gap / 2, step - gap, from, from + value), i, k);
            *base += value;
        }
    release(below);
    release(above);
}

/* Bars that are too many to say what they are, of the series before and at `index`. */
static rectangle *waiting;
static size_t waiting_count, waiting_index;

static void draw_waiting(const chart *c) {
    draw->rectangles(waiting, waiting_count, ink_of(c, waiting_index), 1);
    waiting_count = 0;
}

static void draw_bar(const frame *f, rectangle bar, size_t index, size_t place) {
    const chart *c = f->chart;
    if (c->series_count * c->label_count <= MOST_TIPS) {
        draw->rectangle(bar, ink_of(c, index), 1, value_tip(c, index, place));
        return;
    }
    if (index != waiting_index) draw_waiting(c);
    waiting_index = index;
    waiting[waiting_count++] = bar;
}

static void draw_value(const frame *f, rectangle bar, size_t index, size_t place) {
    const chart *c = f->chart;
    draw_bar_value(f, bar, c->series[index].y[place], ink_of(c, index));
}

void draw_bars(const frame *f) {
    const chart *c = f->chart;
    waiting = allocate(c->label_count * sizeof *waiting);
    draw->clip(f->plot);
    for_each_bar(f, draw_bar);
    draw_waiting(c);
    draw->unclip();
    release(waiting);
    if (c->show_values) for_each_bar(f, draw_value);
}

void draw_scatter(const frame *f) {
    const chart *c = f->chart;
    double radius = c->points <= 200 ? 4 : c->points <= 2000 ? 3 : 2;
    double alpha = c->points <= 200 ? 0.8 : c->points <= 2000 ? 0.6 : 0.4;
    draw->clip((rectangle){f->plot.x - 5, f->plot.y - 5, f->plot.width + 10, f->plot.height + 10});
    for (size_t i = 0; i < c->series_count; i++) {
        const series *s = &c->series[i];
        point *points = allocate(s->count * sizeof *points);
        size_t count = 0;
        for (size_t k = 0; k < s->count; k++) {
            if (isnan(s->y[k])) continue;
            point at = point_of(f, s, k);
            if (c->points <= MOST_TIPS) draw->disc(at, radius, ink_of(c, i), alpha, value_tip(c, i, k));
            else points[count++] = at;
        }
        draw->dots(points, count, radius, ink_of(c, i), alpha);
        release(points);
    }
    draw->unclip();
}
