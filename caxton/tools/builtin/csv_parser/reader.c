#include "reader.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "files.h"

static _Noreturn void fail_line(const char *code, const char *what, uint64_t line) {
    fail(code, "line %llu: %s", (unsigned long long)line, what);
}

static bool fill(reader *r) {
    if (r->ended || r->left <= 0) return false;
    ssize_t got = read(r->file, r->chunk, CHUNK);
    if (got < 0) fail("io_failed", "%s", strerror(errno));
    r->at = r->chunk;
    r->end = r->chunk + got;
    r->ended = got == 0;
    r->left -= got;
    return got > 0;
}

void open_reader(reader *r, const char *path, char delimiter) {
    uint64_t size;
    r->file = open_to_read(path, &size);
    r->left = (int64_t)size;
    r->delimiter = delimiter;
    r->line = 1;
    r->stops[(unsigned char)delimiter] = r->stops['\n'] = r->stops['\r'] = true;
    if (!fill(r)) return;
    size_t first = (size_t)(r->end - r->at);
    if (first >= 3 && !memcmp(r->at, "\xEF\xBB\xBF", 3)) r->at += 3;
    if (first >= 2 && (!memcmp(r->at, "\xFF\xFE", 2) || !memcmp(r->at, "\xFE\xFF", 2)))
        fail("not_utf8", "the file is UTF-16; save it as UTF-8");
}

static void reserve(reader *r, size_t more) {
    if (r->used + more > RECORD_BYTES + CHUNK)
        fail_line("record_too_large", "a record is over 4 MiB; is a quote left open?",
                  r->record_line);
    r->text = grow(r->text, &r->capacity, r->used + more, 1);
}

static void end_field(reader *r, size_t start, bool quoted) {
    if (r->count == MOST_COLUMNS)
        fail_line("too_many_columns", "over 4096 columns", r->record_line);
    r->fields = grow(r->fields, &r->field_capacity, r->count + 1, sizeof *r->fields);
    r->fields[r->count++] = (field){(uint32_t)start, (uint32_t)(r->used - start), quoted};
}

/* Copies up to a delimiter or line end. */
static void plain_field(reader *r) {
    for (;;) {
        const unsigned char *p = r->at, *end = r->end;
        const bool *stops = r->stops;
        reserve(r, (size_t)(end - p));
        char *to = r->text + r->used;
        while (p < end && !stops[*p]) *to++ = (char)*p++;
        r->used = (size_t)(to - r->text);
        r->at = p;
        if (p < end || !fill(r)) return;
    }
}

/* Copies what is between quotes; leaves the reader after the closing one. */
static void quoted_field(reader *r) {
    uint64_t opened = r->line;
    r->at++;
    for (;;) {
        if (r->at == r->end && !fill(r))
            fail_line("broken_quoting", "the quote opened here is never closed", opened);
        reserve(r, (size_t)(r->end - r->at));
        const unsigned char *p = r->at, *end = r->end;
        char *to = r->text + r->used;
        while (p < end && *p != '"') {
            r->line += *p == '\n';
            *to++ = (char)*p++;
        }
        r->used = (size_t)(to - r->text);
        r->at = p;
        if (p == end) continue;
        r->at++;
        if ((r->at == r->end && !fill(r)) || *r->at != '"') return;
        r->text[r->used++] = '"';
        r->at++;
    }
}

static void skip_blank_lines(reader *r) {
    while (r->at < r->end || fill(r)) {
        if (*r->at == '\n') {
            r->line += !r->skip_newline;
        } else if (*r->at == '\r') {
            r->line++;
        } else {
            break;
        }
        r->skip_newline = *r->at == '\r';
        r->at++;
    }
    r->skip_newline = false;
}

bool next_record(reader *r) {
    skip_blank_lines(r);
    if (r->at == r->end && !fill(r)) return false;
    r->used = r->count = 0;
    r->record_line = r->line;
    for (;;) {
        size_t start = r->used;
        bool quoted = (r->at < r->end || fill(r)) && *r->at == '"';
        if (quoted) quoted_field(r);
        else if (r->at < r->end) plain_field(r);
        if (quoted && r->at < r->end && !r->stops[*r->at])
            fail_line("broken_quoting", "text after a closing quote", r->line);
        end_field(r, start, quoted);
        if (r->at == r->end) return true;
        unsigned char stop = *r->at++;
        if (stop == (unsigned char)r->delimiter) continue;
        r->line++;
        r->skip_newline = stop == '\r';
        return true;
    }
}
