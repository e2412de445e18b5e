#include "tests/changed_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "tests/scratch.h"

void change_open(Change *c, const char *name) {
    c->arena = arena_new();
    Error error = {0};
    const SafeFile *file = safetensors_read(c->arena, scratch_path(name), &error);
    if (!file) fail_msg("%s", error.message);
    assert_true(file->count < CHANGE_ROOM && file->metas < CHANGE_ROOM);
    memcpy(c->tensor, file->tensor, sizeof *c->tensor * (size_t)file->count);
    memcpy(c->meta, file->meta, sizeof *c->meta * (size_t)file->metas);
    c->file = (SafeFile){file->count, c->tensor, file->metas, c->meta};
}

SafeTensor *change_tensor(Change *c, const char *name) {
    for (int i = 0; i < c->file.count; i++)
        if (strcmp(c->tensor[i].name, name) == 0) return &c->tensor[i];
    fail_msg("no tensor %s", name);
    return NULL;
}

void change_remove(Change *c, const char *name) {
    SafeTensor *removed = change_tensor(c, name);
    *removed = c->tensor[--c->file.count];
}

void change_meta(Change *c, const char *key, const char *value) {
    int i = 0;
    while (i < c->file.metas && strcmp(c->meta[i].key, key) != 0) i++;
    if (value) {
        c->file.metas += i == c->file.metas;
        c->meta[i] = (SafeMeta){key, value};
    } else {
        assert_true(i < c->file.metas);
        c->meta[i] = c->meta[--c->file.metas];
    }
}

void change_number(Change *c, const char *name, size_t index, double value) {
    SafeTensor *t = change_tensor(c, name);
    size_t size = (size_t)dtype_bits(t->dtype) / 8;
    assert_true(index * size < t->bytes);
    char *data = arena_alloc(c->arena, t->bytes);
    memcpy(data, t->data, t->bytes);
    if (t->dtype == DTYPE_F32)
        ((float *)(void *)data)[index] = (float)value;
    else if (t->dtype == DTYPE_I64)
        ((int64_t *)(void *)data)[index] = (int64_t)value;
    else if (t->dtype == DTYPE_I32)
        ((int32_t *)(void *)data)[index] = (int32_t)value;
    else
        ((int8_t *)data)[index] = (int8_t)value;
    t->data = data;
}

Model *change_load(Change *c, Error *error) {
    *error = (Error){0};
    assert_true(safetensors_write(scratch_path("changed"), &c->file, error));
    arena_free(c->arena);
    return model_load(scratch_path("changed"), error);
}

void assert_bad(Change *c, const char *fragment) {
    Error error;
    const char *path = scratch_path("changed");
    Model *model = change_load(c, &error);
    if (model) fail_msg("accepted; expected: %s", fragment);
    assert_error(&error, ERROR_INPUT, fragment);
    assert_int_equal(strncmp(error.message, path, strlen(path)), 0);
}
