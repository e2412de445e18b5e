/* ONNX files that are damaged: each is refused with a reason (or, where a changed byte changes only
 * a number, read); none ends the program or takes more memory than its size allows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "quant/onnx/write.h"
#include "tests/onnx_build.h"
#include "tests/small_model.h"

/* Small nets, as floats and in QDQ form: every length, every byte flipped and set to ends. */
static void damage(Model *model) {
    Arena *arena = arena_new();
    Error error = {0};
    const Onnx__ModelProto *proto = onnx_model(model, "test", arena, &error);
    assert_non_null(proto);
    File file = onnx_pack(proto, arena);
    uint8_t *copy = malloc(file.size); /* of its own, so that reading behind the end is seen */
    int whole = 0; /* the metadata stands at the end, and a file without is one */
    for (size_t size = 0; size < file.size; size++) {
        uint8_t *cut = malloc(size + !size);
        memcpy(cut, file.data, size);
        whole += onnx_survives(cut, size);
        free(cut);
    }
    assert_int_equal(whole, 1);
    memcpy(copy, file.data, file.size);
    for (size_t i = 0; i < file.size; i++) {
        static const uint8_t changes[] = {0xff, 0x01, 0x80};
        for (size_t k = 0; k < sizeof changes; k++) {
            copy[i] ^= changes[k];
            onnx_survives(copy, file.size);
            copy[i] = file.data[i];
        }
    }
    free(copy);
    arena_free(arena);
    model_free(model);
}

static void damaged_float_files_are_survived(void **state) {
    (void)state;
    damage(small_model(STAGE_FLOAT, NULL));
}
static void damaged_quantized_files_are_survived(void **state) {
    (void)state;
    damage(small_model(STAGE_FROZEN, NULL));
}

/* Padding of each side, means that leave it out, transposed convolutions. */
static void damaged_windows_are_survived(void **state) {
    (void)state;
    static const char net[] =
        "x = input shape=1x5\na = conv1d x out=1 kernel=2 padding=1:0\n"
        "b = avgpool a kernel=2 padding=0:1 count_include_pad=false\n"
        "c = conv_transpose1d b out=1 kernel=3 stride=2 padding=0:1\nd = maxpool c kernel=3\n";
    damage(text_model(net));
}

static void damaged_sequences_are_survived(void **state) {
    (void)state;
    static const char net[] =
        "x = input shape=1x3x2\nr = reshape x shape=3x2\nt = transpose r\n"
        "s = slice t end=2\na = gru s hidden=2 bidirectional=true reset=before\n"
        "p = slice a axis=2 begin=1 end=4 step=2\nb = lstm p hidden=1 output=last\n";
    damage(text_model(net));
}

/* Length-delimited field `number` around what data[size] holds at its end; grows to the front. */
static size_t wrap(uint8_t *end, size_t size, int number) {
    uint8_t head[12];
    size_t used = 0;
    head[used++] = (uint8_t)(number << 3 | 2);
    size_t rest = size;
    do {
        head[used++] = (uint8_t)((rest & 127) | (rest > 127 ? 128 : 0));
    } while (rest >>= 7);
    memcpy(end - size - used, head, used);
    return size + used;
}

/* graph -> node -> attribute -> graph -> ... : the parser goes down one message at a time. */
static void nesting_is_harmless(void **state) {
    (void)state;
    enum { DEEP = 100000, ROOM = DEEP * 16 };
    uint8_t *data = malloc(ROOM);
    size_t size = 0;
    for (int i = 0; i < DEEP; i++)
        size = wrap(data + ROOM, size, i % 3 == 0 ? 6 : i % 3 == 1 ? 5 : 1);
    size = wrap(data + ROOM, size, 7);
    onnx_survives(data + ROOM - size, size);
    free(data);
}

/* Two bytes make an empty message, which in memory is a struct. */
static void many_small_messages_take_little_memory(void **state) {
    (void)state;
    enum { COUNT = 4 << 20 };
    uint8_t *data = malloc(2 * COUNT + 16);
    for (size_t i = 0; i < COUNT; i++) memcpy(data + 16 + 2 * i, "\x0a\x00", 2);
    size_t size = wrap(data + 16 + 2 * COUNT, 2 * COUNT, 7);
    onnx_survives(data + 16 + 2 * COUNT - size, size);
    free(data);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(damaged_float_files_are_survived),
        cmocka_unit_test(damaged_quantized_files_are_survived),
        cmocka_unit_test(damaged_windows_are_survived),
        cmocka_unit_test(damaged_sequences_are_survived),
        cmocka_unit_test(nesting_is_harmless),
        cmocka_unit_test(many_small_messages_take_little_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
