/* What the tests of safetensors share: every test has a file at `path` and an arena. */
#pragma once

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nn/safetensors.h"

static char path[PATH_MAX];
static Arena *arena;

static int enter(void **state) {
    (void)state;
    strcpy(path, "/tmp/stair-safe-XXXXXX");
    int file = mkstemp(path);
    arena = arena_new();
    return file < 0 || close(file);
}

static int leave(void **state) {
    (void)state;
    arena_free(arena);
    return unlink(path);
}

static void put(const void *data, size_t size) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static const SafeFile *read_back(void) {
    Error error = {0};
    const SafeFile *file = safetensors_read(arena, path, &error);
    if (!file) fail_msg("%s", error.message);
    return file;
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, enter, leave)
