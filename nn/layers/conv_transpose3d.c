/* conv_transpose3d: PyTorch's ConvTranspose3d; weight [in, out/groups, kernel d, kernel h, kernel
 * w], bias [out]. */
#include "nn/layers/conv_transpose.h"

const Layer conv_transpose3d_layer = CONV_TRANSPOSE_LAYER(3);
