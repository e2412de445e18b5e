/* What the tests of files share: every test works in a folder of its own, with relative paths. */
#pragma once

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "autograd/file.h"

enum { MOST = 1000 };

static char before[PATH_MAX], folder[] = "/tmp/stair-file-XXXXXX";
static Arena *arena;

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

static void save(const char *path, const char *text) {
    Error error = {0};
    FileWriter *writer = file_create(path, &error);
    if (!writer) fail_msg("%s", error.message);
    assert_true(file_write(writer, text, strlen(text)));
    if (!file_commit(writer, &error)) fail_msg("%s", error.message);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, enter, leave)
