/* conv3d: PyTorch's Conv3d; weight [out, in/groups, kernel d, kernel h, kernel w], bias [out]. */
#include "nn/layers/conv.h"

const Layer conv3d_layer = {
    .name = "conv3d",
    .summary = "3-d convolution: out= kernel= stride= padding= dilation= groups= bias= init=",
    .inputs = 1,
    .spatial = 3,
    .spec_size = sizeof(ConvLayerSpec),
    .fields = conv_fields,
    .shape = conv_shape,
    .init = conv_init,
    .forward = conv_forward,
    .forward_tail = conv_forward_tail,
    .apply = conv_apply,
    .rule = "weighted",
};
