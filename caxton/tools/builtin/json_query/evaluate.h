/* Finding the nodes of a query, in the order of RFC 9535. */

#ifndef EVALUATE_H
#define EVALUATE_H

#include "path.h"

/* Called for each node; false ends the search. */
typedef bool (*visitor)(void *state, json node);

void evaluate(query *q, json root, visitor visit, void *state);
/* Why a pattern was none (it then matches nothing), or NULL when all were. */
const char *pattern_problem(void);

#endif
