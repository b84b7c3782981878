/* What surrounds the data: title, legend, axes and their labels. */

#ifndef FRAME_H
#define FRAME_H

#include "chart.h"
#include "numbers.h"

typedef struct {
    const chart *chart;
    rectangle plot;
    axis y;
    bool x_is_axis; /* else one slot for each label */
    axis x;
} frame;

/* The ends of what is drawn. */
typedef struct {
    double low, high;
} range;

/* Background, title and legend; returns what is left. */
rectangle draw_head(const chart *c);
/* Axes for these ranges inside `room`; x is used when `x_is_axis`. */
frame draw_axes(const chart *c, rectangle room, range y, bool whole, bool x_is_axis, range x,
                bool widen_x);
/* The line where values are 0, over the data. */
void draw_baseline(const frame *f);

double y_at(const frame *f, double value);
double x_at(const frame *f, double value);
double slot_width(const frame *f);
/* The middle of a label's slot. */
double slot_at(const frame *f, size_t index);

/* The text, or as much of it as fits into `width` with "..." behind. */
slice fitted(slice text, double size, double width);

#endif
