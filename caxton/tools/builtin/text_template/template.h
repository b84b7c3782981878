/* Mustache templates (spec 1.4, all but the optional modules), read into parts. */

#ifndef TEMPLATE_H
#define TEMPLATE_H

#include "text.h"

typedef enum { TEXT, VARIABLE, SECTION, INVERTED, PARTIAL } part_kind;

typedef struct {
    part_kind kind;
    bool escaped;  /* of a variable */
    slice text;    /* of a text as it is, else the name */
    slice indent;  /* of a partial alone on its line */
    size_t offset; /* where its tag begins */
    uint32_t end;  /* of a section: the part behind it */
} part;

typedef struct {
    const char *name; /* for errors: "template" or "partial NAME" */
    slice source;
    part *parts;
    uint32_t count;
} template;

/* Reads a template; ends the tool with bad_template and line and column when it is none. */
template *parse_template(const char *name, slice source);
/* Ends the tool with an error at a place in a template. */
_Noreturn void fail_in(const template *t, size_t offset, const char *code, const char *what,
                       slice name);

#endif
