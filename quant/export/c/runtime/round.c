/* Sums to codes: zero + round(sum * m0 / 2^shift), one rounding, half up. (>> of a negative number
 * is arithmetic in every compiler we know; C leaves it to them.) */
static uint8_t P_round(int64_t sum, int32_t shift, int32_t zero, int32_t lo, int32_t hi) {
    int64_t code = zero + ((sum + ((int64_t)1 << (shift - 1))) >> shift);
    return (uint8_t)(code < lo ? lo : code > hi ? hi : code);
}
