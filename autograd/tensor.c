#include "autograd/tensor.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "autograd/error.h"
#include "autograd/kernels/vector.h"

size_t shape_count(const Shape *shape) {
    size_t count = 1;
    for (int i = 0; i < shape->rank; i++) count = size_mul(count, (size_t)shape->dim[i]);
    return count;
}

bool shape_equal(const Shape *a, const Shape *b) {
    if (a->rank != b->rank) return false;
    for (int i = 0; i < a->rank; i++)
        if (a->dim[i] != b->dim[i]) return false;
    return true;
}

const char *shape_text(const Shape *shape, char text[SHAPE_TEXT]) {
    int used = snprintf(text, SHAPE_TEXT, shape->rank ? "" : "scalar");
    for (int i = 0; i < shape->rank && used < SHAPE_TEXT; i++)
        used +=
            snprintf(text + used, (size_t)(SHAPE_TEXT - used), "%s%d", i ? "x" : "", shape->dim[i]);
    return text;
}

Shape shape_batched(const Shape *sample, int batch) {
    CHECK(sample->rank < MAX_RANK, "rank %d has no room for a batch", sample->rank);
    Shape shape = {.rank = sample->rank + 1, .dim = {batch}};
    memcpy(shape.dim + 1, sample->dim, sizeof(int) * (size_t)sample->rank);
    return shape;
}

Shape shape_sample(const Shape *batched) {
    CHECK(batched->rank > 0, "a scalar has no batch");
    Shape shape = {.rank = batched->rank - 1};
    memcpy(shape.dim, batched->dim + 1, sizeof(int) * (size_t)shape.rank);
    return shape;
}

Tensor *tensor_new(Arena *arena, Shape shape) {
    Tensor *tensor = arena_alloc(arena, sizeof *tensor);
    size_t count = shape_count(&shape);
    *tensor = (Tensor){.shape = shape, .count = count};
    tensor->data = arena_alloc(arena, size_mul(count, sizeof(float)));
    return tensor;
}

Tensor *tensor_zeros(Arena *arena, Shape shape) {
    Tensor *tensor = tensor_new(arena, shape);
    memset(tensor->data, 0, tensor->count * sizeof(float));
    return tensor;
}

Tensor *tensor_copy(Arena *arena, Shape shape, const float *data) {
    Tensor *tensor = tensor_new(arena, shape);
    memcpy(tensor->data, data, tensor->count * sizeof(float));
    return tensor;
}

float *tensor_grad(Arena *arena, Tensor *tensor) {
    if (!tensor->grad) tensor->grad = arena_zeros(arena, size_mul(tensor->count, sizeof(float)));
    return tensor->grad;
}

VECTOR bool floats_finite(const float *x, size_t count) {
    float sum = 0; /* 0 * x is 0 for finite x, NaN otherwise, and NaN stays */
    for (size_t i = 0; i < count; i++) sum += 0.0f * x[i];
    return !isnan(sum);
}

int argmax(const float *x, int count) {
    int best = 0;
    for (int i = 1; i < count; i++)
        if (x[i] > x[best]) best = i;
    return best;
}
