/* Recipe: the options that decide what a training run computes, and where the run stands: what a
 * checkpoint keeps of it, so that --resume needs nothing but the file. */
#pragma once

#include "quant/model.h"
#include "train/options.h"

typedef struct Position {
    int64_t step;    /* done, of the whole run */
    double loss_sum; /* of the running epoch, over `seen` images */
    int64_t seen, correct;
} Position;

/* The run as JSON for Model.training, a new reference. `kind` is "train" or "finetune", `data_crc`
 * the images' checksum; `origin` (may be NULL) the float training that a fine-tuning came from. */
json_t *recipe_to_json(const char *kind, const Settings *settings, const Position *position,
                       uint32_t data_crc, const json_t *origin);

/* Takes a run back: fills the settings that were not given, refuses those that contradict
 * (ERROR_USAGE; a larger
 * --epochs extends the run) and reads the position. ERROR_INPUT if `training` is no such run. The
 * settings' texts belong to `training` then. */
bool recipe_resume(const json_t *training, const char *kind, const char *path, Settings *settings,
                   Position *position, uint32_t *data_crc, Error *error);

/* A number of the run that made a model: of the float training, also after fine-tuning; `otherwise`
 * if unknown. */
double recipe_origin(const json_t *training, const char *name, double otherwise);

/* What fine-tuning takes from the float training where the options do not say: its optimizer, and a
 * hundredth of its learning rate. */
void recipe_follow(const json_t *training, Settings *settings);
