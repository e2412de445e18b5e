/* Optimizer: what moves the parameters along their gradients.
 *
 * A rule is the const row of one method: a formula for each element, and the names of the arrays it
 * remembers. An Optimizer is a rule at work on a list of parameters. What it remembers is named
 * float arrays and the number of its steps, and the learning rate comes from outside with each
 * step: a checkpoint that stores these continues exactly.
 *
 * To add a rule: optim/NAME.c with `const OptimizerRule NAME_rule`, and the line RULE(NAME) in
 * optim/optimizers.def. The tests loop over the list. */
#pragma once

#include <stdint.h>

#include "autograd/tensor.h"

enum { RULE_MAX_MEMORIES = 2 };

typedef struct OptimizerRule OptimizerRule;

typedef struct OptimizerSpec {
    const OptimizerRule *rule;
    double momentum; /* of AdamW: beta1 */
    double weight_decay;
    bool nesterov; /* of SGD */
} OptimizerSpec;

/* What all elements have in common in one step. */
typedef struct OptimizerStep {
    const OptimizerSpec *spec;
    double rate;
    int64_t number; /* from 1 */
} OptimizerStep;

struct OptimizerRule {
    const char *name;
    double rate;                           /* a learning rate that usually does */
    bool nesterov;                         /* has that kind of momentum */
    bool averages;                         /* momentum is a share, less than 1 */
    int memories;                          /* arrays remembered for each parameter ... */
    const char *memory[RULE_MAX_MEMORIES]; /* ... and PyTorch's names for them */
    /* One step of `count` elements: moves w[count] by the gradient g[count]; memory[i][count]
     * starts as zeros. Called for pieces of a parameter, so an element may depend on itself alone.
     */
    void (*step)(const OptimizerStep *step, size_t count, float *w, const float *g,
                 float *const memory[]);
};

/* The list: every rule of optimizers.def, NULL at its end. */
extern const OptimizerRule *const optimizer_rules[];
const OptimizerRule *optimizer_rule(const char *name); /* NULL when there is none */
const char *optimizer_name(int index);                 /* NULL past the last */

typedef struct Parameter {
    const char *name; /* "conv1.weight" */
    Tensor *tensor;
    double rate; /* times the step's */
} Parameter;

/* "momentum_buffer.conv1.weight": one array of what an optimizer remembers. */
typedef struct OptimizerArray {
    const char *name;
    Shape shape; /* the parameter's */
    size_t count;
    float *data; /* [count] */
} OptimizerArray;

typedef struct OptimizerPiece OptimizerPiece;

typedef struct Optimizer {
    OptimizerSpec spec;
    int64_t steps; /* made; to save and load, like the arrays */
    int parameters;
    Parameter *parameter;  /* [parameters], a copy */
    int arrays;            /* parameters * spec.rule->memories */
    OptimizerArray *array; /* [arrays], those of one parameter side by side; to save and load */
    int pieces;            /* how a step is shared out, see optim.c */
    const OptimizerPiece *piece;
} Optimizer;

/* An optimizer of parameter[count], with memories of zeros; owned by the arena. The list is copied;
 * the tensors and their names must live as long. */
Optimizer *optimizer_new(Arena *arena, OptimizerSpec spec, int count, const Parameter *parameter);

/* Moves every parameter that has a gradient (grad not NULL) one step at this learning rate. The
 * same bits at any number of threads. */
void optimizer_step(Optimizer *optimizer, double rate);

/* Sets the gradients to zero, for the next step to add to. */
void optimizer_clear(Optimizer *optimizer);
