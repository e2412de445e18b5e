/* Engine: what turns images into logits. The stage of a model decides which: floats on a tape
 * (float and fake-quant: the graph's own forward) or the integer program; a dynamically quantized
 * net is the graph too, with products of integers. */
#pragma once

#include "autograd/tape.h"
#include "datasets/dataset.h"
#include "quant/model.h"

typedef struct Engine Engine;

/* For batches of at most `batch` images. The model must outlive it; training it on makes the engine
 * stale. The tape, or NULL for one of its own, is used and reset by each run. The caller owns it:
 * engine_close. NULL on error. */
Engine *engine_open(Model *model, int batch, Tape *tape, Error *error);
/* The integer program for any quantized stage: what freezing the model would give. */
Engine *engine_open_integer(Model *model, int batch, Error *error);
void engine_close(Engine *engine); /* NULL is fine */

const char *engine_name(const Engine *engine); /* "float", "fake-quant", "integer" */
const Model *engine_model(const Engine *engine);

/* logits[count][classes] of images first .. first+count-1; count <= batch. False and *error for
 * values that cannot be (NaN). The data must fit: model_fits. */
bool engine_run(Engine *engine, const Dataset *data, int first, int count, float *logits,
                Error *error);

/* Numbers that the model gives for one image. */
int model_outputs(const Model *model);
/* Whether the images have the input's shape and the labels are outputs; if not, why (ERROR_INPUT).
 */
bool model_fits(const Model *model, const Dataset *data, Error *error);

/* x[count][C][H][W] of images first .. first+count-1, normalised. */
void model_images(const Model *model, const Dataset *data, int first, int count, float *x);
