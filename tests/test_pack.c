/* Packed codes: the layout, byte by byte, and files that have them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "quant/pack.h"
#include "quant/rules/integers.h"
#include "tests/reference.h"
#include "tests/scratch.h"
#include "tests/small_model.h"

/* By hand: the codes' bits written one after the other, lowest first, in eights. */
static void bytes_are_as_the_header_says(void **state) {
    (void)state;
    static const struct {
        int rows, count, bits;
        int8_t code[10];
        uint8_t packed[10];
    } golden[] = {
        {1, 3, 4, {-1, 2, 3}, {0x2f, 0x03}},
        {2, 3, 4, {-1, 2, 3, 7, -8, 0}, {0x2f, 0x03, 0x87, 0x00}},
        {1, 5, 2, {1, -1, 0, -2, 1}, {0x8d, 0x01}},      /* 01 11 00 10 | 01 */
        {1, 5, 3, {1, 2, 3, -4, -1}, {0xd1, 0x78}},      /* 001 010 011 100 111 */
        {1, 3, 5, {-16, 15, 1}, {0xf0, 0x05}},           /* 10000 01111 00001 */
        {1, 4, 6, {-32, 31, 1, -1}, {0xe0, 0x17, 0xfc}}, /* 100000 011111 000001 111111 */
        {2, 1, 7, {-64, 63}, {0x40, 0x3f}},
        {1, 3, 8, {-128, 127, -1}, {0x80, 0x7f, 0xff}},
    };
    for (size_t i = 0; i < sizeof golden / sizeof *golden; i++) {
        int rows = golden[i].rows, count = golden[i].count, bits = golden[i].bits;
        uint8_t packed[16];
        int8_t code[16];
        size_t bytes = pack_bytes(rows, count, bits);
        assert_int_equal(bytes, (size_t)rows * (((size_t)count * (size_t)bits + 7) / 8));
        pack_codes(rows, count, bits, golden[i].code, packed);
        assert_memory_equal(packed, golden[i].packed, bytes);
        assert_true(unpack_codes(rows, count, bits, packed, code));
        assert_memory_equal(code, golden[i].code, (size_t)(rows * count));
    }
}

/* Bit i of a row, by the definition alone. */
static int row_bit(const uint8_t *row, int i) {
    return row[i / 8] >> i % 8 & 1;
}

/* Whatever the sizes: each bit is where it should be, what lies behind is untouched, and the way
 * back gives the same; with any other bit of a row set it gives nothing. */
static void every_code_comes_back(void **state) {
    (void)state;
    enum { MOST = 1024, GUARD = 0xa5 };
    static int8_t code[MOST], back[MOST + 1];
    static uint8_t packed[MOST + 1];
    for (int trial = 0; trial < 2000; trial++) {
        Rng rng = rng_stream(7, RNG_TEST, (uint64_t)trial);
        int bits = 1 + (int)rng_below(&rng, 8), rows = 1 + (int)rng_below(&rng, 12);
        int count = 1 + (int)rng_below(&rng, 80);
        for (int i = 0; i < rows * count; i++)
            code[i] = (int8_t)((int)rng_below(&rng, 1u << bits) - (1 << (bits - 1)));
        size_t row = pack_row(count, bits), bytes = pack_bytes(rows, count, bits);
        memset(packed, GUARD, sizeof packed);
        memset(back, GUARD, sizeof back);
        pack_codes(rows, count, bits, code, packed);
        assert_int_equal(packed[bytes], GUARD);
        for (int r = 0; r < rows; r++)
            for (int i = 0; i < count * bits; i++)
                assert_int_equal(row_bit(packed + (size_t)r * row, i),
                                 code[r * count + i / bits] >> i % bits & 1);
        assert_true(unpack_codes(rows, count, bits, packed, back));
        assert_memory_equal(back, code, (size_t)(rows * count));
        assert_int_equal((uint8_t)back[rows * count], GUARD);
        for (int i = count * bits; i < (int)row * 8; i++) {
            uint8_t *at = &packed[rng_below(&rng, (uint32_t)rows) * row + (size_t)i / 8];
            assert_int_equal(*at >> i % 8 & 1, 0);
            *at |= (uint8_t)(1 << i % 8);
            assert_false(unpack_codes(rows, count, bits, packed, back));
            *at &= (uint8_t) ~(1 << i % 8);
        }
    }
}

static Model *frozen(int bits, bool affine) {
    QuantConfig config = quant_config_default();
    config.weight.bits = bits;
    config.weight.symmetric = !affine;
    return small_model(STAGE_FROZEN, &config);
}

/* Of every width: the file has b bits a weight, its rows filled up to bytes, and is the same model
 * again. Shapes: conv1 4x2x3x3, conv2 4x4x3x3, fc 3x16. */
static void files_hold_b_bits_a_weight(void **state) {
    (void)state;
    for (int affine = 0; affine < 2; affine++)
        for (int bits = 2; bits <= 8; bits++) {
            Model *model = frozen(bits, affine);
            float before[SMALL_BATCH * SMALL_OUTPUTS], after[SMALL_BATCH * SMALL_OUTPUTS];
            small_run(model, before);
            small_save(model, scratch_path("packed"));
            Model *loaded = small_load(scratch_path("packed"));
            small_run(loaded, after);
            assert_memory_equal(before, after, sizeof before);
            const WeightedIntegers *a = model->quant->node[1].integers,
                                   *b = loaded->quant->node[1].integers;
            assert_memory_equal(a->weight, b->weight, 4 * 18);
            assert_memory_equal(a->stored, b->stored, 4 * 18);
            size_t bytes = 0;
            for (int i = 0; i < loaded->file->count; i++) {
                const SafeTensor *t = &loaded->file->tensor[i];
                size_t length = strlen(t->name);
                if (strcmp(t->name + length - 7, ".weight") != 0) continue;
                assert_int_equal(t->dtype, bits < 8 ? DTYPE_U8 : DTYPE_I8);
                bytes += t->bytes;
            }
            size_t b1 = (size_t)bits;
            assert_int_equal(bytes, 4 * ((18 * b1 + 7) / 8) + 4 * ((36 * b1 + 7) / 8) +
                                        3 * ((16 * b1 + 7) / 8));
            assert_int_equal(safetensors_meta(loaded->file, "stair.packed") != NULL, bits < 8);
            model_free(model);
            model_free(loaded);
        }
}

/* The file "packed" with conv1.weight as given, or, for NULL, other words about it, is refused. */
static void assert_refused(const SafeTensor *tensor, const char *words, const char *fragment) {
    Arena *arena = arena_new();
    Error error = {0};
    const SafeFile *file = safetensors_read(arena, scratch_path("packed"), &error);
    assert_non_null(file);
    SafeTensor tensors[64];
    SafeMeta meta[16];
    int metas = 0;
    for (int i = 0; i < file->count; i++)
        tensors[i] =
            tensor && strcmp(file->tensor[i].name, tensor->name) == 0 ? *tensor : file->tensor[i];
    for (int i = 0; i < file->metas; i++)
        if (tensor || strcmp(file->meta[i].key, "stair.packed") != 0) meta[metas++] = file->meta[i];
    if (words) meta[metas++] = (SafeMeta){"stair.packed", words};
    SafeFile changed = {file->count, tensors, metas, meta};
    if (!safetensors_write(scratch_path("bad"), &changed, &error)) fail_msg("%s", error.message);
    assert_null(model_load(scratch_path("bad"), &error));
    assert_error(&error, ERROR_INPUT, fragment);
    arena_free(arena);
}

/* 2 bits, symmetric: -1, 0, 1; 18 codes are 36 bits, in 5 bytes. */
static void hostile_files_are_refused(void **state) {
    (void)state;
    static uint8_t data[4 * 18 + 4];
    Model *model = frozen(2, false);
    small_save(model, scratch_path("packed"));
    SafeTensor good = {"conv1.weight", DTYPE_U8, 2, {4, 5}, data, 20}, bad = good;
    for (int place = 0; place < 18; place++) { /* code -2 */
        memset(data, 0, sizeof data);
        data[5 * (place % 4) + 2 * place / 8] = (uint8_t)(2 << 2 * place % 8);
        assert_refused(&good, NULL, "conv1.weight: -2 is no code of 2 bits");
    }
    for (int bit = 4; bit < 8; bit++) {
        memset(data, 0, sizeof data);
        data[5 * (bit % 4) + 4] = (uint8_t)(1 << bit);
        assert_refused(&good, NULL, "conv1.weight: a bit is set behind the last code of a row");
    }
    memset(data, 0, sizeof data);
    bad.dim[1] = 4, bad.bytes = 16;
    assert_refused(&bad, NULL, "conv1.weight is U8 4x4, expected U8 4x5");
    bad.dim[1] = 6, bad.bytes = 24;
    assert_refused(&bad, NULL, "conv1.weight is U8 4x6, expected U8 4x5");
    bad.dim[0] = 2, bad.dim[1] = 10, bad.bytes = 20;
    assert_refused(&bad, NULL, "conv1.weight is U8 2x10, expected U8 4x5");
    bad = (SafeTensor){"conv1.weight", DTYPE_I8, 4, {4, 2, 3, 3}, data, 72}; /* an older file's */
    assert_refused(&bad, NULL,
                   "conv1.weight is I8 4x2x3x3, expected U8 4x5 (packed: freeze the net again)");
    static const char *const words[] = {NULL,
                                        "",
                                        "{}",
                                        "[",
                                        "{\"conv1.weight\":{\"bits\":2,\"shape\":[4,2,3,3]}}",
                                        "{\"conv1.weight\":{\"bits\":3,\"shape\":[4,2,3,3]},"
                                        "\"conv2.weight\":{\"bits\":2,\"shape\":[4,4,3,3]},"
                                        "\"fc.weight\":{\"bits\":2,\"shape\":[3,16]}}",
                                        "{\"conv1.weight\":{\"bits\":2,\"shape\":[4,2,9]},"
                                        "\"conv2.weight\":{\"bits\":2,\"shape\":[4,4,3,3]},"
                                        "\"fc.weight\":{\"bits\":2,\"shape\":[3,16]}}"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        assert_refused(NULL, words[i], "stair.packed does not say what the net has for weights");
    model_free(model);
    model = frozen(8, false); /* where nothing is packed nothing may be said of it */
    small_save(model, scratch_path("packed"));
    assert_refused(NULL, "{}", "stair.packed does not say");
    model_free(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_as_the_header_says),
        cmocka_unit_test(every_code_comes_back),
        cmocka_unit_test(files_hold_b_bits_a_weight),
        cmocka_unit_test(hostile_files_are_refused),
    };
    int failed = cmocka_run_group_tests(tests, scratch_make, scratch_remove);
    stop_pool(NULL);
    return failed;
}
