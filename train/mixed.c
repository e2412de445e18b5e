/* Each measurement switches layers between their grids and float (quant_switch), freezes and
 * evaluates: quantized layers compute their exact integers, the others float. SQNR = 10 log10(sum
 * of y^2 / sum of (y - y_float)^2). */
#include "train/mixed.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "quant/pack.h"

enum { SQNR_MOST = 200 /* dB: no error at all, as far as floats tell */ };

static QNode *qnode(const MixedStudy *study, const LayerCost *layer) {
    return &study->model->quant->node[graph_find(study->model->graph, layer->name)->index];
}

/* --- setting bits and switches --- */

static void set_bits(const MixedStudy *study, LayerCost *layer, int bits, int weight_bits) {
    QNode *q = qnode(study, layer);
    layer->bits = q->out->spec.bits = bits;
    layer->weight_bits = q->weight.bits = weight_bits;
    quantizer_update(q->out);
    quant_assign(study->model->quant);
}

/* Everything quantized, nothing, only `one`, or all but it. A quantized layer reads its inputs from
 * grids; those of float layers get at least 8 bits, so that what is measured are the bits of the
 * layers that are on. */
static void switch_layers(const MixedStudy *study, bool others, const LayerCost *one, bool one_on) {
    for (int i = 0; i < study->layers; i++) {
        const LayerCost *layer = &study->layer[i];
        QNode *q = qnode(study, layer);
        q->is_float = layer == one ? !one_on : !others;
        int bits = q->is_float && layer->bits < BITS_MOST ? BITS_MOST : layer->bits;
        if (q->out->spec.bits == bits) continue;
        q->out->spec.bits = bits;
        quantizer_update(q->out);
    }
    quant_assign(study->model->quant);
}

bool mixed_start(MixedStudy *study, Model *model, const Dataset *data, int batch, int bits,
                 int weight_bits, Error *error) {
    *study = (MixedStudy){.model = model, .data = data, .batch = batch};
    const QuantNet *net = model->quant;
    const Node *output = graph_output(model->graph);
    for (int i = 0; i < model->graph->nodes; i++) {
        const QNode *q = &net->node[i];
        if (q->into || !q->rule->owns_range || q->is_float) continue;
        if (!q->out->seen.histogram)
            return error_set(error, ERROR_INPUT,
                             "%s: it has no histogram to choose a range of other bits from",
                             q->node->name);
        LayerCost *layer = &study->layer[study->layers++];
        bool edge = q->node->inputs == 0 || q->node == output || q->relu == output ||
                    q->batchnorm == output;
        const Tensor *weight = q->rule->arrays ? node_tensor(q->node, "weight") : NULL;
        *layer = (LayerCost){
            .name = q->node->name, .weighted = weight, .weights = weight ? weight->count : 0};
        set_bits(study, layer, bits && !edge ? bits : q->out->spec.bits,
                 weight_bits ? weight_bits : q->weight.bits);
    }
    return study->layers > 0 || error_set(error, ERROR_INPUT, "every layer stays float");
}

/* --- measuring --- */

typedef struct Noise {
    double signal, noise;
} Noise;

static void noise_add(Noise *n, const Tensor *y, const Tensor *reference) {
    for (size_t i = 0; i < y->count; i++) {
        double r = (double)reference->data[i], d = (double)y->data[i] - r;
        n->signal += r * r;
        n->noise += d * d;
    }
}

static double sqnr(const Noise *n) {
    double least = n->signal * pow(10, -SQNR_MOST / 10.0);
    if (n->noise <= least) return SQNR_MOST;
    return n->signal > 0 ? 10 * log10(n->signal / n->noise) : -SQNR_MOST;
}

typedef struct Result {
    int correct;
    Noise output, value; /* of the net, of the layer looked at */
} Result;

/* One batch with the switches as they are and once in float. `at`: the node looked at, or -1. */
static bool measure_batch(const MixedStudy *study, Tape *tape, int first, int count, int at,
                          Result *result, Error *error) {
    const Graph *graph = study->model->graph;
    QuantNet *net = study->model->quant;
    bool was[GRAPH_MAX_NODES];
    Tensor *value[GRAPH_MAX_NODES], *reference[GRAPH_MAX_NODES];
    Error bad = {0};
    Run run = {.tape = tape, .error = &bad};
    tape_reset(tape);
    Tensor *x = tape_tensor(tape, shape_batched(&graph->node[0].shape, count));
    model_images(study->model, study->data, first, count, x->data);
    graph_forward(graph, &run, x, value);
    for (int i = 0; i < graph->nodes; i++) {
        was[i] = net->node[i].is_float;
        net->node[i].is_float = true;
    }
    quant_assign(net);
    graph_forward(graph, &run, x, reference);
    for (int i = 0; i < graph->nodes; i++) net->node[i].is_float = was[i];
    quant_assign(net);
    if (bad.code) return error_set(error, bad.code, "%s", bad.message);
    const Tensor *y = value[graph->nodes - 1];
    noise_add(&result->output, y, reference[graph->nodes - 1]);
    if (at >= 0) noise_add(&result->value, value[at], reference[at]);
    int outputs = model_outputs(study->model);
    for (int i = 0; i < count; i++)
        result->correct += argmax(y->data + (size_t)i * (size_t)outputs, outputs) ==
                           study->data->labels[first + i];
    return true;
}

static bool measure(const MixedStudy *study, const LayerCost *layer, double *accuracy,
                    double *output, double *value, Error *error) {
    QuantNet *net = study->model->quant;
    if (!quant_freeze(net, error)) return false;
    quant_exact(net);
    Tape *tape = tape_new(false);
    Result result = {0};
    int at = layer ? qnode(study, layer)->node->index : -1;
    bool ok = true;
    for (int first = 0; ok && first < study->data->count; first += study->batch) {
        int left = study->data->count - first;
        ok = measure_batch(study, tape, first, left < study->batch ? left : study->batch, at,
                           &result, error);
    }
    tape_free(tape);
    *accuracy = study->data->count ? (double)result.correct / study->data->count : 0;
    *output = sqnr(&result.output);
    if (value) *value = sqnr(&result.value);
    return ok;
}

static bool measure_only(MixedStudy *study, LayerCost *layer, Error *error) {
    switch_layers(study, false, layer, true);
    return measure(study, layer, &layer->only_accuracy, &layer->only_sqnr, &layer->value_sqnr,
                   error);
}

static bool measure_all(MixedStudy *study, Error *error) {
    switch_layers(study, true, NULL, true);
    return measure(study, NULL, &study->all_accuracy, &study->all_sqnr, NULL, error);
}

bool mixed_measure(MixedStudy *study, void (*each)(const LayerCost *layer), Error *error) {
    double unused;
    switch_layers(study, false, NULL, false);
    if (!measure(study, NULL, &study->float_accuracy, &unused, NULL, error)) return false;
    for (int i = 0; i < study->layers; i++) {
        LayerCost *layer = &study->layer[i];
        if (!measure_only(study, layer, error)) return false;
        switch_layers(study, true, layer, false);
        if (!measure(study, NULL, &layer->but_accuracy, &layer->but_sqnr, NULL, error))
            return false;
        if (each) each(layer);
    }
    return measure_all(study, error);
}

/* --- searching --- */

/* Of the layer's weights in a frozen file. */
static int64_t layer_bytes(const MixedStudy *study, const LayerCost *layer, int bits) {
    if (!layer->weighted) return 0;
    WeightLayout layout = node_layout(qnode(study, layer)->node);
    return (int64_t)pack_bytes(layout.outputs, layout.runs * layout.run, bits);
}

int64_t mixed_bytes(const MixedStudy *study) {
    int64_t bytes = 0;
    for (int i = 0; i < study->layers; i++)
        bytes += layer_bytes(study, &study->layer[i], study->layer[i].weight_bits);
    return bytes;
}

/* A bit more for what the layer has less of: its value, its weights, or both. */
static void next_bits(const LayerCost *layer, int *bits, int *weight_bits) {
    int least =
        layer->weighted && layer->weight_bits < layer->bits ? layer->weight_bits : layer->bits;
    *bits = layer->bits + (layer->bits == least);
    *weight_bits = layer->weight_bits + (layer->weighted && layer->weight_bits == least);
}

/* The layer to raise; NULL when none can be. */
static LayerCost *neediest(MixedStudy *study, const MixedBudget *budget) {
    LayerCost *worst = NULL;
    for (int i = 0; i < study->layers; i++) {
        LayerCost *layer = &study->layer[i];
        int bits, weight_bits;
        next_bits(layer, &bits, &weight_bits);
        int64_t more =
            layer_bytes(study, layer, weight_bits) - layer_bytes(study, layer, layer->weight_bits);
        if (bits > BITS_MOST || weight_bits > BITS_MOST) continue;
        if (budget->bytes && mixed_bytes(study) + more > budget->bytes) continue;
        if (!worst || layer->only_sqnr < worst->only_sqnr) worst = layer;
    }
    return worst;
}

bool mixed_search(MixedStudy *study, const MixedBudget *budget, Error *error) {
    if (budget->bytes && mixed_bytes(study) > budget->bytes)
        return error_set(error, ERROR_INPUT,
                         "the weights take %lld bytes with the bits that the search begins with, "
                         "more than %lld: begin with fewer --weight-bits",
                         (long long)mixed_bytes(study), (long long)budget->bytes);
    while (budget->drop < 0 || study->all_accuracy < study->float_accuracy - budget->drop) {
        LayerCost *layer = neediest(study, budget);
        if (!layer) break;
        int bits, weight_bits;
        next_bits(layer, &bits, &weight_bits);
        set_bits(study, layer, bits, weight_bits);
        if (!measure_only(study, layer, error)) return false;
        if (budget->drop >= 0 && !measure_all(study, error)) return false;
    }
    return budget->drop >= 0 || measure_all(study, error);
}

QuantConfig mixed_config(const MixedStudy *study) {
    QuantConfig config = study->model->quant->config;
    for (int i = 0; i < study->layers; i++) {
        const LayerCost *layer = &study->layer[i];
        LayerConfig *word = quant_config_node(&config, layer->name);
        word->is_float = false;
        patch_bits(&word->activation, layer->bits);
        if (layer->weighted) patch_bits(&word->weight, layer->weight_bits);
    }
    return config;
}
