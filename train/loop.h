/* The training loop: one for float training and for fine-tuning, which differ in the model they are
 * given. */
#pragma once

#include "datasets/augment.h"
#include "datasets/dataset.h"
#include "optim/optim.h"
#include "train/recipe.h"

typedef struct TrainRun {
    const char *kind; /* "train" or "finetune" */
    Model *model;     /* float, or qat with its quantizers switched on */
    const Settings *settings;
    const char
        *output; /* the checkpoint, written after each epoch and when stopped; NULL: none is */
    double final_fraction; /* of the cosine schedule */
    Position position;     /* where to start; moves on */
    bool resumed;          /* the optimizer's memory is in the model's file */
    const json_t *origin;  /* see recipe_to_json */
    const Dataset *train, *test;
    Augmentations augmentations; /* of the training images, from the settings */
    uint32_t data_crc;
} TrainRun;

/* Both splits, checked against the model and, if `crc` is not 0, against the images that an earlier
 * part of the run saw; and what --augment says. Owned by the caller. */
bool train_data(TrainRun *run, Dataset **train, Dataset **test, uint32_t crc, Error *error);

/* Trains to the end and saves. Returns 0; 128 + signal when stopped by one, after saving; an error
 * is in *error: ERROR_DIVERGED for a loss or gradient that is not finite, and the file of the last
 * epoch stays. */
int train_loop(TrainRun *run, Error *error);
