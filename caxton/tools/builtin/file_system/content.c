#include "content.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files.h"
#include "tool.h"

enum { CHUNK = 1 << 16, REPORTED_LINES = 10 };

static bool continues(char c) { return (c & 0xC0) == 0x80; }

static slice read_part(const char *path, int file, uint64_t offset, size_t most) {
    char *data = allocate(most + 1);
    size_t used = 0;
    if (lseek(file, (off_t)offset, SEEK_SET) < 0) fail_file(path, errno, false);
    while (used < most) {
        ssize_t got = read(file, data + used, most - used);
        if (got < 0) fail_file(path, errno, false);
        if (got == 0) break;
        used += (size_t)got;
    }
    return (slice){data, used};
}

static void out_part(uint64_t size, uint64_t offset, size_t length) {
    out_member_unsigned("size", size);
    out_member_unsigned("offset", offset);
    out_member_unsigned("bytes", length);
    if (offset + length < size) out_member_unsigned("next_offset", offset + length);
}

/* Text that begins and ends between characters: a part may have been cut inside one. */
static slice whole_characters(slice part, uint64_t *offset, bool more) {
    size_t skip = 0;
    while (*offset && skip < 3 && skip < part.length && continues(part.text[skip])) skip++;
    part = (slice){part.text + skip, part.length - skip};
    *offset += skip;
    size_t valid = utf8_valid(part);
    if (more && part.length - valid < 4 && valid) part.length = valid;
    return part;
}

static void check_characters(const char *path, slice part, uint64_t offset) {
    size_t valid = utf8_valid(part);
    if (valid == part.length && !memchr(part.text, 0, part.length)) return;
    const char *nul = memchr(part.text, 0, part.length);
    size_t bad = nul && (size_t)(nul - part.text) < valid ? (size_t)(nul - part.text) : valid;
    fail("not_text", "%s is not UTF-8 text: byte 0x%02x at offset %llu; read it with encoding base64",
         path, (unsigned char)part.text[bad], (unsigned long long)(offset + bad));
}

/* Lines `first` to `first` + `count` - 1 of a text. */
static void read_lines(const char *path, uint64_t first, uint64_t count, size_t most) {
    slice data = read_whole(path, WHOLE_FILE_BYTES);
    const char *at = data.text, *end = at + data.length, *start = NULL, *next;
    uint64_t line = 1, shown = 0;
    for (; at < end; at = next, line++) {
        next = memchr(at, '\n', (size_t)(end - at));
        next = next ? next + 1 : end;
        if (line < first || shown == count) continue;
        if (!start) start = at;
        if ((size_t)(next - start) > most) {
            if (!shown)
                fail("result_too_large", "line %llu has over %zu bytes; read it by offset",
                     (unsigned long long)line, most);
            count = shown;
            continue;
        }
        shown++;
        data.length = (size_t)(next - data.text);
    }
    slice part = {start ? start : data.text, start ? (size_t)(data.text + data.length - start) : 0};
    check_characters(path, part, (uint64_t)(part.text - data.text));
    out_member_unsigned("size", (uint64_t)(end - data.text));
    out_member_unsigned("line", first);
    out_member_unsigned("lines", shown);
    out_member_unsigned("total_lines", line - 1);
    out_member_string("text", part);
}

void run_read(json input, const char *path) {
    static const char *const encodings[] = {"text", "base64", NULL};
    bool text = argument_choice(input, "encoding", encodings, 0) == 0;
    uint64_t offset = (uint64_t)argument_integer(input, "offset", 0), size;
    size_t most = (size_t)argument_integer(input, "max_bytes", 100000);
    if (has_argument(input, "line") || has_argument(input, "lines")) {
        if (!text || has_argument(input, "offset"))
            fail("bad_argument", "line and lines go with text, and not with offset");
        read_lines(path, (uint64_t)argument_integer(input, "line", 1),
                   (uint64_t)argument_integer(input, "lines", INT64_MAX), most);
        return;
    }
    int file = open_to_read(path, &size);
    if (offset > size)
        fail("bad_argument", "offset is %llu, the file has %llu bytes", (unsigned long long)offset,
             (unsigned long long)size);
    if (size - offset < most) most = (size_t)(size - offset);
    slice part = read_part(path, file, offset, most);
    close(file);
    if (!text) {
        out_part(size, offset, part.length);
        out_name("base64");
        out_base64(part.text, part.length);
        return;
    }
    bool more = offset + part.length < size;
    part = whole_characters(part, &offset, more);
    check_characters(path, part, offset);
    out_part(size, offset, part.length);
    if (!offset && part.length >= 3 && !memcmp(part.text, "\xEF\xBB\xBF", 3)) {
        out_member_boolean("byte_order_mark", true);
        part = (slice){part.text + 3, part.length - 3};
    }
    out_member_string("text", part);
}

static slice content_of(json input) {
    bool text = has_argument(input, "content"), bytes = has_argument(input, "content_base64");
    buffer decoded = {0};
    if (text == bytes)
        fail(text ? "bad_argument" : "missing_argument",
             "one of content and content_base64 must be given%s", text ? ", and only one" : "");
    if (text) return argument_string(input, "content");
    if (!add_base64_decoded(&decoded, argument_string(input, "content_base64")))
        fail("bad_argument", "content_base64 is not base64");
    return (slice){decoded.bytes ? decoded.bytes : "", decoded.length};
}

static void append(const char *path, slice data) {
    struct stat status;
    if (!lstat(path, &status) && !S_ISREG(status.st_mode))
        fail("not_a_file", "%s is a folder, a link or a special file", path);
    int file = open(path, O_WRONLY | O_CREAT | O_APPEND, 0666);
    if (file < 0) fail_file(path, errno, true);
    write_all(file, data, path, NULL);
    if (fsync(file) || close(file)) fail_file(path, errno, true);
}

void run_write(json input, const char *path) {
    static const char *const modes[] = {"create", "overwrite", "append", NULL};
    int mode = argument_choice(input, "mode", modes, 0);
    slice data = content_of(input);
    struct stat status;
    bool was_there = !lstat(path, &status);
    if (mode == 0 && was_there && S_ISREG(status.st_mode))
        fail("exists", "%s is there already: write with mode overwrite or append, or use replace", path);
    if (mode == 2) append(path, data);
    else write_whole(path, data, mode == 1);
    out_member_unsigned("bytes", data.length);
    out_member_boolean("created", !was_there);
}

static uint64_t line_ends(const char *from, const char *to) {
    uint64_t count = 0;
    while ((from = memchr(from, '\n', (size_t)(to - from)))) {
        from++;
        count++;
    }
    return count;
}

static _Noreturn void fail_many(const char *path, size_t count, const uint64_t *lines) {
    buffer list = {0};
    char number[24];
    for (size_t i = 0; i < count && i < REPORTED_LINES; i++) {
        char *at = number + sizeof number;
        uint64_t line = lines[i];
        do *--at = (char)('0' + line % 10);
        while (line /= 10);
        if (i) add_text(&list, ", ");
        add_bytes(&list, at, (size_t)(number + sizeof number - at));
    }
    fail("text_not_unique",
         "old is in %s %zu times (lines %.*s%s): give more of the text around it, or all", path, count,
         (int)list.length, list.bytes, count > REPORTED_LINES ? ", ..." : "");
}

void run_replace(json input, const char *path) {
    slice old = argument_string(input, "old"), new = argument_string(input, "new");
    bool all = argument_boolean(input, "all", false);
    if (!old.length) fail("missing_argument", "replace needs old, which must not be empty");
    if (!new.text) fail("missing_argument", "replace needs new; it may be empty");
    if (equal(old, new)) fail("bad_argument", "old and new are the same");
    slice data = read_whole(path, WHOLE_FILE_BYTES);
    check_characters(path, data, 0);
    buffer changed = {0};
    uint64_t lines[REPORTED_LINES], line = 1;
    size_t count = 0;
    const char *at = data.text, *end = at + data.length;
    for (;;) {
        ptrdiff_t offset = find((slice){at, (size_t)(end - at)}, old);
        if (offset < 0) break;
        line += line_ends(at, at + offset);
        if (count < REPORTED_LINES) lines[count] = line;
        line += line_ends(old.text, old.text + old.length);
        count++;
        add_bytes(&changed, at, (size_t)offset);
        add_slice(&changed, new);
        at += (size_t)offset + old.length;
    }
    if (!count)
        fail("text_not_found", "old is not in %s: it must be the same to the last space and line end",
             path);
    if (count > 1 && !all) fail_many(path, count, lines);
    add_bytes(&changed, at, (size_t)(end - at));
    write_whole(path, (slice){changed.bytes ? changed.bytes : "", changed.length}, true);
    out_member_unsigned("replaced", count);
    out_member_unsigned("line", lines[0]);
    out_member_unsigned("bytes", changed.length);
}

void run_copy(json input, const char *path) {
    const char *to = checked_path(argument_string(input, "to"));
    bool replace = argument_boolean(input, "overwrite", false);
    static char chunk[CHUNK];
    uint64_t size, copied = 0;
    int from = open_to_read(path, &size);
    check_target(to, replace);
    char *temporary = temporary_beside(to);
    int file = open(temporary, O_WRONLY | O_CREAT | O_EXCL, 0666);
    if (file < 0) fail_file(to, errno, true);
    for (;;) {
        ssize_t got = read(from, chunk, CHUNK);
        if (got < 0) {
            int error = errno;
            unlink(temporary);
            fail_file(path, error, false);
        }
        if (got == 0) break;
        write_all(file, (slice){chunk, (size_t)got}, to, temporary);
        copied += (uint64_t)got;
    }
    if (fsync(file) || close(file)) fail_write(to, temporary, errno);
    put_in_place(temporary, to, replace);
    out_member_string("to", slice_of(to));
    out_member_unsigned("bytes", copied);
}
