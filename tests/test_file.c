/* Files in and out: what is read and written, what is refused, and why. */
#include "tests/file_fixture.h"

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

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(reads_whole_files),          TEST(read_limit_is_inclusive),
        TEST(read_refuses_other_things),  TEST(read_notices_a_size_that_changes),
        TEST(save_makes_and_replaces),    TEST(save_refuses_other_things),
        TEST(permissions_are_obeyed),     TEST(save_through_a_link_keeps_the_link),
        TEST(names_may_be_of_any_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
