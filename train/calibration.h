/* Calibration as commands need it: a configuration from the options, and a float model's first look
 * at images. */
#pragma once

#include "datasets/dataset.h"
#include "quant/model.h"
#include "train/options.h"

/* The configuration file, if there is one, and over it the options that were given. */
bool calibration_config(const Settings *settings, QuantConfig *config, Error *error);

/* If --percentile was given: does any range go by it? ERROR_USAGE if none does. */
bool calibration_percentile(const Settings *settings, const QuantConfig *config, Error *error);

/* A float model becomes a calibrated one: it runs in float, with batchnorm folded, over
 * settings->images images of `data`, drawn by the seed; observers watch every value, and the
 * configuration's method chooses the ranges. */
bool calibrate_model(Model *model, const QuantConfig *config, const Dataset *data,
                     const Settings *settings, Error *error);
