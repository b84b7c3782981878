/* The data: series with labels, or rows with columns. */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "chart.h"
#include "numbers.h"

#define LARGEST 1e300

enum { LABEL_BYTES = 300 };

/*
 * A decimal number and nothing else, with spaces around. Up to 15 digits are read exactly, more to
 * within what a chart can show; strtod is far slower.
 */
static bool number_in(slice text, double *found) {
    const char *at = text.text, *end = at + text.length;
    while (at < end && *at == ' ') at++;
    while (at < end && end[-1] == ' ') end--;
    bool negative = at < end && *at == '-';
    if (at < end && (*at == '-' || *at == '+')) at++;
    uint64_t digits = 0;
    int power = 0, count = 0;
    for (bool point = false; at < end; at++) {
        if (*at == '.' && !point) {
            point = true;
            continue;
        }
        if (*at < '0' || *at > '9') break;
        count++;
        bool kept = digits < 100000000000000000u;
        if (kept) digits = digits * 10 + (uint64_t)(*at - '0');
        power += (int)!kept - (int)point;
    }
    if (!count) return false;
    if (at < end && (*at == 'e' || *at == 'E')) {
        bool down = ++at < end && *at == '-';
        int exponent = 0, start = 0;
        if (at < end && (*at == '-' || *at == '+')) at++;
        for (; at < end && *at >= '0' && *at <= '9'; at++, start = 1)
            if (exponent < 100000) exponent = exponent * 10 + (*at - '0');
        if (!start) return false;
        power += down ? -exponent : exponent;
    }
    double value = (double)digits;
    if (digits && power < -300) value = value * 1e-300 * pow(10, power + 300);
    else if (digits && power) value = power < 0 ? value / pow(10, -power) : value * pow(10, power);
    *found = negative ? -value : value;
    return at == end && isfinite(value);
}

static bool is_missing(json value) {
    json_type type = json_type_of(value);
    return type == JSON_NULL || type == JSON_NOTHING ||
           (type == JSON_STRING && !json_string(value).length);
}

/* Numbers may be spelled as strings, as they come out of a CSV file. */
static bool to_number(json value, double *found) {
    if (json_type_of(value) == JSON_STRING) return number_in(json_string(value), found);
    if (json_type_of(value) != JSON_NUMBER) return false;
    if (!number_in(json_raw(value), found)) *found = INFINITY;
    return true;
}

static double checked_number(json value, slice where, size_t position) {
    double number = 0;
    where = shortened(where, 100);
    if (!to_number(value, &number)) {
        slice said = json_type_of(value) == JSON_STRING ? shortened(json_string(value), 40)
                                                        : slice_of(json_type_name(value));
        fail("bad_data", "%.*s, value %zu: a number or null was expected, not \"%.*s\"",
             SLICE(where), position, SLICE(said));
    }
    if (fabs(number) > LARGEST)
        fail("bad_data", "%.*s, value %zu: numbers must lie between -1e300 and 1e300", SLICE(where),
             position);
    return number;
}

static slice label_of(json value) {
    switch (json_type_of(value)) {
    case JSON_STRING: return shortened(json_string(value), LABEL_BYTES);
    case JSON_NUMBER: return number_label(json_double(value));
    case JSON_TRUE:
    case JSON_FALSE: return json_raw(value);
    default: return (slice){"", 0};
    }
}

static void add_series(chart *c, series one) {
    if (c->series_count == MOST_SERIES) fail("too_large", "at most %d series", MOST_SERIES);
    c->points += one.count;
    if (c->points > MOST_VALUES) fail("too_large", "at most %d values in all", MOST_VALUES);
    one.name = shortened(one.name, LABEL_BYTES);
    c->series[c->series_count++] = one;
}

/* A table of cells; rows of objects become rows of cells. */
typedef struct {
    slice columns[MOST_COLUMNS];
    size_t column_count, row_count;
    json *cells;
} table;

static slice names_of(const table *t) {
    buffer names = {0};
    for (size_t i = 0; i < t->column_count && names.length < 400; i++) {
        if (i) add_text(&names, ", ");
        add_slice(&names, shortened(t->columns[i], 80));
    }
    return (slice){names.bytes, names.length};
}

static ptrdiff_t find_column(const table *t, slice name) {
    for (size_t i = 0; i < t->column_count; i++)
        if (equal(t->columns[i], name)) return (ptrdiff_t)i;
    return -1;
}

static size_t column_of(const table *t, slice name) {
    ptrdiff_t found = find_column(t, name);
    if (found >= 0) return (size_t)found;
    fail("unknown_column", "there is no column \"%.*s\"; there is %.*s", SLICE(shortened(name, 80)),
         SLICE(names_of(t)));
}

static void add_column(table *t, slice name) {
    if (find_column(t, name) >= 0)
        fail("bad_data", "two columns are named \"%.*s\"", SLICE(shortened(name, 80)));
    if (t->column_count == MOST_COLUMNS) fail("too_large", "at most %d columns", MOST_COLUMNS);
    t->columns[t->column_count++] = name;
}

static void read_columns(table *t, json arguments, json rows) {
    json columns = json_get(arguments, "columns"), first = json_item(rows, 0);
    for (json_each it = json_each_of(columns); json_more(&it); json_step(&it))
        add_column(t, json_string(it.value));
    if (t->column_count) return;
    if (json_type_of(first) != JSON_OBJECT)
        fail("missing_argument", "rows that are arrays need columns, the names of their cells");
    for (json_each it = json_each_of(first); json_more(&it); json_step(&it))
        add_column(t, json_string(it.key));
    if (!t->column_count) fail("bad_data", "the first row is empty");
}

static void read_row(const table *t, json row, size_t number, json *cells) {
    size_t count = 0;
    for (json_each it = json_each_of(row); json_more(&it); json_step(&it)) {
        ptrdiff_t column = it.object ? find_column(t, json_string(it.key)) : (ptrdiff_t)count;
        count++;
        if (column < 0) continue;
        if ((size_t)column >= t->column_count)
            fail("bad_data", "row %zu has more cells than there are columns (%zu)", number,
                 t->column_count);
        cells[column] = it.value;
    }
}

static void read_table(table *t, json arguments) {
    json rows = json_get(arguments, "rows");
    t->row_count = json_count(rows);
    if (!t->row_count) fail("no_data", "rows is empty: there is nothing to draw");
    read_columns(t, arguments, rows);
    if (t->row_count > MOST_CELLS / t->column_count)
        fail("too_large", "at most %d cells; leave out columns that are not drawn", MOST_CELLS);
    t->cells = allocate_zeroed(t->row_count * t->column_count, sizeof *t->cells);
    for (json_each it = json_each_of(rows); json_more(&it); json_step(&it))
        read_row(t, it.value, it.index + 1, t->cells + it.index * t->column_count);
}

static json cell(const table *t, size_t row, size_t column) {
    return t->cells[row * t->column_count + column];
}

static bool all_numbers(const table *t, size_t column) {
    double number;
    size_t found = 0;
    for (size_t row = 0; row < t->row_count; row++) {
        json value = cell(t, row, column);
        if (is_missing(value)) continue;
        if (!to_number(value, &number)) return false;
        found++;
    }
    return found > 0;
}

static series column_series(const table *t, size_t column) {
    series one = {.name = t->columns[column], .count = t->row_count};
    one.y = allocate(one.count * sizeof *one.y);
    for (size_t row = 0; row < one.count; row++) {
        json value = cell(t, row, column);
        one.y[row] = is_missing(value) ? NAN : checked_number(value, one.name, row + 1);
    }
    return one;
}

static double *copy_numbers(const double *from, size_t count) {
    double *copy = allocate(count * sizeof *copy);
    memcpy(copy, from, count * sizeof *copy);
    return copy;
}

static bool wants_x(const chart *c) {
    return c->kind == LINE || c->kind == SCATTER || c->kind == AREA;
}

static void table_labels(chart *c, const table *t, size_t column) {
    c->numeric_x = wants_x(c) && all_numbers(t, column);
    if (c->numeric_x) {
        series x = column_series(t, column);
        for (size_t i = 0; i < c->series_count; i++)
            c->series[i].x = copy_numbers(x.y, x.count);
        return;
    }
    c->label_count = t->row_count;
    c->labels = allocate(c->label_count * sizeof *c->labels);
    for (size_t row = 0; row < t->row_count; row++) c->labels[row] = label_of(cell(t, row, column));
}

static void from_rows(chart *c, json arguments) {
    static table t;
    read_table(&t, arguments);
    json x = json_get(arguments, "x"), y = json_get(arguments, "y");
    bool named = json_type_of(x) == JSON_STRING, chosen = json_count(y) > 0;
    bool labelled = named || (c->kind != HISTOGRAM && t.column_count > 1);
    size_t label_column = named ? column_of(&t, json_string(x)) : 0;
    for (json_each it = json_each_of(y); json_more(&it); json_step(&it))
        add_series(c, column_series(&t, column_of(&t, json_string(it.value))));
    for (size_t i = 0; i < t.column_count && !chosen; i++)
        if (!(labelled && i == label_column) && all_numbers(&t, i))
            add_series(c, column_series(&t, i));
    if (!c->series_count)
        fail("no_data", "no column holds numbers only; name those to draw in y (there is %.*s)",
             SLICE(names_of(&t)));
    if (labelled) table_labels(c, &t, label_column);
}

static series read_series(json given) {
    json values = json_get(given, "values"), name = json_get(given, "name");
    series one = {.name = json_type_of(name) == JSON_STRING ? json_string(name) : (slice){"", 0}};
    slice where = one.name.length ? one.name : slice_of("series");
    one.count = json_count(values);
    one.y = allocate(one.count * sizeof *one.y);
    for (json_each it = json_each_of(values); json_more(&it); json_step(&it))
        one.y[it.index] = is_missing(it.value) ? NAN
                                               : checked_number(it.value, where, it.index + 1);
    json x = json_get(given, "x");
    if (json_type_of(x) != JSON_ARRAY) return one;
    if (json_count(x) != one.count)
        fail("bad_data", "%.*s: x has %u values, values has %zu", SLICE(shortened(where, 100)),
             json_count(x), one.count);
    one.x = allocate(one.count * sizeof *one.x);
    for (json_each it = json_each_of(x); json_more(&it); json_step(&it))
        one.x[it.index] = is_missing(it.value) ? NAN
                                               : checked_number(it.value, where, it.index + 1);
    return one;
}

static size_t longest(const chart *c) {
    size_t most = 0;
    for (size_t i = 0; i < c->series_count; i++)
        if (c->series[i].count > most) most = c->series[i].count;
    return most;
}

/* The places 1, 2, 3 ... of a series without x, so that it can stand beside one with x. */
static void number_places(series *one) {
    one->x = allocate(one->count * sizeof *one->x);
    for (size_t i = 0; i < one->count; i++) one->x[i] = (double)i + 1;
}

static void read_labels(chart *c, json labels) {
    size_t count = json_count(labels), most = longest(c), numbers = 0;
    if (count && count < most)
        fail("bad_data", "labels has %zu items, a series has %zu values", count, most);
    for (json_each it = json_each_of(labels); json_more(&it); json_step(&it))
        numbers += json_type_of(it.value) == JSON_NUMBER;
    if (count && numbers == count && wants_x(c)) {
        double *x = allocate(count * sizeof *x);
        for (json_each it = json_each_of(labels); json_more(&it); json_step(&it))
            x[it.index] = checked_number(it.value, slice_of("labels"), it.index + 1);
        for (size_t i = 0; i < c->series_count; i++)
            c->series[i].x = copy_numbers(x, c->series[i].count);
        c->numeric_x = true;
    } else if (count) {
        c->label_count = count;
        c->labels = allocate(count * sizeof *c->labels);
        for (json_each it = json_each_of(labels); json_more(&it); json_step(&it))
            c->labels[it.index] = label_of(it.value);
    }
}

static void from_series(chart *c, json arguments) {
    bool any_x = false;
    json labels = json_get(arguments, "labels"), given = json_get(arguments, "series");
    for (json_each it = json_each_of(given); json_more(&it); json_step(&it)) {
        add_series(c, read_series(it.value));
        any_x |= c->series[c->series_count - 1].x != NULL;
    }
    if (any_x && !wants_x(c))
        fail("bad_argument", "x in a series is for line, area and scatter only; use labels");
    if (any_x && json_count(labels))
        fail("bad_argument", "give labels, or x in each series, not both");
    read_labels(c, labels);
    c->numeric_x |= any_x;
}

/* Numbers 1, 2, 3 ... where nothing was said. */
static void default_labels(chart *c) {
    if (c->numeric_x || c->label_count || c->kind == HISTOGRAM) return;
    if (wants_x(c)) {
        c->numeric_x = true;
        return;
    }
    c->label_count = longest(c);
    c->labels = allocate(c->label_count * sizeof *c->labels);
    for (size_t i = 0; i < c->label_count; i++) c->labels[i] = format("%zu", i + 1);
}

typedef struct {
    double x, y;
    size_t place;
} pair;

static int by_x(const void *a, const void *b) {
    const pair *p = a, *q = b;
    return p->x != q->x ? (p->x > q->x) - (p->x < q->x) : (p->place > q->place) - (p->place < q->place);
}

/* Drops values whose x is missing; for lines and areas, orders by x. */
static void order_by_x(const chart *c, series *one) {
    pair *pairs = allocate(one->count * sizeof *pairs);
    size_t kept = 0;
    for (size_t i = 0; i < one->count; i++)
        if (!isnan(one->x[i])) pairs[kept++] = (pair){one->x[i], one->y[i], i};
    if (c->kind != SCATTER) qsort(pairs, kept, sizeof *pairs, by_x);
    for (size_t i = 0; i < kept; i++) {
        one->x[i] = pairs[i].x;
        one->y[i] = pairs[i].y;
    }
    one->count = kept;
    release(pairs);
}

static void count_values(chart *c) {
    size_t given = c->points;
    c->points = 0;
    for (size_t i = 0; i < c->series_count; i++)
        for (size_t k = 0; k < c->series[i].count; k++) c->points += !isnan(c->series[i].y[k]);
    c->missing = given - c->points;
    if (!c->points) fail("no_data", "every value is missing: there is nothing to draw");
}

static void check_stack(const chart *c) {
    if (!c->stacked || !c->numeric_x) return;
    for (size_t i = 1; i < c->series_count; i++) {
        const series *a = &c->series[0], *b = &c->series[i];
        bool alike = a->count == b->count;
        for (size_t k = 0; alike && k < a->count; k++) alike = a->x[k] == b->x[k];
        if (!alike) fail("bad_data", "stacked series need the same x, in all of them");
    }
}

static void check_pie(const chart *c) {
    double total = 0;
    if (c->series_count > 1) fail("bad_data", "a pie shows one series, not %zu", c->series_count);
    for (size_t i = 0; i < c->series[0].count; i++) {
        double value = c->series[0].y[i];
        if (isnan(value)) continue;
        if (value < 0) fail("bad_data", "value %zu is negative: a pie cannot show it", i + 1);
        total += value;
    }
    if (total <= 0) fail("no_data", "all values are 0: a pie cannot show them");
}

void read_data(chart *c, json arguments) {
    bool rows = json_type_of(json_get(arguments, "rows")) == JSON_ARRAY;
    bool listed = json_type_of(json_get(arguments, "series")) == JSON_ARRAY;
    if (rows == listed) fail("missing_argument", "give series, or rows with columns, and not both");
    if (rows && json_type_of(json_get(arguments, "labels")) == JSON_ARRAY)
        fail("bad_argument", "labels belong to series; with rows, x names their column");
    c->series = allocate_zeroed(MOST_SERIES, sizeof *c->series);
    if (rows) from_rows(c, arguments);
    else from_series(c, arguments);
    if (!c->series_count) fail("no_data", "series is empty: there is nothing to draw");
    default_labels(c);
    for (size_t i = 0; i < c->series_count && c->numeric_x; i++) {
        if (!c->series[i].x) number_places(&c->series[i]);
        order_by_x(c, &c->series[i]);
    }
    count_values(c);
    check_stack(c);
    if (c->kind == PIE) check_pie(c);
}
