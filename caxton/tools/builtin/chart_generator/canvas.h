/* What a chart is drawn with: a few shapes, which become SVG elements or pixels. */

#ifndef CANVAS_H
#define CANVAS_H

#include "text.h"

#define PI 3.14159265358979323846

typedef struct {
    double x, y;
} point;

typedef struct {
    double x, y, width, height;
} rectangle;

typedef struct {
    unsigned char red, green, blue;
} colour;

typedef enum { START, MIDDLE, END } anchor;

typedef struct {
    double size;
    colour ink;
    anchor at;
    bool bold;
    double turn; /* degrees, clockwise */
} text_style;

/*
 * Lengths are pixels of the chart, y grows downwards. `alpha` is 0 to 1. A `tip` says what a shape
 * shows; it is empty for decoration. `rectangles` and `dots` are for many at once, without tips.
 * `clip` keeps what follows inside a rectangle until `unclip`.
 */
typedef struct {
    void (*rectangle)(rectangle shape, colour fill, double alpha, slice tip);
    void (*rectangles)(const rectangle *shapes, size_t count, colour fill, double alpha);
    void (*polygon)(const point *points, size_t count, colour fill, double alpha);
    void (*line)(const point *points, size_t count, colour ink, double width);
    void (*disc)(point middle, double radius, colour fill, double alpha, slice tip);
    void (*dots)(const point *points, size_t count, double radius, colour fill, double alpha);
    /* From one angle to another in radians, clockwise from the top; all of a circle at most. */
    void (*wedge)(point middle, double radius, double from, double to, colour fill, colour edge,
                  slice tip);
    void (*text)(double x, double y, slice text, text_style style);
    void (*clip)(rectangle shape);
    void (*unclip)(void);
} canvas;

/* The one that is drawn on. */
extern const canvas *draw;

static const slice NO_TIP = {"", 0};

/* Pixels in memory, and the PNG file they make. */
extern const canvas RASTER;
void raster_begin(int width, int height, int scale);
buffer raster_png(void);

/* An SVG document; `seed` makes its ids unlike those of other charts on a page. */
extern const canvas VECTOR;
void svg_begin(int width, int height, slice title, slice description, uint32_t seed);
buffer svg_end(void);

/*
 * A PNG file. `rows` are from the top: one byte that is not used yet, then three bytes a pixel. They
 * are changed and freed.
 */
buffer png_of(unsigned char *rows, int width, int height);

#endif
