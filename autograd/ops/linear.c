/* The fully connected layer: y[n,o] = sum over k of x[n,k] w[o,k], plus b[o]. Letters: N K O. */
#include "autograd/error.h"
#include "autograd/kernels/gemm.h"
#include "autograd/kernels/parallel.h"
#include "autograd/op.h"
#include "autograd/ops.h"

extern const Op linear_op;

typedef struct Linear {
    Tensor *x, *w, *b, *y; /* [N,K] [O,K] [O] or NULL, [N,O] */
    int batch, depth, outputs;
    const Product *product; /* forward's */
    char *scratch;          /* [threads][size] for it */
    size_t size;
} Linear;

static Linear linear_of(Tensor *x, Tensor *w, Tensor *b, Tensor *y) {
    return (Linear){.x = x,
                    .w = w,
                    .b = b,
                    .y = y,
                    .batch = x->shape.dim[0],
                    .depth = x->shape.dim[1],
                    .outputs = w->shape.dim[0]};
}

static size_t at(int row, int columns, int column) {
    return (size_t)row * (size_t)columns + (size_t)column;
}

static void forward_chunk(void *context, int i, int worker) {
    const Linear *l = context;
    int begin = chunk_begin(i), end = chunk_end(i, l->batch);
    product_run(l->product, end - begin, l->x->data + at(begin, l->depth, 0), (size_t)l->depth,
                l->y->data + at(begin, l->outputs, 0), l->scratch + (size_t)worker * l->size);
}

Tensor *op_product(Tape *tape, Tensor *x, const Product *product) {
    Tensor *w = product->w, *b = product->b;
    CHECK(x->shape.rank == 2, "linear: x %s", shape_text(&x->shape, (char[SHAPE_TEXT]){0}));
    product_check(product, "linear", x->shape.dim[1]);
    Tensor *y = tape_tensor(tape, SHAPE(x->shape.dim[0], w->shape.dim[0]));
    bool kept = tape_record(tape, &linear_op, y, 3, (Tensor *[]){x, w, b}, NULL);
    CHECK(!kept || !product->by, "linear: no gradient of this product");

    ArenaMark mark = arena_mark(tape->arena);
    Linear l = linear_of(x, w, b, y);
    l.product = product;
    l.size = product_scratch(product);
    l.scratch = arena_alloc(tape->arena, size_mul((size_t)parallel_threads(), l.size));
    parallel_along(chunk_count(l.batch), forward_chunk, &l);
    arena_rewind(tape->arena, mark);
    return y;
}

Tensor *op_linear(Tape *tape, Tensor *x, Tensor *w, Tensor *b) {
    return op_product(tape, x, &(Product){w, b, NULL});
}

/* With g = d loss / d y, each y[n,o] meeting x[n,k] through w[o,k]:
 *   dx[n,k] = sum over o of g[n,o] w[o,k]      dx = g w
 *   dw[o,k] = sum over n of g[n,o] x[n,k]      dw = g' x
 *   db[o]   = sum over n of g[n,o] */
static void input_chunk(void *context, int i, int worker) {
    (void)worker;
    const Linear *l = context;
    int begin = chunk_begin(i), end = chunk_end(i, l->batch);
    gemm(end - begin, l->depth, l->outputs, mat(l->y->grad + at(begin, l->outputs, 0), l->outputs),
         mat(l->w->data, l->depth), 1.0f, l->x->grad + at(begin, l->depth, 0), l->depth);
}

/* dw is cut into tiles, each one product over the whole batch: no partial sums are left to add. */
enum { TILE_ROWS = 64, TILE_COLUMNS = 256 };

static int tiles(int size, int tile) {
    return (size + tile - 1) / tile;
}

static void weight_tile(void *context, int i, int worker) {
    (void)worker;
    const Linear *l = context;
    int across = tiles(l->depth, TILE_COLUMNS);
    int row = i / across * TILE_ROWS, column = i % across * TILE_COLUMNS;
    int rows = l->outputs - row < TILE_ROWS ? l->outputs - row : TILE_ROWS;
    int columns = l->depth - column < TILE_COLUMNS ? l->depth - column : TILE_COLUMNS;
    gemm(rows, columns, l->batch, mat_t(l->y->grad + row, l->outputs),
         mat(l->x->data + column, l->depth), 1.0f, l->w->grad + at(row, l->depth, column),
         l->depth);
}

static void linear_backward(const Entry *entry) {
    Linear l = linear_of(entry->in[0], entry->in[1], entry->in[2], entry->out);
    if (l.x->needs_grad) parallel_along(chunk_count(l.batch), input_chunk, &l);
    if (l.w->needs_grad)
        parallel_for(tiles(l.outputs, TILE_ROWS) * tiles(l.depth, TILE_COLUMNS), weight_tile, &l);
    if (l.b && l.b->needs_grad)
        for (int n = 0; n < l.batch; n++)
            for (int o = 0; o < l.outputs; o++) l.b->grad[o] += l.y->grad[at(n, l.outputs, o)];
}

static const struct {
    int batch, depth, outputs;
    bool bias;
} trials[] = {{3, 5, 4, true}, {CHUNK + 3, 2, 3, false}, {2, 1, TILE_ROWS + 1, true}};

static void linear_sample(Arena *arena, Rng *rng, int trial, Sample *sample) {
    int batch = trials[trial].batch, depth = trials[trial].depth, outputs = trials[trial].outputs;
    sample->inputs = 3;
    sample->in[0] = sample_leaf(arena, rng, SHAPE(batch, depth), 1.0f);
    sample->in[1] = sample_leaf(arena, rng, SHAPE(outputs, depth), 1.0f);
    sample->in[2] = trials[trial].bias ? sample_leaf(arena, rng, SHAPE(outputs), 1.0f) : NULL;
}

static Tensor *linear_forward(Tape *tape, const Sample *sample) {
    return op_linear(tape, sample->in[0], sample->in[1], sample->in[2]);
}

const Op linear_op = {
    .name = "linear",
    .backward = linear_backward,
    .samples = sizeof trials / sizeof *trials,
    .sample = linear_sample,
    .forward = linear_forward,
};
