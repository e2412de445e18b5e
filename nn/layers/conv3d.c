/* conv3d: PyTorch's Conv3d; weight [out, in/groups, kernel d, kernel h, kernel w], bias [out]. */
#include "nn/layers/conv.h"

const Layer conv3d_layer = CONV_LAYER(3);
