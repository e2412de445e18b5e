/* Weights and the way from their sums to codes. */
typedef struct P_weights P_weights_t;
/* Over count weights of output o, from number `at` of all: sum of (x - in_zero) (w - w_zero). */
typedef int32_t P_dot_t(const P_weights_t *w, int32_t o, int32_t at, const uint8_t *x,
                        int32_t count);
struct P_weights {
    P_dot_t *dot;
    const void *weight;     /* [outputs][depth] of 8, 4 or 2 bits */
    const int8_t *w_zero;   /* [outputs]; 0: all are zero */
    const int32_t *bias;    /* [outputs] */
    const int32_t *m0;      /* [outputs] */
    const uint8_t *shift;   /* [outputs] */
    int32_t depth, in_zero; /* depth: weights of one output */
    int32_t zero, lo, hi;   /* of the result */
};

static uint8_t P_weighted(const P_weights_t *w, int32_t o, int32_t sum) {
    return P_round((int64_t)(w->bias[o] + sum) * w->m0[o], w->shift[o], w->zero, w->lo, w->hi);
}
