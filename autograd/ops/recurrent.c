/* A recurrent layer in one direction, over sequences x[N,T,F]:
 *
 *   input_t = x_t W_ih' + b_ih          for all steps at once
 *   recur_t = h_(t-1) W_hh' + b_hh      step by step, h = 0 before the first
 *   h_t     = what the cell makes of both (autograd/cell.h)
 *
 * where the sums of late gates are of memory_t instead of h_(t-1).
 *
 * A chunk of samples goes through all steps by itself. Letters: N T, F features, H hidden, G gates
 * of the cell times H. */
#include "autograd/error.h"
#include "autograd/kernels/gemm.h"
#include "autograd/kernels/parallel.h"
#include "autograd/kernels/partials.h"
#include "autograd/op.h"
#include "autograd/ops.h"

#include <string.h>

const Cell *const cell_list[] = {
#define CELL(name) &name##_cell,
#include "autograd/cells.def"
#undef CELL
    NULL,
};

extern const Op recurrent_op;

typedef struct Pass {
    RecurrentSpec spec;
    Product input, recur; /* W_ih[G,F] b_ih[G], W_hh[G,H] b_hh[G] */
    Tensor *x, *y;
    int batch, steps, features, hidden, gates;
    int early; /* of the gates' sums, those that are not late */
    /* kept for backward: */
    float *value;      /* [N,T,G] of the gates */
    float *h, *memory; /* [N,T,H] */
    const float *none; /* [CHUNK,H] of zeros: h and memory before the first step */
    /* of each thread: */
    size_t sums_size, work_size;
    float *sums;       /* forward: recur of a step [CHUNK,G]; backward: see Gradients */
    char *work;        /* for the products */
    Partials partials; /* of a piece: the gradients of input's w and b, of recur's */
} Pass;

static size_t row(const Pass *p, int n, int t) {
    return (size_t)n * (size_t)p->steps + (size_t)t;
}

/* The time that step s visits; and a row of values of the step before, zeros at the first. */
static int time_of(const Pass *p, int s) {
    return p->spec.reverse ? p->steps - 1 - s : s;
}

static const float *before(const Pass *p, const float *values, int n, int s) {
    return s ? values + row(p, n, time_of(p, s - 1)) * (size_t)p->hidden : p->none;
}

static CellStep cell_step(const Pass *p, int n, int s) {
    size_t at = row(p, n, time_of(p, s));
    return (CellStep){.hidden = p->hidden,
                      .gates = p->value + at * (size_t)p->gates,
                      .h_before = before(p, p->h, n, s),
                      .memory_before = before(p, p->memory, n, s),
                      .h = p->h + at * (size_t)p->hidden,
                      .memory = p->memory + at * (size_t)p->hidden};
}

/* --- forward --- */

/* Of a cell with late gates: all sums once more, of memory. Only those of the late ones are read;
 * but a Product, which may be of integers, has no parts. */
static void begin_step(const Pass *p, int begin, int rows, int s, float *recur, void *work) {
    size_t G = (size_t)p->gates, H = (size_t)p->hidden;
    for (int n = 0; n < rows; n++) {
        CellStep step = cell_step(p, begin + n, s);
        step.recur = recur + (size_t)n * G;
        p->spec.cell->begin(&step);
    }
    product_run(&p->recur, rows, p->memory + row(p, begin, time_of(p, s)) * H, (size_t)p->steps * H,
                recur, work);
}

static void forward_chunk(void *context, int i, int worker) {
    const Pass *p = context;
    int begin = chunk_begin(i), rows = chunk_end(i, p->batch) - begin;
    size_t first = row(p, begin, 0), G = (size_t)p->gates, H = (size_t)p->hidden;
    float *recur = p->sums + (size_t)worker * p->sums_size;
    void *work = p->work + (size_t)worker * p->work_size;
    product_run(&p->input, rows * p->steps, p->x->data + first * (size_t)p->features,
                (size_t)p->features, p->value + first * G, work);
    for (int s = 0; s < p->steps; s++) {
        product_run(&p->recur, rows, before(p, p->h, begin, s), s ? (size_t)p->steps * H : H, recur,
                    work);
        if (p->spec.cell->late) begin_step(p, begin, rows, s, recur, work);
        for (int n = 0; n < rows; n++) {
            CellStep step = cell_step(p, begin + n, s);
            step.recur = recur + (size_t)n * G;
            p->spec.cell->forward(&step);
        }
    }
    for (int n = begin; p->spec.last && n < begin + rows; n++)
        memcpy(p->y->data + (size_t)n * H, p->h + row(p, n, time_of(p, p->steps - 1)) * H,
               sizeof(float) * H);
}

static Pass *pass_new(Tape *tape, Tensor *x, const Product *input, const Product *recur,
                      const RecurrentSpec *spec) {
    int batch = x->shape.dim[0], steps = x->shape.dim[1], hidden = recur->w->shape.dim[1];
    Tensor *y = tape_tensor(tape, spec->last ? SHAPE(batch, hidden) : SHAPE(batch, steps, hidden));
    Pass *p = arena_zeros(tape->arena, sizeof *p);
    *p = (Pass){.spec = *spec,
                .input = *input,
                .recur = *recur,
                .x = x,
                .y = y,
                .batch = batch,
                .steps = steps,
                .features = x->shape.dim[2],
                .hidden = hidden,
                .gates = spec->cell->gates * hidden,
                .early = (spec->cell->gates - spec->cell->late) * hidden};
    return p;
}

static float *values_new(const Pass *p, Tape *tape, int size) {
    size_t rows = size_mul((size_t)p->batch, (size_t)p->steps);
    return arena_alloc(tape->arena, size_mul(sizeof(float) * (size_t)size, rows));
}

static size_t larger(size_t a, size_t b) {
    return a > b ? a : b;
}

Tensor *op_recurrent(Tape *tape, Tensor *x, const Product *input, const Product *recur,
                     const RecurrentSpec *spec) {
    char text[SHAPE_TEXT];
    CHECK(x->shape.rank == 3 && x->shape.dim[1] > 0, "recurrent: x %s",
          shape_text(&x->shape, text));
    product_check(input, "recurrent", x->shape.dim[2]);
    product_check(recur, "recurrent", recur->w->shape.dim[0] / spec->cell->gates);
    CHECK(input->w->shape.dim[0] == recur->w->shape.dim[0], "recurrent: %d and %d sums",
          input->w->shape.dim[0], recur->w->shape.dim[0]);

    Pass *p = pass_new(tape, x, input, recur, spec);
    Tensor *y = p->y, *in[] = {x, input->w, recur->w, input->b, recur->b};
    bool kept = tape_record(tape, &recurrent_op, y, 5, in, p);
    CHECK(!kept || (!input->by && !recur->by), "recurrent: no gradient of these products");
    ArenaMark mark = arena_mark(tape->arena);
    p->value = values_new(p, tape, p->gates);
    p->memory = values_new(p, tape, p->hidden);
    p->h = spec->last ? values_new(p, tape, p->hidden) : y->data;
    p->none = arena_zeros(tape->arena, sizeof(float) * CHUNK * (size_t)p->hidden);
    if (kept) mark = arena_mark(tape->arena);

    size_t threads = (size_t)parallel_threads();
    p->sums_size = CHUNK * (size_t)p->gates;
    p->sums = arena_alloc(tape->arena, sizeof(float) * threads * p->sums_size);
    p->work_size = larger(product_scratch(input), product_scratch(recur));
    p->work = arena_alloc(tape->arena, size_mul(threads, p->work_size));
    parallel_along(chunk_count(p->batch), forward_chunk, p);
    arena_rewind(tape->arena, mark);
    return y;
}

/* --- backward, through time ---
 *
 * From the last step to the first, h_t has the gradient dy_t and what step t+1 returns: through its
 * cell, and through its sums, drecur_(t+1) W_hh. With the gradients of all sums known:
 *
 *   dW_ih = sum over n, t of dinput' x_t         db_ih = sum of dinput      dx = dinput W_ih
 *   dW_hh = sum over n, t of drecur' h_(t-1)     db_hh = sum of drecur
 *
 * where the rows of late gates meet memory_t instead of h_(t-1), which has its own gradient then.
 */

/* What a thread computes for its chunk. */
typedef struct Gradients {
    float *input, *recur; /* [rows,T,G] */
    float *h_before;      /* [rows,T,H] h_(t-1) */
    float *h, *memory;    /* [rows,H] dL/dh and dL/dmemory on the way back */
} Gradients;

static size_t gradients_size(const Pass *p) {
    size_t steps = (size_t)p->steps, H = (size_t)p->hidden;
    return CHUNK * (steps * (2 * (size_t)p->gates + H) + 2 * H);
}

static Gradients gradients_of(const Pass *p, int worker) {
    size_t sums = CHUNK * (size_t)p->steps * (size_t)p->gates, H = (size_t)p->hidden;
    Gradients g = {.input = p->sums + (size_t)worker * p->sums_size};
    g.recur = g.input + sums;
    g.h_before = g.recur + sums;
    g.h = g.h_before + CHUNK * (size_t)p->steps * H;
    g.memory = g.h + CHUNK * H;
    return g;
}

static void add_rows(int rows, int columns, const float *x, float *sum) {
    for (int r = 0; r < rows; r++, x += columns)
        for (int c = 0; c < columns; c++) sum[c] += x[c];
}

/* What the cell needs on the way back, of sample begin + n. */
static CellStep step_back(const Pass *p, const Gradients *g, int begin, int n, int s) {
    size_t H = (size_t)p->hidden, G = (size_t)p->gates;
    size_t at = row(p, n, time_of(p, s)); /* in the chunk */
    CellStep step = cell_step(p, begin + n, s);
    step.dh = g->h + (size_t)n * H;
    step.dmemory = g->memory + (size_t)n * H;
    step.dinput = g->input + at * G;
    step.drecur = g->recur + at * G;
    return step;
}

/* The step's own share of dL/dh; and h_before, for the parameters. */
static void arrive(const Pass *p, const Gradients *g, int begin, int n, int s) {
    size_t H = (size_t)p->hidden;
    bool last = s == p->steps - 1;
    CellStep step = step_back(p, g, begin, n, s);
    const float *dy =
        p->y->grad + (p->spec.last ? (size_t)(begin + n) : row(p, begin + n, time_of(p, s))) * H;
    for (size_t k = 0; (last || !p->spec.last) && k < H; k++) step.dh[k] += dy[k];
    memcpy(g->h_before + row(p, n, time_of(p, s)) * H, step.h_before, sizeof(float) * H);
}

/* One step back for a chunk: through the late gates to memory, if there are any, through the others
 * to h. */
static void chunk_back(const Pass *p, const Gradients *g, int begin, int rows, int s) {
    const Cell *cell = p->spec.cell;
    int G = p->gates, H = p->hidden, late = G - p->early;
    const float *drecur = g->recur + (size_t)time_of(p, s) * (size_t)G, *w = p->recur.w->data;
    for (int n = 0; n < rows; n++) arrive(p, g, begin, n, s);
    for (int n = 0; late && n < rows; n++) {
        CellStep step = step_back(p, g, begin, n, s);
        cell->backward_late(&step);
    }
    if (late)
        gemm(rows, H, late, mat(drecur + p->early, p->steps * G),
             mat(w + (size_t)p->early * (size_t)H, H), 0, g->memory, H);
    for (int n = 0; n < rows; n++) {
        CellStep step = step_back(p, g, begin, n, s);
        cell->backward(&step);
    }
    gemm(rows, H, p->early, mat(drecur, p->steps * G), mat(w, H), 1, g->h, H);
}

/* Of a product: w's, then b's. */
static size_t parameters_of(const Product *product) {
    return product->w->count + (product->b ? product->b->count : 0);
}

static void add_to(Tensor *t, const float *sums) {
    for (size_t i = 0; t->needs_grad && i < t->count; i++) t->grad[i] += sums[i];
}

static void add_parameters(const Product *product, const float *sums) {
    add_to(product->w, sums);
    if (product->b) add_to(product->b, sums + product->w->count);
}

static void parameter_gradients(const Pass *p, const Gradients *g, int chunk) {
    int begin = chunk_begin(chunk), rows = (chunk_end(chunk, p->batch) - begin) * p->steps;
    float *input = partials_chunk(&p->partials, chunk), *recur = input + parameters_of(&p->input);
    const float *x = p->x->data + row(p, begin, 0) * (size_t)p->features;
    gemm(p->gates, p->features, rows, mat_t(g->input, p->gates), mat(x, p->features), 1, input,
         p->features);
    gemm(p->early, p->hidden, rows, mat_t(g->recur, p->gates), mat(g->h_before, p->hidden), 1,
         recur, p->hidden);
    if (p->early < p->gates)
        gemm(p->gates - p->early, p->hidden, rows, mat_t(g->recur + p->early, p->gates),
             mat(p->memory + row(p, begin, 0) * (size_t)p->hidden, p->hidden), 1,
             recur + (size_t)p->early * (size_t)p->hidden, p->hidden);
    if (p->input.b) add_rows(rows, p->gates, g->input, input + p->input.w->count);
    if (p->recur.b) add_rows(rows, p->gates, g->recur, recur + p->recur.w->count);
}

static void backward_chunk(void *context, int i, int worker) {
    const Pass *p = context;
    Gradients g = gradients_of(p, worker);
    int begin = chunk_begin(i), rows = chunk_end(i, p->batch) - begin, G = p->gates;
    memset(g.h, 0, sizeof(float) * 2 * CHUNK * (size_t)p->hidden); /* and memory behind it */
    for (int s = p->steps - 1; s >= 0; s--) chunk_back(p, &g, begin, rows, s);
    parameter_gradients(p, &g, i);
    if (p->x->needs_grad)
        gemm(rows * p->steps, p->features, G, mat(g.input, G), mat(p->input.w->data, p->features),
             1, p->x->grad + row(p, begin, 0) * (size_t)p->features, p->features);
}

static void recurrent_backward(const Entry *entry) {
    Pass p = *(const Pass *)entry->saved;
    Arena *arena = entry->tape->arena;
    ArenaMark mark = arena_mark(arena);
    p.sums_size = gradients_size(&p);
    p.sums = arena_alloc(arena, size_mul(sizeof(float) * (size_t)parallel_threads(), p.sums_size));
    p.partials = partials_new(arena, parameters_of(&p.input) + parameters_of(&p.recur), p.batch);
    partials_along(&p.partials, backward_chunk, &p);
    const float *sums = partials_sum(&p.partials);
    add_parameters(&p.input, sums);
    add_parameters(&p.recur, sums + parameters_of(&p.input));
    arena_rewind(arena, mark);
}

static const struct {
    int batch, steps, features, hidden;
    bool bias, constant; /* constant: x needs no gradient */
    RecurrentSpec spec;
} trials[] = {
    {2, 3, 2, 3, true, false, {&lstm_cell, false, false}},
    {2, 4, 3, 2, true, false, {&lstm_cell, true, false}},
    {CHUNK + 1, 2, 1, 2, false, true, {&lstm_cell, false, true}},
    {2, 3, 2, 3, true, false, {&gru_cell, false, false}},
    {2, 4, 3, 2, true, false, {&gru_cell, true, true}},
    {CHUNK + 1, 2, 1, 2, false, true, {&gru_cell, false, false}},
    {2, 3, 2, 3, true, false, {&gru_before_cell, false, false}},
    {2, 4, 3, 2, true, false, {&gru_before_cell, true, true}},
    {CHUNK + 1, 2, 1, 2, false, true, {&gru_before_cell, false, false}},
};

static void recurrent_sample(Arena *arena, Rng *rng, int trial, Sample *sample) {
    int features = trials[trial].features, hidden = trials[trial].hidden;
    int gates = trials[trial].spec.cell->gates * hidden;
    bool bias = trials[trial].bias;
    Tensor *x =
        sample_leaf(arena, rng, SHAPE(trials[trial].batch, trials[trial].steps, features), 1);
    x->needs_grad = !trials[trial].constant;
    *sample = (Sample){.inputs = 5, .in = {x}, .spec = &trials[trial].spec};
    sample->in[1] = sample_leaf(arena, rng, SHAPE(gates, features), 0.5f);
    sample->in[2] = sample_leaf(arena, rng, SHAPE(gates, hidden), 0.5f);
    sample->in[3] = bias ? sample_leaf(arena, rng, SHAPE(gates), 0.5f) : NULL;
    sample->in[4] = bias ? sample_leaf(arena, rng, SHAPE(gates), 0.5f) : NULL;
}

static Tensor *recurrent_forward(Tape *tape, const Sample *s) {
    return op_recurrent(tape, s->in[0], &(Product){s->in[1], s->in[3], NULL},
                        &(Product){s->in[2], s->in[4], NULL}, s->spec);
}

const Op recurrent_op = {
    .name = "recurrent",
    .backward = recurrent_backward,
    .samples = sizeof trials / sizeof *trials,
    .sample = recurrent_sample,
    .forward = recurrent_forward,
};
