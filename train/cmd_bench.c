/* stair bench: images per second of training steps or of inference, on random images that lie in
 * memory. The median of several timed runs after a warm-up. */
#include <stdlib.h>
#include <string.h>

#include "autograd/kernels/parallel.h"
#include "autograd/ops.h"
#include "autograd/rng.h"
#include "nn/zoo.h"
#include "train/command.h"
#include "train/engine.h"
#include "train/json.h"
#include "train/parameters.h"
#include "train/progress.h"

enum { RUNS = 7, IMAGES = 1024 };
static const double RUN_SECONDS = 0.2; /* a run is as many batches as take about this long */

/* One way of spending time on a batch. */
typedef struct Bench {
    Model *model;
    Dataset data;
    int batch;
    Engine *engine; /* infer */
    float *logits;
    Tape *tape; /* train */
    Optimizer *optimizer;
    Arena *arena;
    bool (*once)(struct Bench *bench, int first, Error *error);
} Bench;

static bool infer_once(Bench *bench, int first, Error *error) {
    return engine_run(bench->engine, &bench->data, first, bench->batch, bench->logits, error);
}

static bool train_once(Bench *bench, int first, Error *error) {
    tape_reset(bench->tape);
    Tensor *x =
        tape_tensor(bench->tape, shape_batched(&bench->model->graph->node[0].shape, bench->batch));
    model_images(bench->model, &bench->data, first, bench->batch, x->data);
    int *labels = arena_alloc(bench->tape->arena, sizeof *labels * (size_t)bench->batch);
    for (int i = 0; i < bench->batch; i++) labels[i] = bench->data.labels[first + i];
    Tensor *y = graph_forward(bench->model->graph, &(Run){bench->tape, true, 0, 0, error}, x, NULL);
    tape_backward(bench->tape, op_cross_entropy(bench->tape, y, labels));
    optimizer_step(bench->optimizer, 1e-4);
    optimizer_clear(bench->optimizer);
    return error->code == ERROR_NONE;
}

static void make_data(Bench *bench) {
    const Shape *input = &bench->model->graph->node[0].shape;
    int height = input->rank > 2 ? input->dim[1] : 1;
    int count = bench->batch > IMAGES ? bench->batch : IMAGES / bench->batch * bench->batch;
    bench->data =
        (Dataset){.count = count, .channels = input->dim[0], .height = height, .classes = 1};
    bench->data.width = (int)(shape_count(input) / (size_t)(input->dim[0] * height));
    size_t bytes = size_mul((size_t)count, shape_count(input));
    bench->data.pixels = arena_alloc(bench->arena, bytes);
    bench->data.labels = arena_zeros(bench->arena, (size_t)count);
    Rng rng = rng_stream(0, RNG_TEST, 0);
    for (size_t i = 0; i < bytes; i++) bench->data.pixels[i] = (uint8_t)rng_next(&rng);
}

static bool start_training(Bench *bench, Error *error) {
    if (bench->model->stage == STAGE_FROZEN)
        return error_set(error, ERROR_INPUT, "a frozen net cannot be trained");
    if (bench->model->quant) { /* fine-tuning */
        quant_simulate(bench->model->quant);
        quant_track(bench->model->quant);
    }
    OptimizerSpec spec = {.rule = optimizer_rule("sgd"), .momentum = 0.9};
    bench->optimizer = train_optimizer(bench->model->graph, &spec, bench->arena);
    bench->tape = tape_new(true);
    bench->once = train_once;
    return true;
}

static bool start_inference(Bench *bench, Error *error) {
    bench->engine = engine_open(bench->model, bench->batch, NULL, error);
    bench->logits = arena_alloc(bench->arena, sizeof(float) * (size_t)model_outputs(bench->model) *
                                                  (size_t)bench->batch);
    bench->once = infer_once;
    return bench->engine != NULL;
}

/* Seconds of `batches` batches; < 0 on error. */
static double timed(Bench *bench, int batches, Error *error) {
    double started = clock_seconds();
    for (int i = 0, first = 0; i < batches; i++) {
        if (!bench->once(bench, first, error)) return -1;
        first += bench->batch;
        if (first + bench->batch > bench->data.count) first = 0;
    }
    return clock_seconds() - started;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static bool measure(Bench *bench, double rate[RUNS], Error *error) {
    int batches = 1;
    for (double seconds = 0; seconds < RUN_SECONDS;
         batches *= 2) { /* the warm-up finds the length */
        seconds = timed(bench, batches, error);
        if (seconds < 0) return false;
    }
    batches = batches > 1 ? batches / 2 : 1;
    for (int i = 0; i < RUNS; i++) {
        double seconds = timed(bench, batches, error);
        if (seconds < 0) return false;
        rate[i] = (double)batches * bench->batch / seconds;
    }
    return true;
}

static bool report(const Settings *settings, const Graph *graph, const double rate[RUNS],
                   Error *error) {
    double sorted[RUNS];
    memcpy(sorted, rate, sizeof sorted);
    qsort(sorted, RUNS, sizeof *sorted, by_value);
    const char *what = settings->arguments[0];
    if (!settings->json) {
        printf("%s, batch %d, %d thread%s: %.0f images/s (%d runs, %.0f to %.0f)\n", what,
               settings->batch, parallel_threads(), parallel_threads() == 1 ? "" : "s",
               sorted[RUNS / 2], RUNS, sorted[0], sorted[RUNS - 1]);
        return true;
    }
    json_t *runs = json_array();
    for (int i = 0; i < RUNS; i++) json_array_append_new(runs, json_real(rate[i]));
    size_t work = graph_multiply_adds(graph, strcmp(what, "train") == 0);
    json_t *json = json_pack("{s:s, s:i, s:i, s:f, s:o, s:I}", "what", what, "batch",
                             settings->batch, "threads", parallel_threads(), "images_per_second",
                             sorted[RUNS / 2], "runs", runs, "multiply_adds", (json_int_t)work);
    return json_print(json, error);
}

/* The file given, or a net of the zoo with random weights. */
static Model *open_model(const Settings *settings, Error *error) {
    bool file = settings->argument_count == 2;
    if (file == (settings->model != NULL)) {
        error_set(error, ERROR_USAGE, "bench takes IN or --model NAME, one of the two");
        return NULL;
    }
    if (file) return model_load(settings->arguments[1], error);
    Graph *graph = zoo_open(settings->model, error);
    if (!graph) return NULL;
    graph_init(graph, 0);
    return model_new(graph, error);
}

static int command_bench(const Settings *settings, Error *error) {
    bool train = strcmp(settings->arguments[0], "train") == 0;
    if (!train && strcmp(settings->arguments[0], "infer") != 0)
        return error_set(error, ERROR_USAGE, "bench %s: expected train or infer",
                         settings->arguments[0]);
    Bench bench = {.batch = settings->batch, .arena = arena_new()};
    bench.model = open_model(settings, error);
    double rate[RUNS];
    if (bench.model) {
        make_data(&bench);
        bool ok = train ? start_training(&bench, error) : start_inference(&bench, error);
        if (ok && measure(&bench, rate, error)) report(settings, bench.model->graph, rate, error);
    }
    engine_close(bench.engine);
    tape_free(bench.tape);
    model_free(bench.model);
    arena_free(bench.arena);
    return error->code;
}

static const OptionUse options[] = {
    TAKES("model"), TAKES("batch"), TAKES("threads"), TAKES("json"), TAKES_COMMON, {0},
};

const Command bench_command = {
    .name = "bench",
    .summary = "Measures the speed of training or inference.",
    .arguments = "train|infer [IN]",
    .least = 1,
    .most = 2,
    .options = options,
    .examples = "stair bench train --model netbn --batch 64\n"
                "stair bench infer int8.safetensors --batch 1 --threads 1 --json\n",
    .run = command_bench,
};
