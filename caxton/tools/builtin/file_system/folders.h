/* Reading folders, sorted, and walking through all below one without following links. */

#ifndef FOLDERS_H
#define FOLDERS_H

#include <sys/stat.h>

#include "text.h"

enum { MOST_DEPTH = 64, MOST_ENTRIES = 200000 };

typedef struct {
    char **names;
    size_t count, capacity;
} listing;

/* The names in a folder in order of their bytes, or the errno of why it cannot be read. */
int read_folder(const char *path, listing *found);
void free_listing(listing *l);
/* "PATH/NAME" in new memory. */
char *joined(const char *path, const char *name);

/*
 * Calls `visit` for everything below a folder, a folder before or (`after`) behind what is in it;
 * false ends the walk. A folder that cannot be read is counted. Ends the tool with too_deep or
 * too_many_entries.
 */
typedef bool (*walker)(void *state, const char *path, const struct stat *status);
typedef struct {
    walker visit;
    void *state;
    bool after;
    uint64_t seen, unreadable;
} walk;
/* Whether it came to the end. */
bool walk_folder(walk *w, const char *path, int depth);

#endif
