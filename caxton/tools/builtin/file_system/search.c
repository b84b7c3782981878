#include "search.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "content.h"
#include "files.h"
#include "folders.h"
#include "glob.h"
#include "tool.h"

enum { LINE_BYTES = 400, BINARY_BYTES = 8000 };

typedef struct {
    const char *root;
    slice pattern, type;
    uint64_t matches, limit;
} finding;

typedef struct {
    const char *root;
    slice pattern, wanted;
    bool fold;
    uint64_t matches, limit, files, binary, too_large;
} grepping;

static slice below(const char *root, const char *path) {
    slice rest = slice_of(path + strlen(root));
    while (rest.length && rest.text[0] == '/') rest = (slice){rest.text + 1, rest.length - 1};
    return rest;
}

static bool find_entry(void *state, const char *path, const struct stat *status) {
    finding *f = state;
    const char *type = S_ISDIR(status->st_mode) ? "folder" : S_ISREG(status->st_mode) ? "file"
                       : S_ISLNK(status->st_mode) ? "link" : "other";
    if (f->type.text && !same(f->type, type)) return true;
    if (f->pattern.text && !glob_matches(f->pattern, below(f->root, path))) return true;
    if (f->matches++ >= f->limit) return true;
    out_next();
    out_open('{');
    out_member_string("path", slice_of(path));
    out_member_string("type", slice_of(type));
    if (S_ISREG(status->st_mode)) out_member_unsigned("bytes", (uint64_t)status->st_size);
    out_close('}');
    return true;
}

static void check_folder(const char *path) {
    struct stat status;
    if (stat(path, &status)) fail_file(path, errno, false);
    if (!S_ISDIR(status.st_mode)) fail("not_a_folder", "%s is not a folder", path);
}

static void out_ends(uint64_t matches, uint64_t limit, uint64_t unreadable) {
    out_close(']');
    out_member_unsigned("matches", matches);
    if (matches > limit) out_member_boolean("truncated", true);
    if (unreadable) out_member_unsigned("unreadable", unreadable);
}

void run_find(json input, const char *path) {
    finding f = {
        .root = path,
        .pattern = argument_string(input, "pattern"),
        .type = argument_string(input, "type"),
        .limit = (uint64_t)argument_integer(input, "limit", 200),
    };
    walk w = {.visit = find_entry, .state = &f};
    check_folder(path);
    out_name("entries");
    out_open('[');
    walk_folder(&w, path, 1);
    out_ends(f.matches, f.limit, w.unreadable);
}

static char folded(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c; }

static ptrdiff_t find_folded(slice text, slice wanted) {
    for (size_t i = 0; i + wanted.length <= text.length; i++) {
        size_t k = 0;
        while (k < wanted.length && folded(text.text[i + k]) == wanted.text[k]) k++;
        if (k == wanted.length) return (ptrdiff_t)i;
    }
    return -1;
}

/* The line around a match, cut to what can be shown. */
static slice shown_line(slice line, size_t match) {
    size_t start = match > LINE_BYTES / 2 && line.length > LINE_BYTES ? match - LINE_BYTES / 2 : 0;
    while (start && start < line.length && (line.text[start] & 0xC0) == 0x80) start--;
    if (line.length && line.text[line.length - 1] == '\r') line.length--;
    return shortened((slice){line.text + start, line.length - start}, LINE_BYTES);
}

static void grep_text(grepping *g, const char *path, slice data) {
    const char *at = data.text, *end = at + data.length, *counted = at;
    uint64_t line_number = 1;
    while (at < end) {
        slice rest = {at, (size_t)(end - at)};
        ptrdiff_t offset = g->fold ? find_folded(rest, g->wanted) : find(rest, g->wanted);
        if (offset < 0) return;
        const char *match = at + offset, *start = match;
        while (start > data.text && start[-1] != '\n') start--;
        const char *stop = memchr(match, '\n', (size_t)(end - match));
        if (!stop) stop = end;
        if (g->matches++ < g->limit) {
            while ((counted = memchr(counted, '\n', (size_t)(start - counted)))) {
                counted++;
                line_number++;
            }
            counted = start;
            slice line = {start, (size_t)(stop - start)};
            out_next();
            out_open('{');
            out_member_string("path", slice_of(path));
            out_member_unsigned("line", line_number);
            out_member_string("text", shown_line(line, (size_t)(match - start)));
            out_close('}');
        }
        at = stop + 1;
    }
}

static void grep_file(grepping *g, const char *path, uint64_t size) {
    if (size > WHOLE_FILE_BYTES) {
        g->too_large++;
        return;
    }
    slice data = read_whole(path, WHOLE_FILE_BYTES);
    size_t first = data.length < BINARY_BYTES ? data.length : BINARY_BYTES;
    g->files++;
    if (memchr(data.text, 0, first)) g->binary++;
    else grep_text(g, path, data);
    release((char *)data.text);
}

static bool grep_entry(void *state, const char *path, const struct stat *status) {
    grepping *g = state;
    if (!S_ISREG(status->st_mode)) return true;
    if (g->pattern.text && !glob_matches(g->pattern, below(g->root, path))) return true;
    grep_file(g, path, (uint64_t)status->st_size);
    return true;
}

void run_grep(json input, const char *path) {
    struct stat status;
    grepping g = {
        .root = path,
        .pattern = argument_string(input, "pattern"),
        .wanted = argument_string(input, "text"),
        .fold = argument_boolean(input, "ignore_case", false),
        .limit = (uint64_t)argument_integer(input, "limit", 200),
    };
    walk w = {.visit = grep_entry, .state = &g};
    if (!g.wanted.length) fail("missing_argument", "grep needs text, which must not be empty");
    if (memchr(g.wanted.text, '\n', g.wanted.length))
        fail("bad_argument", "text must not have a line end: grep looks at one line at a time");
    char *lower = copy_text(g.wanted);
    for (size_t i = 0; g.fold && i < g.wanted.length; i++) lower[i] = folded(lower[i]);
    g.wanted.text = lower;
    if (stat(path, &status)) fail_file(path, errno, false);
    out_name("lines");
    out_open('[');
    if (S_ISDIR(status.st_mode)) walk_folder(&w, path, 1);
    else if (status.st_size > WHOLE_FILE_BYTES) read_whole(path, WHOLE_FILE_BYTES);
    else grep_file(&g, path, (uint64_t)status.st_size);
    out_ends(g.matches, g.limit, w.unreadable);
    out_member_unsigned("files", g.files);
    if (g.binary) out_member_unsigned("binary_files", g.binary);
    if (g.too_large) out_member_unsigned("too_large_files", g.too_large);
}
