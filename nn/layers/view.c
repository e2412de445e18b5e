#include "nn/layers/view.h"

Tensor *view_forward(const Run *run, const Node *node, Tensor *const in[]) {
    return op_view(run->tape, in[0], &((const ViewSpec *)node->spec)->view);
}
