/* Values at other places: steps, in bytes, along the result's dimensions as bytes have them. */
typedef struct {
    int32_t rank, count, first, size[7], step[7];
} P_view_t;

static void P_view(const P_view_t *v, const uint8_t *x, uint8_t *y) {
    int32_t at[7] = {0}, from = v->first, i, d;
    for (i = 0; i < v->count; i++) {
        y[i] = x[from];
        for (d = v->rank - 1; d >= 0; d--) {
            from += v->step[d];
            if (++at[d] < v->size[d]) break;
            from -= v->size[d] * v->step[d];
            at[d] = 0;
        }
    }
}
