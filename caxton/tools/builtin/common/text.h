/* Text by length, UTF-8, buffers that grow, and the end of a tool that failed. */

#ifndef TEXT_H
#define TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memory.h"

/* Bytes with a length; not always ended by a NUL, and may contain one. */
typedef struct {
    const char *text;
    size_t length;
} slice;

/* Bytes that grow. Zeroed is empty; `bytes` is NULL until the first byte. */
typedef struct {
    char *bytes;
    size_t length, capacity;
} buffer;

/* Prints {"error": {"code", "message"}} instead of any answer, and ends with exit code 1. */
_Noreturn void fail(const char *code, const char *format, ...) __attribute__((format(printf, 2, 3)));

void add_bytes(buffer *to, const void *data, size_t length);
void add_text(buffer *to, const char *text);
void add_slice(buffer *to, slice text);
/* One character as UTF-8. */
void add_code_point(buffer *to, uint32_t code);

slice slice_of(const char *text);
bool same(slice text, const char *name);
bool equal(slice a, slice b);
/* Below, at or above zero, by bytes: for valid UTF-8 the order of code points. */
int compare(slice a, slice b);
/* Where `wanted` begins in `text`, or -1. */
ptrdiff_t find(slice text, slice wanted);
/* A copy that ends with a NUL. */
char *copy_text(slice text);

/* Length of the valid UTF-8 sequence at s, 1 to 4, or 0. Refuses overlong forms and surrogates. */
size_t utf8_length(const char *s, size_t left);
/* Length of the part of `text` that is valid UTF-8: text.length when all of it is. */
size_t utf8_valid(slice text);
/* The code point at s, whose length is given; s must be valid. */
uint32_t utf8_code(const char *s, size_t length);
/* Writes 1 to 4 bytes; returns how many. */
size_t utf8_put(char *to, uint32_t code);
/* At most `most` bytes of text, cut between characters. */
slice shortened(slice text, size_t most);

/* Decodes base64 (RFC 4648, with or without padding and line ends); false when it is none. */
bool add_base64_decoded(buffer *to, slice text);

/* The line and the column (in characters) of a byte of `text`, both from 1. Lines end with LF. */
typedef struct {
    unsigned long line, column;
} place;
place place_of(slice text, size_t offset);

/* For printf: %.*s with SLICE(text). */
#define SLICE(s) (int)(s).length, (s).text

#endif
