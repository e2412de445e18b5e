/* A file that is right but for one thing: read, changed, written as scratch_path("changed"). */
#pragma once

#include "nn/safetensors.h"
#include "quant/model.h"

enum { CHANGE_ROOM = 128 /* tensors of a small model's file, and metadata */ };

typedef struct Change {
    Arena *arena;
    SafeFile file;
    SafeTensor tensor[CHANGE_ROOM];
    SafeMeta meta[CHANGE_ROOM];
} Change;

/* From the file of that name in the scratch folder. */
void change_open(Change *c, const char *name);
/* The tensor of that name, to be changed: it must be there. */
SafeTensor *change_tensor(Change *c, const char *name);
void change_remove(Change *c, const char *name);
void change_number(Change *c, const char *name, size_t index, double value);
/* value NULL removes the key. */
void change_meta(Change *c, const char *key, const char *value);

/* Writes, loads, and ends the change. NULL and *error if the file is refused. */
Model *change_load(Change *c, Error *error);
/* The file is refused by its name, with this fragment. */
void assert_bad(Change *c, const char *fragment);
