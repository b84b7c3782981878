/*
 * I-Regexp (RFC 9485), matched in time that grows with the text and never explodes: all states are
 * followed at once.
 */

#ifndef REGEX_H
#define REGEX_H

#include "text.h"

typedef struct regex regex;

/* A compiled pattern, or NULL with *why it is none. */
regex *regex_compile(slice pattern, const char **why);
/* Whether the whole text matches, or, with `anywhere`, a part of it. */
bool regex_matches(regex *compiled, slice text, bool anywhere);
void regex_free(regex *compiled);

#endif
