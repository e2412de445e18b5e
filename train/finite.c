#include "train/finite.h"

const char *bad_value(const Graph *graph, Tensor *const value[]) {
    for (int i = 0; i < graph->nodes; i++)
        if (!floats_finite(value[i]->data, value[i]->count)) return graph->node[i].name;
    return "the loss";
}

const char *bad_gradient(const Optimizer *optimizer) {
    for (int i = 0; i < optimizer->parameters; i++) {
        const Tensor *t = optimizer->parameter[i].tensor;
        if (!floats_finite(t->grad, t->count)) return optimizer->parameter[i].name;
    }
    return NULL;
}

const char *bad_parameter(const Graph *graph, Arena *arena) {
    for (int i = 0; i < graph->nodes; i++)
        for (int k = 0; k < graph->node[i].params; k++) {
            const Param *p = &graph->node[i].param[k];
            if (!floats_finite(p->tensor->data, p->tensor->count))
                return arena_text(arena, "%s.%s", graph->node[i].name, p->name);
        }
    return NULL;
}
