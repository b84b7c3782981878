/*
 * JSON texts, read strictly by RFC 8259.
 *
 * A document is the text and a table of 8 bytes a node, in the order of the text, so that 10 MB of
 * the densest JSON fits 64 MiB. Strings and numbers stay where they are in the text: a number is
 * never rounded, a string is decoded when it is asked for.
 */

#ifndef JSON_H
#define JSON_H

#include "text.h"

enum { JSON_DEPTH = 512 };

typedef struct {
    uint32_t start; /* offset of the first character */
    uint32_t next;  /* index of the node after this one and all below it; 0: the name of a member */
} json_node;

typedef struct {
    slice text;
    json_node *nodes;
    uint32_t count;
} json_document;

/* One value of a document; `document` NULL: there is none. Passed by value. */
typedef struct {
    const json_document *document;
    uint32_t index;
} json;

typedef enum {
    JSON_NOTHING,
    JSON_NULL,
    JSON_FALSE,
    JSON_TRUE,
    JSON_NUMBER,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT,
} json_type;

/* What is wrong with a text: `message` is NULL when nothing is. */
typedef struct {
    const char *message;
    size_t offset;
} json_error;

/*
 * Reads a text into `document`. The text must stay as long as the document, and a NUL or a quote must
 * follow it: text.text[text.length] is read. At most JSON_DEPTH levels. A byte order mark at the
 * front is passed over. On an error the document is empty.
 */
json_error json_parse(json_document *document, slice text);

/* The same; an error ends the tool with `code` and a message that says line and column. */
void json_parse_or_fail(json_document *document, slice text, const char *code, const char *what);

json json_root(const json_document *document);
/* Whether a node is the name of a member and not a value. */
bool json_is_name(json node);
json_type json_type_of(json value);
/* "null", "boolean", "number", "string", "array", "object" or "nothing". */
const char *json_type_name(json value);

/* Walks over the members of an object or the items of an array; nothing else has any.
 *     for (json_each it = json_each_of(value); json_more(&it); json_step(&it)) ... */
typedef struct {
    json key;   /* a string; nothing for an array */
    json value;
    uint32_t index;
    uint32_t at, end;
    bool object;
} json_each;
json_each json_each_of(json value);
bool json_more(json_each *it);
void json_step(json_each *it);

/* How many members or items. Looks at each. */
uint32_t json_count(json value);
/* The member of this name: the last when it is there twice. Nothing when there is none. */
json json_member(json object, slice name);
json json_get(json object, const char *name);
/* The item at a position from 0. */
json json_item(json array, uint32_t position);

/* A string's characters; in the text when it has no escapes, else new memory that a NUL follows. */
slice json_string(json string);
/* Whether a string's characters are `text`, without new memory. */
bool json_string_is(json string, slice text);
/* How many characters (code points) a string has. */
uint32_t json_characters(json string);
/* A number, literal or string as it is spelled, a string with its quotes and escapes. */
slice json_raw(json scalar);
double json_double(json number);
/* Whether it is a number without a fraction in the range of int64, as 5, 5.0 or 5e0; and which. */
bool json_integer(json number, int64_t *found);

#endif
