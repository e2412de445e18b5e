/* The linear map of a convolution, for one sample and one group, and its transpose.
 *
 * A window moves over a fine plane and stops at P positions, which are the coarse plane. With K =
 * fine channels * kernel places, R coarse channels, and columns[K,P] what lies under the window
 * (which is never copied):
 *
 *   down    coarse[r,p] = sum over k of w[r,k] columns[k,p]
 *   up      columns[k,p] = sum over r of w[r,k] coarse[r,p], all that belongs to one fine element
 *           added up
 *   weight  dw[r,k] = sum over p of coarse[r,p] columns[k,p]
 *
 * A convolution is `down` and goes back by `up`; a transposed convolution is `up` and goes back by
 * `down`: each is the other's derivative. Both find their weight's gradient by `weight`.
 *
 * How it is computed is a method, chosen by the map's shape alone: conv_direct.c, which takes any,
 * or conv_winograd.c. A worker takes some samples of either side, multiplies, and gives the results
 * of each. */
#pragma once

#include "autograd/kernels/sweep.h"

typedef struct ConvMethod ConvMethod;

typedef struct ConvMap {
    const ConvMethod *method;
    Window window;
    SweepSides sides; /* of one group */
    int batch, groups;
    size_t weights;      /* of one group: R K */
    size_t coarse, fine; /* floats of one sample's group on either side */
} ConvMap;

/* The map between coarse[N, groups * R, ...] and fine[N, groups * C, ...] with w[groups * R, C,
 * kernel...], owned by the arena. `exact`: sums of whole numbers are exact while they stay below
 * 2^24, as they are where nothing but products is added. */
const ConvMap *conv_map_new(Arena *arena, const Window *window, int groups, const Shape *coarse,
                            const Shape *fine, bool exact);

typedef enum ConvSide { COARSE, FINE, SIDES } ConvSide;

/* What a pass is for, any of these: results on the coarse side (down), on the fine side (up), the
 * weight's gradient. */
enum { CONV_DOWN = 1 << COARSE, CONV_UP = 1 << FINE, CONV_WEIGHT = 1 << SIDES };

/* The map ready to run, with scratch for every worker. */
typedef struct ConvPass {
    const ConvMap *map;
    void *plan;          /* the method's */
    int samples;         /* at most, that are worked on together */
    int channels[SIDES]; /* of one group */
    size_t plane[SIDES]; /* floats */
    size_t gradient;     /* floats of one group's dw, in an order of the method's */
    int parts;           /* of a group's dw, that different workers unpack */
} ConvPass;

struct ConvMethod {
    const char *name;
    bool exact; /* may run where whole numbers shall stay exact */
    bool (*fits)(const ConvMap *map);
    /* Fills pass->plan and samples; for CONV_WEIGHT gradient and parts. Results begin with b (NULL:
     * zeros). */
    void (*start)(Arena *arena, ConvPass *pass, int uses, const float *w, const float *b);
    /* One sample's planes[channels][plane] of one group: sample `slot` of those worked on together.
     * They must stay where they are until their products are made. */
    void (*take)(const ConvPass *pass, ConvSide side, int slot, const float *planes, int worker);
    /* The products of `count` samples whose results are on side `to`. */
    void (*multiply)(const ConvPass *pass, ConvSide to, int group, int count, int worker);
    /* Of one sample's results the channels of one panel, which begins with channel `begin`
     * (tile.h), to out[width][plane]; added to what is there if `add`. */
    void (*give)(const ConvPass *pass, ConvSide side, int group, int slot, int begin, float *out,
                 bool add, int worker);
    /* Adds to sums[gradient] what `count` samples, taken on both sides, make of one group's dw. */
    void (*weight)(const ConvPass *pass, int count, float *sums, int worker);
    /* Adds one part of a group's sums to dw[R,K]. */
    void (*unpack)(const ConvPass *pass, int part, const float *sums, float *dw, int worker);
};

/* w and b may be NULL where only CONV_WEIGHT is asked for. Owned by the arena. */
ConvPass conv_pass_new(Arena *arena, const ConvMap *map, int uses, const float *w, const float *b);
/* All channels of a sample's results. */
void conv_pass_give(const ConvPass *pass, ConvSide side, int group, int slot, float *out, bool add,
                    int worker);

/* One group of some samples, to be worked on together. */
typedef struct ConvRun {
    int chunk; /* that they belong to (parallel.h) */
    int group, samples, worker;
    size_t first, step; /* among the groups of all samples: the first sample's; to the next one's */
} ConvRun;

static inline size_t conv_run_at(const ConvRun *run, int slot) {
    return run->first + (size_t)slot * run->step;
}
typedef void ConvRunBody(const void *context, const ConvRun *run);
/* Calls body for all groups of a chunk's samples, one after another. */
void conv_pass_chunk(const ConvPass *pass, int chunk, int worker, ConvRunBody *body,
                     const void *context);
/* For those of the batch, as parallel_along does: what has no sums need not go by chunks. */
void conv_pass_along(const ConvPass *pass, ConvRunBody *body, const void *context);

/* Adds sums[groups][gradient] to dw[groups][R,K]. */
void conv_pass_unpack(const ConvPass *pass, const float *sums, float *dw);

/* What a method has made of planes in its scratch, in place of what is in out[floats] or added to
 * it. A large batch's planes lie in memory, which is slow to take a few bytes for each in turn. */
void conv_planes_out(const float *planes, size_t floats, bool add, float *out);

/* In order of preference, NULL at the end; the last, conv_direct, is the definition. */
extern const ConvMethod *const conv_methods[];
extern const ConvMethod conv_winograd, conv_direct;
