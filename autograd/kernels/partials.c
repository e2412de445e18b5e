#include "autograd/kernels/partials.h"

#include <string.h>

#include "autograd/kernels/parallel.h"

enum { BLOCK = 4096 }; /* elements of the sum in one piece */

Partials partials_new(Arena *arena, Tensor *w, Tensor *b, int samples) {
    Partials p = {.w = w, .b = b, .chunks = chunk_count(samples)};
    p.size = w->count + (b ? b->count : 0);
    size_t floats = size_mul(p.size, (size_t)p.chunks);
    p.data = arena_alloc(arena, size_mul(floats, sizeof(float)));
    return p;
}

float *partials_chunk(const Partials *partials, int i) {
    float *chunk = partials->data + (size_t)i * partials->size;
    memset(chunk, 0, sizeof *chunk * partials->size);
    return chunk;
}

static void add_block(void *context, int i, int worker) {
    (void)worker;
    const Partials *p = context;
    size_t begin = (size_t)i * BLOCK, end = begin + BLOCK, weights = p->w->count;
    if (end > p->size) end = p->size;
    for (int chunk = 0; chunk < p->chunks; chunk++) {
        const float *partial = p->data + (size_t)chunk * p->size;
        size_t j = begin;
        if (p->w->needs_grad)
            for (; j < end && j < weights; j++) p->w->grad[j] += partial[j];
        if (p->b && p->b->needs_grad)
            for (j = j < weights ? weights : j; j < end; j++) p->b->grad[j - weights] += partial[j];
    }
}

void partials_add(const Partials *partials) {
    parallel_for((int)((partials->size + BLOCK - 1) / BLOCK), add_block, (void *)partials);
}
