/* The operations that make a float net feel the integers it will become. They are ops like those of
 * autograd/, defined outside of it. */
#pragma once

#include "autograd/op.h"
#include "autograd/ops.h"
#include "quant/qparams.h"

/* N8: where the gradient of a fake quantization passes. */
typedef enum Ste {
    STE_CODE,  /* where the rounded, unclamped code is a code: [qmin, qmax], inclusive (PyTorch) */
    STE_RANGE, /* where the value lies in the representable range before rounding (NVIDIA) */
    STE_NONE,  /* everywhere (Jermmy) */
    STE_CLIP,  /* lo <= value < hi: PACT's clip, whose bound takes the rest; not for choice */
} Ste;
extern const char *const ste_names[]; /* those for choice; ends with NULL */
const char *ste_name(int index);      /* NULL past the last */
bool ste_find(const char *name, Ste *ste);

/* y = S (q(x) - Z) with the straight-through estimator. Per channel: channels run along the first
 * dimension. `q` must keep its values until the step's backward is done. NaN stays NaN. */
Tensor *op_fakequant(Tape *tape, Tensor *x, const QParams *q, Ste ste);

/* max-pool of op_fakequant of (relu: max(x, 0)), one grid for all of x[N,C,...], in one go. Where
 * several of a window round to the same code, and no window lies in the padding alone, the gradient
 * goes to the largest of them before rounding. */
Tensor *op_fakequant_joined(Tape *tape, Tensor *x, const QParams *q, Ste ste, bool relu,
                            const Window *pool);

/* N4: bias[O] rounded to S_x S_w[o], gradient everywhere; w holds 1 or O scales. */
Tensor *op_fakequant_bias(Tape *tape, Tensor *bias, float input_scale, const QParams *w);

/* How the loss moves a scale: dL/dS[c] = gain * sum of dL/dy slope(x) + decay S[c]. */
typedef struct ScaleGradient {
    /* for a scale that `count` values share, whose codes q - Z reach that far from 0 */
    float (*gain)(size_t count, float reach);
    bool
        rounding; /* inside of the range, slope(x) is (q - Z) - x/S: the rounding's share; else 0 */
    float decay;
} ScaleGradient;

/* op_fakequant with S a parameter: scale[channels] holds q's scales, but for channels where q was
 * given a larger one, which stay without gradient. The zero points are constants. `count` values
 * share a scale: those of one sample, or the weights of one channel. */
Tensor *op_fakequant_learned(Tape *tape, Tensor *x, const QParams *q, Ste ste, Tensor *scale,
                             const ScaleGradient *gradient, size_t count);
