/* conv_transpose1d: PyTorch's ConvTranspose1d; weight [in, out/groups, kernel], bias [out]. */
#include "nn/layers/conv_transpose.h"

const Layer conv_transpose1d_layer = CONV_TRANSPOSE_LAYER(1);
