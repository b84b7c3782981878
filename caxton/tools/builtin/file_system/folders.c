#include "folders.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int by_bytes(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int read_folder(const char *path, listing *found) {
    DIR *folder = opendir(path);
    if (!folder) return errno;
    for (;;) {
        errno = 0;
        struct dirent *entry = readdir(folder);
        if (!entry) break;
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        if (found->count == MOST_ENTRIES)
            fail("too_many_entries", "%s has over %d entries", path, MOST_ENTRIES);
        found->names = grow(found->names, &found->capacity, found->count + 1, sizeof *found->names);
        found->names[found->count++] = copy_text(slice_of(entry->d_name));
    }
    int error = errno;
    closedir(folder);
    if (found->count) qsort(found->names, found->count, sizeof *found->names, by_bytes);
    return error;
}

void free_listing(listing *l) {
    for (size_t i = 0; i < l->count; i++) release(l->names[i]);
    release(l->names);
    *l = (listing){0};
}

char *joined(const char *path, const char *name) {
    buffer whole = {0};
    add_text(&whole, path);
    if (whole.length && whole.bytes[whole.length - 1] != '/') add_text(&whole, "/");
    add_text(&whole, name);
    add_bytes(&whole, "", 1);
    return whole.bytes;
}

static bool walk_entry(walk *w, char *path, int depth) {
    struct stat status;
    if (++w->seen > MOST_ENTRIES)
        fail("too_many_entries", "there are over %d entries below this folder: name a smaller one",
             MOST_ENTRIES);
    if (lstat(path, &status)) {
        w->unreadable++;
        return true;
    }
    if (!w->after && !w->visit(w->state, path, &status)) return false;
    if (S_ISDIR(status.st_mode) && !walk_folder(w, path, depth + 1)) return false;
    return !w->after || w->visit(w->state, path, &status);
}

bool walk_folder(walk *w, const char *path, int depth) {
    listing found = {0};
    bool more = true;
    if (depth > MOST_DEPTH) fail("too_deep", "%s is more than %d folders deep", path, MOST_DEPTH);
    if (read_folder(path, &found)) w->unreadable++;
    for (size_t i = 0; more && i < found.count; i++) {
        char *entry = joined(path, found.names[i]);
        more = walk_entry(w, entry, depth);
        release(entry);
    }
    free_listing(&found);
    return more;
}
