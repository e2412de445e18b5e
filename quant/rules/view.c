/* view: the result consists of values of the input, at other places (transpose, slice): its codes
 * are the input's codes, and it has no range of its own (N7). Other than what rule "share" passes
 * on, a channel is no channel of the input any more. */
#include "quant/rule.h"

static Tensor *exact(const Run *run, const QNode *q, Tensor *const in[]) {
    return q->node->layer->forward(run, q->node, in);
}

const Rule view_rule = {.name = "view", .exact = exact};
