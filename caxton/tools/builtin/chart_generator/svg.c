/* Shapes as SVG 1.1 elements. Coordinates have at most two decimals. */

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "canvas.h"
#include "font.h"

/* Dots of one path do not darken where they lie on each other, those of two paths do. */
enum { DOTS_OF_A_PATH = 200 };

static buffer svg;
static uint32_t page_id;
static int clip_count;

static void svg_add(const char *pattern, ...) __attribute__((format(printf, 1, 2)));

static void svg_add(const char *pattern, ...) {
    char text[700];
    va_list values;
    va_start(values, pattern);
    vsnprintf(text, sizeof text, pattern, values);
    va_end(values);
    add_text(&svg, text);
}

/* Text between tags and in attributes. What XML 1.0 cannot say becomes U+FFFD. */
static void svg_escaped(slice text) {
    for (const char *at = text.text, *end = at + text.length; at < end;) {
        const char *start = at;
        uint32_t code = next_code(&at, end);
        if (code == '&') add_text(&svg, "&amp;");
        else if (code == '<') add_text(&svg, "&lt;");
        else if (code == '>') add_text(&svg, "&gt;");
        else if (code == '"') add_text(&svg, "&quot;");
        else if (code == '\t' || code == '\n' || code == '\r') add_text(&svg, " ");
        else if (code < 0x20 || (code & 0xFFFE) == 0xFFFE || code == 0xFFFD)
            add_text(&svg, "\xEF\xBF\xBD");
        else add_bytes(&svg, start, (size_t)(at - start));
    }
}

/* printf is too slow for thousands of points. */
static void svg_number(double value) {
    char text[24], *at = text + sizeof text;
    int64_t hundredths = (int64_t)round(value * 100), rest = hundredths < 0 ? -hundredths : hundredths;
    int fraction = (int)(rest % 100);
    rest /= 100;
    if (fraction) {
        if (fraction % 10) *--at = (char)('0' + fraction % 10);
        *--at = (char)('0' + fraction / 10);
        *--at = '.';
    }
    do *--at = (char)('0' + rest % 10);
    while (rest /= 10);
    if (hundredths < 0) *--at = '-';
    add_bytes(&svg, at, (size_t)(text + sizeof text - at));
}

static void svg_attribute(const char *name, double value) {
    svg_add(" %s=\"", name);
    svg_number(value);
    add_text(&svg, "\"");
}

static void svg_colour(const char *name, colour c) {
    svg_add(" %s=\"#%02x%02x%02x\"", name, c.red, c.green, c.blue);
}

static void svg_fill(colour fill, double alpha) {
    svg_colour("fill", fill);
    if (alpha < 1) svg_attribute("fill-opacity", alpha);
}

static void svg_close(const char *element, slice tip) {
    if (!tip.length) {
        add_text(&svg, "/>\n");
        return;
    }
    add_text(&svg, "><title>");
    svg_escaped(tip);
    svg_add("</title></%s>\n", element);
}

static void svg_points(const char *attribute, const point *points, size_t count) {
    svg_add(" %s=\"", attribute);
    for (size_t i = 0; i < count; i++) {
        if (i) add_text(&svg, " ");
        svg_number(points[i].x);
        add_text(&svg, ",");
        svg_number(points[i].y);
    }
    add_text(&svg, "\"");
}

static void svg_box(rectangle r) {
    svg_attribute("x", r.x);
    svg_attribute("y", r.y);
    svg_attribute("width", r.width);
    svg_attribute("height", r.height);
}

static void svg_rectangle(rectangle r, colour fill, double alpha, slice tip) {
    add_text(&svg, "<rect");
    svg_box(r);
    svg_fill(fill, alpha);
    svg_close("rect", tip);
}

static void svg_step(const char *command, double value) {
    add_text(&svg, command);
    svg_number(value);
}

static void svg_rectangles(const rectangle *shapes, size_t count, colour fill, double alpha) {
    if (!count) return;
    add_text(&svg, "<path d=\"");
    for (size_t i = 0; i < count; i++) {
        svg_step("M", shapes[i].x);
        svg_step(" ", shapes[i].y);
        svg_step("h", shapes[i].width);
        svg_step("v", shapes[i].height);
        svg_step("h", -shapes[i].width);
        add_text(&svg, "z");
    }
    add_text(&svg, "\"");
    svg_fill(fill, alpha);
    svg_close("path", NO_TIP);
}

static void svg_polygon(const point *points, size_t count, colour fill, double alpha) {
    add_text(&svg, "<polygon");
    svg_points("points", points, count);
    svg_fill(fill, alpha);
    svg_close("polygon", NO_TIP);
}

static void svg_line(const point *points, size_t count, colour ink, double width) {
    add_text(&svg, "<polyline");
    svg_points("points", points, count);
    add_text(&svg, " fill=\"none\"");
    svg_colour("stroke", ink);
    svg_attribute("stroke-width", width);
    if (width > 1) add_text(&svg, " stroke-linecap=\"round\" stroke-linejoin=\"round\"");
    svg_close("polyline", NO_TIP);
}

static void svg_disc(point middle, double radius, colour fill, double alpha, slice tip) {
    add_text(&svg, "<circle");
    svg_attribute("cx", middle.x);
    svg_attribute("cy", middle.y);
    svg_attribute("r", radius);
    svg_fill(fill, alpha);
    svg_close("circle", tip);
}

static void svg_dots(const point *points, size_t count, double radius, colour fill, double alpha) {
    for (size_t i = 0; i < count; i++) {
        if (i % DOTS_OF_A_PATH == 0) add_text(&svg, "<path d=\"");
        svg_step("M", round(points[i].x * 10) / 10);
        svg_step(" ", round(points[i].y * 10) / 10);
        add_text(&svg, "h0");
        if (i + 1 < count && (i + 1) % DOTS_OF_A_PATH) continue;
        add_text(&svg, "\" fill=\"none\" stroke-linecap=\"round\"");
        svg_colour("stroke", fill);
        svg_attribute("stroke-width", 2 * radius);
        svg_attribute("stroke-opacity", alpha);
        svg_close("path", NO_TIP);
    }
}

static void svg_wedge(point middle, double radius, double from, double to, colour fill,
                      colour border, slice tip) {
    /* An arc cannot be a whole circle: its ends would be one point. */
    if (to - from >= 2 * PI - 1e-9) {
        svg_disc(middle, radius, fill, 1, tip);
        return;
    }
    add_text(&svg, "<path d=\"");
    svg_step("M", middle.x);
    svg_step(" ", middle.y);
    svg_step("L", middle.x + radius * sin(from));
    svg_step(" ", middle.y - radius * cos(from));
    svg_step("A", radius);
    svg_step(" ", radius);
    svg_add(" 0 %d 1 ", to - from > PI);
    svg_number(middle.x + radius * sin(to));
    svg_step(" ", middle.y - radius * cos(to));
    add_text(&svg, "Z\"");
    svg_fill(fill, 1);
    svg_colour("stroke", border);
    add_text(&svg, " stroke-width=\"1.5\" stroke-linejoin=\"round\"");
    svg_close("path", tip);
}

static void svg_text(double x, double y, slice text, text_style style) {
    add_text(&svg, "<text");
    svg_attribute("x", x);
    svg_attribute("y", y);
    svg_attribute("font-size", style.size);
    svg_colour("fill", style.ink);
    if (style.at != START)
        svg_add(" text-anchor=\"%s\"", style.at == MIDDLE ? "middle" : "end");
    if (style.bold) add_text(&svg, " font-weight=\"600\"");
    if (style.turn != 0) {
        svg_add(" transform=\"rotate(%g ", style.turn);
        svg_number(x);
        add_text(&svg, " ");
        svg_number(y);
        add_text(&svg, ")\"");
    }
    add_text(&svg, ">");
    svg_escaped(text);
    add_text(&svg, "</text>\n");
}

static void svg_clip(rectangle r) {
    clip_count++;
    svg_add("<clipPath id=\"c%08x-clip%d\"><rect", page_id, clip_count);
    svg_box(r);
    svg_add("/></clipPath>\n<g clip-path=\"url(#c%08x-clip%d)\">\n", page_id, clip_count);
}

static void svg_unclip(void) { add_text(&svg, "</g>\n"); }

void svg_begin(int width, int height, slice title, slice description, uint32_t seed) {
    page_id = seed;
    svg_add("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
            "viewBox=\"0 0 %d %d\" role=\"img\" aria-labelledby=\"c%08x-title c%08x-desc\" ",
            width, height, width, height, page_id, page_id);
    add_text(&svg, "font-family=\"system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', "
                   "Arial, sans-serif\">\n");
    svg_add("<title id=\"c%08x-title\">", page_id);
    svg_escaped(title);
    svg_add("</title>\n<desc id=\"c%08x-desc\">", page_id);
    svg_escaped(description);
    add_text(&svg, "</desc>\n");
}

buffer svg_end(void) {
    add_text(&svg, "</svg>\n");
    return svg;
}

const canvas VECTOR = {
    .rectangle = svg_rectangle,
    .rectangles = svg_rectangles,
    .polygon = svg_polygon,
    .line = svg_line,
    .disc = svg_disc,
    .dots = svg_dots,
    .wedge = svg_wedge,
    .text = svg_text,
    .clip = svg_clip,
    .unclip = svg_unclip,
};
