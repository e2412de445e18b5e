/* The product of two values. */
typedef struct {
    int32_t a_zero, b_zero;
    P_scale_t scale;
} P_mul_t;

static void P_mul(const P_mul_t *m, int32_t count, const uint8_t *a, const uint8_t *b, uint8_t *y) {
    int32_t i;
    for (i = 0; i < count; i++) y[i] = P_scaled(&m->scale, (a[i] - m->a_zero) * (b[i] - m->b_zero));
}
