#include "quant/pack.h"

#include "autograd/arena.h"

size_t pack_row(int count, int bits) {
    return (size_mul((size_t)count, (size_t)bits) + 7) / 8;
}

size_t pack_bytes(int rows, int count, int bits) {
    return size_mul((size_t)rows, pack_row(count, bits));
}

/* Codes enter a window of bits from above, full bytes leave it from below. */
void pack_codes(int rows, int count, int bits, const int8_t *code, uint8_t *packed) {
    unsigned mask = (1u << bits) - 1;
    for (int r = 0; r < rows; r++) {
        unsigned window = 0;
        int held = 0;
        for (int k = 0; k < count; k++) {
            window |= ((unsigned)*code++ & mask) << held;
            held += bits;
            for (; held >= 8; held -= 8, window >>= 8) *packed++ = (uint8_t)window;
        }
        if (held) *packed++ = (uint8_t)window;
    }
}

bool unpack_codes(int rows, int count, int bits, const uint8_t *packed, int8_t *code) {
    unsigned mask = (1u << bits) - 1, sign = 1u << (bits - 1);
    for (int r = 0; r < rows; r++) {
        unsigned window = 0;
        int held = 0;
        for (int k = 0; k < count; k++) {
            if (held < bits) {
                window |= (unsigned)*packed++ << held;
                held += 8;
            }
            *code++ = (int8_t)((int)((window & mask) ^ sign) - (int)sign);
            window >>= bits;
            held -= bits;
        }
        if (window) return false;
    }
    return true;
}
