/* A small model of any stage, with what a real one has: two channels of pixels, batch statistics, a
 * residual connection, ranges, a run that made it. For the tests of its file. */
#pragma once

#include "quant/model.h"

/* Two channels, 6 x 6, to three numbers. */
extern const char small_net[];
enum { SMALL_BATCH = 2, SMALL_PIXELS = 2 * 6 * 6, SMALL_OUTPUTS = 3 };

/* The caller owns either. text_model: in stage float, of any net, with random weights. `config` may
 * be NULL: the default. */
Model *text_model(const char *text);
Model *small_model(Stage stage, const QuantConfig *config);

/* The logits of SMALL_BATCH fixed images: of the net as it stands, by floats (every stage but
 * frozen), and of its program (every stage but float). */
void small_forward(const Model *model, float logits[SMALL_BATCH * SMALL_OUTPUTS]);
void small_run(Model *model, float logits[SMALL_BATCH * SMALL_OUTPUTS]);

/* Saves without arrays; fails the test with the reason. */
void small_save(const Model *model, const char *path);
/* Loads; fails the test with the reason. The caller owns it. */
Model *small_load(const char *path);
