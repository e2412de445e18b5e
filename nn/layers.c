/* The list of layers. It is alone in its file, so that a program can bring its own in its place,
 * with layers that the library does not have (docs/custom_layers.md). */
#include "nn/layer.h"

#ifndef LAYERS
#define LAYERS "nn/layers.def"
#endif

#define LAYER(name) extern const Layer name##_layer;
#include LAYERS
#undef LAYER

const Layer *const layer_list[] = {
#define LAYER(name) &name##_layer,
#include LAYERS
#undef LAYER
    NULL,
};
