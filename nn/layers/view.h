/* What the layers of rule "view" share: transpose and slice. Their spec begins with the view of the
 * input's sample that they are, which has no text form: it follows from the fields and the input.
 * Dimensions are counted as PyTorch counts them: 0 is the batch, 1 the channels. */
#pragma once

#include "autograd/view.h"
#include "nn/graph.h"

typedef struct ViewSpec {
    View view;
} ViewSpec;

Tensor *view_forward(const Run *run, const Node *node, Tensor *const in[]);

typedef struct TransposeSpec {
    ViewSpec base;
    Shape order; /* order.dim[d - 1]: which dimension of the input is the result's d */
} TransposeSpec;

typedef struct SliceSpec {
    ViewSpec base;
    int axis, begin, end, step;
} SliceSpec;
