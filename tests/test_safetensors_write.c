/* Writing safetensors: round trip, canonical bytes, the writer's refusals, damaged files. */
#include "tests/safetensors_fixture.h"

#include "autograd/file.h"

static const float weight[6] = {1, -2, 3.5f, 1e-42f, -0.0f, 3e38f};
static const int64_t step = 1234567890123;
static const int8_t code[3] = {-127, 0, 127};
static const SafeTensor tensors[] = {
    {.name = "q", .dtype = DTYPE_I8, .rank = 1, .dim = {3}, .data = code, .bytes = 3},
    {.name = "fc.weight",
     .dtype = DTYPE_F32,
     .rank = 2,
     .dim = {2, 3},
     .data = weight,
     .bytes = 24},
    {.name = "step", .dtype = DTYPE_I64, .data = &step, .bytes = 8},
    {.name = "empty", .dtype = DTYPE_F32, .rank = 2, .dim = {0, 5}},
};
static const SafeMeta metas[] = {{"stage", "qat"},
                                 {"net", "x = input shape=1\n\"\xe7\xbd\x91\"\\"}};
static const SafeFile sample = {.count = 4, .tensor = tensors, .metas = 2, .meta = metas};

static void save(const SafeFile *file) {
    Error error = {0};
    if (!safetensors_write(path, file, &error)) fail_msg("%s", error.message);
}

static void bytes_of(unsigned char **data, size_t *size) {
    assert_true(file_read(arena, path, 1 << 20, data, size, NULL));
}

static void round_trip(void **state) {
    (void)state;
    save(&sample);
    const SafeFile *file = read_back();
    assert_int_equal(file->count, 4);
    assert_int_equal(file->metas, 2);
    assert_string_equal(file->tensor[0].name, "empty");
    assert_string_equal(file->tensor[3].name, "step");
    for (int i = 0; i < 4; i++) {
        const SafeTensor *given = &tensors[i], *got = safetensors_find(file, given->name);
        assert_non_null(got);
        assert_int_equal(got->dtype, given->dtype);
        assert_int_equal(got->rank, given->rank);
        assert_memory_equal(got->dim, given->dim, sizeof given->dim);
        assert_int_equal(got->bytes, given->bytes);
        if (given->bytes) assert_memory_equal(got->data, given->data, given->bytes);
    }
    for (int i = 0; i < 2; i++)
        assert_string_equal(safetensors_meta(file, metas[i].key), metas[i].value);
    assert_null(safetensors_find(file, "fc.bias"));
    save(&(SafeFile){0});
    assert_int_equal(read_back()->count, 0);
}

/* The format's bytes, by hand: largest elements first, then names; spaces to a multiple of 8. */
static void written_bytes_are_canonical(void **state) {
    (void)state;
    save(&sample);
    unsigned char *first, *second;
    size_t size, again;
    bytes_of(&first, &size);
    const char *header =
        "{\"__metadata__\":{\"net\":\"x = input "
        "shape=1\\n\\\"\xe7\xbd\x91\\\"\\\\\",\"stage\":\"qat\"},"
        "\"step\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[0,8]},"
        "\"empty\":{\"dtype\":\"F32\",\"shape\":[0,5],\"data_offsets\":[8,8]},"
        "\"fc.weight\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[8,32]},"
        "\"q\":{\"dtype\":\"I8\",\"shape\":[3],\"data_offsets\":[32,35]}}";
    size_t n = (strlen(header) + 7) / 8 * 8;
    assert_int_equal(size, 8 + n + 35);
    assert_int_equal(first[0] + 256 * first[1], n);
    assert_memory_equal(first + 2, "\0\0\0\0\0\0", 6);
    assert_memory_equal(first + 8, header, strlen(header));
    for (size_t i = strlen(header); i < n; i++) assert_int_equal(first[8 + i], ' ');
    assert_memory_equal(first + 8 + n, &step, 8);
    assert_memory_equal(first + 16 + n, weight, 24);
    assert_memory_equal(first + 40 + n, code, 3);

    SafeTensor turned[4];
    for (int i = 0; i < 4; i++) turned[i] = tensors[3 - i];
    const SafeMeta swapped[] = {metas[1], metas[0]};
    save(&(SafeFile){.count = 4, .tensor = turned, .metas = 2, .meta = swapped});
    bytes_of(&second, &again);
    assert_int_equal(again, size);
    assert_memory_equal(second, first, size);
    save(read_back());
    bytes_of(&second, &again);
    assert_int_equal(again, size);
    assert_memory_equal(second, first, size);
}

static void assert_unwritten(const SafeFile *file, const char *reason) {
    put("old", 3);
    Error error = {0};
    assert_false(safetensors_write(path, file, &error));
    assert_int_equal(error.code, ERROR_INPUT);
    if (!strstr(error.message, reason)) fail_msg("'%s' does not say '%s'", error.message, reason);
    unsigned char *data;
    size_t size;
    bytes_of(&data, &size);
    assert_string_equal((const char *)data, "old");
}

static void writer_keeps_the_readers_rules(void **state) {
    (void)state;
    SafeTensor pair[2] = {tensors[0], tensors[0]};
    SafeMeta meta[2] = {metas[0], metas[0]};
    assert_unwritten(&(SafeFile){.count = 2, .tensor = pair}, "twice or not UTF-8");
    assert_unwritten(&(SafeFile){.metas = 2, .meta = meta}, "twice or not UTF-8");
    meta[0].value = "\xff";
    assert_unwritten(&(SafeFile){.metas = 1, .meta = meta}, "twice or not UTF-8");
    static const struct {
        const char *name, *reason;
    } bad[] = {
        {"", "empty"}, {"a\n", "control"}, {"__metadata__", "__metadata__"}, {"\xff", "UTF-8"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        pair[0].name = bad[i].name;
        assert_unwritten(&(SafeFile){.count = 1, .tensor = pair}, bad[i].reason);
    }
    pair[0] = tensors[0];
    pair[0].bytes = 2;
    assert_unwritten(&(SafeFile){.count = 1, .tensor = pair}, "make 3 bytes, its data has 2");
    pair[0].dim[0] = -1;
    assert_unwritten(&(SafeFile){.count = 1, .tensor = pair}, "negative");
    char *text = arena_alloc(arena, SAFE_HEADER + 1);
    memset(text, 'x', SAFE_HEADER);
    text[SAFE_HEADER] = 0;
    meta[0].value = text;
    assert_unwritten(&(SafeFile){.metas = 1, .meta = meta}, "over 16 MiB");
}

/* A reader has two answers, whatever the bytes: a file that holds together, or ERROR_INPUT. */
static void assert_answered(const unsigned char *data, size_t size) {
    put(data, size);
    ArenaMark mark = arena_mark(arena);
    Error error = {0};
    const SafeFile *file = safetensors_read(arena, path, &error);
    if (!file) assert_int_equal(error.code, ERROR_INPUT);
    size_t taken = 0;
    for (int i = 0; file && i < file->count; i++) {
        const SafeTensor *tensor = &file->tensor[i];
        assert_ptr_equal(safetensors_find(file, tensor->name), tensor);
        taken += tensor->bytes;
        /* the tensor's bytes are some of the file's */
        if (tensor->bytes) assert_non_null(memmem(data, size, tensor->data, tensor->bytes));
    }
    assert_true(taken <= size);
    arena_rewind(arena, mark);
}

static void damaged_files_are_answered(void **state) {
    (void)state;
    save(&sample);
    unsigned char *data;
    size_t size;
    bytes_of(&data, &size);
    for (size_t length = 0; length < size; length++) {
        put(data, length);
        Error error = {0};
        assert_null(safetensors_read(arena, path, &error)); /* no part of a file is a file */
        assert_int_equal(error.code, ERROR_INPUT);
    }
    static const unsigned char flips[] = {0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xff};
    for (size_t i = 0; i < size; i++)
        for (size_t k = 0; k < sizeof flips; k++) {
            data[i] ^= flips[k];
            assert_answered(data, size);
            data[i] ^= flips[k];
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(round_trip),
        TEST(written_bytes_are_canonical),
        TEST(writer_keeps_the_readers_rules),
        TEST(damaged_files_are_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
