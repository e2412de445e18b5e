#include "train/engine.h"

#include <stdlib.h>
#include <string.h>

#include "autograd/kernels/parallel.h"
#include "autograd/normalize.h"

struct Engine {
    Model *model;
    Arena *arena;
    const char *name;
    bool (*run)(Engine *engine, const Dataset *data, int first, int count, float *logits,
                Error *error);
    Tape *tape, *own_tape; /* graph engines */
    Program *program;      /* the integer engine */
    void **scratch;        /* [parallel_threads()] */
};

int model_outputs(const Model *model) {
    return (int)shape_count(&graph_output(model->graph)->shape);
}

bool model_fits(const Model *model, const Dataset *data, Error *error) {
    const Shape *input = &model->graph->node[0].shape;
    Shape images = SHAPE(data->channels, data->height, data->width);
    char a[SHAPE_TEXT], b[SHAPE_TEXT];
    if (shape_count(input) != shape_count(&images) || input->dim[0] != data->channels)
        return error_set(error, ERROR_INPUT, "%s has images of %s, %s takes %s", data->source,
                         shape_text(&images, a), model->graph->name, shape_text(input, b));
    int outputs = model_outputs(
        model); /* the labels there are count: a data set may use few of its classes */
    for (int i = 0; i < data->count; i++)
        if (data->labels[i] >= outputs)
            return error_set(error, ERROR_INPUT,
                             "%s: image %d has label %d, %s has outputs 0 to %d", data->source, i,
                             data->labels[i], model->graph->name, outputs - 1);
    return true;
}

/* --- the graph --- */

typedef struct Images {
    const Model *model;
    const Dataset *data;
    int first, count;
    float *x;
} Images;

static void normalize_chunk(void *context, int index, int worker) {
    (void)worker;
    const Images *images = context;
    const Model *model = images->model;
    size_t bytes = dataset_image_bytes(images->data),
           plane = bytes / (size_t)model->pixels.channels;
    for (int i = chunk_begin(index); i < chunk_end(index, images->count); i++) {
        const uint8_t *pixels = dataset_image(images->data, images->first + i);
        float *x = images->x + (size_t)i * bytes;
        for (size_t p = 0; p < bytes; p++) {
            size_t c = p / plane;
            x[p] = normalize_byte(pixels[p], model->pixels.mean[c], model->pixels.std[c]);
        }
    }
}

void model_images(const Model *model, const Dataset *data, int first, int count, float *x) {
    Images images = {model, data, first, count, x};
    parallel_along(chunk_count(count), normalize_chunk, &images);
}

static bool run_graph(Engine *engine, const Dataset *data, int first, int count, float *logits,
                      Error *error) {
    Tape *tape = engine->tape;
    bool recording = tape->recording;
    tape_reset(tape);
    tape->recording = false;
    Tensor *x = tape_tensor(tape, shape_batched(&engine->model->graph->node[0].shape, count));
    model_images(engine->model, data, first, count, x->data);
    Error value = {0};
    Run run = {.tape = tape, .error = &value};
    Tensor *y = graph_forward(engine->model->graph, &run, x, NULL);
    memcpy(logits, y->data, y->count * sizeof(float));
    bool finite = floats_finite(y->data, y->count);
    tape_reset(tape);
    tape->recording = recording;
    if (value.code) return error_set(error, value.code, "%s", value.message);
    return finite ||
           error_set(error, ERROR_INPUT, "%s: the output is NaN or infinite for images %d to %d",
                     engine->model->graph->name, first, first + count - 1);
}

static Engine *engine_new(Model *model, const char *name) {
    Arena *arena = arena_new();
    Engine *engine = arena_zeros(arena, sizeof *engine);
    *engine = (Engine){.model = model, .arena = arena, .name = name};
    return engine;
}

Engine *engine_open(Model *model, int batch, Tape *tape, Error *error) {
    if (model->stage == STAGE_FROZEN && !model->dynamic)
        return engine_open_integer(model, batch, error);
    if (model->dynamic) dynamic_integers(model->dynamic);
    if (model->quant) {
        if (!quant_freeze(model->quant, error)) return NULL;
        quant_exact(model->quant);
    }
    Engine *engine = engine_new(model, stage_engine(model->stage));
    engine->run = run_graph;
    if (!tape) tape = engine->own_tape = tape_new(false);
    engine->tape = tape;
    return engine;
}

/* --- the program --- */

typedef struct Work {
    const Engine *engine;
    const Dataset *data;
    int first, count;
    float *logits;
} Work;

static void run_chunk(void *context, int index, int worker) {
    const Work *work = context;
    const Program *program = work->engine->program;
    int begin = chunk_begin(index), count = chunk_end(index, work->count) - begin;
    size_t outputs = program->value[program->output].bytes;
    program_run(program, count, dataset_image(work->data, work->first + begin),
                work->logits + (size_t)begin * outputs, work->engine->scratch[worker], NULL, NULL);
}

static bool run_program(Engine *engine, const Dataset *data, int first, int count, float *logits,
                        Error *error) {
    (void)error; /* integers are never NaN */
    Work work = {engine, data, first, count, logits};
    parallel_along(chunk_count(count), run_chunk, &work);
    return true;
}

Engine *engine_open_integer(Model *model, int batch, Error *error) {
    Program *program = model_program(model, error);
    if (!program) return NULL;
    program_fuse(program);
    Engine *engine = engine_new(model, stage_engine(STAGE_FROZEN));
    engine->run = run_program;
    engine->program = program;
    int threads = parallel_threads(), chunk = batch < CHUNK ? batch : CHUNK;
    engine->scratch = arena_alloc(engine->arena, sizeof *engine->scratch * (size_t)threads);
    for (int i = 0; i < threads; i++)
        engine->scratch[i] = arena_alloc(engine->arena, program_scratch(program, chunk));
    return engine;
}

void engine_close(Engine *engine) {
    if (!engine) return;
    tape_free(engine->own_tape);
    program_free(engine->program);
    arena_free(engine->arena);
}

const char *engine_name(const Engine *engine) {
    return engine->name;
}
const Model *engine_model(const Engine *engine) {
    return engine->model;
}

bool engine_run(Engine *engine, const Dataset *data, int first, int count, float *logits,
                Error *error) {
    return engine->run(engine, data, first, count, logits, error);
}
