/*
 * Shapes as pixels. Lines and text are drawn into a mask by their distance, so that overlapping
 * strokes of one shape do not darken each other; surfaces are filled by exact horizontal coverage of
 * four lines a pixel.
 */

#include <math.h>
#include <stdlib.h>

#include "canvas.h"
#include "font.h"

enum { SUBLINES = 4, UNITS_OF_EM = 20 };

typedef struct {
    int left, top, right, bottom; /* right and bottom are outside */
} box;

static struct {
    int width, height;
    double scale;
    unsigned char *pixels; /* three bytes each */
    unsigned char *mask;
    box dirty, limits;
} image;

static int at_least(int value, int least) { return value < least ? least : value; }
static int at_most(int value, int most) { return value > most ? most : value; }

static void clean_dirt(void) { image.dirty = (box){image.width, image.height, 0, 0}; }

void raster_begin(int width, int height, int scale) {
    image.scale = scale;
    image.width = width * scale;
    image.height = height * scale;
    size_t size = (size_t)image.width * (size_t)image.height;
    image.pixels = allocate(size * 3);
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
    return image.pixels + 3 * ((size_t)y * (size_t)image.width + (size_t)x);
}

/* Where along a row a line of this radius may be, in pixels. */
static void row_reach(double x0, double y0, double x1, double y1, double top, double bottom,
                      double reach, double *left, double *right) {
    double from = 0, to = 1, rise = y1 - y0;
    if (fabs(rise) > 1e-9) {
        double a = (top - reach - y0) / rise, b = (bottom + reach - y0) / rise;
        from = fmax(0, fmin(a, b));
        to = fmin(1, fmax(a, b));
    }
    double a = x0 + (x1 - x0) * from, b = x0 + (x1 - x0) * to;
    *left = fmin(a, b) - reach;
    *right = fmax(a, b) + reach;
}

/* Adds a line with round ends to the mask; coordinates and radius in image pixels. */
static void stroke_mask(point start, point end, double radius) {
    double x0 = start.x, y0 = start.y, x1 = end.x, y1 = end.y;
    double reach = radius + 0.5, dx = x1 - x0, dy = y1 - y0, square = dx * dx + dy * dy;
    int top = at_least((int)floor(fmin(y0, y1) - reach), image.limits.top);
    int bottom = at_most((int)ceil(fmax(y0, y1) + reach), image.limits.bottom);
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
            int value = (int)(255 * fmin(cover, 1) * most);
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

typedef struct {
    double x;
    int turn;
} crossing;

static int by_x(const void *a, const void *b) {
    double x = ((const crossing *)a)->x, y = ((const crossing *)b)->x;
    return (x > y) - (x < y);
}

static void cover_span(float *cover, double from, double to) {
    from = fmax(from, image.limits.left);
    to = fmin(to, image.limits.right);
    if (from >= to) return;
    int first = (int)from, last = (int)to;
    if (first == last) {
        cover[first] += (float)((to - from) / SUBLINES);
        return;
    }
    cover[first] += (float)((first + 1 - from) / SUBLINES);
    for (int x = first + 1; x < last; x++) cover[x] += 1.0f / SUBLINES;
    if (last < image.width) cover[last] += (float)((to - last) / SUBLINES);
}

typedef struct {
    double x0, y0, x1, y1;
    int turn;
} edge;

static int by_top(const void *a, const void *b) {
    double x = ((const edge *)a)->y0, y = ((const edge *)b)->y0;
    return (x > y) - (x < y);
}

/* Fills by the non-zero rule; coordinates in image pixels. */
static void fill_points(const point *points, size_t count, colour fill, double alpha) {
    edge *edges = allocate(count * sizeof *edges);
    size_t edge_count = 0, begun = 0, active_count = 0;
    double top = INFINITY, bottom = -INFINITY, west = INFINITY, east = -INFINITY;
    for (size_t i = 0; i < count; i++) {
        point a = points[i], b = points[(i + 1) % count];
        top = fmin(top, a.y);
        bottom = fmax(bottom, a.y);
        west = fmin(west, a.x);
        east = fmax(east, a.x);
        if (a.y == b.y) continue;
        edges[edge_count++] = a.y < b.y ? (edge){a.x, a.y, b.x, b.y, 1}
                                        : (edge){b.x, b.y, a.x, a.y, -1};
    }
    qsort(edges, edge_count, sizeof *edges, by_top);
    edge **active = allocate(edge_count * sizeof *active);
    crossing *crossings = allocate(edge_count * sizeof *crossings);
    float *cover = allocate_zeroed((size_t)image.width, sizeof *cover);
    int first = at_least((int)floor(top), image.limits.top);
    int last = at_most((int)ceil(bottom), image.limits.bottom);
    int left = at_least((int)floor(west), image.limits.left);
    int right = at_most((int)ceil(east), image.limits.right);
    for (int y = first; y < last; y++) {
        for (int sub = 0; sub < SUBLINES; sub++) {
            double line = y + (sub + 0.5) / SUBLINES;
            while (begun < edge_count && edges[begun].y0 <= line)
                active[active_count++] = &edges[begun++];
            size_t kept = 0, found = 0;
            for (size_t i = 0; i < active_count; i++) {
                edge *e = active[i];
                if (e->y1 <= line) continue;
                active[kept++] = e;
                double x = e->x0 + (e->x1 - e->x0) * ((line - e->y0) / (e->y1 - e->y0));
                crossings[found++] = (crossing){x, e->turn};
            }
            active_count = kept;
            qsort(crossings, found, sizeof *crossings, by_x);
            for (size_t i = 0, turns = 0; i + 1 < found; i++) {
                turns += (size_t)crossings[i].turn;
                if (turns) cover_span(cover, crossings[i].x, crossings[i + 1].x);
            }
        }
        for (int x = left; x < right; x++) {
            if (cover[x] > 0) blend(pixel_at(x, y), fill, cover[x] * alpha);
            cover[x] = 0;
        }
    }
    free(cover);
    free(crossings);
    free(active);
    free(edges);
}

static void raster_polygon(const point *points, size_t count, colour fill, double alpha) {
    if (count < 3) return;
    point *scaled = allocate(count * sizeof *scaled);
    for (size_t i = 0; i < count; i++)
        scaled[i] = (point){points[i].x * image.scale, points[i].y * image.scale};
    fill_points(scaled, count, fill, alpha);
    free(scaled);
}

/* Edges of a surface that is wide enough to be seen fall between pixels, so that they are sharp. */
static double snapped(double value, double extent) {
    return extent * image.scale >= 2 ? round(value * image.scale) : value * image.scale;
}

/* How much of a pixel lies between two ends. */
static double covered(int pixel, double from, double to) {
    return fmin(to, pixel + 1) - fmax(from, pixel);
}

static void raster_rectangle(rectangle r, colour fill, double alpha, slice tip) {
    (void)tip;
    double left = snapped(r.x, r.width), right = snapped(r.x + r.width, r.width);
    double top = snapped(r.y, r.height), bottom = snapped(r.y + r.height, r.height);
    int x0 = at_least((int)floor(left), image.limits.left);
    int x1 = at_most((int)ceil(right), image.limits.right);
    int y0 = at_least((int)floor(top), image.limits.top);
    int y1 = at_most((int)ceil(bottom), image.limits.bottom);
    for (int y = y0; y < y1; y++) {
        double part = covered(y, top, bottom) * alpha;
        for (int x = x0; x < x1; x++) blend(pixel_at(x, y), fill, part * covered(x, left, right));
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
            blend(pixel_at(column, row), fill, fmin(1, r + 0.5 - sqrt(dx * dx + dy * dy)) * alpha);
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
    double radius = style.bold ? fmax(1.2 * unit, 0.8) : fmax(0.8 * unit, 0.5);
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
    free(image.mask);
    return png_of((pixels){image.width, image.height, image.pixels});
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
