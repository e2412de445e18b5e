/* Reading safetensors: each rule of the format by itself, and other tools' files. */
#include "tests/safetensors_fixture.h"

/* A file of the given header and so many bytes of data, which count up from 0. */
static void put_header(const char *header, size_t payload) {
    size_t n = strlen(header);
    unsigned char *bytes = arena_zeros(arena, 8 + n + payload);
    for (int i = 0; i < 8; i++) bytes[i] = (unsigned char)(n >> 8 * i);
    memcpy(bytes + 8, header, n);
    for (size_t i = 0; i < payload; i++) bytes[8 + n + i] = (unsigned char)i;
    put(bytes, 8 + n + payload);
}

static void assert_refused(const char *reason) {
    Error error = {0};
    size_t used = arena_used(arena);
    assert_null(safetensors_read(arena, path, &error));
    assert_int_equal(error.code, ERROR_INPUT);
    assert_int_equal(arena_used(arena), used);
    if (strncmp(error.message, path, strlen(path)) || !strstr(error.message, reason))
        fail_msg("'%s' does not say '%s'", error.message, reason);
}

static void refuses(const char *header, size_t payload, const char *reason) {
    put_header(header, payload);
    assert_refused(reason);
}

static const SafeFile *accepts(const char *header, size_t payload) {
    put_header(header, payload);
    return read_back();
}

/* One tensor "t" with the given entry. */
#define T(entry) "{\"t\":{" entry "}}"
#define F32_2    "\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]"

static void framing(void **state) {
    (void)state;
    put("", 0);
    assert_refused("too short");
    put("\2\0\0\0\0\0\0", 7);
    assert_refused("too short");
    put("\0\0\0\0\0\0\0\0", 8);
    assert_refused("too short");
    put("\0\0\0\0\0\0\0\0{}", 10);
    assert_refused("does not begin with '{'");
    put("\3\0\0\0\0\0\0\0{}", 10);
    assert_refused("longer than the file");
    put("\xff\xff\xff\xff\xff\xff\xff\xff{}", 10);
    assert_refused("over 16 MiB");
    put("\0\xe1\xf5\5\0\0\0\0{}", 10); /* 100,000,000: the reference's own limit */
    assert_refused("over 16 MiB");
    put("\1\0\0\1\0\0\0\0{}", 10);
    assert_refused("over 16 MiB");
    put("\0\0\0\1\0\0\0\0{}", 10); /* the limit itself */
    assert_refused("longer than the file");
    refuses(" {}", 0, "does not begin with '{'");
    refuses("[]", 0, "does not begin with '{'");
    refuses("{}\n", 0, "does not end with '}' and spaces");
    refuses("{", 0, "does not end with '}' and spaces");
    put("\3\0\0\0\0\0\0\0{}\0", 11);
    assert_refused("does not end with '}' and spaces");
    assert_int_equal(accepts("{}", 0)->count, 0);
    assert_int_equal(accepts("{}      ", 0)->count, 0);
    refuses("{}", 1, "1 bytes behind the last tensor");
}

/* The first 8 bytes of a text say a length, too: what the file is not comes before the reason. */
static void texts_are_no_safetensors(void **state) {
    (void)state;
    put("x = input shape=1x28x28\n", 24);
    assert_refused("no safetensors file: its header's length is over 16 MiB");
    put("short", 5);
    assert_refused("no safetensors file: it is too short");
}

static void json(void **state) {
    (void)state;
    refuses("{\"t\"}", 0, "its header, byte ");
    refuses("{} {}", 0, "end of file expected");
    refuses("{\"a\xff\":1}", 0, "unable to decode byte 0xff");
    refuses("{\"\xc0\x80\":1}", 0, "unable to decode byte 0xc0");
    refuses("{\"\\u0000\":1}", 0, "NUL byte in object key");
    refuses("{\"t\":{" F32_2 "},\"t\":{" F32_2 "}}", 8, "duplicate object key");
    refuses(T(F32_2 ",\"shape\":[2]"), 8, "duplicate object key");
    refuses("{\"__metadata__\":{},\"__metadata__\":{}}", 0, "duplicate object key");
    refuses("{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", 0, "duplicate object key");
    refuses(T("\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,8]"), 8,
            "too big integer");
    refuses(T("\"dtype\":\"F32\",\"shape\":[[2]],\"data_offsets\":[0,8]"), 8, "nested too deep");
    accepts("{\"__metadata__\":{\"net\":\"[[[[{{{{ \\\" \\\\\"}}", 0);
}

static void json_is_bounded_before_it_is_parsed(void **state) {
    (void)state;
    enum { DEEP = 1000000 };
    char *header = arena_alloc(arena, 2 * DEEP + 3);
    memset(header, '[', DEEP);
    memcpy(header, "{\"a\":", 5);
    strcpy(header + DEEP, "}");
    refuses(header, 0, "nested too deep");
    memset(header, '{', DEEP);
    memset(header + DEEP, '}', DEEP);
    header[2 * DEEP] = 0;
    refuses(header, 0, "nested too deep");
    memset(header, ',', 2 * DEEP);
    header[0] = '{';
    header[2 * DEEP - 1] = '}';
    refuses(header, 0, "too many values");
}

static void metadata(void **state) {
    (void)state;
    refuses("{\"__metadata__\":[]}", 0, "__metadata__ is not an object");
    refuses("{\"__metadata__\":null}", 0, "__metadata__ is not an object");
    refuses("{\"__metadata__\":{\"a\":1}}", 0, "a value that is not a string");
    refuses("{\"__metadata__\":{\"a\":{}}}", 0, "a value that is not a string");
    const SafeFile *file = accepts("{\"__metadata__\":{\"z\":\"\",\"b\":\"l\\n\xc3\xa9\"}}", 0);
    assert_int_equal(file->count, 0);
    assert_int_equal(file->metas, 2);
    assert_string_equal(file->meta[0].key, "b");
    assert_string_equal(safetensors_meta(file, "b"), "l\n\xc3\xa9");
    assert_string_equal(safetensors_meta(file, "z"), "");
    assert_null(safetensors_meta(file, "a"));
    assert_null(safetensors_meta(accepts("{}", 0), "a"));
    assert_null(safetensors_find(accepts("{}", 0), "a"));
}

static void names(void **state) {
    (void)state;
    char header[1000], name[300];
    for (int length = 0; length <= 256; length++) {
        memset(name, 'n', (size_t)length);
        name[length] = 0;
        snprintf(header, sizeof header, "{\"%s\":{" F32_2 "}}", name);
        if (length == 0)
            refuses(header, 8, "name is empty");
        else if (length == 256)
            refuses(header, 8, "longer than 255 bytes");
        else
            assert_non_null(safetensors_find(accepts(header, 8), name));
    }
    refuses("{\"a\\n\":{" F32_2 "}}", 8, "control character");
    refuses("{\"\\u001b[2J\":{" F32_2 "}}", 8, "control character");
    refuses("{\"a\x7f\":{" F32_2 "}}", 8, "control character");
    refuses("{\"\xc2\x85\":{" F32_2 "}}", 8, "control character");
    assert_non_null(safetensors_find(accepts("{\"\xc2\xa0\xe5\x8d\xb7 1\":{" F32_2 "}}", 8),
                                     "\xc2\xa0\xe5\x8d\xb7 1"));
}

static void entries(void **state) {
    (void)state;
    const char *must = "tensor t: it must be a dtype, a shape and two data_offsets";
    refuses("{\"t\":1}", 0, must);
    refuses("{\"t\":[]}", 0, must);
    refuses("{\"t\":{}}", 0, must);
    refuses(T("\"shape\":[2],\"data_offsets\":[0,8]"), 8, must);
    refuses(T("\"dtype\":\"F32\",\"data_offsets\":[0,8]"), 8, must);
    refuses(T("\"dtype\":\"F32\",\"shape\":[2]"), 8, must);
    refuses(T(F32_2 ",\"more\":1"), 8, must);
    refuses(T("\"dtype\":1,\"shape\":[2],\"data_offsets\":[0,8]"), 8, must);
    refuses(T("\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]"), 8, must);
    refuses(T("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":8"), 8, must);
    refuses(T("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8]"), 8, must);
    refuses(T("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,8]"), 8, must);
    refuses(T("\"dtype\":\"F33\",\"shape\":[2],\"data_offsets\":[0,8]"), 8, "unknown dtype");
    refuses(T("\"dtype\":\"f32\",\"shape\":[2],\"data_offsets\":[0,8]"), 8, "unknown dtype");
}

static void shapes(void **state) {
    (void)state;
#define SHAPED(shape, end) T("\"dtype\":\"U8\",\"shape\":" shape ",\"data_offsets\":[0," end "]")
    refuses(SHAPED("[1,1,1,1,1,1,1,1,1]", "1"), 1, "more than 8 dimensions");
    assert_int_equal(accepts(SHAPED("[1,1,1,1,1,1,1,1]", "1"), 1)->tensor->rank, 8);
    assert_int_equal(accepts(SHAPED("[]", "1"), 1)->tensor->rank, 0);
    assert_int_equal(accepts(SHAPED("[0,268435456]", "0"), 0)->tensor->dim[1], 1 << 28);
    refuses(SHAPED("[0,268435457]", "0"), 0, "its dimension 1, 268435457, is negative or makes");
    refuses(SHAPED("[-1]", "1"), 1, "its dimension 0, -1, is negative");
    refuses(SHAPED("[-1,-1]", "1"), 1, "its dimension 0, -1, is negative");
    refuses(SHAPED("[1.0]", "1"), 1, "dimension 0 is not a whole number");
    refuses(SHAPED("[1,\"1\"]", "1"), 1, "dimension 1 is not a whole number");
    refuses(SHAPED("[16384,16385]", "1"), 1, "more than 268435456 elements");
    refuses(SHAPED("[16384,16384]", "1"), 1, "make 268435456 bytes, its data has 1");
    /* products that come round to 1 or 0 in 64 bits */
    refuses(SHAPED("[4294967296,4294967296]", "0"), 0, "more than 268435456 elements");
    refuses(SHAPED("[9223372036854775807,9223372036854775807]", "1"), 1, "more than 268435456");
    refuses(SHAPED("[2]", "1"), 1, "shape and dtype U8 make 2 bytes, its data has 1");
    refuses(SHAPED("[1]", "2"), 2, "shape and dtype U8 make 1 bytes, its data has 2");
}

static void offsets(void **state) {
    (void)state;
#define SPAN(span) T("\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":" span)
    const char *outside = "data_offsets do not lie in the 2 bytes of data";
    accepts(SPAN("[0,2]"), 2);
    refuses(SPAN("[0,3]"), 2, outside);
    refuses(SPAN("[2,0]"), 2, outside);
    refuses(SPAN("[-2,0]"), 2, outside);
    refuses(SPAN("[0,9223372036854775807]"), 2, outside);
    refuses(SPAN("[0.0,2]"), 2, outside);
    refuses(SPAN("[0,2.0]"), 2, outside);
    refuses(SPAN("[null,2]"), 2, outside);
    refuses(SPAN("[0,2]"), 3, "1 bytes behind the last tensor");
    refuses(SPAN("[1,3]"), 3, "tensor t: its data has a hole before it");
#define TWO(a, b)                                                                                  \
    "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":" a                                   \
    "},\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":" b "}}"
    refuses(TWO("[0,2]", "[0,2]"), 2, "its data overlaps another's");
    refuses(TWO("[0,2]", "[1,3]"), 3, "tensor b: its data overlaps another's");
    refuses(TWO("[3,5]", "[0,2]"), 5, "tensor a: its data has a hole before it");
    const SafeFile *file = accepts(TWO("[2,4]", "[0,2]"), 4);
    assert_memory_equal(safetensors_find(file, "a")->data, "\2\3", 2);
    assert_memory_equal(safetensors_find(file, "b")->data, "\0\1", 2);
    /* an empty tensor takes no place, wherever in the header it stands */
    accepts("{\"z\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
            "\"y\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},"
            "\"x\":{\"dtype\":\"F32\",\"shape\":[3,0],\"data_offsets\":[2,2]}}",
            2);
}

static void every_dtype_has_its_size(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int bits;
    } known[] = {{"BOOL", 8},    {"U8", 8},      {"I8", 8},      {"I16", 16},    {"U16", 16},
                 {"F16", 16},    {"BF16", 16},   {"I32", 32},    {"U32", 32},    {"F32", 32},
                 {"F64", 64},    {"I64", 64},    {"U64", 64},    {"C64", 64},    {"F8_E4M3", 8},
                 {"F8_E5M2", 8}, {"F8_E8M0", 8}, {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"F4", 4}};
    assert_int_equal(sizeof known / sizeof *known, DTYPE_COUNT);
    for (int i = 0; i < DTYPE_COUNT; i++) {
        char header[200];
        snprintf(header, sizeof header, T("\"dtype\":\"%s\",\"shape\":[4],\"data_offsets\":[0,%d]"),
                 known[i].name, known[i].bits / 2);
        const SafeFile *file = accepts(header, (size_t)known[i].bits / 2);
        assert_string_equal(dtype_name(file->tensor->dtype), known[i].name);
        assert_int_equal(dtype_bits(file->tensor->dtype), known[i].bits);
    }
    refuses(T("\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,1]"), 1, "end within a byte");
}

static void count_is_limited(void **state) {
    (void)state;
    char *header = arena_alloc(arena, (SAFE_TENSORS + 1) * 64);
    for (int count = SAFE_TENSORS; count <= SAFE_TENSORS + 1; count++) {
        size_t length = 0;
        for (int i = 0; i < count; i++)
            length += (size_t)sprintf(header + length,
                                      "%c\"%d\":{\"dtype\":\"U8\",\"shape\":[0],"
                                      "\"data_offsets\":[0,0]}",
                                      i ? ',' : '{', i);
        strcpy(header + length, "}");
        if (count > SAFE_TENSORS)
            refuses(header, 0, "more than 65536 tensors");
        else
            assert_int_equal(accepts(header, 0)->count, SAFE_TENSORS);
    }
}

static void unaligned_data_is_accepted(void **state) {
    (void)state;
    for (int spaces = 0; spaces < 8; spaces++) {
        char header[100];
        snprintf(header, sizeof header, T(F32_2) "%*s", spaces, "");
        const SafeFile *file = accepts(header, 8);
        assert_memory_equal(safetensors_find(file, "t")->data, "\0\1\2\3\4\5\6\7", 8);
    }
}

static void other_tools_files_are_named(void **state) {
    (void)state;
#define ZIP(length, name)    "PK\3\4\24\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0" length "\0\0\0" name
#define FOREIGN(bytes, what) (put(bytes, sizeof(bytes) - 1), assert_refused("this is " what))
    FOREIGN("\x80\2\x8a\nl\xfc\x9c\x46\xf9 j\xa8P\x19.", "a PyTorch .pt (pickle)");
    FOREIGN("\x80\4\x95\xbd\1\0\0\0\0\0\0}", "a PyTorch .pt (pickle)");
    FOREIGN(ZIP("\x10", "archive/data.pkl"), "a PyTorch .pt (zip)");
    FOREIGN(ZIP("\x09", "arr_0.npy"), "a NumPy .npz archive");
    FOREIGN(ZIP("\x05", "a.txt"), "a zip archive");
    FOREIGN(ZIP("\xff", "arr_0.npy"), "a zip archive"); /* a name longer than the file */
    FOREIGN("PK\3\4", "a zip archive");
    FOREIGN("GGUF\3\0\0\0\x7b\0\0\0\0\0\0\0", "a GGUF model"); /* '{' where the header would be */
    FOREIGN("\x08\x08\x12\x07pytorch:\x8d", "an ONNX model");
    FOREIGN("\x89HDF\r\n\x1a\n\0\0", "an HDF5 file");
    FOREIGN("\x1f\x8b\x08\0\0\0\0\0\0\3", "a gzip file");
    FOREIGN("\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a PNG image");
    FOREIGN("\x93NUMPY\1\0v\0{'descr'", "a NumPy .npy array");
    FOREIGN("version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer");
    /* a length that looks like a pickle's first bytes: 640 */
    char header[641];
    snprintf(header, sizeof header, "%-640s", "{}");
    assert_int_equal(accepts(header, 0)->count, 0);
}

static void missing_file(void **state) {
    (void)state;
    Error error = {0};
    assert_null(safetensors_read(arena, "/nonexistent/x.safetensors", &error));
    assert_int_equal(error.code, ERROR_IO);
    assert_string_equal(error.message, "/nonexistent/x.safetensors: No such file or directory");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(framing),
        TEST(texts_are_no_safetensors),
        TEST(json),
        TEST(json_is_bounded_before_it_is_parsed),
        TEST(metadata),
        TEST(names),
        TEST(entries),
        TEST(shapes),
        TEST(offsets),
        TEST(every_dtype_has_its_size),
        TEST(count_is_limited),
        TEST(unaligned_data_is_accepted),
        TEST(other_tools_files_are_named),
        TEST(missing_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
