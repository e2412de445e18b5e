#include "autograd/op.h"

#define OP(name) extern const Op name##_op;
#include "autograd/ops.def"
#undef OP

const Op *const op_list[] = {
#define OP(name) &name##_op,
#include "autograd/ops.def"
#undef OP
    NULL,
};

Tensor *sample_leaf(Arena *arena, Rng *rng, Shape shape, float spread) {
    Tensor *leaf = tensor_new(arena, shape);
    for (size_t i = 0; i < leaf->count; i++) leaf->data[i] = spread * rng_normal(rng);
    leaf->needs_grad = true;
    return leaf;
}
