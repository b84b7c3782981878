/* Uses WASI as a C program does, through its library. See ../README.md. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <wasi/api.h>

extern char **environ;

static int failed(int number) {
  fprintf(stderr, "errno %d\n", number);
  return 1;
}

/* 0 for what returned 0 or more, else the report of errno. */
static int done(int result) { return result < 0 ? failed(errno) : 0; }

static int by_text(const void *left, const void *right) {
  return strcmp(*(char *const *)left, *(char *const *)right);
}

static void print_sorted(char **lines, size_t count) {
  qsort(lines, count, sizeof *lines, by_text);
  for (size_t at = 0; at < count; at++) puts(lines[at]);
}

static long long now_ns(clockid_t clock) {
  struct timespec time;
  if (clock_gettime(clock, &time) != 0) exit(failed(errno));
  return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static int write_all(int file, const char *data, size_t length) {
  while (length > 0) {
    ssize_t written = write(file, data, length);
    if (written < 0) return failed(errno);
    data += written;
    length -= (size_t)written;
  }
  return 0;
}

/* Copies until the end, or until `most` bytes went over. */
static int copy(int from, size_t most) {
  static char buffer[65536];
  while (most > 0) {
    ssize_t got = read(from, buffer, most < sizeof buffer ? most : sizeof buffer);
    if (got < 0) return failed(errno);
    if (got == 0) return 0;
    if (write_all(1, buffer, (size_t)got) != 0) return 1;
    most -= (size_t)got;
  }
  return 0;
}

static int do_env(void) {
  size_t count = 0;
  while (environ != NULL && environ[count] != NULL) count++;
  print_sorted(environ, count);
  return 0;
}

static int do_random(size_t count) {
  unsigned char bytes[256];
  while (count > 0) {
    size_t part = count < sizeof bytes ? count : sizeof bytes;
    if (getentropy(bytes, part) != 0) return failed(errno);
    for (size_t at = 0; at < part; at++) printf("%02x", bytes[at]);
    count -= part;
  }
  putchar('\n');
  return 0;
}

static int do_sleep(long milliseconds) {
  struct timespec wait = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
  long long begun = now_ns(CLOCK_MONOTONIC);
  if (nanosleep(&wait, NULL) != 0) return failed(errno);
  printf("%lld\n", now_ns(CLOCK_MONOTONIC) - begun);
  return 0;
}

static int do_read(const char *path, off_t offset, int whence, size_t count) {
  int file = open(path, O_RDONLY);
  if (file < 0) return failed(errno);
  if (offset != 0 && lseek(file, offset, whence) < 0) return failed(errno);
  return copy(file, count) || done(close(file));
}

static int do_write(const char *path, int flags, const char *text) {
  int file = open(path, O_WRONLY | flags, 0644);
  if (file < 0) return failed(errno);
  return write_all(file, text, strlen(text)) || done(close(file));
}

static int do_ls(const char *path) {
  char *names[4096];
  size_t count = 0;
  DIR *folder = opendir(path);
  if (folder == NULL) return failed(errno);
  struct dirent *entry;
  while ((entry = readdir(folder)) != NULL && count < 4096) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    char line[300];
    snprintf(line, sizeof line, "%s%s", entry->d_name, entry->d_type == DT_DIR ? "/" : "");
    names[count++] = strdup(line);
  }
  closedir(folder);
  print_sorted(names, count);
  return 0;
}

static int do_stat(const char *path) {
  struct stat found;
  if (lstat(path, &found) != 0) return failed(errno);
  const char *kind = S_ISDIR(found.st_mode)   ? "dir"
                     : S_ISLNK(found.st_mode) ? "link"
                     : S_ISREG(found.st_mode) ? "file"
                                              : "other";
  printf("%s %lld %lld\n", kind, (long long)found.st_size,
         found.st_mtim.tv_sec * 1000000000LL + found.st_mtim.tv_nsec);
  return 0;
}

static int do_readlink(const char *path) {
  char target[1024];
  ssize_t length = readlink(path, target, sizeof target);
  if (length < 0) return failed(errno);
  printf("%.*s\n", (int)length, target);
  return 0;
}

static int do_preopens(void) {
  for (__wasi_fd_t file = 3;; file++) {
    __wasi_prestat_t found;
    if (__wasi_fd_prestat_get(file, &found) != 0) return 0;
    char name[256] = "";
    if (__wasi_fd_prestat_dir_name(file, (uint8_t *)name, found.u.dir.pr_name_len) != 0) return 1;
    printf("%u %.*s\n", (unsigned)file, (int)found.u.dir.pr_name_len, name);
  }
}

static int do_open(__wasi_fd_t folder, const char *path) {
  __wasi_fd_t file;
  __wasi_errno_t error = __wasi_path_open(folder, __WASI_LOOKUPFLAGS_SYMLINK_FOLLOW, path, 0,
                                          __WASI_RIGHTS_FD_READ, 0, 0, &file);
  return error != 0 ? failed(error) : copy((int)file, (size_t)-1);
}

static int do_poll(int milliseconds) {
  struct pollfd input = {.fd = 0, .events = POLLIN};
  long long begun = now_ns(CLOCK_MONOTONIC);
  int ready = poll(&input, 1, milliseconds);
  if (ready < 0) return failed(errno);
  printf("%d %lld\n", ready, now_ns(CLOCK_MONOTONIC) - begun);
  return 0;
}

static int with_none(const char *verb) {
  if (strcmp(verb, "args") == 0) return 0;
  if (strcmp(verb, "env") == 0) return do_env();
  if (strcmp(verb, "cat") == 0) return copy(0, (size_t)-1);
  if (strcmp(verb, "both") == 0) return puts("out") < 0 || fputs("err\n", stderr) < 0;
  if (strcmp(verb, "crash") == 0) abort();
  if (strcmp(verb, "preopens") == 0) return do_preopens();
  if (strcmp(verb, "tty") == 0) return printf("%d %d %d\n", isatty(0), isatty(1), isatty(2)) < 0;
  if (strcmp(verb, "clock") == 0) {
    long long real = now_ns(CLOCK_REALTIME), first = now_ns(CLOCK_MONOTONIC);
    return printf("%lld %lld %lld\n", real, first, now_ns(CLOCK_MONOTONIC)) < 0;
  }
  return 2;
}

static int with_one(const char *verb, const char *value) {
  if (strcmp(verb, "exit") == 0) exit(atoi(value));
  if (strcmp(verb, "random") == 0) return do_random((size_t)atol(value));
  if (strcmp(verb, "sleep") == 0) return do_sleep(atol(value));
  if (strcmp(verb, "poll") == 0) return do_poll(atoi(value));
  if (strcmp(verb, "read") == 0) return do_read(value, 0, SEEK_SET, (size_t)-1);
  if (strcmp(verb, "create") == 0) return do_write(value, O_CREAT | O_EXCL, "");
  if (strcmp(verb, "rm") == 0) return done(unlink(value));
  if (strcmp(verb, "mkdir") == 0) return done(mkdir(value, 0755));
  if (strcmp(verb, "rmdir") == 0) return done(rmdir(value));
  if (strcmp(verb, "ls") == 0) return do_ls(value);
  if (strcmp(verb, "stat") == 0) return do_stat(value);
  if (strcmp(verb, "readlink") == 0) return do_readlink(value);
  return 2;
}

static int with_two(const char *verb, const char *one, const char *two) {
  if (strcmp(verb, "write") == 0) return do_write(one, O_CREAT | O_TRUNC, two);
  if (strcmp(verb, "append") == 0) return do_write(one, O_CREAT | O_APPEND, two);
  if (strcmp(verb, "truncate") == 0) return done(truncate(one, atoll(two)));
  if (strcmp(verb, "rename") == 0) return done(rename(one, two));
  if (strcmp(verb, "symlink") == 0) return done(symlink(one, two));
  if (strcmp(verb, "link") == 0) return done(link(one, two));
  if (strcmp(verb, "open") == 0) return do_open((__wasi_fd_t)atoi(one), two);
  return 2;
}

int main(int count, char **words) {
  if (count > 1 && strcmp(words[1], "args") == 0)
    for (int at = 2; at < count; at++) puts(words[at]);
  int code = count == 2   ? with_none(words[1])
             : count == 3 ? with_one(words[1], words[2])
             : count == 4 ? with_two(words[1], words[2], words[3])
                          : 2;
  if (count == 5 && strcmp(words[1], "seek") == 0)
    code = do_read(words[2], atoll(words[3]), SEEK_SET, (size_t)atol(words[4]));
  if (count == 5 && strcmp(words[1], "back") == 0)
    code = do_read(words[2], -atoll(words[3]), SEEK_END, (size_t)atol(words[4]));
  return count > 1 && strcmp(words[1], "args") == 0 ? 0 : code;
}
