/* Tensor: a shape, its floats, and the gradient of the loss with respect to them.
 * Always float32, contiguous, row-major: no dtype, no strides, no reference count. An image batch
 * is N C H W; a 1-D signal N C W; a volume N C D H W. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "autograd/arena.h"

enum { MAX_RANK = 8, SHAPE_TEXT = 128 };

typedef struct Shape {
    int rank;
    int dim[MAX_RANK];
} Shape;

/* SHAPE(64, 1, 28, 28) */
#define SHAPE(...)                                                                                 \
    ((Shape){.rank = (int)(sizeof((int[]){__VA_ARGS__}) / sizeof(int)), .dim = {__VA_ARGS__}})

size_t shape_count(const Shape *shape); /* product of the dimensions; 1 for rank 0 */
bool shape_equal(const Shape *a, const Shape *b);
/* "64x1x28x28" in the caller's buffer of SHAPE_TEXT bytes, which is returned. */
const char *shape_text(const Shape *shape, char text[SHAPE_TEXT]);
/* The same shape behind a batch dimension, and a batch's shape without it. */
Shape shape_batched(const Shape *sample, int batch);
Shape shape_sample(const Shape *batched);

/* What is made where it is used, plane by plane, and stored nowhere: a gradient, or values. */
typedef struct Deferred {
    /* Plane `index` (n C + c), in the caller's plane[P]. */
    void (*plane)(const void *context, size_t index, float *plane);
    const void *context;
} Deferred;

typedef struct Tensor {
    Shape shape;
    size_t count;    /* elements: shape_count(&shape) */
    float *data;     /* [count]; NULL if values are deferred */
    float *grad;     /* [count], or NULL while no gradient has arrived */
    bool needs_grad; /* parameters, and all that is computed from them */

    bool defers;              /* the op that made it takes its gradient by planes (tape.h) */
    const Deferred *deferred; /* that gradient, in place of grad; or NULL */
    const Deferred *values;   /* in place of data, for the one op that reads them so (Tail.later) */
    const double *moments;    /* [N C][2] row_moments of each plane (sums.h); NULL: not known */
} Tensor;

/* A tensor with data as the arena left it, no gradient, needs_grad false. Owned by the arena. */
Tensor *tensor_new(Arena *arena, Shape shape);
/* The same, with all elements zero; with a copy of data[count]. */
Tensor *tensor_zeros(Arena *arena, Shape shape);
Tensor *tensor_copy(Arena *arena, Shape shape, const float *data);
/* The gradient's memory, zeroed when it is made; owned by the arena. */
float *tensor_grad(Arena *arena, Tensor *tensor);
/* False if any element is NaN or infinite. */
bool floats_finite(const float *x, size_t count);
/* Index of the largest of x[count], count > 0; of equal ones the first. */
int argmax(const float *x, int count);
