/* The inputs of the self-test: noise, darker from one to the next. */
enum { P_TESTS = 4 };
static void P_test_pixels(int32_t test, int32_t count, uint8_t *pixels) {
    uint32_t state = (uint32_t)test;
    int32_t i;
    for (i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        pixels[i] = (uint8_t)(state >> (24 + test));
    }
}
