/* Where values lie in the arena of the exported program. */
#pragma once

#include "quant/export/c/writer.h"

typedef struct Plan {
    size_t offset[GRAPH_MAX_NODES]; /* of each value of the program but input and output */
    size_t bytes;                   /* of the arena */
} Plan;

/* Input and output are the caller's memory. Of the rest, values that never live at the same time
 * share memory, and an instruction that can (CEmitter.in_place) writes over what it reads.
 * emitter[i] writes instruction i, which computes node[i]. */
Plan plan_arena(const Program *program, const CEmitter *const emitter[], const QNode *const node[]);
