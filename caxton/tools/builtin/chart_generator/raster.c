/*
 * Shapes as pixels. Lines and text are drawn into a mask by their distance, so that overlapping
 * strokes of one shape do not darken each other; surfaces are filled by how much of each pixel they
 * cover.
 */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "canvas.h"
#include "font.h"

enum { UNITS_OF_EM = 20 };

typedef struct {
    int left, top, right, bottom; /* right and bottom are outside */
} box;

static struct {
    int width, height;
    double scale;
    size_t stride;
    unsigned char *pixels; /* see canvas.h */
    unsigned char *mask;
    box dirty, limits;
} image;

/* fmin and fmax care for what is no number, and cost more than the rest of a pixel. */
static double smaller(double a, double b) { return a < b ? a : b; }
static double larger(double a, double b) { return a > b ? a : b; }

static int at_least(int value, int least) { return value < least ? least : value; }
static int at_most(int value, int most) { return value > most ? most : value; }

static void clean_dirt(void) { image.dirty = (box){image.width, image.height, 0, 0}; }

void raster_begin(int width, int height, int scale) {
    image.scale = scale;
    image.width = width * scale;
    image.height = height * scale;
    size_t size = (size_t)image.width * (size_t)image.height;
    image.stride = 1 + 3 * (size_t)image.width;
    image.pixels = allocate(image.stride * (size_t)image.height);
    image.mask = allocate_zeroed(size, 1);
    image.limits = (box){0, 0, image.width, image.height};
    clean_dirt();
}

static void blend(unsigned char *pixel, colour ink, double part) {
    if (part <= 0) return;
    if (part >= 1) {
        pixel[0] = ink.red;
        pixel[1] = ink.green;
        pixel[2] = ink.blue;
        return;
    }
    pixel[0] = (unsigned char)(pixel[0] + (ink.red - pixel[0]) * part + 0.5);
    pixel[1] = (unsigned char)(pixel[1] + (ink.green - pixel[1]) * part + 0.5);
    pixel[2] = (unsigned char)(pixel[2] + (ink.blue - pixel[2]) * part + 0.5);
}

static unsigned char *pixel_at(int x, int y) {
    return image.pixels + (size_t)y * image.stride + 1 + 3 * (size_t)x;
}

/* Where along a row a line of this radius may be, in pixels. */
static void row_reach(double x0, double y0, double x1, double y1, double top, double bottom,
                      double reach, double *left, double *right) {
    double from = 0, to = 1, rise = y1 - y0;
    if (fabs(rise) > 1e-9) {
        double a = (top - reach - y0) / rise, b = (bottom + reach - y0) / rise;
        from = larger(0, smaller(a, b));
        to = smaller(1, larger(a, b));
    }
    double a = x0 + (x1 - x0) * from, b = x0 + (x1 - x0) * to;
    *left = smaller(a, b) - reach;
    *right = larger(a, b) + reach;
}

/* Adds a line with round ends to the mask; coordinates and radius in image pixels. */
static void stroke_mask(point start, point end, double radius) {
    double x0 = start.x, y0 = start.y, x1 = end.x, y1 = end.y;
    double reach = radius + 0.5, dx = x1 - x0, dy = y1 - y0, square = dx * dx + dy * dy;
    int top = at_least((int)floor(smaller(y0, y1) - reach), image.limits.top);
    int bottom = at_most((int)ceil(larger(y0, y1) + reach), image.limits.bottom);
    for (int y = top; y < bottom; y++) {
        double from, to;
        row_reach(x0, y0, x1, y1, y, y + 1, reach, &from, &to);
        int left = at_least((int)floor(from), image.limits.left);
        int right = at_most((int)ceil(to), image.limits.right);
        if (left >= right) continue;
        unsigned char *row = image.mask + (size_t)y * (size_t)image.width;
        double py = y + 0.5 - y0;
        for (int x = left; x < right; x++) {
            double px = x + 0.5 - x0, along = square > 0 ? (px * dx + py * dy) / square : 0;
            along = along < 0 ? 0 : along > 1 ? 1 : along;
            double ex = px - along * dx, ey = py - along * dy;
            double cover = reach - sqrt(ex * ex + ey * ey);
            if (cover <= 0) continue;
            /* A line thinner than a pixel is as pale as it is thin. */
            double most = radius < 0.5 ? 2 * radius : 1;
            int value = (int)(255 * smaller(cover, 1) * most);
            if (value > row[x]) row[x] = (unsigned char)value;
        }
        image.dirty.left = at_most(image.dirty.left, left);
        image.dirty.right = at_least(image.dirty.right, right);
    }
    if (top < bottom) {
        image.dirty.top = at_most(image.dirty.top, top);
        image.dirty.bottom = at_least(image.dirty.bottom, bottom);
    }
}

/* Paints through the mask and clears it. */
static void paint_mask(colour ink) {
    for (int y = image.dirty.top; y < image.dirty.bottom; y++) {
        unsigned char *row = image.mask + (size_t)y * (size_t)image.width;
        for (int x = image.dirty.left; x < image.dirty.right; x++) {
            if (!row[x]) continue;
            blend(pixel_at(x, y), ink, row[x] / 255.0);
            row[x] = 0;
        }
    }
    clean_dirt();
}

/* A side of a surface, from its upper end to its lower; `turn` is 1 when it was drawn downwards. */
typedef struct {
    double x0, y0, x1, y1;
    int turn;
} edge;

static int by_top(const void *a, const void *b) {
    double x = ((const edge *)a)->y0, y = ((const edge *)b)->y0;
    return (x > y) - (x < y);
}

/*
 * `change[x]` is by how much more of pixel x is inside than of pixel x - 1. A piece of an edge inside
 * one pixel column covers `height` of what lies to its right, and of its own pixel the part that is
 * right of it.
 */
static void add_piece(float *change, double from, double to, double height, int column) {
    if (column >= image.limits.right) return;
    if (column < image.limits.left) {
        change[image.limits.left] += (float)height;
        return;
    }
    double right = column + 1 - (from + to) / 2;
    change[column] += (float)(height * right);
    change[column + 1] += (float)(height * (1 - right));
}

/* The part of an edge that lies in the row of pixels from y on. */
static void add_edge(float *change, const edge *e, double y) {
    double slope = (e->x1 - e->x0) / (e->y1 - e->y0);
    double top = larger(e->y0, y), bottom = smaller(e->y1, y + 1);
    double a = e->x0 + slope * (top - e->y0), b = e->x0 + slope * (bottom - e->y0);
    double left = smaller(a, b), right = larger(a, b), height = (bottom - top) * e->turn;
    int last = (int)floor(right);
    for (int column = (int)floor(left); column <= last; column++) {
        double from = larger(left, column), to = smaller(right, column + 1);
        if (right - left < 1e-9) to = from;
        double part = right - left < 1e-9 ? 1 : (to - from) / (right - left);
        add_piece(change, from, to, height * part, column);
    }
}

static size_t make_edges(edge *edges, const point *points, size_t count) {
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        point a = points[i], b = points[(i + 1) % count];
        if (a.y < b.y) edges[used++] = (edge){a.x, a.y, b.x, b.y, 1};
        else if (a.y > b.y) edges[used++] = (edge){b.x, b.y, a.x, a.y, -1};
    }
    qsort(edges, used, sizeof *edges, by_top);
    return used;
}

static box bounds_of(const point *points, size_t count) {
    double top = INFINITY, bottom = -INFINITY, left = INFINITY, right = -INFINITY;
    for (size_t i = 0; i < count; i++) {
        top = smaller(top, points[i].y);
        bottom = larger(bottom, points[i].y);
        left = smaller(left, points[i].x);
        right = larger(right, points[i].x);
    }
    return (box){at_least((int)floor(left), image.limits.left),
                 at_least((int)floor(top), image.limits.top),
                 at_most((int)ceil(right), image.limits.right),
                 at_most((int)ceil(bottom), image.limits.bottom)};
}

/* Fills a surface that does not overlap itself; coordinates in image pixels. */
static void fill_points(const point *points, size_t count, colour fill, double alpha) {
    edge *edges = allocate(count * sizeof *edges);
    edge **active = allocate(count * sizeof *active);
    float *change = allocate_zeroed((size_t)image.width + 2, sizeof *change);
    size_t edge_count = make_edges(edges, points, count), begun = 0, active_count = 0;
    box bounds = bounds_of(points, count);
    for (int y = bounds.top; y < bounds.bottom; y++) {
        size_t kept = 0;
        while (begun < edge_count && edges[begun].y0 < y + 1) active[active_count++] = &edges[begun++];
        for (size_t i = 0; i < active_count; i++) {
            if (active[i]->y1 <= y) continue;
            active[kept++] = active[i];
            add_edge(change, active[i], y);
        }
        active_count = kept;
        double inside = 0;
        for (int x = bounds.left; x < bounds.right; x++) {
            inside += change[x];
            change[x] = 0;
            if (fabs(inside) > 1e-4) blend(pixel_at(x, y), fill, smaller(fabs(inside), 1) * alpha);
        }
        change[bounds.right] = change[bounds.right + 1] = 0;
    }
    release(change);
    release(active);
    release(edges);
}

static void raster_polygon(const point *points, size_t count, colour fill, double alpha) {
    if (count < 3) return;
    point *scaled = allocate(count * sizeof *scaled);
    for (size_t i = 0; i < count; i++)
        scaled[i] = (point){points[i].x * image.scale, points[i].y * image.scale};
    fill_points(scaled, count, fill, alpha);
    release(scaled);
}

/* Edges of a surface that is wide enough to be seen fall between pixels, so that they are sharp. */
static double snapped(double value, double extent) {
    return extent * image.scale >= 2 ? round(value * image.scale) : value * image.scale;
}

/* How much of a pixel lies between two ends. */
static double covered(int pixel, double from, double to) {
    return smaller(to, pixel + 1) - larger(from, pixel);
}

static void raster_rectangle(rectangle r, colour fill, double alpha, slice tip) {
    (void)tip;
    double left = snapped(r.x, r.width), right = snapped(r.x + r.width, r.width);
    double top = snapped(r.y, r.height), bottom = snapped(r.y + r.height, r.height);
    int x0 = at_least((int)floor(left), image.limits.left);
    int x1 = at_most((int)ceil(right), image.limits.right);
    int y0 = at_least((int)floor(top), image.limits.top);
    int y1 = at_most((int)ceil(bottom), image.limits.bottom);
    const unsigned char *whole = NULL; /* a row that is covered in full, to copy */
    for (int y = y0; y < y1; y++) {
        double part = covered(y, top, bottom) * alpha;
        if (part >= 1 && whole && x1 > x0) {
            memcpy(pixel_at(x0, y), whole, 3 * (size_t)(x1 - x0));
            continue;
        }
        for (int x = x0; x < x1; x++) blend(pixel_at(x, y), fill, part * covered(x, left, right));
        /* Pixels at the sides that are covered in part depend on what is below them. */
        if (part >= 1 && left <= x0 && right >= x1) whole = pixel_at(x0, y);
    }
}

static void raster_rectangles(const rectangle *shapes, size_t count, colour fill, double alpha) {
    for (size_t i = 0; i < count; i++) raster_rectangle(shapes[i], fill, alpha, NO_TIP);
}

static void raster_line(const point *points, size_t count, colour ink, double width) {
    double s = image.scale;
    for (size_t i = 0; i + 1 < count; i++) {
        point a = {points[i].x * s, points[i].y * s}, b = {points[i + 1].x * s, points[i + 1].y * s};
        stroke_mask(a, b, width * s / 2);
    }
    paint_mask(ink);
}

static void raster_disc(point middle, double radius, colour fill, double alpha, slice tip) {
    (void)tip;
    double s = image.scale, x = middle.x * s, y = middle.y * s, r = radius * s;
    int top = at_least((int)floor(y - r - 1), image.limits.top);
    int bottom = at_most((int)ceil(y + r + 1), image.limits.bottom);
    int left = at_least((int)floor(x - r - 1), image.limits.left);
    int right = at_most((int)ceil(x + r + 1), image.limits.right);
    for (int row = top; row < bottom; row++)
        for (int column = left; column < right; column++) {
            double dx = column + 0.5 - x, dy = row + 0.5 - y;
            blend(pixel_at(column, row), fill, smaller(1, r + 0.5 - sqrt(dx * dx + dy * dy)) * alpha);
        }
}

static void raster_dots(const point *points, size_t count, double radius, colour fill,
                        double alpha) {
    for (size_t i = 0; i < count; i++) raster_disc(points[i], radius, fill, alpha, NO_TIP);
}

static void raster_wedge(point middle, double radius, double from, double to, colour fill,
                         colour border, slice tip) {
    enum { MOST = 400 };
    (void)tip;
    point points[MOST + 3];
    bool whole = to - from >= 2 * PI - 1e-9;
    int steps = at_least((int)ceil((to - from) / (2 * PI) * MOST), 1);
    size_t count = 0;
    points[count++] = middle;
    for (int i = 0; i <= steps; i++) {
        double angle = from + (to - from) * i / steps;
        points[count++] = (point){middle.x + radius * sin(angle), middle.y - radius * cos(angle)};
    }
    if (whole) {
        raster_polygon(points + 1, count - 1, fill, 1);
        return;
    }
    raster_polygon(points, count, fill, 1);
    points[count++] = middle;
    raster_line(points, count, border, 1.5);
}

static void raster_text(double x, double y, slice text, text_style style) {
    double width = text_width(text, style.size), turn = style.turn * PI / 180;
    double back = style.at == START ? 0 : style.at == MIDDLE ? width / 2 : width;
    double size = style.size * image.scale, unit = size / UNITS_OF_EM;
    double radius = style.bold ? larger(1.2 * unit, 0.8) : larger(0.8 * unit, 0.5);
    point start = {(x - back * cos(turn)) * image.scale, (y - back * sin(turn)) * image.scale};
    stroke_text(start, text, size, turn, radius, stroke_mask);
    paint_mask(style.ink);
}

static void raster_clip(rectangle r) {
    double s = image.scale;
    image.limits.left = at_least((int)floor(r.x * s), 0);
    image.limits.top = at_least((int)floor(r.y * s), 0);
    image.limits.right = at_most((int)ceil((r.x + r.width) * s), image.width);
    image.limits.bottom = at_most((int)ceil((r.y + r.height) * s), image.height);
}

static void raster_unclip(void) { image.limits = (box){0, 0, image.width, image.height}; }

buffer raster_png(void) {
    release(image.mask);
    return png_of(image.pixels, image.width, image.height);
}

const canvas RASTER = {
    .rectangle = raster_rectangle,
    .rectangles = raster_rectangles,
    .polygon = raster_polygon,
    .line = raster_line,
    .disc = raster_disc,
    .dots = raster_dots,
    .wedge = raster_wedge,
    .text = raster_text,
    .clip = raster_clip,
    .unclip = raster_unclip,
};
