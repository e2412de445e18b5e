/* stair explain: how one number of a layer comes about with integers, every product of it, beside
 * what the float net has there. */
#include "quant/explain.h"
#include "train/command.h"
#include "train/engine.h"

/* Runs the net as it is set on one image; value[] belongs to the tape. */
static bool run(const Model *model, const Dataset *data, int image, Tape *tape, Tensor *value[],
                Error *error) {
    Tensor *x = tape_tensor(tape, shape_batched(&model->graph->node[0].shape, 1));
    model_images(model, data, image, 1, x->data);
    graph_forward(model->graph, &(Run){.tape = tape, .error = error}, x, value);
    return !error->code;
}

/* "channel 3, place 5x7" of an element of a value of that shape. */
static void print_place(const Shape *shape, int element) {
    int rest = (int)shape_count(shape), left = element;
    for (int d = 0; d < shape->rank; d++) {
        rest /= shape->dim[d];
        printf("%s%d", d == 0 ? "channel " : d == 1 ? ", place " : "x", left / rest);
        left %= rest;
    }
}

static void print_explanation(const QNode *q, const Explanation *e) {
    int zero = quantizer_zero(q->out), qmin = q->out->q.qmin;
    printf("%8s %10s %10s %12s %12s\n", "weight", "q_x - Z_x", "q_w - Z_w", "product", "sum");
    for (int k = 0, sum = 0; k < e->terms; k++) {
        int product = e->term[k].x * e->term[k].w;
        printf("%8d %10d %10d %12d %12d\n", k, e->term[k].x, e->term[k].w, product, sum += product);
    }
    printf("\nsum of %d products                 = %d\n", e->terms, e->sum);
    printf("acc = sum + q_b = %d + %d = %d\n", e->sum, e->bias, e->acc);
    printf("M = S_x S_w / S_y = %.9g = %d * 2^-%d\n", e->scale, e->multiplier.m0,
           e->multiplier.shift);
    printf("M acc, rounded once               = %lld\n", (long long)e->scaled);
    printf("q_y = Z_y + that, in %d to %d%s = %d\n", e->bounds.lo + qmin, e->bounds.hi + qmin,
           q->relu ? arena_text(q->node->arena, " (%s)", q->relu->layer->name) : "",
           e->byte + qmin);
    printf("real = S_y (q_y - Z_y) = %.9g * (%d - %d) = %.9g\n", (double)q->out->q.scale[0],
           e->byte + qmin, zero + qmin, (double)e->real);
}

/* The value of the chain that begins at the node. */
static bool explain(Model *model, const Settings *settings, const Dataset *data, Error *error) {
    const Node *node = quant_node(model->quant, settings->arguments[1], error);
    if (!node) return false;
    const QNode *q = &model->quant->node[node->index];
    int element = settings->element, image = settings->index;
    Tape *tape = tape_new(false);
    Tensor *value[GRAPH_MAX_NODES];
    Explanation e;
    quant_exact(model->quant);
    bool ok =
        run(model, data, image, tape, value, error) &&
        quant_explain(q, node->inputs ? value[node->in[0]] : NULL, element, tape->arena, &e, error);
    if (ok) {
        printf("%s, a %s, image %d: ", node->name, node->layer->name, image);
        print_place(&node->shape, element);
        printf("\n\n");
        print_explanation(q, &e);
    }
    if (ok && model->stage != STAGE_FROZEN) { /* whose float weights are gone */
        quant_simulate(model->quant);
        quant_fake(model->quant, false);
        ok = run(model, data, image, tape, value, error);
        if (ok) printf("the float net has %.9g\n", (double)value[node->index]->data[element]);
    }
    tape_free(tape);
    return ok;
}

static int command_explain(const Settings *settings, Error *error) {
    const char *path = settings->arguments[0];
    unsigned quantized = 1 << STAGE_CALIBRATED | 1 << STAGE_QAT | 1 << STAGE_FROZEN;
    Model *model = model_load(path, error);
    Dataset *data = NULL;
    bool ok = model &&
              model_expect(model, path, quantized, "calibrate it first: stair calibrate", error) &&
              model_has_grids(model, path, error) &&
              (data = dataset_open(settings->data, false, 0, error)) &&
              model_fits(model, data, error);
    if (ok && settings->index >= data->count)
        ok = error_set(error, ERROR_USAGE, "--index: there is no image %d, the last is %d",
                       settings->index, data->count - 1);
    ok = ok && (model->stage == STAGE_FROZEN || quant_freeze(model->quant, error)) &&
         explain(model, settings, data, error);
    dataset_free(data);
    model_free(model);
    return error->code;
}

static const OptionUse options[] = {
    TAKES("data"), TAKES("index"), TAKES("element"), TAKES_COMMON, {0},
};

const Command explain_command = {
    .name = "explain",
    .summary = "Shows the integer arithmetic of one output, step by step.",
    .arguments = "IN LAYER",
    .least = 2,
    .most = 2,
    .options = options,
    .examples = "stair explain int8.safetensors fc --element 3\n"
                "stair explain calibrated.safetensors conv1 --index 7 --element 100\n",
    .run = command_explain,
};
