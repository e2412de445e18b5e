/* conv1d: PyTorch's Conv1d; weight [out, in/groups, kernel], bias [out]. */
#include "nn/layers/conv.h"

const Layer conv1d_layer = CONV_LAYER(1);
