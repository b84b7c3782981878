#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wasi/api.h>

static char **names;
static size_t name_count;

/* Without what changes nothing at the front: "/", "./". */
static const char *plain(const char *path) {
    for (;;) {
        if (path[0] == '/') path++;
        else if (path[0] == '.' && (path[1] == '/' || !path[1])) path++;
        else return path;
    }
}

static void find_names(void) {
    __wasi_prestat_t found;
    size_t capacity = 0;
    if (names) return;
    names = allocate(sizeof *names);
    for (__wasi_fd_t fd = 3; !__wasi_fd_prestat_get(fd, &found); fd++) {
        size_t length = found.u.dir.pr_name_len;
        char *name = allocate(length + 1);
        if (__wasi_fd_prestat_dir_name(fd, (uint8_t *)name, length)) continue;
        name[length] = 0;
        names = grow(names, &capacity, name_count + 1, sizeof *names);
        names[name_count++] = name;
    }
}

size_t granted_count(void) {
    find_names();
    return name_count;
}

const char *granted_name(size_t index) { return names[index]; }

const char *granted_names(void) {
    buffer list = {0};
    if (!granted_count()) return "none";
    for (size_t i = 0; i < name_count; i++) {
        if (i) add_text(&list, ", ");
        add_text(&list, names[i]);
    }
    return copy_text(shortened((slice){list.bytes, list.length}, 300));
}

int granted_folder(const char *path) {
    int best = -1;
    size_t longest = 0;
    path = plain(path);
    for (size_t i = 0; i < granted_count(); i++) {
        const char *name = plain(names[i]);
        size_t length = strlen(name);
        if (strncmp(path, name, length) || (length && path[length] && path[length] != '/')) continue;
        if (best >= 0 && length < longest) continue;
        best = (int)i;
        longest = length;
    }
    return best;
}

const char *checked_path(slice path) {
    if (!path.length) fail("missing_argument", "path is required");
    if (memchr(path.text, 0, path.length)) fail("bad_argument", "path has a NUL character");
    if (path.length >= PATH_BYTES)
        fail("bad_argument", "path is %zu bytes long, at most %d are allowed", path.length,
             PATH_BYTES - 1);
    char *copy = copy_text(path);
    for (const char *at = copy; (at = strstr(at, "..")); at += 2)
        if ((at == copy || at[-1] == '/') && (!at[2] || at[2] == '/'))
            fail("not_granted", "path must not contain '..'");
    if (granted_folder(copy) >= 0) return copy;
    const char *slash = strrchr(copy, '/');
    int folder = slash > copy ? (int)(slash - copy) : slash ? 1 : (int)path.length;
    fail("not_granted",
         "%s is outside the granted folders (granted: %s): name a file inside one of them, or grant "
         "the folder %.*s to the tool",
         copy, granted_names(), folder, copy);
}

_Noreturn void fail_file(const char *path, int error, bool writing) {
    int folder = granted_folder(path);
    const char *name = folder < 0 ? "" : granted_name((size_t)folder);
    switch (error) {
    case ENOENT: fail("file_not_found", "there is no %s", path);
    case ENOTDIR: fail("not_a_folder", "a part of %s is not a folder", path);
    case EISDIR: fail("not_a_file", "%s is a folder", path);
    case EEXIST: fail("exists", "%s is there already", path);
    case ENOTEMPTY: fail("not_empty", "%s is a folder that is not empty", path);
    case ENOSPC:
    case EDQUOT: fail("disk_full", "there is no room for %s: the disk or the quota of %s is full", path, name);
    case EFBIG: fail("file_too_large", "%s would be larger than the sandbox lets a file be", path);
    case EXDEV: fail("bad_argument", "%s cannot be moved to another disk; copy it and delete it", path);
    case EILSEQ: fail("bad_name", "a name in %s is not UTF-8, which WASI cannot read: rename it", path);
    case EINVAL: fail("bad_argument", "%s: this cannot be done with it", path);
    case ENAMETOOLONG: fail("bad_argument", "a name in %s is too long", path);
    case ELOOP: fail("bad_argument", "%s: links that lead in a circle", path);
    case EPERM:
    case EACCES:
    case EROFS:
    case ENOTCAPABLE:
        if (folder < 0)
            fail("not_granted", "%s is outside the granted folders (granted: %s)", path,
                 granted_names());
        if (writing)
            fail("not_granted",
                 "%s may not be changed: a link leads out of %s, or %s is granted for reading only; "
                 "grant it for writing to allow this",
                 path, name, name);
        fail("not_granted", "%s may not be read: a link leads out of the granted folder %s, or the "
                            "file's permissions forbid it",
             path, name);
    default: fail("io_failed", "%s: %s", path, strerror(error));
    }
}

int open_to_read(const char *path, uint64_t *size) {
    struct stat status;
    /* Before it is opened: to open a FIFO would wait for a writer. */
    if (!stat(path, &status) && !S_ISREG(status.st_mode))
        fail("not_a_file", "%s is a folder or a special file", path);
    int file = open(path, O_RDONLY);
    if (file < 0) fail_file(path, errno == ENOTDIR ? ENOENT : errno, false);
    if (fstat(file, &status) || !S_ISREG(status.st_mode))
        fail("not_a_file", "%s is a folder or a special file", path);
    *size = (uint64_t)status.st_size;
    return file;
}

slice read_whole(const char *path, uint64_t most) {
    uint64_t size;
    int file = open_to_read(path, &size);
    if (size > most)
        fail("file_too_large", "%s has %llu bytes, at most %llu are read", path,
             (unsigned long long)size, (unsigned long long)most);
    char *data = allocate((size_t)size + 1);
    size_t used = 0;
    while (used < size) {
        ssize_t got = read(file, data + used, (size_t)size - used);
        if (got < 0) fail_file(path, errno, false);
        if (got == 0) break;
        used += (size_t)got;
    }
    close(file);
    data[used] = 0;
    return (slice){data, used};
}

_Noreturn void fail_write(const char *path, const char *temporary, int error) {
    if (temporary) unlink(temporary);
    fail_file(path, error, true);
}

void write_all(int file, slice data, const char *path, const char *temporary) {
    for (size_t done = 0; done < data.length;) {
        ssize_t wrote = write(file, data.text + done, data.length - done);
        if (wrote < 0) fail_write(path, temporary, errno);
        if (!wrote) fail_write(path, temporary, ENOSPC);
        done += (size_t)wrote;
    }
}

/* With random digits: two calls at once must not share one. */
char *temporary_beside(const char *path) {
    const char *name = strrchr(path, '/');
    size_t folder = name ? (size_t)(name - path) + 1 : 0;
    unsigned char random[8];
    char *temporary = allocate(folder + 32);
    if (__wasi_random_get(random, sizeof random)) fail("io_failed", "there are no random numbers");
    memcpy(temporary, path, folder);
    strcpy(temporary + folder, ".writing-");
    char *digit = temporary + strlen(temporary);
    for (size_t i = 0; i < sizeof random; i++) {
        *digit++ = "0123456789abcdef"[random[i] >> 4];
        *digit++ = "0123456789abcdef"[random[i] & 15];
    }
    *digit = 0;
    return temporary;
}

void put_in_place(char *temporary, const char *path, bool replace) {
    /* A link fails when the name is taken, a rename would replace it. Some disks have no links. */
    if (!replace && link(temporary, path) && errno == EEXIST) fail_write(path, temporary, EEXIST);
    if (rename(temporary, path)) fail_write(path, temporary, errno);
    unlink(temporary);
    release(temporary);
}

void check_target(const char *path, bool replace) {
    struct stat status;
    if (!lstat(path, &status)) {
        if (S_ISDIR(status.st_mode)) fail_file(path, EISDIR, true);
        if (!S_ISREG(status.st_mode))
            fail("not_a_file", "%s is a link or a special file, which is not written to", path);
        if (!replace) fail_file(path, EEXIST, true);
    }
}

void write_whole(const char *path, slice data, bool replace) {
    check_target(path, replace);
    char *temporary = temporary_beside(path);
    int file = open(temporary, O_WRONLY | O_CREAT | O_EXCL, 0666);
    if (file < 0) fail_file(path, errno, true);
    write_all(file, data, path, temporary);
    if (fsync(file) || close(file)) fail_write(path, temporary, errno);
    put_in_place(temporary, path, replace);
}

slice checked_text(const char *path, slice data) {
    if (data.length >= 2 &&
        (!memcmp(data.text, "\xFF\xFE", 2) || !memcmp(data.text, "\xFE\xFF", 2)))
        fail("not_utf8", "%s is UTF-16; save it as UTF-8", path);
    if (data.length >= 3 && !memcmp(data.text, "\xEF\xBB\xBF", 3))
        data = (slice){data.text + 3, data.length - 3};
    size_t valid = utf8_valid(data);
    if (valid == data.length) return data;
    place at = place_of(data, valid);
    fail("not_utf8", "%s, line %lu, column %lu: byte 0x%02x is not UTF-8", path, at.line, at.column,
         (unsigned char)data.text[valid]);
}
