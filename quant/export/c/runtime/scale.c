typedef struct {
    int32_t m0, shift;
    int32_t zero, lo, hi; /* of the result */
} P_scale_t;

static uint8_t P_scaled(const P_scale_t *s, int32_t sum) {
    return P_round((int64_t)sum * s->m0, s->shift, s->zero, s->lo, s->hi);
}
