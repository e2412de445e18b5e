/* share: the result consists of values of the input (max-pool, flatten, dropout outside of
 * training), so its codes are the input's codes and it has no range of its own (N7). */
#include "quant/rule.h"

static Tensor *exact(const Run *run, const QNode *q, Tensor *const in[]) {
    return q->node->layer->forward(run, q->node, in);
}

const Rule share_rule = {.name = "share", .exact = exact};
