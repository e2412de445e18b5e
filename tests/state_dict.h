/* A state_dict of PyTorch's as safetensors: arrays without metadata, taken from a model's file or
 * put together, changed as any file is (tests/changed_file.h), and imported for small_net. */
#pragma once

#include "tests/changed_file.h"

/* Group setup: the scratch folder, with small_net as small.net. */
int dict_setup(void **state);

/* Without arrays, and those of the file of that name in the scratch folder. */
void dict_begin(Change *dict);
void dict_open(Change *dict, const char *name);
/* `name` and data[shape] stay the caller's, until the import. */
void dict_add(Change *dict, const char *name, Dtype dtype, Shape shape, const void *data);

/* Writes the arrays as scratch_path("dict"), ends the change and imports them as `net`, a name or a
 * path. NULL and *error if they are refused. */
Model *dict_import(Change *dict, const char *net, Error *error);
