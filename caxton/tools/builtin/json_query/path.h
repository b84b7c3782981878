/* JSONPath queries (RFC 9535): what one is made of, and reading it from text. */

#ifndef PATH_H
#define PATH_H

#include "json.h"
#include "regex.h"

enum { QUERY_BYTES = 8192, QUERY_SEGMENTS = 256, QUERY_DEPTH = 32 };

typedef struct query query;
typedef struct selector selector;
typedef struct segment segment;
typedef struct expression expression;
typedef struct operand operand;

typedef enum { BY_NAME, BY_INDEX, WILDCARD, BY_SLICE, BY_FILTER } selector_kind;

struct selector {
    selector_kind kind;
    slice name;
    int64_t index; /* also the start of a slice */
    int64_t end, step;
    bool has_start, has_end;
    expression *filter;
    selector *next;
};

struct segment {
    bool descendant;
    selector *selectors;
    segment *next;
};

struct query {
    bool absolute; /* from $, not from @ */
    bool singular; /* at most one node: names and indexes only */
    segment *segments;
    /* What an absolute query inside a filter found: it is the same for each node. */
    bool known, found;
    json node;
};

typedef enum { LENGTH, COUNT, MATCH, SEARCH, VALUE } function_name;

typedef enum { LITERAL, QUERY, FUNCTION } operand_kind;

struct operand {
    operand_kind kind;
    json_type type; /* of a literal */
    slice text;     /* a literal string, decoded, or a number as it is spelled */
    query *query;
    function_name function;
    operand *arguments; /* the first; the second is its next */
    operand *next;
    regex *pattern; /* of the last call of match or search */
    slice pattern_text;
};

typedef enum { OR, AND, NOT, EQUAL, UNEQUAL, LESS, LESS_OR_EQUAL, MORE, MORE_OR_EQUAL, TEST } operator_kind;

struct expression {
    operator_kind kind;
    expression *first; /* of OR, AND and NOT; the others are its next */
    expression *next;
    operand *left, *right; /* of a comparison; a test has only left */
};

/* Reads a query; ends the tool with bad_query and the position when it is not one. */
query *parse_query(slice text);

#endif
