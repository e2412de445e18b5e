/* A step is cut into pieces of PIECE elements, parameter by parameter; an element's new value
 * depends on that element alone, so any thread may take any piece. */
#include "optim/optim.h"

#include <limits.h>
#include <string.h>

#include "autograd/error.h"
#include "autograd/kernels/parallel.h"

enum { PIECE = 16384 /* elements: its arrays fit a core's second-level cache */ };

struct OptimizerPiece {
    int parameter;
    size_t begin, end; /* elements */
};

#define RULE(name) extern const OptimizerRule name##_rule;
#include "optim/optimizers.def"
#undef RULE

const OptimizerRule *const optimizer_rules[] = {
#define RULE(name) &name##_rule,
#include "optim/optimizers.def"
#undef RULE
    NULL,
};

const OptimizerRule *optimizer_rule(const char *name) {
    for (int i = 0; optimizer_rules[i]; i++)
        if (strcmp(optimizer_rules[i]->name, name) == 0) return optimizer_rules[i];
    return NULL;
}

const char *optimizer_name(int index) {
    int count = (int)(sizeof optimizer_rules / sizeof *optimizer_rules) - 1;
    return index < count ? optimizer_rules[index]->name : NULL;
}

static void cut_pieces(Optimizer *optimizer, Arena *arena) {
    size_t total = 0;
    for (int p = 0; p < optimizer->parameters; p++)
        total += (optimizer->parameter[p].tensor->count + PIECE - 1) / PIECE;
    CHECK(total <= INT_MAX, "%zu pieces of parameters", total);

    OptimizerPiece *piece = arena_alloc(arena, size_mul(total, sizeof *piece));
    optimizer->piece = piece;
    optimizer->pieces = (int)total;
    for (int p = 0; p < optimizer->parameters; p++) {
        size_t count = optimizer->parameter[p].tensor->count;
        for (size_t begin = 0; begin < count; begin += PIECE) {
            size_t left = count - begin;
            *piece++ = (OptimizerPiece){p, begin, begin + (left < PIECE ? left : PIECE)};
        }
    }
}

static void make_memories(Optimizer *optimizer, Arena *arena) {
    const OptimizerRule *rule = optimizer->spec.rule;
    OptimizerArray *array = arena_alloc(arena, size_mul((size_t)optimizer->arrays, sizeof *array));
    optimizer->array = array;
    for (int p = 0; p < optimizer->parameters; p++) {
        const Parameter *parameter = &optimizer->parameter[p];
        size_t count = parameter->tensor->count;
        for (int i = 0; i < rule->memories; i++)
            *array++ = (OptimizerArray){
                .name = arena_text(arena, "%s.%s", rule->memory[i], parameter->name),
                .shape = parameter->tensor->shape,
                .count = count,
                .data = arena_zeros(arena, size_mul(count, sizeof(float))),
            };
    }
}

Optimizer *optimizer_new(Arena *arena, OptimizerSpec spec, int count, const Parameter *parameter) {
    const OptimizerRule *rule = spec.rule;
    CHECK(count >= 0, "%d parameters", count);
    CHECK(rule->memories <= RULE_MAX_MEMORIES, "%s has %d memories", rule->name, rule->memories);
    size_t bytes = size_mul((size_t)count, sizeof *parameter);
    Parameter *copy = arena_alloc(arena, bytes);
    if (bytes) memcpy(copy, parameter, bytes);

    Optimizer *optimizer = arena_zeros(arena, sizeof *optimizer);
    *optimizer = (Optimizer){
        .spec = spec, .parameters = count, .parameter = copy, .arrays = count * rule->memories};
    cut_pieces(optimizer, arena);
    make_memories(optimizer, arena);
    return optimizer;
}

typedef struct Step {
    const Optimizer *optimizer;
    OptimizerStep shared;
} Step;

static void step_piece(void *context, int index, int worker) {
    (void)worker;
    const Step *step = context;
    const Optimizer *optimizer = step->optimizer;
    const OptimizerRule *rule = optimizer->spec.rule;
    const OptimizerPiece *piece = &optimizer->piece[index];
    const Tensor *tensor = optimizer->parameter[piece->parameter].tensor;
    if (!tensor->grad) return;

    float *memory[RULE_MAX_MEMORIES] = {NULL};
    for (int i = 0; i < rule->memories; i++)
        memory[i] = optimizer->array[piece->parameter * rule->memories + i].data + piece->begin;
    OptimizerStep own = step->shared;
    own.rate *= optimizer->parameter[piece->parameter].rate;
    rule->step(&own, piece->end - piece->begin, tensor->data + piece->begin,
               tensor->grad + piece->begin, memory);
}

void optimizer_step(Optimizer *optimizer, double rate) {
    Step step = {optimizer, {&optimizer->spec, rate, ++optimizer->steps}};
    parallel_for(optimizer->pieces, step_piece, &step);
}

void optimizer_clear(Optimizer *optimizer) {
    for (int p = 0; p < optimizer->parameters; p++) {
        Tensor *tensor = optimizer->parameter[p].tensor;
        if (tensor->grad) memset(tensor->grad, 0, tensor->count * sizeof(float));
    }
}
