#include "train/json.h"

#include <math.h>

json_t *json_number(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

bool json_line(FILE *file, json_t *object) {
    bool written = json_dumpf(object, file, JSON_COMPACT | JSON_REAL_PRECISION(9)) == 0;
    written = fputc('\n', file) != EOF && fflush(file) == 0 && written;
    json_decref(object);
    return written;
}
