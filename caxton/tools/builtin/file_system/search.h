/* find and grep. */

#ifndef SEARCH_H
#define SEARCH_H

#include "json.h"

void run_find(json input, const char *path);
void run_grep(json input, const char *path);

#endif
