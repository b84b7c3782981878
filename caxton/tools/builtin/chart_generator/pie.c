#include <math.h>
#include <stdlib.h>

#include "font.h"
#include "marks.h"

enum { MOST_SLICES = 12, SMALL = 12, ROW = 21 };

typedef struct {
    slice label;
    double value;
    size_t place;
} part;

static int largest_first(const void *a, const void *b) {
    const part *p = a, *q = b;
    if (p->value != q->value) return (p->value < q->value) - (p->value > q->value);
    return (p->place > q->place) - (p->place < q->place);
}

static int as_given(const void *a, const void *b) {
    const part *p = a, *q = b;
    return (p->place > q->place) - (p->place < q->place);
}

/* Slices that can be seen and named: what is too much becomes one of its own. */
static size_t join_small(part *parts, size_t count, size_t most) {
    if (count <= most) return count;
    qsort(parts, count, sizeof *parts, largest_first);
    part rest = {format("Other (%zu)", count - most + 1), 0, SIZE_MAX};
    for (size_t i = most - 1; i < count; i++) rest.value += parts[i].value;
    parts[most - 1] = rest;
    qsort(parts, most, sizeof *parts, as_given);
    return most;
}

static slice percent(double part, double whole) {
    double value = 100 * (part / whole);
    return value >= 99.95 || value < 0.05 || fabs(value - round(value)) < 0.05
               ? format("%.0f%%", value)
               : format("%.1f%%", value);
}

static double draw_names(const chart *c, rectangle room, const part *parts, size_t count,
                         double whole) {
    double most = room.width * 0.5 - 24, width = 0;
    slice *lines = allocate(count * sizeof *lines);
    for (size_t i = 0; i < count; i++) {
        slice tail = format(": %.*s (%.*s)", SLICE(number_label(parts[i].value)),
                            SLICE(percent(parts[i].value, whole)));
        slice name = fitted(parts[i].label, SMALL, fmax(30, most - text_width(tail, SMALL)));
        lines[i] = format("%.*s%.*s", SLICE(shortened(name, 300)), SLICE(tail));
        width = fmax(width, text_width(lines[i], SMALL) / 0.94);
    }
    double left = room.x + room.width - width - 20;
    double y = room.y + (room.height - ROW * (double)count) / 2 + ROW / 2.0;
    for (size_t i = 0; i < count; i++, y += ROW) {
        draw->rectangle((rectangle){left, y - 6, 12, 12}, ink_of(c, i), 1, NO_TIP);
        draw->text(left + 19, y + 4, lines[i], (text_style){SMALL, c->look->text, START, false, 0});
    }
    return room.width - width - 20;
}

void draw_pie(const chart *c, rectangle room) {
    const series *s = &c->series[0];
    part *parts = allocate(s->count * sizeof *parts);
    size_t count = 0, rows = room.height > 3 * ROW ? (size_t)(room.height / ROW) : 3;
    double whole = 0;
    for (size_t i = 0; i < s->count; i++) {
        if (isnan(s->y[i]) || s->y[i] <= 0) continue;
        parts[count++] = (part){c->labels[i], s->y[i], i};
        whole += s->y[i];
    }
    count = join_small(parts, count, rows < MOST_SLICES ? rows : MOST_SLICES);
    double left = c->legend == 0 ? room.width : draw_names(c, room, parts, count, whole);
    double radius = fmin(left - 16, room.height) / 2;
    if (radius < 15)
        fail("bad_argument", "%d x %d pixels leave no room for the pie: make it larger", c->width,
             c->height);
    point middle = {room.x + left / 2, room.y + room.height / 2};
    double from = 0;
    for (size_t i = 0; i < count; i++) {
        double share = parts[i].value / whole, to = from + 2 * PI * share;
        slice label = shortened(parts[i].label, 300), said = percent(parts[i].value, whole);
        slice tip = format("%.*s: %.*s (%.*s)", SLICE(label), SLICE(number_label(parts[i].value)),
                           SLICE(said));
        draw->wedge(middle, radius, from, to, ink_of(c, i), c->look->back, tip);
        double at = radius * (share > 0.999 ? 0 : 0.7), turn = (from + to) / 2;
        bool dark = lightness(ink_of(c, i)) > 0.55;
        if (share >= 0.05 && radius > 50)
            draw->text(middle.x + at * sin(turn), middle.y - at * cos(turn) + 4, said,
                       (text_style){SMALL, dark ? (colour){20, 24, 31} : (colour){255, 255, 255},
                                    MIDDLE, true, 0});
        from = to;
    }
    release(parts);
}
