#include "autograd/kernels/partials.h"

#include <string.h>

#include "autograd/kernels/parallel.h"

enum { BLOCK = 4096 /* floats of the sum in one piece */, LINE = 16 };

Partials partials_sized(Arena *arena, size_t size, int samples) {
    Partials p = {.chunks = chunk_count(samples), .size = (size + LINE - 1) / LINE * LINE};
    p.data = arena_alloc(arena, size_mul(size_mul(p.size, (size_t)p.chunks), sizeof(float)));
    return p;
}

Partials partials_new(Arena *arena, Tensor *w, Tensor *b, int samples) {
    Partials p = partials_sized(arena, w->count + (b ? b->count : 0), samples);
    p.w = w;
    p.b = b;
    return p;
}

float *partials_chunk(const Partials *partials, int i) {
    float *chunk = partials->data + (size_t)i * partials->size;
    return memset(chunk, 0, sizeof *chunk * partials->size);
}

static void add_block(void *context, int i, int worker) {
    (void)worker;
    const Partials *p = context;
    size_t begin = (size_t)i * BLOCK, count = p->size - begin < BLOCK ? p->size - begin : BLOCK;
    float *restrict sum = p->data + begin;
    for (int chunk = 1; chunk < p->chunks; chunk++) {
        const float *partial = sum + (size_t)chunk * p->size;
        for (size_t j = 0; j < count; j++) sum[j] += partial[j];
    }
}

const float *partials_sum(const Partials *partials) {
    parallel_for((int)((partials->size + BLOCK - 1) / BLOCK), add_block, (void *)partials);
    return partials->data;
}

static void add_to(Tensor *tensor, const float *sum) {
    for (size_t i = 0; tensor->needs_grad && i < tensor->count; i++) tensor->grad[i] += sum[i];
}

void partials_add(const Partials *partials) {
    const float *sum = partials_sum(partials);
    add_to(partials->w, sum);
    if (partials->b) add_to(partials->b, sum + partials->w->count);
}
