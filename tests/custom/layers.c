#define LAYERS "tests/custom/layers.def"
#include "nn/layers.c"
