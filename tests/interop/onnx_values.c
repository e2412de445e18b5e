/* What the engines make of test images, as files for others to compare with:
 *
 *   onnx_values MODEL IMAGES FOLDER [output]
 *
 * writes to FOLDER: input.f32, the normalised images; output.f32, the results; and of a quantized
 * model, unless only the output is asked for, NAME.u8 of every value: its codes (each less the
 * grid's lowest), channels first. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "datasets/dataset.h"
#include "quant/model.h"

static FILE *create(const char *folder, const char *name, const char *kind) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s.%s", folder, name, kind);
    FILE *file = fopen(path, "wb");
    if (!file) perror(path), exit(1);
    return file;
}

static float *normalized(const Model *model, const uint8_t *pixels, Arena *arena) {
    size_t count = shape_count(&model->graph->node[0].shape);
    size_t plane = count / (size_t)model->pixels.channels;
    float *x = arena_alloc(arena, count * sizeof *x);
    for (size_t i = 0; i < count; i++)
        x[i] =
            normalize_byte(pixels[i], model->pixels.mean[i / plane], model->pixels.std[i / plane]);
    return x;
}

static void run_float(const Model *model, const float *x, FILE *output) {
    Tape *tape = tape_new(false);
    Shape shape = shape_batched(&model->graph->node[0].shape, 1);
    Tensor *y =
        graph_forward(model->graph, &(Run){.tape = tape}, tensor_copy(tape->arena, shape, x), NULL);
    fwrite(y->data, sizeof *y->data, y->count, output);
    tape_free(tape);
}

typedef struct Files {
    const Program *program;
    FILE *codes[GRAPH_MAX_NODES]; /* of the program's values */
} Files;

static void keep(void *context, const Value *value, int samples, const uint8_t *bytes) {
    const Files *files = context;
    FILE *file = files->codes[value - files->program->value];
    if (samples != 1) abort();
    for (int c = 0; c < value->channels; c++)
        for (int p = 0; p < value->positions; p++) putc(bytes[p * value->channels + c], file);
}

int main(int argc, char *argv[]) {
    Error error = {0};
    if (argc < 4) return fprintf(stderr, "usage: %s MODEL IMAGES FOLDER [output]\n", argv[0]), 2;
    Model *model = model_load(argv[1], &error);
    Dataset *data = dataset_open(NULL, false, atoi(argv[2]), &error);
    Program *program = model && data && model->quant ? model_program(model, &error) : NULL;
    if (error.code) return fprintf(stderr, "%s\n", error.message), 1;

    FILE *input = create(argv[3], "input", "f32"), *output = create(argv[3], "output", "f32");
    Files files = {.program = program};
    bool codes = program && argc == 4;
    for (int v = 0; codes && v < program->values; v++)
        files.codes[v] = create(argv[3], program->value[v].name, "u8");
    size_t outputs = shape_count(&graph_output(model->graph)->shape);
    size_t pixels = shape_count(&model->graph->node[0].shape);
    Arena *arena = arena_new();
    for (int i = 0; i < data->count; i++) {
        arena_reset(arena);
        const uint8_t *image = dataset_image(data, i);
        const float *x = normalized(model, image, arena);
        fwrite(x, sizeof *x, pixels, input);
        if (program) {
            float *y = arena_alloc(arena, outputs * sizeof *y);
            program_run(program, 1, image, y, arena_alloc(arena, program_scratch(program, 1)),
                        codes ? keep : NULL, &files);
            fwrite(y, sizeof *y, outputs, output);
        } else {
            run_float(model, x, output);
        }
    }
    int failed = fclose(input) | fclose(output);
    for (int v = 0; codes && v < program->values; v++) failed |= fclose(files.codes[v]);
    arena_free(arena);
    program_free(program);
    dataset_free(data);
    model_free(model);
    return failed ? 1 : 0;
}
