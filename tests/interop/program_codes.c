/* What the integer program makes of test images, as files for others to compare with:
 *
 *   program_codes MODEL IMAGES PIXELS CODES
 *
 * writes the bytes of the first IMAGES test images (0: all) to PIXELS and the program's output
 * codes to CODES. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "datasets/dataset.h"
#include "quant/model.h"

enum { BATCH = 100 };

typedef struct Codes {
    const Value *of;
    FILE *file;
} Codes;

static void keep(void *context, const Value *value, int samples, const uint8_t *bytes) {
    const Codes *codes = context;
    if (value == codes->of) fwrite(bytes, value->bytes, (size_t)samples, codes->file);
}

static void run(const Program *program, const Dataset *data, FILE *file) {
    Arena *arena = arena_new();
    const Value *out = &program->value[program->output];
    Codes codes = {out, file};
    float *logits = arena_alloc(arena, sizeof *logits * BATCH * out->bytes);
    void *scratch = arena_alloc(arena, program_scratch(program, BATCH));
    for (int first = 0; first < data->count; first += BATCH) {
        int count = data->count - first < BATCH ? data->count - first : BATCH;
        program_run(program, count, dataset_image(data, first), logits, scratch, keep, &codes);
    }
    arena_free(arena);
}

int main(int argc, char *argv[]) {
    Error error = {0};
    if (argc != 5) return fprintf(stderr, "usage: %s MODEL IMAGES PIXELS CODES\n", argv[0]), 2;
    Model *model = model_load(argv[1], &error);
    Dataset *data = dataset_open(NULL, false, atoi(argv[2]), &error);
    Program *program = model && data ? model_program(model, &error) : NULL;
    if (!program) return fprintf(stderr, "%s\n", error.message), 1;
    FILE *pixels = fopen(argv[3], "wb"), *codes = fopen(argv[4], "wb");
    if (!pixels || !codes) return perror("program_codes"), 1;
    fwrite(data->pixels, dataset_image_bytes(data), (size_t)data->count, pixels);
    run(program, data, codes);
    int failed = fclose(pixels) | fclose(codes);
    program_free(program);
    dataset_free(data);
    model_free(model);
    return failed ? 1 : 0;
}
