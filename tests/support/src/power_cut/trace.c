/* Writes down what a program does to the files of one directory, to be loaded by LD_PRELOAD.
 *
 * Each call is made and written down under one lock, so that the record has the order in which the
 * system saw them. Files whose name ends in -shm are left out: SQLite makes them anew at a start.
 * The form of the record is in power_cut.rs. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum { CREATE = 1, WRITE, TRUNCATE, SYNC, RENAME, UNLINK, SYNC_DIRECTORY };
enum { MOST_FILES = 4096 };

struct record {
    uint64_t what, inode, offset, length;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* The inode of each open file of the directory; 1 for the directory itself. */
static uint64_t inodes[MOST_FILES];
static int record_file = -1;
static const char *directory;

static ssize_t (*real_write)(int, const void *, size_t);

#define REAL(name, type, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static void append(const void *data, size_t length) {
    if (real_write(record_file, data, length) != (ssize_t)length) abort();
}

static void put(int what, uint64_t inode, uint64_t offset, const void *data, size_t length) {
    struct record record = { what, inode, offset, length };
    append(&record, sizeof record);
    append(data, length);
}

/* A constructor is too late: others may open files before it. */
static int is_on(void) {
    if (record_file >= 0) return 1;
    const char *path = getenv("POWER_CUT_RECORD");
    directory = getenv("POWER_CUT_DIRECTORY");
    if (!path || !directory) return 0;
    REAL("open", int, const char *, int, ...);
    real_write = (ssize_t (*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    record_file = real(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    return record_file >= 0;
}

/* The name of a file in the directory, "" for that itself, NULL for others. */
static const char *name_of(const char *path) {
    size_t length = strlen(directory);
    if (strncmp(path, directory, length)) return NULL;
    const char *name = path + length;
    if (*name == '/') name++;
    else if (*name) return NULL;
    size_t rest = strlen(name);
    if (strchr(name, '/') || (rest >= 4 && !strcmp(name + rest - 4, "-shm"))) return NULL;
    return name;
}

static int opened(int (*real)(const char *, int, ...), const char *path, int flags, mode_t mode) {
    pthread_mutex_lock(&lock);
    const char *name = is_on() ? name_of(path) : NULL;
    struct stat status;
    int is_there = name && !stat(path, &status);
    int file = real(path, flags, mode);
    int error = errno;
    if (name && file >= 0 && file < MOST_FILES && !fstat(file, &status)) {
        inodes[file] = *name ? status.st_ino : 1;
        if (*name && !is_there) put(CREATE, status.st_ino, 0, name, strlen(name));
        if (*name && is_there && (flags & O_TRUNC)) put(TRUNCATE, status.st_ino, 0, "", 0);
    }
    pthread_mutex_unlock(&lock);
    errno = error;
    return file;
}

#define OPEN(function) \
    int function(const char *path, int flags, ...) { \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        REAL(#function, int, const char *, int, ...); \
        return opened(real, path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

/* Runs a call on a file; what it did is written down if it succeeded. */
#define RECORDED(file, type, call, record) \
    pthread_mutex_lock(&lock); \
    uint64_t inode = (file) >= 0 && (file) < MOST_FILES ? inodes[file] : 0; \
    type result = call; \
    int error = errno; \
    if (inode && result >= 0) { record; } \
    pthread_mutex_unlock(&lock); \
    errno = error; \
    return result

ssize_t write(int file, const void *data, size_t length) {
    REAL("write", ssize_t, int, const void *, size_t);
    /* The others close the gap: no program here writes to such a file both ways. */
    off_t offset = file >= 0 && file < MOST_FILES && inodes[file] ? lseek(file, 0, SEEK_CUR) : 0;
    RECORDED(file, ssize_t, real(file, data, length), put(WRITE, inode, offset, data, result));
}

#define PWRITE(function, offset_type) \
    ssize_t function(int file, const void *data, size_t length, offset_type offset) { \
        REAL(#function, ssize_t, int, const void *, size_t, offset_type); \
        RECORDED(file, ssize_t, real(file, data, length, offset), \
                 put(WRITE, inode, offset, data, result)); \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define FTRUNCATE(function, offset_type) \
    int function(int file, offset_type length) { \
        REAL(#function, int, int, offset_type); \
        RECORDED(file, int, real(file, length), put(TRUNCATE, inode, length, "", 0)); \
    }
FTRUNCATE(ftruncate, off_t)
FTRUNCATE(ftruncate64, off64_t)

#define FSYNC(function) \
    int function(int file) { \
        REAL(#function, int, int); \
        RECORDED(file, int, real(file), \
                 put(inode == 1 ? SYNC_DIRECTORY : SYNC, inode, 0, "", 0)); \
    }
FSYNC(fsync)
FSYNC(fdatasync)

int close(int file) {
    REAL("close", int, int);
    pthread_mutex_lock(&lock);
    if (file >= 0 && file < MOST_FILES) inodes[file] = 0;
    int result = real(file);
    pthread_mutex_unlock(&lock);
    return result;
}

int unlink(const char *path) {
    REAL("unlink", int, const char *);
    pthread_mutex_lock(&lock);
    const char *name = is_on() ? name_of(path) : NULL;
    int result = real(path);
    int error = errno;
    if (name && !result) put(UNLINK, 0, 0, name, strlen(name));
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}

int rename(const char *from, const char *to) {
    REAL("rename", int, const char *, const char *);
    pthread_mutex_lock(&lock);
    const char *old = is_on() ? name_of(from) : NULL, *new = old ? name_of(to) : NULL;
    int result = real(from, to);
    int error = errno;
    if (old && new && !result) {
        char both[2048];
        size_t length = strlen(old);
        if (length + strlen(new) + 1 > sizeof both) abort();
        memcpy(both, old, length);
        both[length] = '/';
        memcpy(both + length + 1, new, strlen(new));
        put(RENAME, 0, 0, both, length + 1 + strlen(new));
    }
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}

/* Copies are made by read and write then. */
ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t length,
                        unsigned flags) {
    (void)in, (void)from, (void)out, (void)to, (void)length, (void)flags;
    errno = ENOSYS;
    return -1;
}

ssize_t sendfile(int out, int in, off_t *offset, size_t length) {
    (void)out, (void)in, (void)offset, (void)length;
    errno = ENOSYS;
    return -1;
}

ssize_t sendfile64(int out, int in, off64_t *offset, size_t length) {
    (void)out, (void)in, (void)offset, (void)length;
    errno = ENOSYS;
    return -1;
}
