/*
 * csv_parser: questions about a CSV file, answered as JSON.
 *
 * The file is read as a stream: memory grows with columns, groups, the answer and, for a median,
 * numbers, not with rows.
 */

#include <stdlib.h>
#include <string.h>

#include "files.h"
#include "groups.h"
#include "reader.h"
#include "tool.h"

enum { NONE = -1, EXAMPLES = 3 };

typedef enum { DESCRIBE, HEAD, COUNT, MEAN, SUM, MIN, MAX, MEDIAN, UNIQUE, GROUP } operation;

static const char *const OPERATIONS[] = {"describe", "head", "count",  "mean",   "sum", "min",
                                         "max",      "median", "unique", "group", NULL};

typedef struct {
    slice path, column, group_by, delimiter;
    int64_t limit;
} arguments;

static reader csv;
static slice *names;
static size_t column_count;
static uint64_t row_count, ragged, first_ragged;
static example examples[EXAMPLES];
static size_t example_count;

static void read_header(void) {
    if (!next_record(&csv)) fail("empty_file", "the file has no header line");
    column_count = csv.count;
    names = allocate_zeroed(column_count, sizeof *names);
    for (size_t i = 0; i < column_count; i++) {
        slice name = {csv.text + csv.fields[i].start, csv.fields[i].length};
        names[i] = (slice){copy_text(name), name.length};
    }
}

static void out_names(void) {
    out_text("[");
    for (size_t i = 0; i < column_count; i++) {
        if (i) out_text(",");
        out_string(names[i]);
    }
    out_text("]");
}

static _Noreturn void fail_column(slice name, const char *code, const char *what) {
    out_cut(0);
    out_text("{\"error\":{\"code\":");
    out_cstring(code);
    out_text(",\"message\":");
    out_cstring(what);
    out_text(",\"column\":");
    out_string(name);
    out_text(",\"columns\":");
    out_names();
    out_text("}}\n");
    out_flush();
    _Exit(1);
}

static int column_of(slice name) {
    int found = NONE;
    if (!name.text) return NONE;
    for (size_t i = 0; i < column_count; i++) {
        if (names[i].length != name.length || memcmp(names[i].text, name.text, name.length))
            continue;
        if (found != NONE)
            fail_column(name, "ambiguous_column", "two columns have this name");
        found = (int)i;
    }
    if (found == NONE)
        fail_column(name, "unknown_column", "there is no such column; see columns");
    return found;
}

static slice cell(int column) {
    if ((size_t)column >= csv.count) return (slice){csv.text, 0};
    field *f = &csv.fields[column];
    return (slice){csv.text + f->start, f->length};
}

static bool next_row(void) {
    if (!next_record(&csv)) return false;
    row_count++;
    if (csv.count != column_count && !ragged++) first_ragged = csv.record_line;
    return true;
}

static void keep_example(slice value) {
    if (example_count == EXAMPLES) return;
    example *e = &examples[example_count++];
    e->line = csv.record_line;
    e->length = value.length < 80 ? value.length : 80;
    /* Cut between characters, not inside one. */
    while (e->length < value.length && e->length && (value.text[e->length] & 0xC0) == 0x80)
        e->length--;
    memcpy(e->text, value.text, e->length);
}

static void add(statistics *s, slice value, bool keep) {
    bool was_text;
    add_cell(s, value.text, value.length, keep, &was_text);
    if (was_text) keep_example(value);
}

static void out_field(const char *name, uint64_t value) {
    out_text(",\"");
    out_text(name);
    out_text("\":");
    out_unsigned(value);
}

static void begin_result(const arguments *given, operation op) {
    out_text("{\"path\":");
    out_string(given->path);
    out_text(",\"operation\":");
    out_cstring(OPERATIONS[op]);
}

static void end_result(void) {
    out_field("rows_total", row_count);
    if (ragged) {
        out_field("ragged_rows", ragged);
        out_field("first_ragged_line", first_ragged);
    }
    out_text("}");
}

static void out_column(const char *name, slice value) {
    out_text(",\"");
    out_text(name);
    out_text("\":");
    out_string(value);
}

static void out_examples(void) {
    if (!example_count) return;
    out_text(",\"non_numeric_examples\":[");
    for (size_t i = 0; i < example_count; i++) {
        out_text(i ? ",{\"line\":" : "{\"line\":");
        out_unsigned(examples[i].line);
        out_text(",\"value\":");
        out_string((slice){examples[i].text, examples[i].length});
        out_text("}");
    }
    out_text("]");
}

static void out_value(const statistics *s, operation op) {
    if (!s->numeric) out_text("null");
    else if (op == MEAN) out_mean(s);
    else if (op == SUM) out_sum(s);
    else if (op == MIN) out_double(s->smallest);
    else if (op == MAX) out_double(s->largest);
    else out_median(s);
}

static void out_all(const statistics *s) {
    static const operation ops[] = {SUM, MEAN, MIN, MAX};
    out_field("numeric", s->numeric);
    out_field("missing", s->missing);
    out_field("non_numeric", s->text);
    for (size_t i = 0; s->numeric && i < sizeof ops / sizeof *ops; i++) {
        out_text(",\"");
        out_text(OPERATIONS[ops[i]]);
        out_text("\":");
        out_value(s, ops[i]);
    }
}

static void run_describe(int column) {
    statistics *all = allocate_zeroed(column_count, sizeof *all);
    int first = column == NONE ? 0 : column;
    int last = column == NONE ? (int)column_count - 1 : column;
    while (next_row())
        for (int i = first; i <= last; i++) {
            bool was_text;
            slice value = cell(i);
            add_cell(&all[i], value.text, value.length, false, &was_text);
        }
    out_text(",\"columns\":[");
    for (int i = first; i <= last; i++) {
        statistics *s = &all[i];
        const char *type = s->numeric ? (s->text ? "mixed" : "number") : s->text ? "text" : "empty";
        out_text(i > first ? ",{\"name\":" : "{\"name\":");
        out_string(names[i]);
        out_text(",\"type\":");
        out_cstring(type);
        out_all(s);
        out_text("}");
    }
    out_text("]");
}

static void run_head(int64_t limit) {
    out_text(",\"columns\":");
    out_names();
    out_text(",\"rows\":[");
    while (next_row()) {
        if (row_count > (uint64_t)limit) continue;
        out_text(row_count > 1 ? ",[" : "[");
        size_t width = csv.count > column_count ? csv.count : column_count;
        for (size_t i = 0; i < width; i++) {
            if (i) out_text(",");
            slice value = cell((int)i);
            if (i < csv.count) out_string(value);
            else out_text("null");
        }
        out_text("]");
    }
    out_text("]");
}

static void run_statistic(operation op, int column) {
    statistics s = {0};
    while (next_row()) add(&s, cell(column), op == MEDIAN);
    out_column("column", names[column]);
    if (op == COUNT) {
        out_field("count", s.numeric + s.text);
        out_field("missing", s.missing);
        return;
    }
    out_text(",\"value\":");
    out_value(&s, op);
    out_field("count", s.numeric);
    out_field("missing", s.missing);
    out_field("non_numeric", s.text);
    out_examples();
}

static void run_grouped(operation op, int by, int column, int64_t limit) {
    groups g = {0};
    while (next_row()) {
        slice key = cell(by);
        group *found = group_of(&g, key.text, key.length);
        found->rows++;
        if (column == NONE) continue;
        if (!found->stats) found->stats = allocate_zeroed(1, sizeof *found->stats);
        add(found->stats, cell(column), op == MEDIAN);
    }
    sort_groups(&g);
    out_column(op == UNIQUE ? "column" : "group_by", names[by]);
    if (column != NONE) out_column("column", names[column]);
    out_field(op == UNIQUE ? "distinct" : "groups_total", g.count);
    out_text(op == UNIQUE ? ",\"values\":[" : ",\"groups\":[");
    for (size_t i = 0; i < g.count && i < (size_t)limit; i++) {
        group *item = g.items[i];
        out_text(i ? ",{" : "{");
        out_text(op == UNIQUE ? "\"value\":" : "\"group\":");
        out_string((slice){item->key, item->length});
        out_field(op == UNIQUE ? "count" : "rows", item->rows);
        if (column != NONE && (op == GROUP || op == COUNT)) {
            out_all(item->stats);
        } else if (column != NONE) {
            out_text(",\"value\":");
            out_value(item->stats, op);
            out_field("count", item->stats->numeric);
        }
        out_text("}");
    }
    out_text("]");
    out_examples();
}

static void check(const arguments *given, operation op) {
    if (op >= MEAN && op <= UNIQUE && !given->column.text)
        fail("missing_argument", "this operation needs column");
    if (op == GROUP && !given->group_by.text)
        fail("missing_argument", "operation group needs group_by");
    if ((op == DESCRIBE || op == HEAD || op == UNIQUE) && given->group_by.text)
        fail("bad_argument", "this operation takes no group_by");
    if (given->delimiter.text &&
        (given->delimiter.length != 1 || strchr("\"\r\n", given->delimiter.text[0]) ||
         (unsigned char)given->delimiter.text[0] >= 0x80))
        fail("bad_argument", "delimiter must be one ASCII character, not a quote or line end");
}

void run(json input) {
    arguments given = {
        .path = argument_string(input, "path"),
        .column = argument_string(input, "column"),
        .group_by = argument_string(input, "group_by"),
        .delimiter = argument_string(input, "delimiter"),
    };
    operation op = (operation)argument_choice(input, "operation", OPERATIONS, DESCRIBE);
    int64_t limit = argument_integer(input, "limit", op == HEAD ? 10 : 100);
    check(&given, op);
    open_reader(&csv, checked_path(given.path), given.delimiter.text ? given.delimiter.text[0] : ',');
    read_header();
    int column = column_of(given.column), by = column_of(given.group_by);
    begin_result(&given, op);
    if (op == UNIQUE) run_grouped(op, column, NONE, limit);
    else if (by != NONE) run_grouped(op, by, column, limit);
    else if (op == DESCRIBE) run_describe(column);
    else if (op == HEAD) run_head(limit);
    else if (op == COUNT && column == NONE) while (next_row()) continue;
    else run_statistic(op, column);
    end_result();
}
