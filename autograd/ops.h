/* The differentiable functions. Each computes at once, records itself on the tape, and returns a
 * tensor that the tape owns. Inputs must outlive the step. Wrong shapes are the programmer's error:
 * CHECK. Letters: N batch, C channels, P spatial positions (D H W), K inputs of one output, O
 * outputs. */
#pragma once

#include <stdint.h>

#include "autograd/cell.h"
#include "autograd/kernels/product.h"
#include "autograd/tape.h"
#include "autograd/view.h"
#include "autograd/window.h"

/* a + b and a * b, element by element; equal shapes. */
Tensor *op_add(Tape *tape, Tensor *a, Tensor *b);
Tensor *op_mul(Tape *tape, Tensor *a, Tensor *b);

/* y[N,O] = x[N,K] w[O,K]' + b[O]; b may be NULL. */
Tensor *op_linear(Tape *tape, Tensor *x, Tensor *w, Tensor *b);
/* The same for a product that may be another's (kernels/product.h). */
Tensor *op_product(Tape *tape, Tensor *x, const Product *product);

typedef struct RecurrentSpec {
    const Cell *cell;
    bool reverse; /* from the last time step to the first */
    bool last;    /* the result is h after the last visited step, [N,H]; else of all steps */
} RecurrentSpec;
/* One layer and direction of PyTorch's LSTM or GRU, batch_first: x[N,T,F] -> h[N,T,H], in the order
 * of x whatever the direction; input: W_ih[G,F] b_ih[G], recur: W_hh[G,H] b_hh[G], G = H times the
 * cell's gates; each b may be NULL. Begins with zeros. */
Tensor *op_recurrent(Tape *tape, Tensor *x, const Product *input, const Product *recur,
                     const RecurrentSpec *spec);

/* Tail: what is done to the planes of a result as soon as they are made, while they lie in the
 * first-level cache, instead of in ops of their own that would read and write them again:
 *
 *   v = scale (v - mean) + shift     a batchnorm in evaluation, by channel
 *   v = v + addend                   the other branch of a residual block
 *   v = max(v, 0)
 *   v = max-pool of v
 *
 * in this order, each of them if wanted. The values are those of the ops one by one. */
typedef struct Tail {
    const float *mean, *scale, *shift; /* [C]; NULL: no batchnorm. Without gradient */
    Tensor *addend;                    /* of the value's shape; NULL: none */
    bool relu;
    const Window *pool; /* NULL: none */
    bool moments;       /* the result's planes are measured as well: Tensor.moments */
    bool later;         /* a convolution alone reads the result: it may be left as Tensor.values */
} Tail;

/* Nothing to do? */
static inline bool tail_empty(const Tail *tail) {
    return !tail->mean && !tail->addend && !tail->relu && !tail->pool;
}
static inline bool tail_relu_alone(const Tail *tail) {
    return tail->relu && !tail->mean && !tail->addend && !tail->pool;
}

typedef struct ConvSpec {
    Window window;
    int groups; /* divides C and O; depthwise when groups == C */
} ConvSpec;
/* Cross-correlation, as PyTorch's convN d: x[N,C,(D,(H,))W], w[O,C/groups,kernel...], b[O] or NULL.
 */
Tensor *op_conv(Tape *tape, Tensor *x, Tensor *w, Tensor *b, const ConvSpec *spec);
/* The same, then the tail (NULL: none). */
Tensor *op_conv_tail(Tape *tape, Tensor *x, Tensor *w, Tensor *b, const ConvSpec *spec,
                     const Tail *tail);

typedef struct ConvTransposeSpec {
    Window window;               /* of the convolution whose transpose this is */
    int output_padding[SPATIAL]; /* D H W: rows added at the end of the result, which the map may
                                    not reach */
    int groups;
} ConvTransposeSpec;
/* PyTorch's conv_transposeN d: x[N,C,(D,(H,))W], w[C,O/groups,kernel...], b[O] or NULL. */
Tensor *op_conv_transpose(Tape *tape, Tensor *x, Tensor *w, Tensor *b,
                          const ConvTransposeSpec *spec);
/* The result's size along dimension d, < 1 if nothing is left:
 * (in - 1) stride - padding of both sides + dilation (kernel - 1) + output_padding + 1. */
int64_t conv_transpose_out(const ConvTransposeSpec *spec, int d, int in);

typedef struct BatchNormSpec {
    float *mean, *var; /* running statistics [C]; training moves them, evaluation reads them */
    float momentum;    /* running = (1 - momentum) running + momentum batch */
    float eps;
    bool training; /* true: statistics of this batch (variance biased, the running one unbiased) */
} BatchNormSpec;
/* y = gamma (x - mean) / sqrt(var + eps) + beta for each channel of x[N,C,...]; gamma[C], beta[C].
 */
Tensor *op_batchnorm(Tape *tape, Tensor *x, Tensor *gamma, Tensor *beta, const BatchNormSpec *spec);
/* The same, then the tail (NULL: none). */
Tensor *op_batchnorm_tail(Tape *tape, Tensor *x, Tensor *gamma, Tensor *beta,
                          const BatchNormSpec *spec, const Tail *tail);
/* op_batchnorm(x / s[C]), no s being 0; in training only. The running statistics are those of x /
 * s.
 */
Tensor *op_batchnorm_divided(Tape *tape, Tensor *x, Tensor *s, Tensor *gamma, Tensor *beta,
                             const BatchNormSpec *spec);

/* max(x, 0); the gradient at 0 is 0. */
Tensor *op_relu(Tape *tape, Tensor *x);

/* A function of one value, with a parameter a that most do without: a line of
 * autograd/pointwise.def. */
typedef struct Pointwise {
    const char *name;
    float (*value)(float x, float a);
    /* The loops of op_pointwise over an Entry's elements. */
    void (*forward)(const void *entry, size_t begin, size_t end);
    void (*backward)(const void *entry, size_t begin, size_t end);
} Pointwise;
#define POINTWISE(name, f, df) extern const Pointwise name##_pointwise;
#include "autograd/pointwise.def"
#undef POINTWISE
extern const Pointwise *const pointwise_list[]; /* ends with NULL */

/* y[i] = function->value(x[i], a). */
Tensor *op_pointwise(Tape *tape, Tensor *x, const Pointwise *function, float a);

/* Largest value of each window, padding never wins, of equal values the first; the mean of each
 * window over all kernel places, padding counted as 0 (PyTorch's default), or over those on the
 * input. x[N,C,...]. */
Tensor *op_maxpool(Tape *tape, Tensor *x, const Window *window);
Tensor *op_avgpool(Tape *tape, Tensor *x, const Window *window, bool count_padding);

/* The same elements under another shape of the same count. */
Tensor *op_reshape(Tape *tape, Tensor *x, Shape shape);

/* The elements of each sample of x that the view names: x[N,...] -> [N,view->shape]. */
Tensor *op_view(Tape *tape, Tensor *x, const View *view);

/* The channels of all inputs one behind the other: in[k][N,Ck,...] -> [N, sum of Ck,...]. */
Tensor *op_concat(Tape *tape, int inputs, Tensor *const in[]);

/* exp(x) over its sum along the channels of x[N,C,...]. */
Tensor *op_softmax(Tape *tape, Tensor *x);

/* Each element is 0 with probability p, else x / (1 - p). The mask is a function of (seed, stream)
 * and the element's index alone. 0 <= p < 1. */
Tensor *op_dropout(Tape *tape, Tensor *x, float p, uint64_t seed, uint64_t stream);

/* The mean over N of -log softmax(x[n])[label[n]]; x[N,classes], 0 <= label < classes. Shape:
 * scalar. */
Tensor *op_cross_entropy(Tape *tape, Tensor *x, const int *labels);

/* The mean of (x[i] - target[i])^2; equal shapes. Shape: scalar. */
Tensor *op_mse_loss(Tape *tape, Tensor *x, Tensor *target);
