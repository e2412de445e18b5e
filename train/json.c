#include "train/json.h"

#include <errno.h>
#include <math.h>
#include <string.h>

json_t *json_number(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

bool json_line(FILE *file, json_t *object) {
    bool written = json_dumpf(object, file, JSON_COMPACT | JSON_REAL_PRECISION(9)) == 0;
    written = fputc('\n', file) != EOF && fflush(file) == 0 && written;
    json_decref(object);
    return written;
}

bool json_print(json_t *object, Error *error) {
    return json_line(stdout, object) ||
           error_set(error, ERROR_IO, "standard output: %s", strerror(errno));
}
