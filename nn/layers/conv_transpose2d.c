/* conv_transpose2d: PyTorch's ConvTranspose2d; weight [in, out/groups, kernel h, kernel w], bias
 * [out]. */
#include "nn/layers/conv_transpose.h"

const Layer conv_transpose2d_layer = CONV_TRANSPOSE_LAYER(2);
