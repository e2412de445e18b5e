/* conv2d: PyTorch's Conv2d; weight [out, in/groups, kernel h, kernel w], bias [out]. */
#include "nn/layers/conv.h"

const Layer conv2d_layer = CONV_LAYER(2);
