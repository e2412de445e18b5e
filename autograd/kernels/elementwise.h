/* Element-by-element loops: `count` elements in pieces of a fixed size that parallel_along shares
 * out. No element's value depends on the cut, so neither do the results. */
#pragma once

#include <stddef.h>

#include "autograd/kernels/parallel.h"

enum { PIECE = 1 << 14 /* elements: 64 KiB of floats, more work than it costs to hand out */ };

/* Does elements begin .. end-1. */
typedef void ElementsBody(const void *context, size_t begin, size_t end);

typedef struct Elements {
    ElementsBody *body;
    const void *context;
    size_t count;
} Elements;

static inline void elements_piece(void *context, int index, int worker) {
    (void)worker;
    const Elements *e = context;
    size_t begin = (size_t)index * PIECE;
    e->body(e->context, begin, e->count - begin < PIECE ? e->count : begin + PIECE);
}

/* Calls body(context, begin, end) for ranges that cover 0 .. count-1 once, on any thread. */
static inline void elementwise(size_t count, ElementsBody *body, const void *context) {
    Elements elements = {body, context, count};
    parallel_along((int)((count + PIECE - 1) / PIECE), elements_piece, &elements);
}
