/* pointwise: a function of one value. On codes it is a table, made at freeze with N1 and N2 from
 * the layer's own float function (N7); quant/int8/lookup.c holds it. A relu behind a layer with a
 * range of its own never comes here: it is absorbed. */
#include "quant/rule.h"

static Tensor *exact(const Run *run, const QNode *q, Tensor *const in[]) {
    return rule_round(run, q, q->node->layer->forward(run, q->node, in));
}

const Rule pointwise_rule = {.name = "pointwise", .owns_range = true, .exact = exact};
