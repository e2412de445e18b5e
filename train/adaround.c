/* The loss of a layer, for its float result y and its result y~ with weights w~:
 *
 *   mean (y~ - y)^2 + 30 E * mean over the weights of 1 - |2 h(v) - 1|^beta
 *
 * where E is the mean squared error of the nearest codes. The paper has a constant for 30 E; with
 * E the two parts keep their proportion in other units, with other bits and in layers of other
 * sizes. In the first fifth of the steps only the error counts; then beta falls from 20, which
 * moves nothing but what is nearly decided, to 2. */
#include "train/adaround.h"

#include <math.h>
#include <string.h>

#include "autograd/kernels/elementwise.h"
#include "optim/schedule.h"
#include "quant/ptq/adaround.h"

enum { BATCH = 32 /* images of a step */ };
static const double WARM = 0.2, BETA_FIRST = 20, BETA_LAST = 2, COST = 30, RATE = 0.01;

/* --- what a layer has seen --- */

/* A value of all images: [images][each], filled up batch by batch. */
typedef struct Record {
    float *data;
    Shape sample;
    size_t each;
} Record;

typedef struct Study {
    QuantNet *net;
    ImageSource *images;
    void *context;
    int count;                        /* of images */
    float *original[GRAPH_MAX_NODES]; /* the float net's weights; NULL: the node learns none */
    Arena *arena;                     /* of one layer */
    Record x, y;
} Study;

static bool learns(const QNode *q) {
    return !q->into && !q->is_float && node_has_rule(q->node, "weighted");
}

/* The float net's weights in place of the present ones, and back. */
static void exchange_weights(Study *s) {
    for (int i = 0; i < s->net->graph->nodes; i++) {
        if (!s->original[i]) continue;
        Tensor *weight = node_tensor(&s->net->graph->node[i], "weight");
        float *present = weight->data;
        weight->data = s->original[i];
        s->original[i] = present;
    }
}

static Record record_new(const Study *s, const Shape *sample) {
    size_t each = shape_count(sample);
    size_t bytes = size_mul(size_mul(each, (size_t)s->count), sizeof(float));
    return (Record){arena_alloc(s->arena, bytes), *sample, each};
}

static void record_batch(Record *record, int first, const Tensor *value) {
    memcpy(record->data + (size_t)first * record->each, value->data, value->count * sizeof(float));
}

/* Fills s->x with the layer's inputs, s->y with the float net's results. */
static bool record_layer(Study *s, const QNode *q, Error *error) {
    const Graph *graph = s->net->graph;
    Tape *tape = tape_new(false);
    Error value = {0};
    Run run = {.tape = tape, .error = &value};
    Tensor *values[GRAPH_MAX_NODES], *x;
    int node = q->node->index, input = q->node->in[0], first = 0;
    s->x = record_new(s, &graph->node[input].shape);
    s->y = record_new(s, &q->node->shape);
    for (int i = 0; !value.code && (tape_reset(tape), x = s->images(s->context, i, tape)); i++) {
        exchange_weights(s);
        quant_fake(s->net, false);
        graph_forward(graph, &run, x, values);
        record_batch(&s->y, first, values[node]);
        exchange_weights(s);
        quant_fake(s->net, true);
        graph_forward(graph, &run, x, values);
        record_batch(&s->x, first, values[input]);
        first += x->shape.dim[0];
    }
    tape_free(tape);
    if (value.code) return error_set(error, ERROR_INPUT, "%s", value.message);
    size_t inputs = s->x.each * (size_t)s->count, results = s->y.each * (size_t)s->count;
    return (floats_finite(s->x.data, inputs) && floats_finite(s->y.data, results)) ||
           error_set(error, ERROR_INPUT, "%s: a value is NaN or infinite", q->node->name);
}

/* images[count] of the record, as a batch. */
static Tensor *record_take(const Record *record, Tape *tape, const int images[], int count) {
    Tensor *x = tape_tensor(tape, shape_batched(&record->sample, count));
    for (int k = 0; k < count; k++)
        memcpy(x->data + (size_t)k * record->each, record->data + (size_t)images[k] * record->each,
               record->each * sizeof(float));
    return x;
}

/* --- one layer --- */

static Tensor *behind_relu(const Run *run, const QNode *q, Tensor *y) {
    return q->relu ? q->relu->layer->forward(run, q->relu, &y) : y;
}

/* The mean squared error of the layer with its present weights, rounded to the nearest. */
static double nearest_error(const Study *s, const QNode *q) {
    Tape *tape = tape_new(false);
    Run run = {.tape = tape};
    double sum = 0;
    for (int first = 0; first < s->count; first += BATCH) {
        int images[BATCH], count = s->count - first < BATCH ? s->count - first : BATCH;
        for (int k = 0; k < count; k++) images[k] = first + k;
        tape_reset(tape);
        Tensor *x = record_take(&s->x, tape, images, count);
        Tensor *y = behind_relu(&run, q, q->rule->simulate(&run, q, &x));
        Tensor *error = op_mse_loss(tape, y, record_take(&s->y, tape, images, count));
        sum += (double)error->data[0] * count;
    }
    tape_free(tape);
    return sum / s->count;
}

static double mean_square(const Record *record, int count) {
    double sum = 0;
    size_t values = record->each * (size_t)count;
    for (size_t i = 0; i < values; i++) sum += (double)record->data[i] * (double)record->data[i];
    return sum / (double)values;
}

/* Adam (Kingma, Ba 2015), step t = 1, 2, ..., with its usual constants. */
typedef struct Adam {
    Tensor *w;
    float *mean, *square; /* [w->count], of the gradients */
    float rate, correction;
} Adam;

static void adam_elements(const void *context, size_t begin, size_t end) {
    const Adam *a = context;
    for (size_t i = begin; i < end; i++) {
        float g = a->w->grad[i];
        a->mean[i] = 0.9f * a->mean[i] + 0.1f * g;
        a->square[i] = 0.999f * a->square[i] + 0.001f * g * g;
        a->w->data[i] -= a->rate * a->mean[i] / (sqrtf(a->square[i] * a->correction) + 1e-12f);
    }
}

static void adam_step(Adam *a, int t) {
    a->rate = (float)(RATE / (1 - pow(0.9, t)));
    a->correction = (float)(1 / (1 - pow(0.999, t)));
    elementwise(a->w->count, adam_elements, a);
}

/* Moves rounding->v for spec->steps steps; `nearest` is E. */
static void learn(const Study *s, Rounding *rounding, double nearest, const AdaRoundSpec *spec) {
    const QNode *q = rounding->q;
    Tensor *v = rounding->v;
    size_t bytes = v->count * sizeof(float);
    Adam adam = {
        .w = v, .mean = arena_zeros(s->arena, bytes), .square = arena_zeros(s->arena, bytes)};
    int warm = (int)(WARM * spec->steps);
    const Schedule *cosine = schedule_find("cosine");
    SchedulePlan beta = {.base = BETA_FIRST,
                         .steps = spec->steps - warm,
                         .steps_per_epoch = 1,
                         .step_size = 1,
                         .final_fraction = BETA_LAST / BETA_FIRST};
    float weight = (float)(COST * nearest / rounding->choices);
    Tape *tape = tape_new(true);
    Run run = {.tape = tape};
    tensor_grad(s->arena, v);
    for (int t = 0; t < spec->steps; t++) {
        int images[BATCH];
        Rng rng =
            rng_stream(spec->seed, RNG_ADAROUND, (uint64_t)q->node->index << 32 | (uint64_t)t);
        for (int k = 0; k < BATCH; k++) images[k] = (int)rng_below(&rng, (uint32_t)s->count);
        tape_reset(tape);
        memset(v->grad, 0, bytes);
        Tensor *x = record_take(&s->x, tape, images, BATCH);
        Tensor *y = behind_relu(&run, q, rounding_apply(tape, rounding, x));
        Tensor *loss = op_mse_loss(tape, y, record_take(&s->y, tape, images, BATCH));
        if (t >= warm) {
            float power = (float)schedule_rate(cosine, &beta, t - warm);
            loss = op_add(tape, loss, rounding_cost(tape, rounding, power, weight));
        }
        tape_backward(tape, loss);
        adam_step(&adam, t + 1);
    }
    tape_free(tape);
}

/* A layer's line: its name while it learns, then what came of it. Errors are relative. */
static void report_begin(FILE *report, const QNode *q) {
    if (!report) return;
    fprintf(report, "stair: adaround %s: ", q->node->name);
    fflush(report);
}

static void report_end(FILE *report, int moved, size_t of, double after, double before) {
    if (report)
        fprintf(report, "%d of %zu weights round the other way, error %.3g%%, nearest %.3g%%\n",
                moved, of, 100 * sqrt(after), 100 * sqrt(before));
}

static bool round_layer(Study *s, const QNode *q, const AdaRoundSpec *spec, Error *error) {
    if (!record_layer(s, q, error)) return false;
    report_begin(spec->report, q);
    double square = mean_square(&s->y, s->count), before = nearest_error(s, q), after = before;
    Tensor *weight = node_tensor(q->node, "weight");
    Rounding *rounding = rounding_new(s->arena, q);
    int moved = 0;
    if (before > 0 && rounding->choices > 0) {
        learn(s, rounding, before, spec);
        moved = rounding_settle(rounding);
        after = nearest_error(s, q);
    }
    if (after > before) { /* the nearest codes were better, so they stay */
        memcpy(weight->data, s->original[q->node->index], weight->count * sizeof(float));
        moved = 0;
        after = before;
    }
    double unit = square > 0 ? square : 1;
    report_end(spec->report, moved, weight->count, after / unit, before / unit);
    return true;
}

bool adaround(QuantNet *net, ImageSource *images, void *context, const AdaRoundSpec *spec,
              Error *error) {
    Study study = {.net = net, .images = images, .context = context, .arena = arena_new()};
    Arena *kept = arena_new();
    Tape *tape = tape_new(false);
    const Tensor *x;
    for (int i = 0; tape_reset(tape), x = images(context, i, tape); i++)
        study.count += x->shape.dim[0];
    tape_free(tape);
    for (int i = 0; i < net->graph->nodes; i++) {
        const Tensor *weight = node_tensor(&net->graph->node[i], "weight");
        if (learns(&net->node[i]))
            study.original[i] = tensor_copy(kept, weight->shape, weight->data)->data;
    }
    quant_fake(net, true);
    bool ok = true;
    for (int i = 0; ok && i < net->graph->nodes; i++) {
        arena_reset(study.arena);
        if (study.original[i]) ok = round_layer(&study, &net->node[i], spec, error);
    }
    arena_free(study.arena);
    arena_free(kept);
    return ok;
}
