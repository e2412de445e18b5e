#include "quant/portable.h"

enum {
    PORTABLE_BITS = 7,
    K_LEAST = 1 << (PORTABLE_BITS - 1), /* <= k < */
    K_END = 1 << PORTABLE_BITS,
    PLACES_MOST = 12, /* finer steps would come near float32's */
};
static const double SAME =
    0x1p-20; /* of itself: scales are floats, a ratio may be aligned already */

/* j for a ratio k / 2^j with k in K_LEAST .. K_END. */
static int places_of(double ratio) {
    int exponent;
    frexp(ratio, &exponent);
    int places = PORTABLE_BITS - exponent;
    return places < 0 ? 0 : places > PLACES_MOST ? PLACES_MOST : places;
}

/* Are there steps, fine ones? */
static bool alignable(double ratio) {
    return ratio >= 0x1p-8 && ratio < 0x1p24;
}

/* The largest k / 2^j up to the ratio, k odd. A k past the end of its range is sought again in
 * steps of the next range, so that what is aligned stays as it is. */
static double ratio_below(double ratio) {
    for (int places = places_of(ratio);; places++) {
        double k = floor(ldexp(ratio, places) * (1 + SAME));
        if (fmod(k, 2) == 0) k--;
        if (k >= K_LEAST || places >= PLACES_MOST) return ldexp(k, -places);
    }
}

/* The smallest from the ratio on, j at least `least`. */
static double ratio_above(double ratio, int least, bool odd) {
    int places = places_of(ratio);
    for (places = places > least ? places : least;; places--) {
        double k = ceil(ldexp(ratio, places) * (1 - SAME));
        if (odd && fmod(k, 2) == 0) k++;
        if (k < K_END || places <= least) return ldexp(k, -places);
    }
}

float portable_weight_scale(float input_scale, float scale, float output_scale) {
    double ratio = (double)output_scale / ((double)input_scale * (double)scale);
    if (!alignable(ratio)) return scale;
    return (float)((double)output_scale / ((double)input_scale * ratio_below(ratio)));
}

/* The scale that the alignment is counted in. */
static double unit_of(const Alignment *a) {
    return (double)a->base->q.scale[0] * (a->factor ? (double)a->factor->q.scale[0] : 1);
}

float portable_scale(const Alignment *a, float scale) {
    double unit = unit_of(a), ratio = (double)scale / unit;
    if (!alignable(ratio)) return scale;
    int least = a->places;
    for (int i = 0; i < a->terms; i++) {
        int term = places_of((double)a->term[i]->q.scale[0] / unit);
        if (a->term[i] != a->base && term > least) least = term;
    }
    return (float)(ratio_above(ratio, least, a->odd) * unit);
}

/* May its scale be moved? */
static bool is_free(const Quantizer *quantizer) {
    return !quantizer->fixed && !quantizer->align.base;
}

void align_terms(QNode *q) {
    Quantizer *first = q->in[0];
    int inputs = q->node->inputs;
    for (int i = 1; i < inputs; i++)
        if (q->in[i]->order < first->order) first = q->in[i];
    for (int i = 0; i < inputs; i++)
        if (q->in[i] != first && is_free(q->in[i])) q->in[i]->align = (Alignment){.base = first};
    if (is_free(q->out))
        q->out->align = (Alignment){.base = first, .odd = true, .terms = inputs, .term = q->in};
}

void align_product(QNode *q) {
    if (is_free(q->out))
        q->out->align = (Alignment){.base = q->in[0], .factor = q->in[1], .odd = true};
}
