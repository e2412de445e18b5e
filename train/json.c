#include "train/json.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/file.h"

json_t *json_number(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

bool json_line(FILE *file, json_t *object) {
    bool written = json_dumpf(object, file, JSON_COMPACT | JSON_REAL_PRECISION(9)) == 0;
    written = fputc('\n', file) != EOF && fflush(file) == 0 && written;
    json_decref(object);
    return written;
}

bool json_save(json_t *object, const char *path, Error *error) {
    char *text = json_dumps(object, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    json_decref(object);
    CHECK(text, "no JSON for %s", path);
    size_t length = strlen(text);
    text[length] = '\n'; /* in place of the zero */
    bool saved = file_save(path, text, length + 1, error);
    free(text);
    return saved;
}

bool json_print(json_t *object, Error *error) {
    return json_line(stdout, object) ||
           error_set(error, ERROR_IO, "standard output: %s", strerror(errno));
}
