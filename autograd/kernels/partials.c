#include "autograd/kernels/partials.h"

#include <string.h>

enum {
    PIECES_MOST = 32, /* work for as many threads; more would only be more to clear and to add */
    BLOCK = 4096,     /* floats of the sum in one go */
    LINE = 16
};

Partials partials_new(Arena *arena, size_t size, int samples) {
    Partials p = {.chunks = chunk_count(samples), .size = (size + LINE - 1) / LINE * LINE};
    p.together = (p.chunks + PIECES_MOST - 1) / PIECES_MOST;
    p.pieces = (p.chunks + p.together - 1) / p.together;
    p.data = arena_alloc(arena, size_mul(size_mul(p.size, (size_t)p.pieces), sizeof(float)));
    return p;
}

typedef struct Along {
    const Partials *partials;
    ParallelBody *body;
    void *context;
} Along;

static void run_piece(void *context, int piece, int worker) {
    const Along *along = context;
    const Partials *p = along->partials;
    int begin = piece * p->together, left = p->chunks - begin;
    memset(partials_chunk(p, begin), 0, sizeof *p->data * p->size);
    for (int i = 0; i < p->together && i < left; i++)
        along->body(along->context, begin + i, worker);
}

void partials_along(const Partials *partials, ParallelBody *body, void *context) {
    parallel_along(partials->pieces, run_piece, &(Along){partials, body, context});
}

float *partials_chunk(const Partials *partials, int chunk) {
    return partials->data + (size_t)(chunk / partials->together) * partials->size;
}

static void add_block(void *context, int i, int worker) {
    (void)worker;
    const Partials *p = context;
    size_t begin = (size_t)i * BLOCK, count = p->size - begin < BLOCK ? p->size - begin : BLOCK;
    float *restrict sum = p->data + begin;
    for (int piece = 1; piece < p->pieces; piece++) {
        const float *partial = sum + (size_t)piece * p->size;
        for (size_t j = 0; j < count; j++) sum[j] += partial[j];
    }
}

const float *partials_sum(const Partials *partials) {
    parallel_for((int)((partials->size + BLOCK - 1) / BLOCK), add_block, (void *)partials);
    return partials->data;
}
