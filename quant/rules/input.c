/* input: the value that enters the net is rounded to its grid. */
#include "quant/rule.h"

static Tensor *exact(const Run *run, const QNode *q, Tensor *const in[]) {
    return rule_round(run, q, q->node->layer->forward(run, q->node, in));
}

const Rule input_rule = {.name = "input", .owns_range = true, .exact = exact};
