/* Product: rows times a matrix of weights, and a bias: the one thing that fully connected and
 * recurrent layers do with their parameters.
 *
 *     y[r][o] = b[o] + sum over k of x[r][k] w[o][k]
 *
 * Who can multiply in another way (quant/dynamic.h: by integers) need know no layer. */
#pragma once

#include "autograd/tensor.h"

/* What multiplies in the place of BLAS. Each row's result depends on that row alone. */
typedef struct Multiply Multiply;
struct Multiply {
    /* Adds x w' to y: x[rows][K], rows `stride` floats apart, y[rows][O]. Any number of threads run
     * it at once, each with its own scratch. */
    void (*add)(const Multiply *multiply, int rows, const float *x, size_t stride, float *y,
                void *scratch);
    size_t (*scratch)(const Multiply *multiply); /* for a call, whatever its rows; aligned to 64 */
};

typedef struct Product {
    Tensor *w, *b;      /* [O,K], [O] or NULL */
    const Multiply *by; /* NULL: BLAS. Otherwise w's floats are not read, and nothing flows back */
} Product;

/* CHECKs that w is [O,depth] and b, if there is one, [O]; `op` names who asks. */
void product_check(const Product *product, const char *op, int depth);
/* Bytes of scratch for each thread; 0 with BLAS. */
size_t product_scratch(const Product *product);
void product_run(const Product *product, int rows, const float *x, size_t stride, float *y,
                 void *scratch);
