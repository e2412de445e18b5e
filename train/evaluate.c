#include "train/evaluate.h"

#include <stdio.h>

#include "autograd/file.h"
#include "train/progress.h"

bool evaluate(Engine *engine, const Dataset *data, int batch, EvaluationEach *each, void *context,
              Evaluation *evaluation, Error *error) {
    Arena *arena = arena_new();
    int outputs = data->count ? model_outputs(engine_model(engine)) : 0;
    float *logits = arena_alloc(arena, sizeof(float) * (size_t)outputs * (size_t)batch);
    *evaluation = (Evaluation){0};
    double started = clock_seconds();
    bool ok = true;
    for (int first = 0; ok && first < data->count; first += batch) {
        int count = data->count - first < batch ? data->count - first : batch;
        ok = engine_run(engine, data, first, count, logits, error);
        for (int i = 0; ok && i < count; i++) {
            const float *row = logits + (size_t)i * (size_t)outputs;
            int label = data->labels[first + i], predicted = argmax(row, outputs);
            evaluation->correct += predicted == label;
            evaluation->images++;
            if (each) ok = each(context, first + i, label, predicted, row);
        }
    }
    double seconds = clock_seconds() - started;
    if (evaluation->images) evaluation->accuracy = (double)evaluation->correct / evaluation->images;
    evaluation->images_per_second = seconds > 0 ? evaluation->images / seconds : 0;
    arena_free(arena);
    return ok;
}

typedef struct Csv {
    FileWriter *writer;
    int outputs;
} Csv;

static bool write_row(void *context, int index, int label, int predicted, const float *logits) {
    const Csv *csv = context;
    char text[64];
    int length = snprintf(text, sizeof text, "%d,%d,%d", index, label, predicted);
    bool ok = file_write(csv->writer, text, (size_t)length);
    for (int i = 0; i < csv->outputs; i++) {
        length = snprintf(text, sizeof text, ",%.9g", (double)logits[i]);
        ok = file_write(csv->writer, text, (size_t)length);
    }
    return file_write(csv->writer, "\n", 1) && ok;
}

bool evaluate_to_csv(Engine *engine, const Dataset *data, int batch, const char *path,
                     Evaluation *evaluation, Error *error) {
    Csv csv = {file_create(path, error), model_outputs(engine_model(engine))};
    if (!csv.writer) return false;
    char text[32];
    file_write(csv.writer, "index,label,predicted", 21);
    for (int i = 0; i < csv.outputs; i++) {
        int length = snprintf(text, sizeof text, ",logit%d", i);
        file_write(csv.writer, text, (size_t)length);
    }
    file_write(csv.writer, "\n", 1);
    evaluate(engine, data, batch, write_row, &csv, evaluation, error);
    if (error->code) { /* the engine failed; a failed write is told by the commit */
        file_abandon(csv.writer);
        return false;
    }
    return file_commit(csv.writer, error);
}
