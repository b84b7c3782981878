/* Streaming CSV reader: RFC 4180, and LF or CR alone as line ends. */

#ifndef READER_H
#define READER_H

#include "text.h"

enum { CHUNK = 1 << 16, RECORD_BYTES = 4 << 20, MOST_COLUMNS = 4096 };

typedef struct {
    uint32_t start, length;
    bool quoted;
} field;

typedef struct {
    int file;
    char delimiter;
    int64_t left;
    bool ended, skip_newline;
    uint64_t line, record_line;
    const unsigned char *at, *end;
    char *text;
    size_t used, capacity;
    field *fields;
    size_t count, field_capacity;
    bool stops[256];
    unsigned char chunk[CHUNK];
} reader;

/* Opens a file in a granted folder; the reader must be zeroed. */
void open_reader(reader *r, const char *path, char delimiter);
/* The next record into r->fields; false at the end. Blank lines are not records. */
bool next_record(reader *r);

#endif
