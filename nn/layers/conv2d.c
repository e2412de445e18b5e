/* conv2d: PyTorch's Conv2d; weight [out, in/groups, kernel h, kernel w], bias [out]. */
#include "nn/layers/conv.h"

const Layer conv2d_layer = {
    .name = "conv2d",
    .summary = "2-d convolution: out= kernel= stride= padding= dilation= groups= bias= init=",
    .inputs = 1,
    .spatial = 2,
    .spec_size = sizeof(ConvLayerSpec),
    .fields = conv_fields,
    .shape = conv_shape,
    .init = conv_init,
    .forward = conv_forward,
    .forward_tail = conv_forward_tail,
    .apply = conv_apply,
    .rule = "weighted",
};
