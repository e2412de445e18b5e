#include "train/loop.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <zlib.h>

#include "autograd/file.h"
#include "autograd/kernels/parallel.h"
#include "autograd/ops.h"
#include "datasets/loader.h"
#include "optim/schedule.h"
#include "quant/bn.h"
#include "train/evaluate.h"
#include "train/finite.h"
#include "train/json.h"
#include "train/parameters.h"
#include "train/progress.h"
#include "train/signals.h"

/* What one run keeps while it lasts. */
typedef struct Loop {
    TrainRun *run;
    Arena *arena;
    Tape *tape;
    Loader *loader;
    Optimizer *optimizer;
    ModelArray *array; /* [optimizer->arrays]: what the checkpoint keeps of it */
    const Schedule *schedule;
    SchedulePlan plan;
    int *labels; /* [batch] */
    FILE *log;   /* NULL: none */
    Progress progress;
    int64_t images;          /* seen in this process */
    double training_seconds; /* of the running epoch, evaluation apart */
    int64_t epoch_images;    /* seen in that time */
    bool saved;              /* the output holds an epoch of this process */
} Loop;

/* --- data --- */

static uint32_t checksum(const Dataset *data) {
    size_t bytes = (size_t)data->count * dataset_image_bytes(data);
    uLong crc = crc32_z(crc32(0, NULL, 0), data->pixels, bytes);
    return (uint32_t)crc32_z(crc, data->labels, (size_t)data->count);
}

bool train_data(TrainRun *run, Dataset **train, Dataset **test, uint32_t crc, Error *error) {
    const Settings *settings = run->settings;
    *train = *test = NULL;
    if (settings->augment && !augment_parse(settings->augment, &run->augmentations, error))
        return false;
    *train = dataset_open(settings->data, true, settings->limit, error);
    if (*train) *test = dataset_open(settings->data, false, settings->limit, error);
    if (!*test || !model_fits(run->model, *train, error) || !model_fits(run->model, *test, error))
        return false;
    run->train = *train;
    run->test = *test;
    run->data_crc = checksum(*train);
    if (crc && crc != run->data_crc)
        return error_set(error, ERROR_INPUT, "%s: these are not the images that the run began with",
                         (*train)->source);
    return true;
}

/* --- start --- */

static bool start_optimizer(Loop *loop, Error *error) {
    const Settings *s = loop->run->settings;
    OptimizerSpec spec = {optimizer_rule(s->optimizer), s->momentum, s->weight_decay, s->nesterov};
    if (spec.nesterov && !spec.rule->nesterov)
        return error_set(error, ERROR_USAGE, "--nesterov: %s has no such momentum",
                         spec.rule->name);
    if (spec.nesterov && spec.momentum == 0)
        return error_set(error, ERROR_USAGE, "--nesterov says nothing with --momentum 0");
    if (spec.momentum >= 1 && spec.rule->averages)
        return error_set(error, ERROR_USAGE, "--momentum: of %s it is less than 1",
                         spec.rule->name);
    const Optimizer *optimizer = loop->optimizer =
        train_optimizer(loop->run->model->graph, &spec, loop->arena);
    loop->optimizer->steps = loop->run->position.step;
    loop->array = arena_alloc(loop->arena, sizeof *loop->array * (size_t)optimizer->arrays);
    for (int i = 0; i < optimizer->arrays; i++)
        loop->array[i] =
            (ModelArray){arena_text(loop->arena, "optimizer.%s", optimizer->array[i].name),
                         optimizer->array[i].shape, optimizer->array[i].data};
    return rate_parameters(optimizer, s->rates, error);
}

static bool open_log(Loop *loop, Error *error) {
    const char *path = loop->run->settings->log;
    if (!path) return true;
    loop->log = fopen(path, loop->run->resumed ? "ae" : "we");
    return loop->log || error_set(error, ERROR_IO, "%s: %s", path, strerror(errno));
}

/* Which parameters learn, and how. What a resumed file says of it is not the command line's fault.
 */
static bool choose_parameters(Loop *loop, Error *error) {
    const TrainRun *run = loop->run;
    Error reason = {0};
    if (keep_parameters(run->model->graph, run->settings->keep, &reason) &&
        start_optimizer(loop, &reason))
        return true;
    if (!run->resumed) return error_set(error, reason.code, "%s", reason.message);
    return error_set(error, ERROR_INPUT, "%s: stair.training: %.500s", run->settings->resume,
                     reason.message);
}

static bool loop_start(Loop *loop, Error *error) {
    TrainRun *run = loop->run;
    const Settings *s = run->settings;
    if (run->output && !file_probe(run->output, error)) return false;
    loop->loader = loader_new(run->train, &run->model->pixels, s->batch, s->seed, true, error);
    if (!loop->loader) return false;
    loader_augment(loop->loader, run->augmentations);
    loop->tape = tape_new(true);
    loop->labels = arena_alloc(loop->arena, sizeof(int) * (size_t)s->batch);
    if (!choose_parameters(loop, error)) return false;
    for (int i = 0; run->resumed && i < loop->optimizer->arrays; i++) {
        Error reason = {0};
        if (!model_fetch(run->model, &loop->array[i], &reason))
            return error_set(error, ERROR_INPUT, "%s: %s", s->resume, reason.message);
    }
    int64_t per_epoch = loader_steps(loop->loader);
    loop->schedule = schedule_find(s->schedule);
    loop->plan = (SchedulePlan){.base = s->lr,
                                .steps = llrint(s->epochs * (double)per_epoch),
                                .steps_per_epoch = per_epoch,
                                .warmup = s->warmup,
                                .final_fraction = run->final_fraction,
                                .gamma = s->gamma,
                                .step_size = s->step_size};
    if (!open_log(loop, error)) return false; /* last: it empties the file of a former run */
    loop->progress = progress_start(stderr, s->quiet, run->position.step);
    signals_catch();
    return true;
}

/* --- one step --- */

/* `step` counts from 1; `what` is a clause: what went wrong, and where. */
static bool diverged(const Loop *loop, int64_t step, const char *what, Error *error) {
    double rate = schedule_rate(loop->schedule, &loop->plan, step - 1);
    return error_set(
        error, ERROR_DIVERGED,
        "diverged at step %lld: %s (learning rate %g); a smaller --lr or a --warmup may "
        "help; %s",
        (long long)step, what, rate,
        loop->saved || loop->run->resumed ? "the last checkpoint is as it was"
                                          : "nothing was saved");
}

/* What the quantizers do in the coming step: a function of its number, so that a resumed run does
 * the same. */
static void set_phase(const Loop *loop) {
    QuantNet *quant = loop->run->model->quant;
    const Settings *s = loop->run->settings;
    double epochs = (double)loop->run->position.step / (double)loop->plan.steps_per_epoch;
    if (!quant) return;
    quant_observe(quant, !s->fixed_scales && epochs < s->freeze_observers_after);
    quant->config.bn = bn_mode_find(epochs < s->freeze_bn_after ? s->bn : "frozen");
}

static void update(const Loop *loop, double rate) {
    QuantNet *quant = loop->run->model->quant;
    if (quant) quant_keep_scales(quant);
    optimizer_step(loop->optimizer, rate);
    optimizer_clear(loop->optimizer);
    if (quant) quant_limit_scales(quant);
}

/* Forward, loss, backward, update. Stops before an update that would write something that is no
 * number. */
static bool loop_step(Loop *loop, Error *error) {
    TrainRun *run = loop->run;
    const Graph *graph = run->model->graph;
    Position *at = &run->position;
    int64_t epoch = at->step / loop->plan.steps_per_epoch;
    set_phase(loop);
    tape_reset(loop->tape);
    Tensor *x = tape_tensor(loop->tape, shape_batched(&graph->node[0].shape, run->settings->batch));
    int n = loader_batch(loop->loader, (uint64_t)epoch,
                         (int)(at->step % loop->plan.steps_per_epoch), x->data, loop->labels);
    x->shape.dim[0] = n; /* the last batch of an epoch may be smaller */
    x->count = shape_count(&x->shape);

    Error value = {0};
    Run forward = {loop->tape, true, run->settings->seed, (uint64_t)at->step, &value};
    Tensor *logits = graph_forward(graph, &forward, x, NULL);
    Tensor *loss = op_cross_entropy(loop->tape, logits, loop->labels);
    double rate = schedule_rate(loop->schedule, &loop->plan, at->step);
    if (value.code || !isfinite(loss->data[0])) {
        Tensor *values[GRAPH_MAX_NODES]; /* the step once more, each value kept, to see where */
        graph_forward(graph, &forward, x, values);
        const char *what = arena_text(loop->arena, "%s is not finite", bad_value(graph, values));
        return diverged(loop, at->step + 1, what, error);
    }
    tape_backward(loop->tape, loss);
    const char *name = bad_gradient(loop->optimizer);
    if (name) {
        const char *what = arena_text(loop->arena, "the gradient of %s is not finite", name);
        return diverged(loop, at->step + 1, what, error);
    }
    update(loop, rate);

    int outputs = (int)(logits->count / (size_t)n);
    for (int i = 0; i < n; i++)
        at->correct +=
            argmax(logits->data + (size_t)i * (size_t)outputs, outputs) == loop->labels[i];
    at->loss_sum += (double)loss->data[0] * n;
    at->seen += n;
    at->step++;
    loop->images += n;
    loop->epoch_images += n;
    return true;
}

/* --- epochs --- */

static bool save(Loop *loop, Error *error) {
    TrainRun *run = loop->run;
    const char *bad = bad_parameter(run->model->graph, loop->arena);
    if (bad)
        return diverged(loop, run->position.step, arena_text(loop->arena, "%s is not finite", bad),
                        error);
    if (!run->output) return true;
    json_decref(run->model->training);
    run->model->training =
        recipe_to_json(run->kind, run->settings, &run->position, run->data_crc, run->origin);
    loop->saved = model_save(run->model, run->output, loop->optimizer->arrays, loop->array, error);
    return loop->saved;
}

static ProgressPoint point_of(const Loop *loop) {
    const Position *at = &loop->run->position;
    int64_t per_epoch = loop->plan.steps_per_epoch;
    return (ProgressPoint){
        .epoch = (int)((at->step + per_epoch - 1) / per_epoch),
        .epochs = (int)((loop->plan.steps + per_epoch - 1) / per_epoch),
        .step = at->step,
        .steps = loop->plan.steps,
        .images = loop->images,
        .loss = at->seen ? at->loss_sum / (double)at->seen : NAN,
        .accuracy = at->seen ? (double)at->correct / (double)at->seen : NAN,
        .test_accuracy = NAN,
    };
}

/* The end of an epoch, or of the run: test accuracy, a line in the log, a checkpoint. */
static bool end_epoch(Loop *loop, Error *error) {
    TrainRun *run = loop->run;
    ProgressPoint point = point_of(loop);
    Evaluation test;
    Error reason = {0};
    if (run->model->quant) quant_align_scales(run->model->quant);
    Engine *engine = engine_open(run->model, run->settings->batch, loop->tape, &reason);
    bool ok =
        engine && evaluate(engine, run->test, run->settings->batch, NULL, NULL, &test, &reason);
    engine_close(engine);
    if (run->model->quant) quant_simulate(run->model->quant);
    bool numbers = engine || bad_parameter(run->model->graph, loop->arena);
    if (!ok && !numbers) /* a net that integers cannot hold */
        return error_set(error, reason.code, "%s", reason.message);
    if (!ok) /* its values, not the images, which are bytes */
        return diverged(loop, run->position.step, arena_text(loop->arena, "%s", reason.message),
                        error);
    if (loop->log) {
        double rate = schedule_rate(loop->schedule, &loop->plan, run->position.step - 1);
        json_t *line = json_pack("{s:i, s:I, s:o, s:o, s:f, s:f, s:o}", "epoch", point.epoch,
                                 "step", (json_int_t)point.step, "loss", json_number(point.loss),
                                 "train_accuracy", json_number(point.accuracy), "test_accuracy",
                                 test.accuracy, "learning_rate", rate, "images_per_second",
                                 json_number((double)loop->epoch_images / loop->training_seconds));
        if (!json_line(loop->log, line))
            return error_set(error, ERROR_IO, "%s: %s", run->settings->log, strerror(errno));
    }
    point.test_accuracy = test.accuracy;
    progress_epoch(&loop->progress, &point);
    run->position.loss_sum = 0;
    run->position.seen = run->position.correct = 0;
    loop->training_seconds = 0;
    loop->epoch_images = 0;
    return save(loop, error);
}

static int stop(Loop *loop, int signal, Error *error) {
    progress_finish(&loop->progress);
    if (!save(loop, error)) return error->code;
    if (!loop->run->output) return 128 + signal;
    fprintf(stderr, "stair: stopped at step %lld of %lld; to go on: stair %s --resume %s\n",
            (long long)loop->run->position.step, (long long)loop->plan.steps, loop->run->kind,
            loop->run->output);
    return 128 + signal;
}

static int loop_run(Loop *loop, Error *error) {
    Position *at = &loop->run->position;
    int64_t per_epoch = loop->plan.steps_per_epoch;
    if (at->step >= loop->plan.steps) {
        if (loop->run->resumed)
            fprintf(stderr,
                    "stair: the run is complete (%lld steps); a larger --epochs extends it\n",
                    (long long)loop->plan.steps);
        return save(loop, error) ? 0 : error->code;
    }
    while (at->step < loop->plan.steps) {
        double started = clock_seconds();
        if (!loop_step(loop, error)) return error->code;
        loop->training_seconds += clock_seconds() - started;
        ProgressPoint point = point_of(loop);
        progress_step(&loop->progress, &point);
        bool whole = at->step % per_epoch == 0 || at->step == loop->plan.steps;
        if (whole && !end_epoch(loop, error)) return error->code;
        if (signals_caught()) return stop(loop, signals_caught(), error);
    }
    return 0;
}

int train_loop(TrainRun *run, Error *error) {
    Loop loop = {.run = run, .arena = arena_new()};
    json_t *began = json_incref(run->model->training); /* a resumed run's settings point into it */
    int status = loop_start(&loop, error) ? loop_run(&loop, error) : (int)error->code;
    progress_finish(&loop.progress);
    if (loop.log && fclose(loop.log) != 0)
        error_set(error, ERROR_IO, "%s: %s", run->settings->log, strerror(errno));
    json_decref(began);
    loader_free(loop.loader);
    tape_free(loop.tape);
    arena_free(loop.arena);
    return status;
}
