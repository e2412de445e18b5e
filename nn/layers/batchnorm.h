/* What quant/ needs to fold a batchnorm into the layer before it. */
#pragma once

typedef struct BatchNormLayerSpec {
    float eps, momentum;
} BatchNormLayerSpec;
