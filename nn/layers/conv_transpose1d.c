/* conv_transpose1d: PyTorch's ConvTranspose1d; weight [in, out/groups, kernel], bias [out]. */
#include "nn/layers/conv_transpose.h"

const Layer conv_transpose1d_layer = {
    .name = "conv_transpose1d",
    .summary = "transposed 1-d convolution: out= kernel= stride= padding= output_padding= "
               "dilation= groups= bias= "
               "init=",
    .inputs = 1,
    .spatial = 1,
    .spec_size = sizeof(ConvTransposeLayerSpec),
    .fields = conv_transpose_fields,
    .shape = conv_transpose_shape,
    .init = conv_transpose_init,
    .forward = conv_transpose_forward,
    .apply = conv_transpose_apply,
    .layout = conv_transpose_layout,
    .rule = "weighted",
};
