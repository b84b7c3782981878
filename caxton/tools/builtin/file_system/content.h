/* Reading, writing and editing the content of files. */

#ifndef CONTENT_H
#define CONTENT_H

#include "json.h"

enum { WHOLE_FILE_BYTES = 32 << 20 };

void run_read(json input, const char *path);
void run_write(json input, const char *path);
void run_replace(json input, const char *path);
void run_copy(json input, const char *path);

#endif
