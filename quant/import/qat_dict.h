/* What PyTorch's quantization-aware training adds to a state_dict. */
#pragma once

#include "nn/safetensors.h"
#include "quant/given.h"

/* Has the file arrays of fake quantization? */
bool qat_dict_is(const SafeFile *file);
/* Is the array one of these, none of the float net's? */
bool qat_dict_part(const char *name);
/* What the net calls the array: a batchnorm's in a convolution is its own. May be the arena's. */
const char *qat_dict_name(const QuantNet *net, const char *name, Arena *arena);
/* The grids that the file has for the net, the arena's. ERROR_INPUT. */
bool qat_dict_grids(const SafeFile *file, const QuantNet *net, Arena *arena, Given *given,
                    Error *error);
