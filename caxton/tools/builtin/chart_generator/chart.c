#include "chart.h"

#include <math.h>
#include <string.h>

#include "marks.h"
#include "tool.h"

static const char *const KINDS[] = {"line", "bar", "pie", "scatter", "area", "histogram", NULL};
static const char *const FORMATS[] = {"svg", "png", NULL};
static const char *const THEMES[] = {"light", "dark", NULL};

static const theme LOOKS[] = {
    {.back = {255, 255, 255},
     .text = {31, 39, 51},
     .quiet = {91, 102, 117},
     .grid = {228, 232, 238},
     .axis = {138, 148, 163},
     .palette = {{47, 111, 219}, {232, 131, 58}, {42, 157, 111}, {194, 71, 127}, {122, 92, 199},
                 {190, 158, 30}, {38, 163, 184}, {212, 72, 72}, {138, 106, 79}, {107, 119, 133}}},
    {.back = {20, 24, 31},
     .text = {232, 236, 242},
     .quiet = {163, 173, 187},
     .grid = {42, 49, 60},
     .axis = {109, 120, 136},
     .palette = {{92, 150, 245}, {245, 157, 88}, {70, 194, 146}, {226, 110, 163}, {160, 133, 232},
                 {219, 190, 72}, {82, 199, 218}, {240, 109, 109}, {178, 145, 117}, {150, 162, 177}}},
};

static unsigned char mixed(unsigned char a, unsigned char b, double part) {
    return (unsigned char)(a + (b - a) * part + 0.5);
}

colour ink_of(const chart *c, size_t index) {
    const colour *own = c->colours ? c->colours : c->look->palette;
    size_t count = c->colours ? c->colour_count : PALETTE, round = index / count;
    colour ink = own[index % count], back = c->look->back;
    /* The second time around they are paler, then darker than the first. */
    if (round % 3 == 1)
        ink = (colour){mixed(ink.red, back.red, 0.45), mixed(ink.green, back.green, 0.45),
                       mixed(ink.blue, back.blue, 0.45)};
    if (round % 3 == 2)
        ink = (colour){mixed(ink.red, c->look->text.red, 0.4),
                       mixed(ink.green, c->look->text.green, 0.4),
                       mixed(ink.blue, c->look->text.blue, 0.4)};
    return ink;
}

double lightness(colour c) { return (0.299 * c.red + 0.587 * c.green + 0.114 * c.blue) / 255; }

slice series_name(const chart *c, size_t index) {
    slice name = c->series[index].name;
    return name.length ? name : format("Series %zu", index + 1);
}

static bool hex_colour(slice text, colour *found) {
    unsigned values[6];
    if (text.length != 7 || text.text[0] != '#') return false;
    for (int i = 0; i < 6; i++) {
        const char *digits = "0123456789abcdef0123456789ABCDEF";
        const char *at = text.text[i + 1] ? strchr(digits, text.text[i + 1]) : NULL;
        if (!at) return false;
        values[i] = (unsigned)(at - digits) % 16;
    }
    *found = (colour){(unsigned char)(values[0] * 16 + values[1]),
                      (unsigned char)(values[2] * 16 + values[3]),
                      (unsigned char)(values[4] * 16 + values[5])};
    return true;
}

static void read_colours(chart *c, json given) {
    c->colour_count = json_count(given);
    if (!c->colour_count) return;
    c->colours = allocate(c->colour_count * sizeof *c->colours);
    for (json_each it = json_each_of(given); json_more(&it); json_step(&it))
        if (!hex_colour(json_string(it.value), &c->colours[it.index]))
            fail("bad_argument", "colors, item %u: a colour is spelled like #2f6fdb", it.index + 1);
}

static bool ends_with(slice text, const char *end) {
    size_t length = strlen(end);
    return text.length > length && !memcmp(text.text + text.length - length, end, length);
}

/* The format that was asked for, or else the one the path's name says. */
static void read_format(chart *c, json arguments) {
    int by_name = ends_with(c->path, ".png") ? 1 : ends_with(c->path, ".svg") ? 0 : -1;
    int asked = argument_choice(arguments, "format", FORMATS, -1);
    if (asked >= 0 && by_name >= 0 && asked != by_name)
        fail("bad_argument", "path ends with .%s, but format is %s", FORMATS[by_name], FORMATS[asked]);
    c->png = (asked >= 0 ? asked : by_name) == 1;
    if (c->scale != 1 && !c->png) fail("bad_argument", "scale is for PNG; an SVG has no pixels");
}

static double limit_of(json arguments, const char *name) {
    double value = has_argument(arguments, name) ? json_double(json_get(arguments, name)) : NAN;
    if (fabs(value) > 1e300) fail("bad_argument", "%s must lie between -1e300 and 1e300", name);
    return value;
}

static void check_options(const chart *c, json arguments) {
    if (c->y_min >= c->y_max) fail("bad_argument", "y_min must be less than y_max");
    if (c->stacked && c->kind != BAR && c->kind != AREA)
        fail("bad_argument", "stacked is for bar and area");
    if (c->show_values && c->kind != BAR) fail("bad_argument", "show_values is for bar");
    if (c->bins && c->kind != HISTOGRAM) fail("bad_argument", "bins is for histogram");
    if (c->kind == PIE && (c->x_label.length || c->y_label.length || !isnan(c->y_min) ||
                           !isnan(c->y_max)))
        fail("bad_argument", "a pie has no axes: leave out x_label, y_label, y_min and y_max");
    if (!has_argument(arguments, "rows"))
        for (const char *const *name = (const char *const[]){"columns", "x", "y", NULL}; *name; name++)
            if (has_argument(arguments, *name)) fail("bad_argument", "%s needs rows", *name);
    if ((int64_t)c->width * c->height * c->scale * c->scale > MOST_PIXELS)
        fail("too_large", "%d x %d at scale %d is over %d pixels", c->width, c->height, c->scale,
             MOST_PIXELS);
}

chart read_chart(json arguments) {
    chart c = {
        .kind = (chart_kind)argument_choice(arguments, "type", KINDS, LINE),
        .stacked = argument_boolean(arguments, "stacked", false),
        .show_values = argument_boolean(arguments, "show_values", false),
        .legend = argument_boolean(arguments, "legend", true),
        .width = (int)argument_integer(arguments, "width", 800),
        .height = (int)argument_integer(arguments, "height", 450),
        .scale = (int)argument_integer(arguments, "scale", 1),
        .bins = (int)argument_integer(arguments, "bins", 0),
        .y_min = limit_of(arguments, "y_min"),
        .y_max = limit_of(arguments, "y_max"),
        .title = argument_string(arguments, "title"),
        .description = argument_string(arguments, "description"),
        .x_label = argument_string(arguments, "x_label"),
        .y_label = argument_string(arguments, "y_label"),
        .path = argument_string(arguments, "path"),
        .look = &LOOKS[argument_choice(arguments, "theme", THEMES, 0)],
    };
    if (!has_argument(arguments, "legend")) c.legend = -1;
    read_format(&c, arguments);
    check_options(&c, arguments);
    read_colours(&c, json_get(arguments, "colors"));
    read_data(&c, arguments);
    return c;
}

static void describe_series(buffer *to, const chart *c, size_t index) {
    const series *s = &c->series[index];
    double low = INFINITY, high = -INFINITY;
    size_t count = 0;
    for (size_t i = 0; i < s->count; i++) {
        if (isnan(s->y[i])) continue;
        low = fmin(low, s->y[i]);
        high = fmax(high, s->y[i]);
        count++;
    }
    slice name = shortened(series_name(c, index), 100);
    add_slice(to, format(" %.*s: %zu value%s", SLICE(name), count, count == 1 ? "" : "s"));
    if (count == 1) add_slice(to, format(", %.*s", SLICE(number_label(low))));
    if (count > 1)
        add_slice(to, format(", from %.*s to %.*s", SLICE(number_label(low)),
                             SLICE(number_label(high))));
    add_text(to, ".");
}

slice describe_chart(const chart *c) {
    static const char *const names[] = {"Line chart", "Bar chart", "Pie chart",
                                        "Scatter plot", "Area chart", "Histogram"};
    buffer text = {0};
    add_text(&text, c->stacked ? "Stacked " : "");
    add_text(&text, names[c->kind]);
    if (c->stacked) text.bytes[8] |= 0x20;
    add_text(&text, ".");
    for (size_t i = 0; i < c->series_count && i < 8; i++) describe_series(&text, c, i);
    if (c->series_count > 8) add_slice(&text, format(" And %zu more series.", c->series_count - 8));
    return (slice){text.bytes, text.length};
}

void draw_chart(const chart *c) {
    rectangle room = draw_head(c);
    if (c->kind == PIE) {
        draw_pie(c, room);
        return;
    }
    if (c->kind == HISTOGRAM) {
        draw_histogram(c, room);
        return;
    }
    frame f = draw_axes(c, room, value_range(c), false, c->numeric_x, place_range(c),
                        c->kind == SCATTER);
    if (c->kind == LINE) draw_lines(&f);
    else if (c->kind == AREA) draw_areas(&f);
    else if (c->kind == SCATTER) draw_scatter(&f);
    else draw_bars(&f);
    draw_baseline(&f);
}
