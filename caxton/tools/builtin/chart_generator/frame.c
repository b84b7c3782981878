#include "frame.h"

#include <math.h>
#include <stdlib.h>

#include "font.h"

enum { PAD = 16, TITLE = 17, SMALL = 12, LEGEND_ROWS = 3, SWATCH = 12 };

#define LEAN 40 /* degrees, of labels that do not fit side by side */

/* Real fonts differ from ours: what must fit is laid out a little smaller. */
#define SLACK 0.94

slice fitted(slice text, double size, double width) {
    double used = 0, dots = text_width(slice_of("\xE2\x80\xA6"), size);
    if (text_width(text, size) <= width) return text;
    const char *at = text.text, *end = at + text.length, *cut = at;
    while (at < end) {
        const char *start = at;
        next_code(&at, end);
        used += text_width((slice){start, (size_t)(at - start)}, size);
        if (used + dots > width) break;
        cut = at;
    }
    buffer short_text = {0};
    add_bytes(&short_text, text.text, (size_t)(cut - text.text));
    add_text(&short_text, "\xE2\x80\xA6");
    return (slice){short_text.bytes, short_text.length};
}

static void draw_swatch(const chart *c, size_t index, double x, double y) {
    colour ink = ink_of(c, index);
    if (c->kind == SCATTER) {
        draw->disc((point){x + SWATCH / 2.0, y}, 5, ink, 1, NO_TIP);
    } else if (c->kind == LINE) {
        point ends[] = {{x, y}, {x + SWATCH, y}};
        draw->line(ends, 2, ink, 3);
    } else {
        draw->rectangle((rectangle){x, y - 6, SWATCH, SWATCH}, ink, 1, NO_TIP);
    }
}

/* Returns the height of the legend. */
static double draw_legend(const chart *c, double top) {
    double x = PAD, y = top + 9, right = c->width - PAD;
    int row = 0;
    for (size_t i = 0; i < c->series_count; i++) {
        slice name = fitted(series_name(c, i), SMALL, fmin(220, right - PAD - 20));
        double width = SWATCH + 6 + text_width(name, SMALL) / SLACK + 16;
        if (x > PAD && x + width > right + 16) {
            if (++row == LEGEND_ROWS) {
                slice more = format("+%zu", c->series_count - i);
                draw->text(right, y + 4, more, (text_style){SMALL, c->look->quiet, END, false, 0});
                break;
            }
            x = PAD;
            y += 19;
        }
        draw_swatch(c, i, x, y);
        draw->text(x + SWATCH + 6, y + 4, name, (text_style){SMALL, c->look->text, START, false, 0});
        x += width;
    }
    return y - top + 20;
}

rectangle draw_head(const chart *c) {
    double y = PAD, width = c->width - 2 * PAD;
    draw->rectangle((rectangle){0, 0, c->width, c->height}, c->look->back, 1, NO_TIP);
    if (c->title.length) {
        slice title = fitted(c->title, TITLE, width * 0.92);
        draw->text(PAD, y + 14, title, (text_style){TITLE, c->look->text, START, true, 0});
        y += 30;
    }
    bool legend = c->legend < 0 ? c->series_count > 1 : c->legend;
    if (legend && c->kind != PIE) y += draw_legend(c, y);
    return (rectangle){PAD, y, width, c->height - PAD - y};
}

double y_at(const frame *f, double value) {
    double part = (value - f->y.low) / (f->y.high - f->y.low);
    /* Far outside is as good as very far, and fits any file. */
    return f->plot.y + f->plot.height * (1 - fmax(-20, fmin(20, part)));
}

double x_at(const frame *f, double value) {
    return f->plot.x + f->plot.width * (value - f->x.low) / (f->x.high - f->x.low);
}

double slot_width(const frame *f) { return f->plot.width / (double)f->chart->label_count; }

double slot_at(const frame *f, size_t index) {
    return f->plot.x + slot_width(f) * ((double)index + 0.5);
}

static double widest(const slice *labels, size_t count, double most) {
    double width = 0;
    for (size_t i = 0; i < count && width < most; i++)
        width = fmax(width, text_width(labels[i], SMALL) / SLACK);
    return fmin(width, most);
}

/* How the labels of slots are set: every `step`th, leaning or not, and the height they take. */
typedef struct {
    size_t step;
    bool lean;
    double width, height;
} label_plan;

static label_plan plan_labels(const chart *c, double plot_width) {
    double slot = plot_width / (double)c->label_count;
    double width = widest(c->labels, c->label_count, 160);
    if (width == 0) return (label_plan){1, false, 0, 6};
    if (width + 8 <= slot) return (label_plan){1, false, slot - 4, 24};
    /* Bars and few names are all named; of many, as in a row of dates, some are enough. */
    if (c->label_count > (c->kind == BAR ? 60 : 24) || slot < 15) {
        width = fmin(width, 110);
        return (label_plan){(size_t)ceil((width + 14) / slot), false, width, 24};
    }
    width = fmin(width, fmin(110, c->height * 0.3 / sin(LEAN * PI / 180)));
    return (label_plan){1, true, width, 16 + width * sin(LEAN * PI / 180) + 4};
}

static void draw_slot_labels(const frame *f, label_plan plan) {
    const chart *c = f->chart;
    double y = f->plot.y + f->plot.height;
    for (size_t i = 0; i < c->label_count; i += plan.step) {
        double x = slot_at(f, i);
        text_style style = {SMALL, c->look->quiet, MIDDLE, false, 0};
        if (plan.lean) {
            style.at = END;
            style.turn = -LEAN;
            double room = fmin(plan.width, (x - 2) / cos(LEAN * PI / 180));
            draw->text(x + 4, y + 14, fitted(c->labels[i], SMALL, room), style);
            continue;
        }
        slice label = fitted(c->labels[i], SMALL, plan.width);
        double half = text_width(label, SMALL) / 2;
        if (x - half < 2 || x + half > c->width - 2) continue;
        draw->text(x, y + 18, label, style);
    }
}

static void draw_axis_labels(const frame *f) {
    const chart *c = f->chart;
    double bottom = f->plot.y + f->plot.height;
    for (int i = 0; i < f->x.ticks; i++) {
        double x = round(x_at(f, tick_value(&f->x, i))) + 0.5;
        point mark[] = {{x, f->plot.y}, {x, bottom}};
        if (c->kind == SCATTER) draw->line(mark, 2, c->look->grid, 1);
        point tick[] = {{x, bottom}, {x, bottom + 4}};
        draw->line(tick, 2, c->look->axis, 1);
        draw->text(x, bottom + 18, tick_label(&f->x, i),
                   (text_style){SMALL, c->look->quiet, MIDDLE, false, 0});
    }
}

static void draw_level(const frame *f, double y, colour ink) {
    double at = round(y) + 0.5;
    point line[] = {{f->plot.x, at}, {f->plot.x + f->plot.width, at}};
    draw->line(line, 2, ink, 1);
}

static void draw_levels(const frame *f) {
    const theme *look = f->chart->look;
    for (int i = 0; i < f->y.ticks; i++) {
        double y = y_at(f, tick_value(&f->y, i));
        draw_level(f, y, look->grid);
        draw->text(f->plot.x - 8, y + 4, tick_label(&f->y, i),
                   (text_style){SMALL, look->quiet, END, false, 0});
    }
}

void draw_baseline(const frame *f) {
    if (f->y.low <= 0 && f->y.high >= 0) draw_level(f, y_at(f, 0), f->chart->look->axis);
    else draw_level(f, f->plot.y + f->plot.height, f->chart->look->axis);
}

static double tick_width(const axis *a) {
    double width = 0;
    for (int i = 0; i < a->ticks; i++)
        width = fmax(width, text_width(tick_label(a, i), SMALL) / SLACK);
    return width;
}

static int wanted_ticks(double length, double each, int most) {
    int wanted = (int)(length / each);
    return wanted < 2 ? 2 : wanted > most ? most : wanted;
}

frame draw_axes(const chart *c, rectangle room, range y, bool whole, bool x_is_axis, range x,
                bool widen_x) {
    frame f = {.chart = c, .plot = room, .x_is_axis = x_is_axis};
    if (c->y_label.length) {
        draw->text(room.x, room.y + 10, fitted(c->y_label, SMALL, room.width * SLACK),
                   (text_style){SMALL, c->look->quiet, START, false, 0});
        f.plot.y += 20;
    }
    f.plot.y += 6;
    double bottom = room.y + room.height - (c->x_label.length ? 20 : 0);
    double low = isnan(c->y_min) ? y.low : c->y_min, high = isnan(c->y_max) ? y.high : c->y_max;
    int levels = wanted_ticks(bottom - f.plot.y - 24, 42, 10);
    if (whole && high - low < levels) levels = (int)fmax(1, high - low);
    f.y = nice_axis(low, high, levels, isnan(c->y_min), isnan(c->y_max));
    double left = fmin(tick_width(&f.y) + 10, room.width / 2);
    f.plot.x += left;
    f.plot.width -= left;
    label_plan plan = {1, false, 0, 24};
    if (x_is_axis) {
        f.x = nice_axis(x.low, x.high, wanted_ticks(f.plot.width, 80, 12), widen_x, widen_x);
        f.plot.width -= fmin(text_width(tick_label(&f.x, f.x.ticks - 1), SMALL) / 2, 40);
    } else {
        plan = plan_labels(c, f.plot.width);
    }
    f.plot.height = bottom - plan.height - f.plot.y;
    if (f.plot.height < 20 || f.plot.width < 20)
        fail("bad_argument", "%d x %d pixels leave no room for the chart: make it larger, or leave "
                             "out titles and labels", c->width, c->height);
    draw_levels(&f);
    if (x_is_axis) draw_axis_labels(&f);
    else draw_slot_labels(&f, plan);
    if (c->x_label.length)
        draw->text(f.plot.x + f.plot.width / 2, room.y + room.height - 1,
                   fitted(c->x_label, SMALL, f.plot.width * SLACK),
                   (text_style){SMALL, c->look->quiet, MIDDLE, false, 0});
    return f;
}
