/* Softmax over the channels: powers of e from a table, their exact sum, one rounded division. */
typedef struct {
    const int32_t *power; /* of the distance to the largest code */
    int32_t channels, bits;
    int32_t zero, lo, hi;
} P_softmax_t;

static void P_softmax(const P_softmax_t *s, int32_t positions, const uint8_t *x, uint8_t *y) {
    int32_t p, c;
    for (p = 0; p < positions; p++, x += s->channels, y += s->channels) {
        uint8_t most = 0;
        int64_t sum = 0;
        for (c = 0; c < s->channels; c++) most = x[c] > most ? x[c] : most;
        for (c = 0; c < s->channels; c++) sum += s->power[most - x[c]];
        for (c = 0; c < s->channels; c++) {
            int64_t part = (int64_t)s->power[most - x[c]] << (s->bits + 1);
            int64_t code = s->zero + (part + sum) / (2 * sum);
            y[c] = (uint8_t)(code < s->lo ? s->lo : code > s->hi ? s->hi : code);
        }
    }
}
