/* What the integer pools share: the walk over windows of a channels-last value. */
#pragma once

#include "quant/program.h"

extern const InstrKind maxpool_instr; /* its args are PoolArgs */

typedef struct PoolArgs {
    Window window;
    int in[SPATIAL], out[SPATIAL]; /* D H W */
} PoolArgs;

PoolArgs pool_args(const QNode *q);

/* The places of one window that lie inside the input. */
typedef struct PoolWindow {
    int count;
    const uint8_t *const *place; /* [count], each [channels] */
} PoolWindow;

/* Calls body for each output position of each sample. scratch: pool_scratch bytes. */
typedef void PoolBody(const Instr *instr, const PoolWindow *window, uint8_t *y);
void pool_run(const Instr *instr, const PoolArgs *args, const Call *call, PoolBody *body);
size_t pool_scratch(const PoolArgs *args);
