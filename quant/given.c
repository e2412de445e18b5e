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

static Param *add_param(QNode *q, const char *name, int channels) {
    node_param(q->node, name, SHAPE(channels), false);
    Param *param = &q->node->param[q->node->params - 1];
    param->tensor->data = arena_zeros(q->node->arena, sizeof(float) * (size_t)channels);
    return param;
}

void quant_give_weights(QNode *q, const float *scale, const int64_t *zero_point) {
    int channels = q->weight.per_channel ? node_layout(q->node).outputs : 1;
    Param *param = add_param(q, "weight_fake_quant.scale", channels);
    param->positive = true;
    for (int c = 0; c < channels; c++) param->tensor->data[c] = scale ? scale[c] : 1;
    q->weight_scale = param->tensor;
    if (q->weight.symmetric) return;
    param = add_param(q, "weight_fake_quant.zero_point", channels);
    param->code = true;
    for (int c = 0; zero_point && c < channels; c++) param->tensor->data[c] = (float)zero_point[c];
    q->weight_zero = param->tensor;
}

void quant_forget_given(QuantNet *net) {
    for (int i = 0; i < net->graph->nodes; i++) {
        QNode *q = &net->node[i];
        if (!q->weight_scale || q->weight_scale->needs_grad) continue;
        q->node->params -= q->weight_zero ? 2 : 1; /* the last ones */
        q->weight_scale = q->weight_zero = NULL;
    }
}
