#include "quant/dynamic.h"

#include <stdlib.h>

#include "autograd/kernels/gemm.h"

enum { TOP = 255 /* the largest byte */, ROWS = 32 /* quantized at once */, LINE = 64 };

/* --- a row's range --- */

typedef struct RowGrid {
    float scale; /* NaN: a value of the row is NaN or infinite, and so all results are */
    int32_t zero;
} RowGrid;

static QParams row_qparams(RowGrid *grid) {
    return (QParams){
        .channels = 1, .scale = &grid->scale, .zero_point = &grid->zero, .qmin = 0, .qmax = TOP};
}

static RowGrid row_grid(const float *x, int depth) {
    RowGrid grid = {NAN, 0};
    float lo = 0, hi = 0;
    if (!floats_finite(x, (size_t)depth)) return grid;
    for (int k = 0; k < depth; k++) {
        lo = x[k] < lo ? x[k] : lo;
        hi = x[k] > hi ? x[k] : hi;
    }
    QParams q = row_qparams(&grid);
    qparams_set_range(&q, 0, false, lo, hi);
    return grid;
}

/* --- rows times a matrix --- */

static size_t round_up(size_t bytes) {
    return (bytes + LINE - 1) / LINE * LINE;
}

/* sums[rows][outputs], sum over k of (q_x - Z_x) q_w, from bytes[rows][depth]. */
typedef void Sums(const DynamicMatrix *m, int rows, const uint8_t *bytes, const RowGrid *grid,
                  int32_t *sums, void *scratch);

/* Scratch: bytes[ROWS][depth], sums[ROWS][outputs], what `sums` needs. */
static size_t scratch_with(const DynamicMatrix *m, size_t rest) {
    return round_up(ROWS * (size_t)m->depth) +
           round_up(ROWS * sizeof(int32_t) * (size_t)m->outputs) + round_up(rest);
}

static void quantize_row(const float *x, int depth, RowGrid *grid, uint8_t *bytes) {
    *grid = row_grid(x, depth);
    QParams q = row_qparams(grid);
    for (int k = 0; k < depth; k++)
        bytes[k] = isnan(grid->scale) ? 0 : (uint8_t)quantize(&q, 0, x[k]);
}

static void add_rows(const DynamicMatrix *m, Sums *sums_of, int rows, const float *x, size_t stride,
                     float *y, void *scratch) {
    size_t depth = (size_t)m->depth, outputs = (size_t)m->outputs;
    RowGrid grid[ROWS];
    uint8_t *bytes = scratch;
    int32_t *sums = (int32_t *)(bytes + round_up(ROWS * depth));
    void *rest = (uint8_t *)sums + round_up(ROWS * sizeof *sums * outputs);
    for (int r = 0; r < rows; r++)
        quantize_row(x + (size_t)r * stride, m->depth, &grid[r], bytes + (size_t)r * depth);
    sums_of(m, rows, bytes, grid, sums, rest);
    for (int r = 0; r < rows; r++, y += outputs, sums += outputs)
        for (size_t o = 0; o < outputs; o++)
            y[o] += grid[r].scale * m->grid.scale[m->grid.channels == 1 ? 0 : o] * (float)sums[o];
}

static void add_by(const Multiply *multiply, Sums *sums_of, int rows, const float *x, size_t stride,
                   float *y, void *scratch) {
    const DynamicMatrix *m = (const DynamicMatrix *)multiply;
    for (int r = 0; r < rows; r += ROWS)
        add_rows(m, sums_of, rows - r < ROWS ? rows - r : ROWS, x + (size_t)r * stride, stride,
                 y + (size_t)r * (size_t)m->outputs, scratch);
}

/* --- by integers --- */

static void integer_sums(const DynamicMatrix *m, int rows, const uint8_t *bytes,
                         const RowGrid *grid, int32_t *sums, void *scratch) {
    size_t outputs = (size_t)m->outputs;
    qgemm_kernel()->accumulate(&m->gemm, rows, bytes, (size_t)m->depth, sums, outputs, scratch);
    for (int r = 0; r < rows; r++, sums += outputs)
        for (size_t o = 0; o < outputs; o++) sums[o] -= grid[r].zero * m->sum[o];
}

static void integer_add(const Multiply *multiply, int rows, const float *x, size_t stride, float *y,
                        void *scratch) {
    add_by(multiply, integer_sums, rows, x, stride, y, scratch);
}

static size_t integer_scratch(const Multiply *multiply) {
    const DynamicMatrix *m = (const DynamicMatrix *)multiply;
    return scratch_with(m, qgemm_kernel()->scratch_bytes(&m->gemm));
}

/* --- by floats --- */

/* |q_x - Z_x| |q_w| <= 255 127: so many of them have a sum below 2^24, exact in any order. */
enum { EXACT = (1 << 24) / (TOP * 127) };

static void float_sums(const DynamicMatrix *m, int rows, const uint8_t *bytes, const RowGrid *grid,
                       int32_t *sums, void *scratch) {
    size_t count = (size_t)rows * (size_t)m->outputs;
    float *codes = scratch, *part = codes + (size_t)rows * (size_t)m->depth;
    for (int r = 0, i = 0; r < rows; r++)
        for (int k = 0; k < m->depth; k++, i++) codes[i] = (float)(bytes[i] - grid[r].zero);
    for (size_t i = 0; i < count; i++) sums[i] = 0;
    for (int k = 0; k < m->depth; k += EXACT) {
        int some = m->depth - k < EXACT ? m->depth - k : EXACT;
        gemm(rows, m->outputs, some, mat(codes + k, m->depth), mat_t(m->codes + k, m->depth), 0,
             part, m->outputs);
        for (size_t i = 0; i < count; i++) sums[i] += (int32_t)part[i];
    }
}

static void float_add(const Multiply *multiply, int rows, const float *x, size_t stride, float *y,
                      void *scratch) {
    add_by(multiply, float_sums, rows, x, stride, y, scratch);
}

static size_t float_scratch(const Multiply *multiply) {
    const DynamicMatrix *m = (const DynamicMatrix *)multiply;
    return scratch_with(m, ROWS * sizeof(float) * ((size_t)m->depth + (size_t)m->outputs));
}

/* --- the two engines --- */

static Tensor *forward(const Run *run, const Node *node, Tensor *const in[]) {
    Tensor *y = node->layer->forward(run, node, in);
    if (!floats_finite(y->data, y->count))
        error_set(run->error, ERROR_INPUT, "%s: a value is NaN or infinite", node->name);
    return y;
}

static void multiply_by(Dynamic *dynamic, Multiply multiply) {
    for (int i = 0; i < dynamic->matrices; i++) {
        DynamicMatrix *m = &dynamic->matrix[i];
        m->multiply = multiply;
        m->param->by = &m->multiply;
        dynamic->graph->node[m->node->index].forward = forward;
    }
}

void dynamic_integers(Dynamic *dynamic) {
    multiply_by(dynamic, (Multiply){integer_add, integer_scratch});
}

void dynamic_simulate(Dynamic *dynamic) {
    for (int i = 0; i < dynamic->matrices; i++) {
        DynamicMatrix *m = &dynamic->matrix[i];
        size_t count = (size_t)m->outputs * (size_t)m->depth;
        if (m->codes) continue;
        m->codes = arena_alloc(dynamic->arena, size_mul(count, sizeof *m->codes));
        for (size_t k = 0; k < count; k++) m->codes[k] = m->weight[k];
    }
    multiply_by(dynamic, (Multiply){float_add, float_scratch});
}

/* --- making them --- */

static void add_matrix(Dynamic *dynamic, const Node *node, Param *param) {
    static const QuantSpec spec = {.bits = 8, .is_signed = true, .symmetric = true};
    DynamicMatrix *m = &dynamic->matrix[dynamic->matrices++];
    const Shape *shape = &param->tensor->shape;
    *m = (DynamicMatrix){
        .node = node, .param = param, .outputs = shape->dim[0], .depth = shape->dim[1]};
    m->weight = arena_zeros(dynamic->arena, param->tensor->count);
    m->grid = qparams_new(dynamic->arena, &spec, dynamic->per_channel ? m->outputs : 1);
}

Dynamic *dynamic_new(Graph *graph, bool per_channel, Error *error) {
    int count = 0;
    for (int i = 0; i < graph->nodes; i++)
        for (int k = 0; k < graph->node[i].params; k++) count += graph->node[i].param[k].matrix;
    if (!count) {
        error_set(error, ERROR_INPUT,
                  "%s has no layer for dynamic quantization: those are linear, lstm and gru",
                  graph->name);
        return NULL;
    }
    Arena *arena = arena_new();
    Dynamic *dynamic = arena_zeros(arena, sizeof *dynamic);
    *dynamic = (Dynamic){.graph = graph, .per_channel = per_channel, .arena = arena};
    dynamic->matrix = arena_zeros(arena, sizeof *dynamic->matrix * (size_t)count);
    for (int i = 0; i < graph->nodes; i++)
        for (int k = 0; k < graph->node[i].params; k++)
            if (graph->node[i].param[k].matrix)
                add_matrix(dynamic, &graph->node[i], &graph->node[i].param[k]);
    return dynamic;
}

void dynamic_free(Dynamic *dynamic) {
    if (dynamic) arena_free(dynamic->arena);
}

DynamicMatrix *dynamic_matrix(const Dynamic *dynamic, const Param *param) {
    DynamicMatrix *m = dynamic->matrix;
    while (m->param != param) m++;
    return m;
}

bool dynamic_quantize(Dynamic *dynamic, Error *error) {
    for (int i = 0; i < dynamic->matrices; i++) {
        DynamicMatrix *m = &dynamic->matrix[i];
        const Tensor *w = m->param->tensor;
        if (!floats_finite(w->data, w->count))
            return error_set(error, ERROR_INPUT, "%s.%s: a weight is NaN or infinite",
                             m->node->name, m->param->name);
        size_t shared = w->count / (size_t)m->grid.channels;
        for (int c = 0; c < m->grid.channels; c++) {
            const float *from = w->data + (size_t)c * shared;
            float most = 0;
            for (size_t k = 0; k < shared; k++) most = fmaxf(most, fabsf(from[k]));
            qparams_set_range(&m->grid, c, true, -most, most);
            for (size_t k = 0; k < shared; k++)
                m->weight[(size_t)c * shared + k] = (int8_t)quantize(&m->grid, c, from[k]);
        }
    }
    return true;
}

/* The kernels' sums are of bytes, sum q_x q_w, and Z_x sum q_w is taken away afterwards: both are
 * at most 255 sum |q_w|. */
static bool prove(const DynamicMatrix *m, Error *error) {
    for (int o = 0; o < m->outputs; o++) {
        int64_t sum = 0, absolute = 0;
        for (int k = 0; k < m->depth; k++) {
            int code = m->weight[(size_t)o * (size_t)m->depth + (size_t)k];
            sum += code;
            absolute += abs(code);
        }
        if (absolute * TOP >= INT64_C(1) << 31)
            return error_set(error, ERROR_INPUT,
                             "%s.%s: the sum of output %d can reach %lld, more than 32 bits hold",
                             m->node->name, m->param->name, o, (long long)(absolute * TOP));
        m->sum[o] = (int32_t)sum;
    }
    return true;
}

bool dynamic_complete(Dynamic *dynamic, Error *error) {
    Arena *arena = dynamic->arena;
    for (int i = 0; i < dynamic->matrices; i++) {
        DynamicMatrix *m = &dynamic->matrix[i];
        size_t outputs = (size_t)m->outputs;
        m->sum = arena_alloc(arena, sizeof *m->sum * outputs);
        if (!prove(m, error)) return false;
        Multiplier *unused =
            arena_alloc(arena, sizeof *unused * outputs); /* sums stay as they are */
        for (size_t o = 0; o < outputs; o++) unused[o] = (Multiplier){0, 62};
        m->gemm = (QGemm){.outputs = m->outputs,
                          .depth = m->depth,
                          .weight = m->weight,
                          .bias = arena_zeros(arena, sizeof(int32_t) * outputs),
                          .multiplier = unused};
        void *packed = arena_alloc(arena, qgemm_kernel()->packed_bytes(&m->gemm));
        qgemm_kernel()->pack(&m->gemm, packed);
        m->gemm.packed = packed;
    }
    return true;
}
