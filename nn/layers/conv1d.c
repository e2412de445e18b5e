/* conv1d: PyTorch's Conv1d; weight [out, in/groups, kernel], bias [out]. */
#include "nn/layers/conv.h"

const Layer conv1d_layer = {
    .name = "conv1d",
    .summary = "1-d convolution: out= kernel= stride= padding= dilation= groups= bias= init=",
    .inputs = 1,
    .spatial = 1,
    .spec_size = sizeof(ConvLayerSpec),
    .fields = conv_fields,
    .shape = conv_shape,
    .init = conv_init,
    .forward = conv_forward,
    .forward_tail = conv_forward_tail,
    .apply = conv_apply,
    .rule = "weighted",
};
