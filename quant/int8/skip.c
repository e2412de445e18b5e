/* skip: layers that do nothing outside of training. No instruction is ever made of this row. */
#include "quant/program.h"

static bool identity(const QNode *q) {
    (void)q;
    return true;
}

const InstrKind skip_instr = {
    .name = "skip",
    .summary = "nothing: dropout outside of training",
    .lowers = (const char *const[]){"dropout", NULL},
    .identity = identity,
};
