/* Fake quantization. Forward: y = S (q(x) - Z), a staircase. Its true derivative is 0 almost
 * everywhere; the straight-through estimator (Bengio et al. 2013) takes 1 where x is inside the
 * range and 0 where it was clamped: dL/dx = dL/dy * mask. */
#include "quant/fakequant.h"

#include <math.h>
#include <string.h>

#include "autograd/kernels/elementwise.h"
#include "autograd/kernels/row_map.h"
#include "autograd/kernels/vector.h"
#include "autograd/tail.h"

const char *const ste_names[] = {"code", "range", "none", NULL};

const char *ste_name(int index) {
    int count = (int)(sizeof ste_names / sizeof *ste_names) - 1;
    return index < count ? ste_names[index] : NULL;
}

bool ste_find(const char *name, Ste *ste) {
    for (int i = 0; ste_names[i]; i++)
        if (strcmp(ste_names[i], name) == 0) {
            *ste = (Ste)i;
            return true;
        }
    return false;
}

VECTOR static void pass_elements(const void *context, size_t begin, size_t end) {
    const Entry *entry = context;
    const float *dy = entry->out->grad;
    float *dx = entry->in[0]->grad;
    const uint8_t *mask = entry->saved;
    if (entry->fresh)
        for (size_t i = begin; i < end; i++) dx[i] = mask[i] ? dy[i] : 0;
    else
        for (size_t i = begin; i < end; i++) dx[i] += mask[i] ? dy[i] : 0;
}

static void backward(const Entry *entry) {
    elementwise(entry->out->count, pass_elements, entry);
}

static const Op fakequant_op = {.name = "fakequant", .backward = backward, .fills = 1};

/* How one channel's elements are rounded, and the bounds that decide the mask. */
typedef struct Rounding {
    const float *x;
    float *y;
    uint8_t *mask; /* NULL: no gradient is wanted */
    float scale, zero, qmin, qmax;
    float cut;         /* x = max(x, cut) comes first: 0, a relu, or NaN, none */
    bool by_code;      /* the bounds hold for codes; else for values */
    float least, most; /* the mask is 1 within */
} Rounding;

static Rounding rounding_of(const QParams *q, int c, Ste ste) {
    Rounding r = {.scale = q->scale[c],
                  .zero = (float)q->zero_point[c],
                  .qmin = (float)q->qmin,
                  .qmax = (float)q->qmax,
                  .by_code = ste == STE_CODE,
                  .cut = NAN,
                  .least = -INFINITY,
                  .most = INFINITY};
    float lo = r.scale * (r.qmin - r.zero), hi = r.scale * (r.qmax - r.zero);
    if (ste == STE_NONE) return r;
    r.least = r.by_code ? r.qmin : lo;
    r.most = r.by_code ? r.qmax : ste == STE_CLIP ? nextafterf(hi, -INFINITY) : hi;
    return r;
}

/* A copy: stores below cannot change it. NaN must reach the loss, where training
 * stops. */
VECTOR static void fake_elements(const void *context, size_t begin, size_t end) {
    const Rounding r = *(const Rounding *)context;
    for (size_t i = begin; i < end; i++) {
        float x = r.x[i], code = code_unclamped(x, r.scale, r.zero);
        float y = r.scale * (clamp_float(code, r.qmin, r.qmax) - r.zero);
        r.y[i] = x == x ? y : x;
    }
}

/* A function of its own: its parameters tell the compiler that the arrays are apart. */
VECTOR static void round_and_mask(const Rounding *rounding, size_t count, const float *restrict in,
                                  float *restrict out, uint8_t *restrict mask) {
    const Rounding r = *rounding;
    for (size_t i = 0; i < count; i++) {
        float given = in[i], x = given <= r.cut ? r.cut : given; /* NaN stays */
        float code = code_unclamped(x, r.scale, r.zero);
        float y = r.scale * (clamp_float(code, r.qmin, r.qmax) - r.zero);
        float v = r.by_code ? code : x;
        out[i] = x == x ? y : x;
        mask[i] = (v >= r.least) & (v <= r.most) & !(given <= r.cut);
    }
}

static void fake_and_mask(const void *context, size_t begin, size_t end) {
    const Rounding *r = context;
    round_and_mask(r, end - begin, r->x + begin, r->y + begin, r->mask + begin);
}

/* y for all channels; mask[x->count] or NULL. */
static Tensor *fake(Tape *tape, const Tensor *x, const QParams *q, Ste ste, uint8_t *mask) {
    CHECK(q->channels == 1 || q->channels == x->shape.dim[0], "%d scales for %d channels",
          q->channels, x->shape.dim[0]);
    Tensor *y = tape_tensor(tape, x->shape);
    size_t inner = x->count / (size_t)q->channels;
    for (int c = 0; c < q->channels; c++) {
        size_t from = (size_t)c * inner;
        Rounding run = rounding_of(q, c, ste);
        run.x = x->data + from;
        run.y = y->data + from;
        run.mask = mask ? mask + from : NULL;
        elementwise(inner, mask ? fake_and_mask : fake_elements, &run);
    }
    return y;
}

Tensor *op_fakequant(Tape *tape, Tensor *x, const QParams *q, Ste ste) {
    uint8_t *mask = tape->recording && x->needs_grad ? arena_alloc(tape->arena, x->count) : NULL;
    Tensor *y = fake(tape, x, q, ste, mask);
    tape_record(tape, &fakequant_op, y, 1, (Tensor *[]){x}, mask);
    return y;
}

/* --- relu, rounding and max-pool in one, plane by plane; the pool first where it can be: rounding
 * keeps the order of values --- */

typedef struct Joined {
    const TailWork *work; /* the pool */
    Rounding rounding;    /* without its arrays */
    uint8_t *mask;        /* of x; or, where the pool comes first, of its result */
    Deferred deferred;
} Joined;

typedef struct JoinedPass {
    const Joined *joined;
    Tensor *x;
    float *planes; /* one for each worker */
    bool fresh;
} JoinedPass;

static void pooled_forward(void *context, size_t p, int worker) {
    const JoinedPass *pass = context;
    const TailWork *work = pass->joined->work;
    size_t count = work->out_plane, at = p * count;
    Rounding rounding = pass->joined->rounding;
    float *chosen = pass->planes + (size_t)worker * work->plane;
    maxpool_plane(&work->patches, pass->x->data + p * work->plane, 1, chosen, work->winner + at);
    rounding.x = chosen;
    rounding.y = work->out->data + at;
    rounding.mask = pass->joined->mask + at;
    fake_and_mask(&rounding, 0, count);
    maxpool_keep(rounding.mask, count, work->winner + at);
}

static void joined_forward(void *context, size_t p, int worker) {
    const JoinedPass *pass = context;
    const TailWork *work = pass->joined->work;
    Rounding rounding = pass->joined->rounding;
    float *y = tail_target(work, p, pass->planes + (size_t)worker * work->plane);
    rounding.x = pass->x->data + p * work->plane;
    rounding.y = y;
    rounding.mask = pass->joined->mask + p * work->plane;
    fake_and_mask(&rounding, 0, work->plane);
    tail_run(work, p, y);
}

VECTOR static void mask_plane(size_t count, const uint8_t *restrict mask, float *restrict v) {
    for (size_t i = 0; i < count; i++) {
        float pass = v[i]; /* loaded either way: a selection, no branch */
        v[i] = mask[i] ? pass : 0;
    }
}

/* dx of one plane. */
static void joined_plane(const void *context, size_t p, float *plane) {
    const Joined *joined = context;
    tail_gradient(joined->work, p, plane);
    if (tail_pools_first(joined->work)) return; /* what the mask stops has no winner */
    mask_plane(joined->work->plane, joined->mask + p * joined->work->plane, plane);
}

static void joined_plane_backward(void *context, size_t p, int worker) {
    const JoinedPass *pass = context;
    size_t plane = pass->joined->work->plane;
    float *dx = pass->x->grad + p * plane;
    float *v = pass->fresh ? dx : pass->planes + (size_t)worker * plane;
    joined_plane(pass->joined, p, v);
    if (!pass->fresh) row_add(v, plane, dx);
}

static void joined_run(Arena *arena, JoinedPass pass, PlaneBody *body) {
    ArenaMark mark = arena_mark(arena);
    size_t floats = size_mul(pass.joined->work->plane, (size_t)parallel_threads());
    pass.planes = arena_alloc(arena, size_mul(floats, sizeof(float)));
    parallel_planes(pass.x->shape.dim[0], pass.joined->work->channels, body, &pass);
    arena_rewind(arena, mark);
}

static void joined_backward(const Entry *entry) {
    const Joined *joined = entry->saved;
    if (!entry->in[0]->grad) {
        entry->in[0]->deferred = &joined->deferred;
        return;
    }
    joined_run(entry->tape->arena, (JoinedPass){joined, entry->in[0], NULL, entry->fresh},
               joined_plane_backward);
}

static const Op joined_op = {
    .name = "fakequant_joined", .backward = joined_backward, .fills = 1, .defers = 1};

Tensor *op_fakequant_joined(Tape *tape, Tensor *x, const QParams *q, Ste ste, bool relu,
                            const Window *pool) {
    CHECK(q->channels == 1, "%d scales for one value", q->channels);
    Joined *joined = arena_alloc(tape->arena, sizeof *joined);
    *joined = (Joined){.work = tail_new(tape, &(Tail){.pool = pool}, &x->shape),
                       .rounding = rounding_of(q, 0, ste),
                       .deferred = {joined_plane, joined}};
    if (relu) joined->rounding.cut = 0;
    bool pooled = tail_pools_first(joined->work);
    joined->mask = arena_alloc(tape->arena, pooled ? joined->work->out->count : x->count);
    joined_run(tape->arena, (JoinedPass){joined, x, NULL, false},
               pooled ? pooled_forward : joined_forward);
    tape_record(tape, &joined_op, joined->work->out, 1, &x, joined);
    return joined->work->out;
}

/* --- learned scales --- */

typedef struct Learned {
    const QParams *q;
    const ScaleGradient *gradient;
    size_t count;
    uint8_t *mask;
} Learned;

/* One channel of the way back; partial[i] is the sum of piece i. */
typedef struct Slope {
    const float *x, *dy;
    float *dx; /* NULL: not wanted */
    const uint8_t *mask;
    float scale, zero, qmin, qmax;
    bool rounding;
    double *partial;
} Slope;

enum { LANES = 16 }; /* independent sums, in a fixed order, that become vectors */

static inline float slope_at(const Slope *s, size_t i) {
    float v = s->x[i] / s->scale, code = code_unclamped(s->x[i], s->scale, s->zero);
    float steps = clamp_float(code, s->qmin, s->qmax) - s->zero;
    float inside = s->rounding ? steps - v : 0;
    return s->dy[i] * (s->mask[i] ? inside : steps);
}

VECTOR static void slope_elements(const void *context, size_t begin, size_t end) {
    const Slope s = *(const Slope *)context; /* a copy: stores below cannot change it */
    float lane[LANES] = {0};
    size_t i = begin;
    for (; i + LANES <= end; i += LANES)
        for (size_t k = 0; k < LANES; k++) lane[k] += slope_at(&s, i + k);
    for (size_t k = 0; i + k < end; k++) lane[k] += slope_at(&s, i + k);
    double sum = 0;
    for (int k = 0; k < LANES; k++) sum += (double)lane[k];
    s.partial[begin / PIECE] = sum;
    for (i = begin; s.dx && i < end; i++) s.dx[i] += s.mask[i] ? s.dy[i] : 0;
}

/* y = S n with n = clamp(round(x/S)). Where x was clamped, n is constant and dy/dS = n. Inside, the
 * rounding's derivative counts as 1 (straight through): dn/dS = -x/S^2, so dy/dS = n - x/S (LSQ,
 * Esser et al. 2020). PACT (Choi et al. 2018) takes y = clip(x), which its bounds do not move
 * inside: 0. */
static void learned_backward(const Entry *entry) {
    const Learned *l = entry->saved;
    const QParams *q = l->q;
    Tensor *x = entry->in[0], *scale = entry->in[1];
    size_t inner = x->count / (size_t)q->channels, pieces = (inner + PIECE - 1) / PIECE;
    double *partial = arena_alloc(entry->tape->arena, pieces * sizeof *partial);
    for (int c = 0; c < q->channels; c++) {
        size_t from = (size_t)c * inner;
        Slope slope = {.x = x->data + from,
                       .dy = entry->out->grad + from,
                       .dx = x->needs_grad ? x->grad + from : NULL,
                       .mask = l->mask + from,
                       .scale = q->scale[c],
                       .zero = (float)q->zero_point[c],
                       .qmin = (float)q->qmin,
                       .qmax = (float)q->qmax,
                       .rounding = l->gradient->rounding,
                       .partial = partial};
        elementwise(inner, slope_elements, &slope);
        if (!scale->needs_grad || scale->data[c] != q->scale[c]) continue;
        double sum = 0;
        for (size_t i = 0; i < pieces; i++) sum += partial[i];
        float reach = fmaxf(slope.qmax - slope.zero, slope.zero - slope.qmin);
        float gain = l->gradient->gain(l->count, reach);
        scale->grad[c] += gain * (float)sum + l->gradient->decay * scale->data[c];
    }
}

static const Op learned_op = {.name = "fakequant_learned", .backward = learned_backward};

Tensor *op_fakequant_learned(Tape *tape, Tensor *x, const QParams *q, Ste ste, Tensor *scale,
                             const ScaleGradient *gradient, size_t count) {
    CHECK((int)scale->count == q->channels, "%zu learned scales for %d", scale->count, q->channels);
    Learned *saved = arena_alloc(tape->arena, sizeof *saved);
    *saved = (Learned){.q = q, .gradient = gradient, .count = count};
    if (tape->recording) saved->mask = arena_alloc(tape->arena, x->count);
    Tensor *y = fake(tape, x, q, ste, saved->mask);
    tape_record(tape, &learned_op, y, 2, (Tensor *[]){x, scale}, saved);
    return y;
}

/* --- biases --- */

static void bias_backward(const Entry *entry) {
    for (size_t i = 0; i < entry->out->count; i++) entry->in[0]->grad[i] += entry->out->grad[i];
}

static const Op fakequant_bias_op = {.name = "fakequant_bias", .backward = bias_backward};

Tensor *op_fakequant_bias(Tape *tape, Tensor *bias, float input_scale, const QParams *w) {
    Tensor *y = tape_tensor(tape, bias->shape);
    for (size_t o = 0; o < bias->count; o++) {
        float b = bias->data[o], scale = w->scale[w->channels == 1 ? 0 : o];
        float code = (float)quantize_bias(b, input_scale, scale);
        y->data[o] = b == b ? input_scale * scale * code : b;
    }
    tape_record(tape, &fakequant_bias_op, y, 1, (Tensor *[]){bias}, NULL);
    return y;
}
