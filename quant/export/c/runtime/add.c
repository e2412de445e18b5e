/* The sum of two values of different scales: exact in 64 bits, rounded once. */
typedef struct {
    int32_t a_zero, a_m0, b_zero, b_m0; /* of the summands */
    int32_t shift, zero, lo, hi;        /* of the sum */
} P_add_t;

static void P_add(const P_add_t *s, int32_t count, const uint8_t *a, const uint8_t *b, uint8_t *y) {
    int32_t i;
    for (i = 0; i < count; i++)
        y[i] =
            P_round((int64_t)(a[i] - s->a_zero) * s->a_m0 + (int64_t)(b[i] - s->b_zero) * s->b_m0,
                    s->shift, s->zero, s->lo, s->hi);
}
