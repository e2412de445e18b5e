/* The rules of a safetensors file that its reader and its writer share, so that what one writes the
 * other takes. */
#pragma once

#include "nn/safetensors.h"

#define SAFE_METADATA "__metadata__"
enum { SAFE_PREFIX = 8 /* bytes of the header's length */ };

/* Why a tensor may not have this name, or NULL. That it is UTF-8 is jansson's to check. */
const char *safe_name_fault(const char *name);

/* Proves the name, the dimensions and the number of bytes, given a dtype and rank in range. False
 * and ERROR_INPUT otherwise. */
bool safe_tensor_proved(const SafeTensor *tensor, const char *path, Error *error);

/* Bounds the work and memory of parsing json[length] before it begins: why it is not parsed, or
 * NULL. */
const char *safe_header_fault(const char *json, size_t length);

/* Orders for qsort and bsearch: two SafeTensors, two SafeMetas. */
int safe_by_name(const void *a, const void *b);
int safe_by_key(const void *a, const void *b);
