/* Files in and out: what is refused and why, and that a failed save costs nothing. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <dirent.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "autograd/file.h"

enum { MOST = 1000 };

static char before[PATH_MAX], folder[] = "/tmp/stair-file-XXXXXX";
static Arena *arena;

/* Every test works in a folder of its own, with relative paths. */
static int enter(void **state) {
    (void)state;
    strcpy(strrchr(folder, '-'), "-XXXXXX");
    arena = arena_new();
    return !getcwd(before, sizeof before) || !mkdtemp(folder) || chdir(folder);
}

static int files_here(void) {
    DIR *list = opendir(".");
    int count = 0;
    for (const struct dirent *entry; (entry = readdir(list));)
        count += strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..");
    closedir(list);
    return count;
}

static int leave(void **state) {
    (void)state;
    DIR *list = opendir(".");
    for (const struct dirent *entry; (entry = readdir(list));)
        if (unlink(entry->d_name)) rmdir(entry->d_name);
    closedir(list);
    arena_free(arena);
    return chdir(before) || rmdir(folder);
}

static void put(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
}

static void assert_error(const Error *error, ErrorCode code, const char *path, const char *reason) {
    assert_int_equal(error->code, code);
    if (strncmp(error->message, path, strnlen(path, 1024)) || !strstr(error->message, reason))
        fail_msg("'%s' is not '%s: ... %s'", error->message, path, reason);
}

static void assert_holds(const char *path, const char *text) {
    unsigned char *data;
    size_t size;
    Error error = {0};
    if (!file_read(arena, path, MOST, &data, &size, &error)) fail_msg("%s", error.message);
    assert_int_equal(size, strlen(text));
    assert_string_equal((const char *)data, text); /* the zero byte behind it is promised */
}

static void assert_unreadable(const char *path, ErrorCode code, const char *reason) {
    unsigned char *data = NULL;
    size_t size = 77, used = arena_used(arena);
    Error error = {0};
    assert_false(file_read(arena, path, MOST, &data, &size, &error));
    assert_error(&error, code, path, reason);
    assert_null(data);
    assert_int_equal(size, 77);
    assert_int_equal(arena_used(arena), used);
}

static void assert_unwritable(const char *path, const char *reason) {
    Error error = {0};
    assert_null(file_create(path, &error));
    assert_error(&error, ERROR_IO, path, reason);
    error = (Error){0};
    assert_false(file_probe(path, &error));
    assert_error(&error, ERROR_IO, path, reason);
}

static void save(const char *path, const char *text) {
    Error error = {0};
    FileWriter *writer = file_create(path, &error);
    if (!writer) fail_msg("%s", error.message);
    assert_true(file_write(writer, text, strlen(text)));
    if (!file_commit(writer, &error)) fail_msg("%s", error.message);
}

/* A name of so many bytes, in memory that the next call uses again. */
static char *long_name(int bytes) {
    static char name[PATH_MAX + 10];
    memset(name, 'n', (size_t)bytes);
    name[bytes] = 0;
    return name;
}

static void reads_whole_files(void **state) {
    (void)state;
    put("empty", "");
    assert_holds("empty", "");
    put("text", "one\ntwo");
    assert_holds("text", "one\ntwo");
    assert_int_equal(symlink("text", "link"), 0);
    assert_holds("link", "one\ntwo");
}

static void read_limit_is_inclusive(void **state) {
    (void)state;
    put("exact", long_name(MOST));
    assert_holds("exact", long_name(MOST));
    put("over", long_name(MOST + 1));
    assert_unreadable("over", ERROR_INPUT, "1001 bytes, more than the limit of 1000");
}

static void read_refuses_other_things(void **state) {
    (void)state;
    assert_unreadable("missing", ERROR_IO, "No such file or directory");
    assert_unreadable("", ERROR_IO, "No such file or directory");
    assert_unreadable(".", ERROR_IO, "not a regular file");
    assert_unreadable("/dev/zero", ERROR_IO, "not a regular file");
    assert_int_equal(mkfifo("fifo", 0600), 0);
    alarm(5); /* a read that waits for the FIFO's writer ends the test */
    assert_unreadable("fifo", ERROR_IO, "not a regular file");
    alarm(0);
    assert_int_equal(symlink("loop", "loop"), 0);
    assert_unreadable("loop", ERROR_IO, "Too many levels of symbolic links");
    put("file", "");
    assert_unreadable("file/below", ERROR_IO, "Not a directory");
    assert_unreadable(long_name(256), ERROR_IO, "File name too long");
    assert_unreadable(long_name(PATH_MAX + 1), ERROR_IO, "File name too long");
}

/* The kernel's files say they have no bytes, and have some: as if they had grown. */
static void read_notices_a_size_that_changes(void **state) {
    (void)state;
    assert_unreadable("/proc/self/stat", ERROR_IO, "size changed");
}

static void save_makes_and_replaces(void **state) {
    (void)state;
    mode_t mask = umask(027);
    save("new", "first");
    umask(mask);
    assert_holds("new", "first");
    struct stat status;
    assert_int_equal(stat("new", &status), 0);
    assert_int_equal(status.st_mode & 0777, 0640);

    assert_int_equal(chmod("new", 0606), 0);
    save("new", "second, longer");
    assert_holds("new", "second, longer");
    assert_int_equal(stat("new", &status), 0);
    assert_int_equal(status.st_mode & 0777, 0606); /* not narrowed by the umask */
    save("./new", "");
    assert_holds("new", "");
    assert_int_equal(files_here(), 1);
}

static void old_file_stands_until_commit(void **state) {
    (void)state;
    put("model", "old");
    Error error = {0};
    FileWriter *writer = file_create("model", &error);
    assert_true(file_write(writer, "new", 3));
    assert_holds("model", "old");
    assert_int_equal(files_here(), 2);
    assert_null(file_create("model", &error)); /* two saves of one file at a time */
    assert_error(&error, ERROR_IO, "model", "File exists");
    file_abandon(writer);
    file_abandon(NULL);
    assert_holds("model", "old");
    assert_int_equal(files_here(), 1);
}

static void abandon_all_removes_temporaries(void **state) {
    (void)state;
    put("a", "old");
    Error error = {0};
    assert_true(file_write(file_create("a", &error), "new", 3));
    assert_non_null(file_create("b", &error));
    assert_int_equal(files_here(), 3);
    file_abandon_all();
    file_abandon_all();
    assert_int_equal(files_here(), 1);
    assert_holds("a", "old");
}

/* The limit on a file's size stands for a full disk: the write stops half-way, then fails. */
static void failed_write_leaves_the_old_file(void **state) {
    (void)state;
    put("model", "old");
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit limit, small = {.rlim_cur = 5000, .rlim_max = RLIM_INFINITY};
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    small.rlim_max = limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    Error error = {0};
    FileWriter *writer = file_create("model", &error);
    static const char block[4096];
    bool first = file_write(writer, block, sizeof block);
    bool second = file_write(writer, block, sizeof block);
    setrlimit(RLIMIT_FSIZE, &limit);
    bool third = file_write(writer, block, 1); /* there is room again, but the failure stays */
    assert_true(first);
    assert_false(second);
    assert_false(third);
    assert_false(file_commit(writer, &error));
    assert_error(&error, ERROR_IO, "model", "model: File too large");
    assert_holds("model", "old");
    assert_int_equal(files_here(), 1);
}

static void failed_rename_removes_the_temporary(void **state) {
    (void)state;
    Error error = {0};
    FileWriter *writer = file_create("model", &error);
    assert_true(file_write(writer, "new", 3));
    assert_int_equal(mkdir("model", 0700), 0);
    assert_false(file_commit(writer, &error));
    assert_error(&error, ERROR_IO, "model", "Is a directory");
    assert_int_equal(files_here(), 1);
}

static void save_refuses_other_things(void **state) {
    (void)state;
    assert_unwritable("/dev/full", "not a regular file");
    assert_unwritable(".", "not a regular file");
    assert_int_equal(mkfifo("fifo", 0600), 0);
    assert_unwritable("fifo", "not a regular file");
    assert_int_equal(symlink("nowhere", "dangling"), 0);
    assert_unwritable("dangling", "a symbolic link that leads nowhere");
    assert_unwritable("", "No such file or directory");
    assert_unwritable("missing/model", "cannot open its folder: No such file or directory");
    assert_unwritable("missing/", "Is a directory");
    put("file", "");
    assert_unwritable("file/model", "Not a directory");
    assert_unwritable(long_name(256), "File name too long");
    assert_unwritable(long_name(PATH_MAX), "File name too long");
    assert_int_equal(files_here(), 3);
}

static void permissions_are_obeyed(void **state) {
    (void)state;
    uid_t user = geteuid();
    if (!user) { /* root may write everywhere */
        enum { NOBODY = 65534 };
        assert_int_equal(chown(".", NOBODY, NOBODY), 0);
        assert_int_equal(seteuid(NOBODY), 0);
    }
    put("kept", "old");
    assert_int_equal(chmod("kept", 0444), 0);
    assert_unwritable("kept", "Permission denied");
    assert_int_equal(chmod("kept", 0), 0);
    assert_unreadable("kept", ERROR_IO, "Permission denied");
    assert_int_equal(chmod(".", 0500), 0);
    assert_unwritable("model", "cannot make .model.");
    assert_unwritable("model", "beside it: Permission denied");
    assert_int_equal(chmod(".", 0700), 0);
    assert_int_equal(seteuid(user), 0);
}

static void save_through_a_link_keeps_the_link(void **state) {
    (void)state;
    assert_int_equal(mkdir("runs", 0700), 0);
    put("runs/7", "old");
    assert_int_equal(symlink("runs/7", "latest"), 0);
    save("latest", "new");
    assert_holds("runs/7", "new");
    struct stat status;
    assert_int_equal(lstat("latest", &status), 0);
    assert_true(S_ISLNK(status.st_mode));
    assert_int_equal(unlink("runs/7"), 0);
    assert_int_equal(files_here(), 2);
}

static void names_may_be_of_any_length(void **state) {
    (void)state;
    for (int bytes = 230; bytes <= 255; bytes++) {
        save(long_name(bytes), "content");
        assert_holds(long_name(bytes), "content");
    }
    assert_int_equal(files_here(), 26);
}

/* The number of a process that has ended. */
static int dead_process(void) {
    pid_t child = fork();
    if (child == 0) _exit(0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    return (int)child;
}

static void save_removes_orphans_of_its_name(void **state) {
    (void)state;
    char orphan[64], other[64], alive[64], own[64];
    int dead = dead_process();
    snprintf(orphan, sizeof orphan, ".model.%d.tmp", dead);
    snprintf(own, sizeof own, ".model.%d.tmp",
             (int)getpid()); /* of an earlier life of the number */
    snprintf(other, sizeof other, ".model.net.%d.tmp", dead);
    snprintf(alive, sizeof alive, ".model.%d.tmp", (int)getppid());
    const char *const kept[] = {other,           alive,          ".model.tmp",
                                ".model.1x.tmp", ".model..tmp",  ".model.-1.tmp",
                                ".model.0.tmp",  ".modem.1.tmp", ".model.99999999999999999999.tmp"};
    enum { KEPT = sizeof kept / sizeof *kept };
    for (int i = 0; i < KEPT; i++) put(kept[i], "kept");
    put(orphan, "left");
    put(own, "left");
    save("model", "new");
    for (int i = 0; i < KEPT; i++) assert_holds(kept[i], "kept");
    assert_int_equal(files_here(), KEPT + 1);
    assert_holds("model", "new");
}

static void killed_save_leaves_the_old_file(void **state) {
    (void)state;
    put("model", "old");
    pid_t child = fork();
    if (child == 0) {
        FileWriter *writer = file_create("model", NULL);
        if (writer) file_write(writer, "half", 4);
        kill(getpid(), SIGKILL);
    }
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_holds("model", "old");
    assert_int_equal(files_here(), 2);
    assert_true(file_probe("model", NULL)); /* cleans like any save, and leaves nothing itself */
    assert_int_equal(files_here(), 1);
    assert_holds("model", "old");
}

static void probe_leaves_nothing(void **state) {
    (void)state;
    Error error = {0};
    assert_true(file_probe("model", &error));
    assert_int_equal(error.code, ERROR_NONE);
    assert_int_equal(files_here(), 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, enter, leave)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(reads_whole_files),
        TEST(read_limit_is_inclusive),
        TEST(read_refuses_other_things),
        TEST(read_notices_a_size_that_changes),
        TEST(save_makes_and_replaces),
        TEST(old_file_stands_until_commit),
        TEST(abandon_all_removes_temporaries),
        TEST(failed_write_leaves_the_old_file),
        TEST(failed_rename_removes_the_temporary),
        TEST(save_refuses_other_things),
        TEST(permissions_are_obeyed),
        TEST(save_through_a_link_keeps_the_link),
        TEST(names_may_be_of_any_length),
        TEST(save_removes_orphans_of_its_name),
        TEST(killed_save_leaves_the_old_file),
        TEST(probe_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
