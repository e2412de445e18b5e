/* What a run shows: progress lines, JSON lines, and how it is told to stop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "train/json.h"
#include "train/progress.h"
#include "train/signals.h"

static const ProgressPoint middle = {.epoch = 3,
                                     .epochs = 10,
                                     .step = 300,
                                     .steps = 1000,
                                     .images = 12800,
                                     .loss = 0.34567,
                                     .accuracy = 0.91234,
                                     .test_accuracy = NAN};

static void test_text(void **state) {
    (void)state;
    char text[200];
    progress_text(text, sizeof text, &middle, 100, 2.0);
    assert_string_equal(text, "epoch 3/10  step 300/1000  loss 0.3457  accuracy 91.23%  "
                              "6400 images/s  0:07 left");
    ProgressPoint point = middle;
    point.loss = point.accuracy = NAN;
    progress_text(text, sizeof text, &point, 0, 3661.0 * 300 / 700);
    assert_non_null(strstr(text, "300/1000  8 images/s  1:01:01 left"));
    progress_text(text, sizeof text, &point, 300, 1); /* no step yet: no guess */
    assert_string_equal(text, "epoch 3/10  step 300/1000  12800 images/s");
    progress_text(text, sizeof text, &point, 299, 1e9); /* a guess of centuries is none */
    assert_null(strstr(text, "left"));
    progress_text(text, sizeof text, &point, 300, 0);
    assert_string_equal(text, "epoch 3/10  step 300/1000");
    progress_text(text, 8, &middle, 0, 1);
    assert_string_equal(text, "epoch 3");
}

static void contents(FILE *file, char *text, size_t size) {
    rewind(file);
    text[fread(text, 1, size - 1, file)] = '\0';
    fclose(file);
}

static void test_plain(void **state) {
    (void)state;
    char text[1000];
    FILE *file = tmpfile();
    Progress progress = progress_start(file, false, 0);
    for (int i = 0; i < 5; i++) progress_step(&progress, &middle);
    progress_epoch(&progress, &middle);
    progress_epoch(&progress, &middle);
    progress_finish(&progress);
    contents(file, text, sizeof text);
    assert_null(strchr(text, '\r'));
    assert_memory_equal(text, "epoch 3/10  step 300/1000  loss 0.3457", 38);
    char *second = strchr(text, '\n') + 1;
    assert_memory_equal(second, text, 38);
    assert_string_equal(strchr(second, '\n'), "\n");

    file = tmpfile();
    progress = progress_start(file, true, 0);
    progress_step(&progress, &middle);
    progress_epoch(&progress, &middle);
    progress_finish(&progress);
    contents(file, text, sizeof text);
    assert_string_equal(text, "");
}

/* A terminal of 24 columns; its other end in *reader. NULL where the machine gives none. */
static FILE *terminal_new(int *reader) {
    *reader = posix_openpt(O_RDWR | O_NOCTTY);
    if (*reader < 0 || grantpt(*reader) || unlockpt(*reader)) return NULL;
    int fd = open(ptsname(*reader), O_RDWR | O_NOCTTY);
    if (fd < 0) return NULL;
    ioctl(fd, TIOCSWINSZ, &(struct winsize){.ws_col = 24, .ws_row = 4});
    return fdopen(fd, "w");
}

/* What arrives until a newline has; the bound on waiting only ends a test that has failed. */
static void read_line(int reader, char *text, size_t size) {
    size_t used = 0;
    *text = '\0';
    while (!strchr(text, '\n') && used + 1 < size) {
        struct pollfd wait = {.fd = reader, .events = POLLIN};
        assert_int_equal(poll(&wait, 1, 10000), 1);
        ssize_t length = read(reader, text + used, size - 1 - used);
        assert_true(length > 0);
        used += (size_t)length;
        text[used] = '\0';
    }
}

static void test_terminal(void **state) {
    (void)state;
    int reader;
    char text[4000];
    FILE *terminal = terminal_new(&reader);
    if (!terminal) skip();
    setenv("TERM", "xterm", 1);
    unsetenv("NO_COLOR");
    Progress progress = progress_start(terminal, false, 0);
    progress_step(&progress, &middle);
    progress_epoch(&progress, &middle);
    ProgressPoint first = {
        .epoch = 1, .epochs = 2, .steps = 9, .loss = NAN, .accuracy = NAN, .test_accuracy = NAN};
    progress.started = HUGE_VAL; /* no speed in the line */
    progress_epoch(&progress, &first);
    progress_finish(&progress);
    progress_finish(&progress);
    fflush(terminal);
    read_line(reader, text, sizeof text);
    /* cut to 23 columns; the shorter line covers the longer one; one newline at the end */
    assert_string_equal(text, "\repoch 3/10  step 300/10\repoch 3/10  step 300/10"
                              "\repoch 1/2  step 0/9    \r\n");

    setenv("NO_COLOR", "1", 1);
    assert_false(progress_start(terminal, false, 0).redraws);
    unsetenv("NO_COLOR");
    setenv("TERM", "dumb", 1);
    assert_false(progress_start(terminal, false, 0).redraws);
    fclose(terminal);
    close(reader);
}

static void test_json(void **state) {
    (void)state;
    char text[200];
    FILE *file = tmpfile();
    json_t *object = json_object();
    json_object_set_new(object, "loss", json_number((double)0.1f));
    json_object_set_new(object, "nan", json_number(NAN));
    json_object_set_new(object, "inf", json_number(-INFINITY));
    json_object_set_new(object, "step", json_integer(3));
    assert_true(json_line(file, object));
    contents(file, text, sizeof text);
    assert_string_equal(text, "{\"loss\":0.100000001,\"nan\":null,\"inf\":null,\"step\":3}\n");
    file = fopen("/dev/full", "w");
    if (!file) skip();
    assert_false(json_line(file, json_object()));
    fclose(file);
}

/* Runs `body` in a child; how it ended, as a shell would tell it. */
static int in_child(void (*body)(void)) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        body();
        _exit(signals_caught());
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static void catch_nothing(void) {
    signals_catch();
}
static void catch_int_twice_at_once(void) {
    signals_catch();
    raise(SIGINT), raise(SIGINT), raise(SIGTERM), raise(SIGHUP);
}
static void catch_term_and_hup(void) {
    signals_catch();
    raise(SIGTERM), raise(SIGHUP), raise(SIGTERM);
}
static void catch_hup(void) {
    signal(SIGHUP, SIG_DFL); /* nohup may have started the tests */
    signals_catch();
    raise(SIGHUP);
}
static void ignore_hup(void) {
    signal(SIGHUP, SIG_IGN);
    signals_catch();
    raise(SIGHUP);
}
static void second_wish(void) {
    signals_catch();
    raise(SIGINT);
    nanosleep(&(struct timespec){.tv_nsec = 250000000}, NULL);
    raise(SIGINT);
}

static void test_signals(void **state) {
    (void)state;
    assert_int_equal(in_child(catch_nothing), 0);
    assert_int_equal(in_child(catch_term_and_hup), SIGTERM);
    assert_int_equal(in_child(catch_hup), SIGHUP);
    assert_int_equal(in_child(ignore_hup), 0);
    assert_int_equal(in_child(second_wish), 128 + SIGINT);
    /* tried again: a busy machine may pull the two apart far enough to make them two wishes */
    int status = 0;
    for (int i = 0; i < 5 && status != SIGINT; i++) status = in_child(catch_int_twice_at_once);
    assert_int_equal(status, SIGINT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),     cmocka_unit_test(test_plain),
        cmocka_unit_test(test_terminal), cmocka_unit_test(test_json),
        cmocka_unit_test(test_signals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
