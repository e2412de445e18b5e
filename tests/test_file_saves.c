/* A save that fails, is given up or is killed costs nothing: the old file stands, and what is left
 * beside it goes with the next save. */
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "tests/file_fixture.h"

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

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(old_file_stands_until_commit),
        TEST(abandon_all_removes_temporaries),
        TEST(failed_write_leaves_the_old_file),
        TEST(failed_rename_removes_the_temporary),
        TEST(save_removes_orphans_of_its_name),
        TEST(killed_save_leaves_the_old_file),
        TEST(probe_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
