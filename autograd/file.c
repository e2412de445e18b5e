#include "autograd/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Every system call's failure is told the same way: errno has the reason, %m its text. A path may
 * be longer than a message, and must not push the reason out of it. */
static bool fail(Error *error, const char *path) {
    return error_set(error, ERROR_IO, "%.1024s: %m", path);
}

static bool not_regular(Error *error, const char *path) {
    return error_set(error, ERROR_IO, "%s: not a regular file", path);
}

/* ---- reading ---- */

/* Reads until data[room] is full or the file ends: the bytes read, or -1. */
static ssize_t read_fully(int file, unsigned char *data, size_t room) {
    size_t size = 0;
    while (size < room) {
        ssize_t got = read(file, data + size, room - size);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return -1;
        if (got == 0) break;
        size += (size_t)got;
    }
    return (ssize_t)size;
}

static bool read_open(Arena *arena, int file, const char *path, size_t most, unsigned char **data,
                      size_t *size, Error *error) {
    struct stat status;
    if (fstat(file, &status)) return fail(error, path);
    if (!S_ISREG(status.st_mode)) return not_regular(error, path);
    size_t expected = (size_t)status.st_size;
    if (expected > most)
        return error_set(error, ERROR_INPUT, "%s: %zu bytes, more than the limit of %zu", path,
                         expected, most);

    /* Room for one byte more than the file has: it shows that the file grew, or ends the text. */
    ArenaMark mark = arena_mark(arena);
    unsigned char *bytes = arena_alloc(arena, expected + 1);
    ssize_t got = read_fully(file, bytes, expected + 1);
    if (got == (ssize_t)expected) {
        bytes[expected] = 0;
        *data = bytes;
        *size = expected;
        return true;
    }
    if (got < 0)
        fail(error, path);
    else
        error_set(error, ERROR_IO, "%s: its size changed while it was read", path);
    arena_rewind(arena, mark);
    return false;
}

bool file_read(Arena *arena, const char *path, size_t most, unsigned char **data, size_t *size,
               Error *error) {
    CHECK(most < SSIZE_MAX, "limit %zu", most);
    int file = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (file < 0) return fail(error, path);
    bool whole = read_open(arena, file, path, most, data, size, error);
    close(file);
    return whole;
}

/* ---- writing ---- */

struct FileWriter {
    FileWriter *next;             /* in the list of open writers */
    char path[PATH_MAX];          /* as the caller gave it, for messages */
    char name[NAME_MAX + 1];      /* the file's name in its folder */
    char temporary[NAME_MAX + 1]; /* the same of the temporary; empty while there is none */
    int folder, file;             /* descriptors, or -1 */
    int failure;                  /* errno of the first failed write, or 0 */
};

static FileWriter *open_writers;

/* A temporary is ".STEM.PID.tmp": the stem is the name, cut where the rest would not fit. */
enum { STEM = NAME_MAX - (int)sizeof ".2147483647.tmp" };

/* A temporary that no running process will finish. A pid comes round again, in a container at every
 * start, so under the own pid only the writers that are open count. */
static bool is_orphan(const char *entry, const char *stem, size_t length) {
    if (entry[0] != '.' || strncmp(entry + 1, stem, length) || entry[1 + length] != '.')
        return false;
    const char *digits = entry + length + 2;
    char *end;
    long pid = *digits >= '1' && *digits <= '9' ? strtol(digits, &end, 10) : 0;
    if (pid <= 0 || pid > INT_MAX || strcmp(end, ".tmp") != 0) return false;
    if (pid != getpid()) return kill((pid_t)pid, 0) && errno == ESRCH;
    for (const FileWriter *w = open_writers; w; w = w->next)
        if (!strcmp(w->temporary, entry)) return false;
    return true;
}

/* A courtesy: what cannot be listed or removed stays, and the save goes on. */
static void remove_orphans(int folder, const char *stem, size_t length) {
    int again = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = again < 0 ? NULL : fdopendir(again);
    if (!list) {
        if (again >= 0) close(again);
        return;
    }
    for (const struct dirent *entry; (entry = readdir(list));)
        if (is_orphan(entry->d_name, stem, length)) unlinkat(folder, entry->d_name, 0);
    closedir(list);
}

/* The file to replace, symbolic links followed: its absolute path in real, its permissions in
 * *mode. For a file yet to be made, the path as given and -1. */
static bool resolve(const char *path, char real[PATH_MAX], int *mode, Error *error) {
    struct stat status;
    *mode = -1;
    if (lstat(path, &status)) {
        if (errno != ENOENT) return fail(error, path);
        strcpy(real, path);
        return true;
    }
    if (!realpath(path, real) || stat(real, &status)) {
        if (errno == ENOENT)
            return error_set(error, ERROR_IO, "%s: a symbolic link that leads nowhere", path);
        return fail(error, path);
    }
    if (!S_ISREG(status.st_mode)) return not_regular(error, path);
    if (faccessat(AT_FDCWD, real, W_OK, AT_EACCESS)) return fail(error, path);
    *mode = status.st_mode & 0777;
    return true;
}

/* Opens the folder of `real`, which is cut at its last slash, and sets the writer's name. */
static bool open_folder(FileWriter *writer, char *real, Error *error) {
    char *slash = strrchr(real, '/');
    const char *name = slash ? slash + 1 : real;
    errno = *real ? EISDIR : ENOENT;
    if (!*name) return fail(error, writer->path);
    errno = ENAMETOOLONG;
    if (strlen(name) > NAME_MAX) return fail(error, writer->path);
    strcpy(writer->name, name);
    const char *folder = !slash ? "." : slash == real ? "/" : real;
    if (slash) *slash = 0;
    writer->folder = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (writer->folder < 0)
        return error_set(error, ERROR_IO, "%s: cannot open its folder: %m", writer->path);
    return true;
}

static bool open_temporary(FileWriter *writer, int mode, Error *error) {
    size_t length = strnlen(writer->name, STEM);
    remove_orphans(writer->folder, writer->name, length);
    char temporary[sizeof writer->temporary];
    snprintf(temporary, sizeof temporary, ".%.*s.%d.tmp", (int)length, writer->name, (int)getpid());
    writer->file = openat(writer->folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
                          mode < 0 ? 0666 : mode);
    if (writer->file < 0)
        return error_set(error, ERROR_IO, "%s: cannot make %s beside it: %m", writer->path,
                         temporary);
    strcpy(writer->temporary, temporary);
    if (mode >= 0 && fchmod(writer->file, (mode_t)mode)) return fail(error, writer->path);
    return true;
}

FileWriter *file_create(const char *path, Error *error) {
    errno = ENAMETOOLONG;
    if (strlen(path) >= PATH_MAX) return fail(error, path), NULL;
    FileWriter *writer = malloc(sizeof *writer);
    if (!writer) return fail(error, path), NULL;
    *writer = (FileWriter){.next = open_writers, .folder = -1, .file = -1};
    strcpy(writer->path, path);
    open_writers = writer;
    char real[PATH_MAX];
    int mode;
    if (resolve(path, real, &mode, error) && open_folder(writer, real, error) &&
        open_temporary(writer, mode, error))
        return writer;
    file_abandon(writer);
    return NULL;
}

bool file_write(FileWriter *writer, const void *data, size_t size) {
    const char *rest = data;
    while (size && !writer->failure) {
        ssize_t done = write(writer->file, rest, size);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) {
            writer->failure = done ? errno : EIO;
        } else {
            rest += done;
            size -= (size_t)done;
        }
    }
    return !writer->failure;
}

bool file_commit(FileWriter *writer, Error *error) {
    int failure = writer->failure;
    if (!failure && fsync(writer->file)) failure = errno;
    if (close(writer->file) && !failure) failure = errno;
    writer->file = -1;
    if (!failure && renameat(writer->folder, writer->temporary, writer->folder, writer->name))
        failure = errno;
    if (!failure) {
        writer->temporary[0] = 0;
        /* The new name itself must be on the disk; EINVAL is a file system that cannot promise it.
         */
        if (fsync(writer->folder) && errno != EINVAL) failure = errno;
    }
    if (failure) {
        errno = failure;
        fail(error, writer->path);
    }
    file_abandon(writer);
    return !failure;
}

bool file_save(const char *path, const void *data, size_t size, Error *error) {
    FileWriter *writer = file_create(path, error);
    if (!writer) return false;
    file_write(writer, data, size);
    return file_commit(writer, error);
}

void file_abandon(FileWriter *writer) {
    if (!writer) return;
    FileWriter **link = &open_writers;
    while (*link && *link != writer) link = &(*link)->next;
    CHECK(*link, "a writer that is not open");
    *link = writer->next;
    if (writer->temporary[0]) unlinkat(writer->folder, writer->temporary, 0);
    if (writer->file >= 0) close(writer->file);
    if (writer->folder >= 0) close(writer->folder);
    free(writer);
}

void file_abandon_all(void) {
    while (open_writers) file_abandon(open_writers);
}

bool file_probe(const char *path, Error *error) {
    FileWriter *writer = file_create(path, error);
    file_abandon(writer);
    return writer != NULL;
}

bool file_same(const char *a, const char *b) {
    struct stat one, other;
    return a && b && stat(a, &one) == 0 && stat(b, &other) == 0 && one.st_dev == other.st_dev &&
           one.st_ino == other.st_ino;
}
