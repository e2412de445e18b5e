/* What stair adds to jansson: numbers that are always valid JSON, and objects a line each. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "autograd/error.h"

/* A number, or null where JSON has none: NaN and the infinities. A new reference. */
json_t *json_number(double value);

/* Prints `object` on one line, numbers with 9 digits (enough for every float), and releases it.
 * False if the line could not be written whole: errno says why. */
bool json_line(FILE *file, json_t *object);

/* Writes `object` to a file, indented, crash-safe, and releases it. False and ERROR_IO. */
bool json_save(json_t *object, const char *path, Error *error);

/* The line on standard output, for --json. False and ERROR_IO if it cannot be written. */
bool json_print(json_t *object, Error *error);
