/* Accuracy: an engine over a data set. */
#pragma once

#include "train/engine.h"

typedef struct Evaluation {
    int images, correct;
    double accuracy; /* 0 .. 1 */
    double images_per_second;
} Evaluation;

/* Shown each image's result, in order; returns false to stop (its own failure). */
typedef bool EvaluationEach(void *context, int index, int label, int predicted,
                            const float *logits);

/* Runs all images; each may be NULL. False and *error if the engine fails or `each` stops. */
bool evaluate(Engine *engine, const Dataset *data, int batch, EvaluationEach *each, void *context,
              Evaluation *evaluation, Error *error);

/* Writes a CSV of `index,label,predicted,logit0,...` as it evaluates; the file appears whole or not
 * at all. */
bool evaluate_to_csv(Engine *engine, const Dataset *data, int batch, const char *path,
                     Evaluation *evaluation, Error *error);
