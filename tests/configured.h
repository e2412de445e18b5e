/* A small net under a configuration, calibrated on a few images, for the tests of what
 * configurations mean: x c1 b1 r1, c2 and c3 behind it, their sum s, r2 p fl, and fc. What cannot
 * be made fails the test. */
#pragma once

#include "quant/model.h"

enum { CONFIGURED_IMAGES = 6, CONFIGURED_OUTPUTS = 4 };

/* A configuration from the JSON that users write. */
QuantConfig config_of(const char *text);
/* The net with random weights, biases and statistics; the seed makes the images too, which all
 * below sees until the next graph is made. The caller owns it. */
Graph *configured_graph(uint64_t seed);
/* The images give all values their ranges, by the configuration's methods. */
bool configured_calibrate(Model *model, Error *error);
/* Such a net, configured and calibrated. The caller owns it. */
Model *configured(const char *config_text, uint64_t seed);
const QNode *qnode(const Model *model, const char *name);

/* The net's output for the images, and every node's if value is not NULL; owned by the tape, which
 * is reset. */
Tensor *configured_forward(const Model *model, Tape *tape, Tensor *value[]);
/* Freezes, if it was not, and lets both engines compute the same codes from the images. */
void configured_engines_agree(Model *model, const char *what);
