/* What a Winograd convolution (conv_winograd.c) is planned to do. */
#pragma once

#include "autograd/kernels/conv_map.h"
#include "autograd/kernels/tile.h"
#include "autograd/kernels/winograd.h"

typedef struct WinogradSide {
    int channels, pitch; /* of one group; rounded up to whole registers */
    int positions;
    int places;      /* in a tile */
    int32_t *place;  /* [tiles][places] in a frame[positions + 1][pitch]: the last row, outside */
    int *touched;    /* [rows of tiles] positions before which lies what rows up to this one read */
    int32_t *tile;   /* [T] where a tile's channels begin in a matrix */
    size_t matrix;   /* floats from one to the next */
    int32_t *kernel; /* [9] the places of a kernel in kernels[9][pitch] */
    WinogradValues *values;
    WinogradBack *back;
    float *weights; /* [groups][36][channels of the other side][pitch], towards this side */
    size_t weight;  /* floats from those of one value to the next's */
    float *bias;    /* [groups][pitch] */
} WinogradSide;

typedef struct WinogradPlan {
    const TileKernel *kernel;
    WinogradSide side[SIDES];
    int tiles, across;                             /* of a sample; of a row */
    int32_t *channel;                              /* 0 1 2 ... */
    size_t planes, frame, matrices[SIDES], worker; /* floats, of one worker; all of its */
    float *scratch;
    size_t kernel_floats; /* of one worker: [9][pitch of the widest side] */
    float *kernels;
} WinogradPlan;

enum { WINOGRAD_PLACES = WINOGRAD_KERNEL * WINOGRAD_KERNEL };

static inline ConvSide winograd_other(ConvSide side) {
    return side == COARSE ? FINE : COARSE;
}

/* Of one worker: a sample's planes on their way; the same, transposed; then the matrices. */
static inline float *winograd_planes(const WinogradPlan *plan, int worker) {
    return plan->scratch + plan->worker * (size_t)worker;
}
static inline float *winograd_frame(const WinogradPlan *plan, int worker) {
    return winograd_planes(plan, worker) + plan->planes;
}

static inline float *winograd_kernels(const WinogradPlan *plan, int worker) {
    return plan->kernels + plan->kernel_floats * (size_t)worker;
}

/* `fits` and `start` of the method. */
bool winograd_fits(const ConvMap *map);
void winograd_start(Arena *arena, ConvPass *pass, int uses, const float *w, const float *b);
