/* What is to be drawn, as the arguments say it. */

#ifndef CHART_H
#define CHART_H

#include "canvas.h"
#include "json.h"

enum {
    MOST_SERIES = 50,
    MOST_VALUES = 100000,
    MOST_CELLS = 500000,
    MOST_COLUMNS = 200,
    MOST_PIXELS = 4000000
};

typedef enum { LINE, BAR, PIE, SCATTER, AREA, HISTOGRAM } chart_kind;

typedef struct {
    slice name;   /* empty: none was given */
    double *y;    /* NAN: missing */
    double *x;    /* NULL unless chart.numeric_x */
    size_t count; /* of y, and of x */
} series;

enum { PALETTE = 10 };

typedef struct {
    colour back, text, quiet, grid, axis, palette[PALETTE];
} theme;

typedef struct {
    chart_kind kind;
    bool stacked, show_values, numeric_x, png;
    int legend; /* 0 no, 1 yes, -1 when there is more than one series */
    int width, height, scale, bins;
    double y_min, y_max; /* NAN: from the data */
    slice title, description, x_label, y_label, path;
    const theme *look;
    colour *colours; /* instead of the theme's; NULL when there are none */
    size_t colour_count;
    series *series;
    size_t series_count;
    slice *labels; /* one for each category; label_count is 0 with numeric_x */
    size_t label_count;
    size_t points, missing; /* values that are drawn and values that are null */
} chart;

/* Reads and checks the arguments; ends the tool with an error that names what is wrong. */
chart read_chart(json arguments);
/* The part of it that is data: series, labels, x. */
void read_data(chart *c, json arguments);
/* A colour's lightness, 0 to 1, as an eye sees it. */
double lightness(colour c);

/* The colour of a series or slice. */
colour ink_of(const chart *c, size_t index);
/* What a series is called; one without a name is "Series 1". */
slice series_name(const chart *c, size_t index);

/* Draws it on `draw`. */
void draw_chart(const chart *c);
/* A sentence or two that say what the chart shows. */
slice describe_chart(const chart *c);

#endif
