/* A disk that fails now and then: preloaded into a process, it lets every FAIL_EVERYth call that would change a file below
   FAIL_BELOW fail with FAIL_ERRNO, the first one being the FAIL_FIRSTth. Threads share the count; pipes and sockets are
   no files. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_long calls;

static long setting(const char *name, long otherwise) {
  const char *text = getenv(name);
  return text ? atol(text) : otherwise;
}

static int below(int file) {
  const char *folder = getenv("FAIL_BELOW");
  char link[64], path[4096];
  if (!folder) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, path, sizeof path - 1);
  size_t wanted = strlen(folder);
  return length > (ssize_t)wanted && !strncmp(path, folder, wanted) && path[wanted] == '/';
}

static int fails(int file) {
  int before = errno;
  long every = setting("FAIL_EVERY", 0);
  if (every && below(file)) {
    long since = atomic_fetch_add(&calls, 1) + 1 - setting("FAIL_FIRST", every);
    if (since >= 0 && since % every == 0) {
      errno = (int)setting("FAIL_ERRNO", ENOSPC);
      return 1;
    }
  }
  errno = before;
  return 0;
}

#define FAILING(result, name, declared, ...)                                  \
  result name declared {                                                      \
    static result(*real) declared;                                            \
    if (!real) real = (result(*) declared)dlsym(RTLD_NEXT, #name);            \
    return fails(file) ? -1 : real(__VA_ARGS__);                              \
  }

FAILING(ssize_t, write, (int file, const void *from, size_t size), file, from, size)
FAILING(ssize_t, pwrite, (int file, const void *from, size_t size, off_t at), file, from, size, at)
FAILING(ssize_t, pwrite64, (int file, const void *from, size_t size, off64_t at), file, from, size, at)
FAILING(ssize_t, writev, (int file, const struct iovec *from, int count), file, from, count)
FAILING(ssize_t, sendfile, (int file, int from, off_t *at, size_t size), file, from, at, size)
FAILING(ssize_t, sendfile64, (int file, int from, off64_t *at, size_t size), file, from, at, size)
FAILING(int, ftruncate, (int file, off_t size), file, size)
FAILING(int, ftruncate64, (int file, off64_t size), file, size)
FAILING(int, fsync, (int file), file)
FAILING(int, fdatasync, (int file), file)
