/* What is to be quantized and how, for a whole net. A value: copied, compared and stored as JSON. */
#pragma once

#include <jansson.h>

#include "quant/learn.h"
#include "quant/method.h"
#include "quant/qparams.h"

typedef struct BnMode BnMode; /* quant/bn.h */

typedef struct QuantConfig {
    QuantSpec activation; /* N4: 8 bits, unsigned, affine, per tensor */
    QuantSpec weight;     /* N4: 8 bits, signed, symmetric, per channel */
    int edge_bits;        /* of the net's input and output, whatever activation.bits says: pixels are bytes, and
                             the logits of few bits would tie */
    const Method *method; /* how the ranges of activations are chosen */
    double percentile;    /* of the method of that name */
    /* of fine-tuning: */
    Ste ste;
    const Learn *learn; /* which ranges are parameters */
    const BnMode *bn;   /* what batch normalisation does */
} QuantConfig;

QuantConfig quant_config_default(void);

/* {"activation": {"bits": 8, ...}, "weight": {...}, ...}. to_json gives a new reference. from_json: fields that are
 * missing keep their default; unknown ones and wrong types are refused, naming them: ERROR_INPUT. */
json_t *quant_config_to_json(const QuantConfig *config);
/* From a file of that JSON. ERROR_IO or ERROR_INPUT, with the file's name and the place. */
bool quant_config_read(const char *path, QuantConfig *config, Error *error);
bool quant_config_from_json(const json_t *json, QuantConfig *config, Error *error);
