#include "quant/rule.h"

#include <string.h>

#include "autograd/kernels/elementwise.h"

#define RULE(name) extern const Rule name##_rule;
#include "quant/rules.def"
#undef RULE

const Rule *const rule_list[] = {
#define RULE(name) &name##_rule,
#include "quant/rules.def"
#undef RULE
    NULL,
};

const Rule *rule_find(const char *name) {
    for (int i = 0; name && rule_list[i]; i++)
        if (strcmp(rule_list[i]->name, name) == 0) return rule_list[i];
    return NULL;
}

bool node_has_rule(const Node *node, const char *rule) {
    return node && node->layer->rule && strcmp(node->layer->rule, rule) == 0;
}

Tensor *rule_round(const Run *run, const QNode *q, Tensor *y) {
    return op_fakequant(run->tape, y, &q->out->q, STE_CODE);
}

Bounds rule_bounds(const QNode *q) {
    if (!q->relu) return (Bounds){0, quantizer_top(q->out)};
    const float *clamp = q->relu->layer->clamp;
    const QParams *grid = &q->out->q;
    return (Bounds){quantize(grid, 0, clamp[0]) - grid->qmin,
                    quantize(grid, 0, clamp[1]) - grid->qmin};
}

typedef struct Codes {
    const float *x;
    float *code;
    float scale;
} Codes;

/* x = S n was rounded once, x / S is n within n 2^-23: for |n| < 2^21 the nearest whole number is
 * n. */
static void code_elements(const void *context, size_t begin, size_t end) {
    const Codes *c = context;
    for (size_t i = begin; i < end; i++) c->code[i] = round_half_even(c->x[i] / c->scale);
}

Tensor *rule_codes(const Run *run, const Quantizer *grid, const Tensor *x) {
    Tensor *codes = tape_tensor(run->tape, x->shape);
    elementwise(x->count, code_elements, &(Codes){x->data, codes->data, grid->q.scale[0]});
    return codes;
}
