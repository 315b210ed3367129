/* A file system without locks, as a library to preload: DENY=all refuses every lock,
   DENY=index those of SQLite's write-ahead log alone. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

static const char *denied(void) {
  const char *mode = getenv("DENY");
  return mode ? mode : "";
}

static int is_index(int fd) {
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t size = readlink(link, path, sizeof path - 1);
  if (size < 0) return 0;
  path[size] = 0;
  return strstr(path, "-shm") != NULL;
}

static int refusal(int fd, int command) {
  if (command != F_SETLK && command != F_SETLKW && command != F_GETLK) return 0;
  if (!strcmp(denied(), "all")) return ENOLCK;
  return !strcmp(denied(), "index") && is_index(fd) ? EAGAIN : 0;
}

#define WRAPPED(name)                                          \
  int name(int fd, int command, ...) {                         \
    va_list rest;                                              \
    va_start(rest, command);                                   \
    void *argument = va_arg(rest, void *);                     \
    va_end(rest);                                              \
    int (*real)(int, int, ...) = dlsym(RTLD_NEXT, #name);      \
    int error = refusal(fd, command);                          \
    if (!error) return real(fd, command, argument);            \
    errno = error;                                             \
    return -1;                                                 \
  }

WRAPPED(fcntl)
WRAPPED(fcntl64)

int flock(int fd, int operation) {
  int (*real)(int, int) = dlsym(RTLD_NEXT, "flock");
  if (strcmp(denied(), "all")) return real(fd, operation);
  errno = ENOLCK;
  return -1;
}
