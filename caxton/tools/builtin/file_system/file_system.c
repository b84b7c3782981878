/*
 * file_system: files and folders inside the granted folders.
 *
 * The sandbox resolves every path inside its granted folder; what leads out of it, by a link too,
 * does not open. What is written appears whole or not at all, except by append.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "content.h"
#include "files.h"
#include "folders.h"
#include "search.h"
#include "tool.h"

static const char *const OPERATIONS[] = {"list",   "read", "write", "replace", "make_directory",
                                         "move",   "copy", "delete", "stat",   "find",
                                         "grep",   NULL};

typedef void (*operation)(json input, const char *path);

static const char *type_of(const struct stat *status) {
    return S_ISDIR(status->st_mode) ? "folder" : S_ISREG(status->st_mode) ? "file"
           : S_ISLNK(status->st_mode) ? "link" : "other";
}

static void out_status(const struct stat *status) {
    char time[32];
    const struct tm *parts = gmtime(&status->st_mtim.tv_sec);
    out_member_string("type", slice_of(type_of(status)));
    if (S_ISREG(status->st_mode)) out_member_unsigned("bytes", (uint64_t)status->st_size);
    if (!parts) return;
    strftime(time, sizeof time, "%Y-%m-%dT%H:%M:%SZ", parts);
    out_member_string("modified", slice_of(time));
}

static void list_granted(void) {
    out_name("entries");
    out_open('[');
    for (size_t i = 0; i < granted_count(); i++) {
        out_next();
        out_open('{');
        out_member_string("name", slice_of(granted_name(i)));
        out_member_string("type", slice_of("folder"));
        out_close('}');
    }
    out_close(']');
    out_member_unsigned("total", granted_count());
}

static void run_list(json input, const char *path) {
    listing found = {0};
    struct stat status;
    size_t limit = (size_t)argument_integer(input, "limit", 200);
    if (stat(path, &status)) fail_file(path, errno, false);
    if (!S_ISDIR(status.st_mode)) fail("not_a_folder", "%s is not a folder", path);
    int error = read_folder(path, &found);
    if (error) fail_file(path, error, false);
    out_name("entries");
    out_open('[');
    for (size_t i = 0; i < found.count && i < limit; i++) {
        char *entry = joined(path, found.names[i]);
        out_next();
        out_open('{');
        out_member_string("name", slice_of(found.names[i]));
        if (!lstat(entry, &status)) out_status(&status);
        out_close('}');
        release(entry);
    }
    out_close(']');
    out_member_unsigned("total", found.count);
    if (found.count > limit) out_member_boolean("truncated", true);
}

static void run_stat(json input, const char *path) {
    struct stat status;
    char target[PATH_BYTES];
    (void)input;
    if (lstat(path, &status)) fail_file(path, errno, false);
    out_status(&status);
    if (!S_ISLNK(status.st_mode)) return;
    ssize_t length = readlink(path, target, sizeof target);
    if (length >= 0) out_member_string("target", (slice){target, (size_t)length});
}

static bool is_granted_itself(const char *path) {
    struct stat a, b;
    int folder = granted_folder(path);
    return folder >= 0 && !stat(path, &a) && !stat(granted_name((size_t)folder), &b) &&
           a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static void run_make_directory(json input, const char *path) {
    struct stat status;
    char *part = copy_text(slice_of(path));
    bool created = false;
    (void)input;
    for (char *at = part;; at++) {
        if (*at && *at != '/') continue;
        char kept = *at;
        *at = 0;
        /* Folders above the granted one cannot be seen, and are there. */
        if (*part && granted_folder(part) >= 0 && stat(part, &status)) {
            if (errno != ENOENT) fail_file(part, errno, false);
            if (mkdir(part, 0777) && errno != EEXIST) fail_file(part, errno, true);
            created = true;
        }
        *at = kept;
        if (!kept) break;
    }
    if (stat(path, &status)) fail_file(path, errno, false);
    if (!S_ISDIR(status.st_mode)) fail("exists", "%s is there already and is no folder", path);
    out_member_boolean("created", created);
}

static void run_move(json input, const char *path) {
    const char *to = checked_path(argument_string(input, "to"));
    bool overwrite = argument_boolean(input, "overwrite", false);
    struct stat from, target;
    if (lstat(path, &from)) fail_file(path, errno, false);
    if (is_granted_itself(path)) fail("bad_argument", "%s is a granted folder itself", path);
    if (!lstat(to, &target)) {
        if (!overwrite) fail("exists", "%s is there already; overwrite replaces it", to);
        if (S_ISDIR(target.st_mode) != S_ISDIR(from.st_mode))
            fail("exists", "%s is there already and is a %s", to, type_of(&target));
    }
    if (rename(path, to)) {
        if (errno == EINVAL) fail("bad_argument", "%s cannot be moved into itself", path);
        fail_file(errno == ENOENT ? to : path, errno, true);
    }
    out_member_string("to", slice_of(to));
}

static bool remove_entry(void *state, const char *path, const struct stat *status) {
    if (S_ISDIR(status->st_mode) ? rmdir(path) : unlink(path)) fail_file(path, errno, true);
    ++*(uint64_t *)state;
    return true;
}

static void run_delete(json input, const char *path) {
    struct stat status;
    uint64_t removed = 0;
    walk w = {.visit = remove_entry, .state = &removed, .after = true};
    if (lstat(path, &status)) fail_file(path, errno, false);
    if (S_ISDIR(status.st_mode) && is_granted_itself(path))
        fail("bad_argument", "%s is a granted folder itself; name what is in it", path);
    if (S_ISDIR(status.st_mode) && argument_boolean(input, "recursive", false))
        walk_folder(&w, path, 1);
    if (S_ISDIR(status.st_mode) && rmdir(path)) {
        if (errno == ENOTEMPTY)
            fail("not_empty", "%s is a folder that is not empty; recursive deletes what is in it", path);
        fail_file(path, errno, true);
    }
    if (!S_ISDIR(status.st_mode) && unlink(path)) fail_file(path, errno, true);
    out_member_unsigned("deleted", removed + 1);
}

/* What belongs to other operations only, so that a slip is not passed over. */
static void check_used(json input, int op) {
    static const struct {
        const char *argument, *operations;
    } used[] = {
        {"offset", "read"},           {"line", "read"},          {"lines", "read"},
        {"encoding", "read"},         {"max_bytes", "read"},     {"content", "write"},
        {"content_base64", "write"},  {"mode", "write"},         {"old", "replace"},
        {"new", "replace"},           {"all", "replace"},        {"to", "move copy"},
        {"overwrite", "move copy"},   {"recursive", "delete"},   {"text", "grep"},
        {"ignore_case", "grep"},      {"pattern", "find grep"},  {"type", "find"},
        {"limit", "list find grep"},
    };
    for (size_t i = 0; i < sizeof used / sizeof *used; i++)
        if (has_argument(input, used[i].argument) && !strstr(used[i].operations, OPERATIONS[op]))
            fail("bad_argument", "%s takes no %s; it belongs to %s", OPERATIONS[op], used[i].argument,
                 used[i].operations);
    if ((op == 5 || op == 6) && !has_argument(input, "to"))
        fail("missing_argument", "%s needs to", OPERATIONS[op]);
}

void run(json input) {
    static const operation operations[] = {run_list, run_read, run_write, run_replace,
                                           run_make_directory, run_move, run_copy, run_delete,
                                           run_stat, run_find, run_grep};
    int op = argument_choice(input, "operation", OPERATIONS, 0);
    slice path = argument_string(input, "path");
    check_used(input, op);
    out_open('{');
    bool top = !path.length || ((same(path, ".") || same(path, "/")) && granted_folder("") < 0);
    if (op == 0 && top) {
        list_granted();
    } else {
        const char *name = checked_path(path);
        out_member_string("path", slice_of(name));
        operations[op](input, name);
    }
    out_close('}');
}
