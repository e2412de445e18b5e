#include "quant/export/c/plan.h"

/* Where one value lies, and when. */
typedef struct Block {
    size_t bytes, offset;
    int first, last;          /* the instructions that make and that last read it */
    const struct Block *over; /* the input that it may be written over, from its beginning on */
} Block;

/* The last instruction that reads each value. */
static void last_reads(const Program *program, int last[]) {
    for (int i = 0; i < program->instrs; i++)
        for (int k = 0; k < program->instr[i].inputs; k++) last[program->instr[i].in[k]] = i;
}

/* The input of instruction i whose memory its result takes; -1: none. */
static int taken(const Instr *instr, int i, const CEmitter *emitter, const QNode *q,
                 const int last[]) {
    if (!emitter->in_place || !emitter->in_place(q)) return -1;
    for (int k = 0; k < instr->inputs; k++)
        if (instr->in[k] > 0 && last[instr->in[k]] == i) return instr->in[k];
    return -1;
}

static bool in_the_way(const Block *a, const Block *b) {
    bool together = a->first <= b->last && b->first <= a->last;
    bool overlap = a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes;
    bool over = (a->over == b || b->over == a) && a->offset == b->offset;
    return together && overlap && !over;
}

/* The lowest offset at which none of placed[count] is in the way. */
static void place(Block *block, int count, Block *const placed[]) {
    for (int i = 0; i < count; i++) {
        const Block *other = placed[i];
        if (!in_the_way(block, other)) continue;
        bool pair = block->over == other || other->over == block;
        bool below = block->offset < other->offset;
        block->offset = other->offset + (pair && below ? 0 : other->bytes);
        i = -1; /* those before may be in the way now */
    }
}

Plan plan_arena(const Program *program, const CEmitter *const emitter[],
                const QNode *const node[]) {
    Plan plan = {.bytes = 0};
    Block block[GRAPH_MAX_NODES], *order[GRAPH_MAX_NODES];
    int last[GRAPH_MAX_NODES] = {0}, count = 0;
    last_reads(program, last);
    for (int v = 1; v < program->values; v++) { /* value v is made by instruction v */
        int over = taken(&program->instr[v], v, emitter[v], node[v], last), at = count;
        block[v] = (Block){program->value[v].bytes, 0, v, last[v], over < 0 ? NULL : &block[over]};
        if (v == program->output) continue;
        /* the largest first: less is lost between them */
        for (; at > 0 && order[at - 1]->bytes < block[v].bytes; at--) order[at] = order[at - 1];
        order[at] = &block[v];
        count++;
    }
    for (int i = 0; i < count; i++) {
        place(order[i], i, order);
        size_t end = order[i]->offset + order[i]->bytes;
        if (end > plan.bytes) plan.bytes = end;
    }
    for (int v = 1; v < program->values; v++) plan.offset[v] = block[v].offset;
    return plan;
}
