/* Files in the granted folders: opening with errors that say what is not granted. */

#ifndef FILES_H
#define FILES_H

#include "text.h"

enum { PATH_BYTES = 4096 };

/* The granted folders, by the names the tool sees. */
size_t granted_count(void);
const char *granted_name(size_t index);
/* "data, reports", or "none". */
const char *granted_names(void);
/* The index of the granted folder a path lies in, the deepest one; -1 when it lies in none. */
int granted_folder(const char *path);

/*
 * A path argument as a C string. Ends the tool when it is empty, too long, has a NUL or a ".." part,
 * or lies in no granted folder.
 */
const char *checked_path(slice path);

/*
 * Ends the tool for an errno of a file call: file_not_found, not_granted (also a link that leads
 * out, or writing to what is granted for reading), not_a_folder, exists, not_empty, disk_full,
 * file_too_large, bad_name, bad_argument or io_failed.
 */
_Noreturn void fail_file(const char *path, int error, bool writing);

/* A regular file opened for reading, and its size. not_a_file for anything else. */
int open_to_read(const char *path, uint64_t *size);
/* A whole file, ended by a NUL that is not counted; file_too_large above `most` bytes. */
slice read_whole(const char *path, uint64_t most);

/*
 * Replaces or makes a file, so that a reader sees the old or the new content and never half: a
 * temporary file beside it is written and renamed. Without `replace` the error is exists when there
 * is something of that name.
 */
void write_whole(const char *path, slice data, bool replace);

/* The steps of write_whole, for content that is not in one piece. `temporary` may be NULL. */
void check_target(const char *path, bool replace);
char *temporary_beside(const char *path);
void write_all(int file, slice data, const char *path, const char *temporary);
_Noreturn void fail_write(const char *path, const char *temporary, int error);
void put_in_place(char *temporary, const char *path, bool replace);

/* The text without a byte order mark; ends the tool with not_utf8 when it is UTF-16 or not UTF-8. */
slice checked_text(const char *path, slice data);

#endif
