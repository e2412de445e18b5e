#include "train/sweep.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "autograd/file.h"
#include "quant/config/members.h"
#include "train/json.h"

const SweepCell *sweep_find(const Sweep *sweep, int bits, int weight_bits, int seed) {
    for (int i = 0; i < sweep->cells; i++) {
        const SweepCell *cell = &sweep->cell[i];
        if (cell->bits == bits && cell->weight_bits == weight_bits && cell->seed == seed)
            return cell;
    }
    return NULL;
}

double sweep_accuracy(double accuracy) {
    char text[32];
    snprintf(text, sizeof text, "%.9g", accuracy);
    return strtod(text, NULL);
}

Spread sweep_spread(const Sweep *sweep, int bits, int weight_bits, bool finetuned) {
    Spread s = {.least = INFINITY, .most = -INFINITY};
    double squares = 0; /* of the distances from the running mean (Welford) */
    for (int i = 0; i < sweep->cells; i++) {
        const SweepCell *cell = &sweep->cell[i];
        double value = finetuned ? cell->finetuned : cell->calibrated;
        if (cell->bits != bits || cell->weight_bits != weight_bits || !isfinite(value)) continue;
        double distance = value - s.mean;
        s.mean += distance / ++s.count;
        squares += distance * (value - s.mean);
        s.least = fmin(s.least, value);
        s.most = fmax(s.most, value);
    }
    if (s.count > 1) s.deviation = sqrt(squares / (s.count - 1));
    return s;
}

/* --- JSON --- */

static json_t *spread_to_json(const Spread *s) {
    if (!s->count) return json_null();
    return json_pack("{s:i, s:f, s:f, s:f, s:f}", "seeds", s->count, "mean", s->mean, "deviation",
                     s->deviation, "least", s->least, "most", s->most);
}

/* Everything that a cell depends on, besides its own numbers. */
static json_t *question_to_json(const Sweep *sweep) {
    const Settings *s = sweep->settings;
    QuantConfig config;
    Error none = {0};
    json_t *question =
        json_pack("{s:I, s:s?, s:i, s:i, s:i, s:f, s:f, s:s, s:f, s:f, s:b, s:s, s:i, s:i, s:f}",
                  "model_crc", (json_int_t)sweep->model_crc, "data", s->data, "limit", s->limit,
                  "images", s->images, "batch", s->batch, "finetune_epochs", s->finetune_epochs,
                  "lr", s->lr, "optimizer", s->optimizer, "momentum", s->momentum, "weight_decay",
                  s->weight_decay, "nesterov", s->nesterov, "schedule", s->schedule, "warmup",
                  s->warmup, "step_size", s->step_size, "gamma", s->gamma);
    if (calibration_config(s, &config, &none)) {
        config.activation.bits = config.weight.bits = BITS_MOST; /* the cells' own */
        json_object_set_new(question, "quantization", quant_config_to_json(&config));
    }
    return question;
}

static json_t *cell_to_json(const SweepCell *cell) {
    return json_pack("{s:i, s:i, s:i, s:f, s:o}", "bits", cell->bits, "weight_bits",
                     cell->weight_bits, "seed", cell->seed, "calibrated", cell->calibrated,
                     "finetuned", json_number(cell->finetuned));
}

json_t *sweep_to_json(const Sweep *sweep) {
    json_t *cells = json_array(), *rows = json_array();
    for (int i = 0; i < sweep->cells; i++) {
        const SweepCell *cell = &sweep->cell[i];
        json_array_append_new(cells, cell_to_json(cell));
        bool first = true;
        for (int k = 0; k < i; k++)
            first &= sweep->cell[k].bits != cell->bits ||
                     sweep->cell[k].weight_bits != cell->weight_bits;
        if (!first) continue;
        Spread calibrated = sweep_spread(sweep, cell->bits, cell->weight_bits, false);
        Spread finetuned = sweep_spread(sweep, cell->bits, cell->weight_bits, true);
        json_array_append_new(rows, json_pack("{s:i, s:i, s:o, s:o}", "bits", cell->bits,
                                              "weight_bits", cell->weight_bits, "calibrated",
                                              spread_to_json(&calibrated), "finetuned",
                                              spread_to_json(&finetuned)));
    }
    return json_pack("{s:s, s:f, s:o, s:o, s:o}", "model", sweep->model, "float",
                     sweep->float_accuracy, "question", question_to_json(sweep), "cells", cells,
                     "rows", rows);
}

static bool read_cell(const json_t *json, SweepCell *cell) {
    const json_t *calibrated = json_object_get(json, "calibrated"),
                 *finetuned = json_object_get(json, "finetuned");
    static const char *const names[] = {"bits", "weight_bits", "seed"};
    int *const places[] = {&cell->bits, &cell->weight_bits, &cell->seed};
    for (int i = 0; i < 3; i++) {
        const json_t *value = json_object_get(json, names[i]);
        json_int_t number = json_integer_value(value);
        if (!json_is_integer(value) || number < 0 || number > INT32_MAX) return false;
        *places[i] = (int)number;
    }
    cell->calibrated = json_number_value(calibrated);
    cell->finetuned = json_is_null(finetuned) ? NAN : json_number_value(finetuned);
    return json_is_number(calibrated) && (json_is_number(finetuned) || json_is_null(finetuned));
}

/* The first member that differs between two questions; NULL: none. */
static const char *difference(const json_t *asked, const json_t *found) {
    const char *key;
    json_t *value;
    if (!json_is_object(found)) return "question";
    json_object_foreach((json_t *)asked, key, value) {
        const json_t *other = json_object_get(found, key);
        bool numbers = json_is_real(value) && json_is_number(other);
        bool same = numbers ? fabs(json_number_value(other) - json_number_value(value)) <=
                                  1e-8 * fabs(json_number_value(value))
                            : json_equal(value, other);
        if (!same) return key;
    }
    return NULL;
}

static bool same_question(const Sweep *sweep, const json_t *found, const char *path, Error *error) {
    json_t *asked = question_to_json(sweep);
    const char *key = difference(asked, found);
    if (key)
        error_set(error, ERROR_USAGE,
                  "%s: it is of another sweep: its '%s' differs; name another output", path, key);
    json_decref(asked);
    return !key;
}

static bool take_cells(Sweep *sweep, const json_t *json, const char *path, Error *error) {
    const json_t *cells = json_object_get(json, "cells");
    if (!same_question(sweep, json_object_get(json, "question"), path, error)) return false;
    if (!json_is_array(cells) || json_array_size(cells) > SWEEP_CELLS)
        return error_set(error, ERROR_INPUT, "%s: 'cells' is no list of at most %d", path,
                         SWEEP_CELLS);
    for (size_t i = 0; i < json_array_size(cells); i++) {
        SweepCell cell;
        if (!read_cell(json_array_get(cells, i), &cell))
            return error_set(error, ERROR_INPUT, "%s: cell %zu is none", path, i);
        sweep->cell[sweep->cells++] = cell;
    }
    return true;
}

bool sweep_resume(Sweep *sweep, const char *path, Error *error) {
    if (access(path, F_OK) != 0 && errno == ENOENT) return true;
    json_t *json = json_read(path, 1 << 24, error);
    bool ok = json && take_cells(sweep, json, path, error);
    json_decref(json);
    return ok;
}

bool sweep_write_json(const Sweep *sweep, const char *path, Error *error) {
    return json_save(sweep_to_json(sweep), path, error);
}

bool sweep_write_csv(const Sweep *sweep, const char *path, Error *error) {
    FileWriter *writer = file_create(path, error);
    if (!writer) return false;
    char line[160];
    file_write(writer, "bits,weight_bits,seed,calibrated,finetuned\n", 43);
    for (int i = 0; i < sweep->cells; i++) {
        const SweepCell *cell = &sweep->cell[i];
        int length = snprintf(line, sizeof line, "%d,%d,%d,%.9g,", cell->bits, cell->weight_bits,
                              cell->seed, cell->calibrated);
        file_write(writer, line, (size_t)length);
        length = isfinite(cell->finetuned) ? snprintf(line, sizeof line, "%.9g\n", cell->finetuned)
                                           : snprintf(line, sizeof line, "\n");
        file_write(writer, line, (size_t)length);
    }
    return file_commit(writer, error);
}
