/* Counts what a process does to the files below a folder, and stops at one step of it. Loaded with LD_PRELOAD.
 *
 * A step is a call that changes the disk: open for writing, write, truncate, allocate, sync, rename, link, mkdir,
 * remove. At step `at` the process is killed before it (KILL), killed in the middle of it (HALF: half of the bytes of a
 * write are written), or finds the disk full (FULL: this step fails, and from then on every step that needs room).
 * Every step is one line of a log: its number, its call, its path. What the C library calls inside itself (fopen,
 * fwrite) is not seen here; benchmarks/interruptions.py compares the log with strace's.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { COUNT, KILL, HALF, FULL };

static char root[PATH_MAX];
static size_t root_length;
static long steps, stop_at;
static int mode, log_file = -1;

void interruptions_begin(const char *folder, long at, int how, const char *log) {
    log_file = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    stop_at = at, mode = how, steps = 0;
    strncpy(root, folder, sizeof root - 1);
    root_length = strlen(root);
}

static int below(int directory, const char *name, char *path) {
    if (!root_length) return 0;
    path[0] = 0;
    if (name == NULL || name[0] != '/') {
        char link[64];
        snprintf(link, sizeof link, directory == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", directory);
        long n = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
        if (n < 0) return 0;
        path[n] = 0;
        if (name != NULL) snprintf(path + n, PATH_MAX - n, "/%s", name);
    } else {
        snprintf(path, PATH_MAX, "%s", name);
    }
    return strncmp(path, root, root_length) == 0;
}

/* Return 1 where the disk is full for this step; kill the process where that is asked for and `half` bytes cannot be. */
static int step(const char *call, int directory, const char *name, int needs_room, int can_halve) {
    char path[PATH_MAX], line[PATH_MAX + 64];
    if (!below(directory, name, path)) return 0;
    long number = __atomic_add_fetch(&steps, 1, __ATOMIC_SEQ_CST);
    int length = snprintf(line, sizeof line, "%ld %s %s\n", number, call, path + root_length);
    syscall(SYS_write, log_file, line, length);
    if (mode == FULL) return number == stop_at || (needs_room && stop_at && number > stop_at);
    if (number != stop_at || mode == COUNT) return 0;
    if (mode == HALF && can_halve) return 2;
    syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
    for (;;) pause();
}

#define FAIL_IF_FULL(...)      \
    if (step(__VA_ARGS__)) {   \
        errno = ENOSPC;        \
        return -1;             \
    }
#define REAL(result, name, ...)                                             \
    static result (*real)(__VA_ARGS__);                                     \
    if (!real) real = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name);

static int writes(int flags) { return (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC)); }

#define OPEN(NAME)                                                                \
    int NAME(const char *path, int flags, ...) {                                  \
        REAL(int, #NAME, const char *, int, mode_t)                               \
        va_list rest;                                                             \
        va_start(rest, flags);                                                    \
        mode_t permissions = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                                             \
        if (writes(flags)) FAIL_IF_FULL("open", AT_FDCWD, path, flags & O_CREAT, 0) \
        return real(path, flags, permissions);                                    \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(NAME)                                                              \
    int NAME(int directory, const char *path, int flags, ...) {                   \
        REAL(int, #NAME, int, const char *, int, mode_t)                          \
        va_list rest;                                                             \
        va_start(rest, flags);                                                    \
        mode_t permissions = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                                             \
        if (writes(flags)) FAIL_IF_FULL("open", directory, path, flags & O_CREAT, 0) \
        return real(directory, path, flags, permissions);                         \
    }
OPENAT(openat)
OPENAT(openat64)

static void die(void) {
    syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
    for (;;) pause();
}

ssize_t write(int fd, const void *bytes, size_t count) {
    REAL(ssize_t, "write", int, const void *, size_t)
    int how = step("write", fd, NULL, 1, 1);
    if (how == 2) {
        real(fd, bytes, count / 2);
        die();
    }
    if (how) {
        errno = ENOSPC;
        return -1;
    }
    return real(fd, bytes, count);
}

#define PWRITE(NAME)                                                        \
    ssize_t NAME(int fd, const void *bytes, size_t count, off_t offset) {   \
        REAL(ssize_t, #NAME, int, const void *, size_t, off_t)              \
        int how = step("write", fd, NULL, 1, 1);                            \
        if (how == 2) {                                                     \
            real(fd, bytes, count / 2, offset);                             \
            die();                                                          \
        }                                                                   \
        if (how) {                                                          \
            errno = ENOSPC;                                                 \
            return -1;                                                      \
        }                                                                   \
        return real(fd, bytes, count, offset);                              \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(ssize_t, "writev", int, const struct iovec *, int)
    FAIL_IF_FULL("write", fd, NULL, 1, 0)
    return real(fd, parts, count);
}

#define OF_FILE(NAME, CALL, ROOM, TYPES, NAMES)      \
    int NAME TYPES {                                 \
        REAL_OF_FILE(NAME, TYPES)                    \
        FAIL_IF_FULL(CALL, fd, NULL, ROOM, 0)        \
        return real NAMES;                           \
    }
#define REAL_OF_FILE(NAME, TYPES)                    \
    static int(*real) TYPES;                         \
    if (!real) real = (int(*) TYPES)dlsym(RTLD_NEXT, #NAME);
OF_FILE(fsync, "sync", 0, (int fd), (fd))
OF_FILE(fdatasync, "sync", 0, (int fd), (fd))
OF_FILE(ftruncate, "truncate", 0, (int fd, off_t length), (fd, length))
OF_FILE(ftruncate64, "truncate", 0, (int fd, off_t length), (fd, length))
OF_FILE(fallocate, "allocate", 1, (int fd, int how, off_t start, off_t length), (fd, how, start, length))
OF_FILE(fallocate64, "allocate", 1, (int fd, int how, off_t start, off_t length), (fd, how, start, length))

int posix_fallocate(int fd, off_t start, off_t length) {
    REAL(int, "posix_fallocate", int, off_t, off_t)
    return step("allocate", fd, NULL, 1, 0) ? ENOSPC : real(fd, start, length);
}
int posix_fallocate64(int fd, off_t start, off_t length) {
    REAL(int, "posix_fallocate64", int, off_t, off_t)
    return step("allocate", fd, NULL, 1, 0) ? ENOSPC : real(fd, start, length);
}

#define OF_PATH(NAME, CALL, ROOM, PLACE, PATH, TYPES, NAMES) \
    int NAME TYPES {                                         \
        REAL_OF_FILE(NAME, TYPES)                            \
        FAIL_IF_FULL(CALL, PLACE, PATH, ROOM, 0)             \
        return real NAMES;                                   \
    }
OF_PATH(rename, "rename", 0, AT_FDCWD, to, (const char *from, const char *to), (from, to))
OF_PATH(renameat, "rename", 0, b, to, (int a, const char *from, int b, const char *to), (a, from, b, to))
OF_PATH(renameat2, "rename", 0, b, to, (int a, const char *from, int b, const char *to, unsigned int flags),
        (a, from, b, to, flags))
OF_PATH(link, "link", 1, AT_FDCWD, to, (const char *from, const char *to), (from, to))
OF_PATH(symlink, "link", 1, AT_FDCWD, to, (const char *from, const char *to), (from, to))
OF_PATH(mkdir, "mkdir", 1, AT_FDCWD, path, (const char *path, mode_t permissions), (path, permissions))
OF_PATH(mkdirat, "mkdir", 1, place, path, (int place, const char *path, mode_t permissions), (place, path, permissions))

/* Removing never needs room: a full disk does not stop it. */
#define REMOVING(NAME, PLACE, TYPES, NAMES)                                   \
    int NAME TYPES {                                                          \
        REAL_OF_FILE(NAME, TYPES)                                             \
        if (mode != FULL) FAIL_IF_FULL("remove", PLACE, path, 0, 0)           \
        return real NAMES;                                                    \
    }
REMOVING(unlink, AT_FDCWD, (const char *path), (path))
REMOVING(rmdir, AT_FDCWD, (const char *path), (path))
REMOVING(unlinkat, place, (int place, const char *path, int flags), (place, path, flags))
