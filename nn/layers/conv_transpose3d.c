/* conv_transpose3d: PyTorch's ConvTranspose3d; weight [in, out/groups, kernel d, kernel h, kernel
 * w], bias [out]. */
#include "nn/layers/conv_transpose.h"

const Layer conv_transpose3d_layer = {
    .name = "conv_transpose3d",
    .summary = "transposed 3-d convolution: out= kernel= stride= padding= output_padding= "
               "dilation= groups= bias= "
               "init=",
    .inputs = 1,
    .spatial = 3,
    .spec_size = sizeof(ConvTransposeLayerSpec),
    .fields = conv_transpose_fields,
    .shape = conv_transpose_shape,
    .init = conv_transpose_init,
    .forward = conv_transpose_forward,
    .apply = conv_transpose_apply,
    .layout = conv_transpose_layout,
    .rule = "weighted",
};
