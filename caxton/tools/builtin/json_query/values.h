/* Values that filters compare (RFC 9535, section 2.3.5.2.2). */

#ifndef VALUES_H
#define VALUES_H

#include "json.h"

typedef struct {
    json_type type;
    slice text;  /* a string's characters, or a number as it is spelled */
    char *owned; /* memory of text, to free */
    json node;   /* an array or object */
} value;

value value_of_node(json node);
value value_of_number(uint32_t number);
void value_free(value *v);
/* 0 equal, -1 less, 1 more, 2 neither: only numbers and strings have an order. */
int values_compare(const value *a, const value *b);

#endif
