/*
 * chart_generator: data as a line, bar, pie, scatter, area or histogram chart, in SVG or PNG.
 *
 * The chart is laid out once and drawn on a canvas (canvas.h), which is a document or pixels.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "chart.h"
#include "files.h"
#include "tool.h"

const canvas *draw;

static uint32_t hash_of(slice text, uint32_t hash) {
    for (size_t i = 0; i < text.length; i++) hash = (hash ^ (unsigned char)text.text[i]) * 16777619u;
    return hash;
}

/* The same for the same arguments, so that a chart can be compared with an earlier one. */
static uint32_t seed_of(json arguments) { return hash_of(arguments.document->text, 2166136261u); }

/* Writes beside the file and renames, so that there is never half of a chart. */
static void write_file(const char *path, buffer data) {
    char *beside = allocate(strlen(path) + 8);
    sprintf(beside, "%s.part", path);
    int file = open(beside, O_WRONLY | O_CREAT | O_TRUNC, 0644), error = errno;
    size_t done = 0;
    while (file >= 0 && done < data.length) {
        ssize_t wrote = write(file, data.bytes + done, data.length - done);
        if (wrote <= 0) break;
        done += (size_t)wrote;
    }
    if (file >= 0) {
        error = errno;
        bool whole = done == data.length;
        if (close(file) && whole) error = errno, whole = false;
        if (whole && !rename(beside, path)) return;
        if (whole) error = errno;
        unlink(beside);
    }
    fail_file(path, error, true);
}

void run(json arguments) {
    chart c = read_chart(arguments);
    const char *path = c.path.length ? checked_path(c.path) : NULL;
    slice said = c.description.length ? c.description : describe_chart(&c);
    buffer data;
    if (c.png) {
        draw = &RASTER;
        raster_begin(c.width, c.height, c.scale);
        draw_chart(&c);
        data = raster_png();
    } else {
        draw = &VECTOR;
        svg_begin(c.width, c.height, c.title.length ? c.title : slice_of("Chart"), said,
                  seed_of(arguments));
        draw_chart(&c);
        data = svg_end();
    }
    if (path) write_file(path, data);
    out_open('{');
    out_member_string("format", slice_of(c.png ? "png" : "svg"));
    out_member_string("media_type", slice_of(c.png ? "image/png" : "image/svg+xml"));
    out_member_unsigned("width", (uint64_t)(c.width * c.scale));
    out_member_unsigned("height", (uint64_t)(c.height * c.scale));
    out_member_unsigned("bytes", data.length);
    out_member_unsigned("points", c.points);
    out_member_unsigned("missing", c.missing);
    out_member_string("description", said);
    if (path) {
        out_member_string("path", c.path);
    } else if (c.png) {
        out_name("base64");
        out_base64(data.bytes, data.length);
    } else {
        out_member_string("svg", (slice){data.bytes, data.length});
    }
    out_close('}');
}
