#include "quant/given.h"

#include <string.h>

void quantizer_give(Quantizer *quantizer, float scale, int32_t zero_point) {
    quantizer->q.scale[0] = scale;
    quantizer->q.zero_point[0] = zero_point;
    Observer *seen = &quantizer->seen;
    seen->min = seen->average_min = dequantize(&quantizer->q, 0, quantizer->q.qmin);
    seen->max = seen->average_max = dequantize(&quantizer->q, 0, quantizer->q.qmax);
    seen->batches = 1;
    quantizer->ready = true;
}

void quant_give_weights(QNode *q, const float *scale, const int64_t *zero_point) {
    int channels = q->weight.per_channel ? node_layout(q->node).outputs : 1;
    node_param(q->node, "weight_fake_quant.scale", SHAPE(channels), false);
    Param *param = &q->node->param[q->node->params - 1];
    param->positive = true;
    param->tensor->data = arena_alloc(q->node->arena, sizeof(float) * (size_t)channels);
    for (int c = 0; c < channels; c++) param->tensor->data[c] = scale ? scale[c] : 1;
    q->weight_scale = param->tensor;
    if (q->weight.symmetric) return;
    q->weight_zero = arena_zeros(q->node->arena, sizeof *q->weight_zero * (size_t)channels);
    for (int c = 0; zero_point && c < channels; c++) q->weight_zero[c] = (int32_t)zero_point[c];
}

void quant_forget_given(QuantNet *net) {
    for (int i = 0; i < net->graph->nodes; i++) {
        QNode *q = &net->node[i];
        if (!q->weight_scale || q->weight_scale->needs_grad) continue;
        q->weight_scale = NULL;
        q->weight_zero = NULL;
        q->node->params--; /* the last one */
    }
}
