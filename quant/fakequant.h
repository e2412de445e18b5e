/* The operations that make a float net feel the integers it will become. They are ops like those of autograd/,
 * defined outside of it. */
#pragma once

#include "autograd/op.h"
#include "quant/qparams.h"

/* N8: where the gradient of a fake quantization passes. */
typedef enum Ste {
    STE_CODE,  /* where the rounded, unclamped code is a code: [qmin, qmax], inclusive (PyTorch) */
    STE_RANGE, /* where the value lies in the representable range before rounding (NVIDIA) */
    STE_NONE,  /* everywhere (Jermmy) */
} Ste;
extern const char *const ste_names[]; /* ends with NULL */

/* y = S (q(x) - Z) with the straight-through estimator. Per channel: channels run along the first dimension.
 * `q` must keep its values until the step's backward is done. NaN stays NaN. */
Tensor *op_fakequant(Tape *tape, Tensor *x, const QParams *q, Ste ste);

/* N4: bias[O] rounded to S_x S_w[o], gradient everywhere; w holds 1 or O scales. */
Tensor *op_fakequant_bias(Tape *tape, Tensor *bias, float input_scale, const QParams *w);
