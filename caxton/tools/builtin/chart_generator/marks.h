/* The data of each kind of chart. */

#ifndef MARKS_H
#define MARKS_H

#include "frame.h"

void draw_lines(const frame *f);
void draw_areas(const frame *f);
void draw_bars(const frame *f);
void draw_scatter(const frame *f);
void draw_histogram(const chart *c, rectangle room);
void draw_pie(const chart *c, rectangle room);

/* The values a chart's axis must show, with stacks summed up and 0 where bars begin. */
range value_range(const chart *c);
range place_range(const chart *c);

/* "Oslo, sales: 5", for a shape. */
slice value_tip(const chart *c, size_t series_index, size_t index);

#endif
