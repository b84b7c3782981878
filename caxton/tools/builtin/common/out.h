/* The answer: JSON that is kept until it is complete, so an error found late replaces it. */

#ifndef OUT_H
#define OUT_H

#include "json.h"

/* Bytes as they are; numbers; a JSON string with its quotes (what is not UTF-8 becomes U+FFFD). */
void out_bytes(const char *data, size_t length);
void out_text(const char *text);
void out_unsigned(uint64_t value);
void out_integer(int64_t value);
/* The fewest digits that read back as the same double; null when it is not finite. */
void out_double(double value);
void out_string(slice text);
void out_cstring(const char *text);
void out_boolean(bool value);
/* A value of a document: numbers and strings as they are spelled, without spaces between. */
void out_json(json value);
/* Bytes as a JSON string in base64, with padding. */
void out_base64(const void *data, size_t length);

/*
 * Objects and arrays with their commas: out_open('{'), out_name("a"), a value, out_close('}'). In an
 * array, out_next() goes before each value. At most 64 levels.
 */
void out_open(char bracket);
void out_close(char bracket);
void out_name(const char *name);
void out_name_slice(slice name);
void out_next(void);
/* out_name and a value. */
void out_member_string(const char *name, slice text);
void out_member_unsigned(const char *name, uint64_t value);
void out_member_boolean(const char *name, bool value);

/* How many bytes the answer has so far, and back to an earlier length (at the same level). */
size_t out_length(void);
void out_cut(size_t length);
/* What was written behind a length, until more is written. */
slice out_since(size_t length);
/* Prints it with a line end, once. */
void out_flush(void);

#endif
