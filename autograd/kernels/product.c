#include "autograd/kernels/product.h"

#include <string.h>

#include "autograd/error.h"
#include "autograd/kernels/gemm.h"

void product_check(const Product *product, const char *op, int depth) {
    const Shape *w = &product->w->shape;
    char text[2][SHAPE_TEXT];
    CHECK(w->rank == 2 && w->dim[1] == depth, "%s: inputs of %d, w %s", op, depth,
          shape_text(w, text[0]));
    const Tensor *b = product->b;
    CHECK(!b || (b->shape.rank == 1 && b->shape.dim[0] == w->dim[0]), "%s: w %s, b %s", op,
          shape_text(w, text[0]), shape_text(&b->shape, text[1]));
}

size_t product_scratch(const Product *product) {
    return product->by ? product->by->scratch(product->by) : 0;
}

void product_run(const Product *product, int rows, const float *x, size_t stride, float *y,
                 void *scratch) {
    const Tensor *w = product->w, *b = product->b;
    int outputs = w->shape.dim[0], depth = w->shape.dim[1];
    size_t bytes = sizeof *y * (size_t)outputs;
    for (int r = 0; b && r < rows; r++) memcpy(y + (size_t)r * (size_t)outputs, b->data, bytes);
    if (!b) memset(y, 0, bytes * (size_t)rows);
    if (product->by)
        product->by->add(product->by, rows, x, stride, y, scratch);
    else
        gemm(rows, outputs, depth, mat(x, (int)stride), mat_t(w->data, depth), 1.0f, y, outputs);
}
