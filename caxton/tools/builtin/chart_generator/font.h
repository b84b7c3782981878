/* The stroke font of the PNG charts. Its widths also lay out the SVG ones. */

#ifndef FONT_H
#define FONT_H

#include "canvas.h"

/* The next character of UTF-8 text, U+FFFD for bytes that are none. */
uint32_t next_code(const char **at, const char *end);

/* How far text of this size reaches, in pixels of the chart. */
double text_width(slice text, double size);

/* `stroke` is given every line of the text, from (x, y) on; lengths in its pixels. */
typedef void stroke_function(point from, point to, double radius);
void stroke_text(point at, slice text, double size, double turn, double radius,
                 stroke_function *stroke);

#endif
