/* Sweep: how the linear map of a convolution gathers each of its results, for one sample and group.
 * A result is a sum over taps, each an input channel at some distance from the place where the
 * result's window begins:
 *
 *     out[c][position.to] = sum over taps of w[tap.weight + c weight_step]
 *                                            * frame[position.from + tap.offset]
 *
 * The frame is the input with zeros around it, so that no window leaves it; without padding it is
 * the input itself. A convolution is one class of positions. Its transpose, read as a gather, has
 * stride[d] of them along each dimension d: positions that the same kernel places can reach. */
#pragma once

#include <stdint.h>

#include "autograd/window.h"

/* Rows of positions that lie on the input under the same taps: the others would add zeros. */
typedef struct Band {
    int position, positions; /* first, count */
    int tap, taps;
} Band;

typedef struct SweepClass {
    int positions, taps, bands;
    int32_t *from, *to;       /* [positions] in the frame; in a channel of the result */
    int32_t *offset, *weight; /* [taps] in the frame; of the tap for the result's first channel */
    Band *band;
    bool ordered; /* to[i] = i */
} SweepClass;

typedef struct Sweep {
    int in_channels, out_channels;
    int size[SPATIAL], before[SPATIAL], frame[SPATIAL]; /* D H W: input, zeros before it, frame */
    int out[SPATIAL];                                   /* the result */
    size_t in_plane, out_plane, frame_floats;           /* floats; the frame's of all channels */
    bool framed;                                        /* false: the frame is the input */
    size_t weight_step, weights; /* from one channel of the result to the next; all */
    int classes;
    SweepClass *class;
} Sweep;

/* The two sides of the map and the weights w[rows][channels][kernel places] between them. */
typedef struct SweepSides {
    const Window *window;
    int rows, channels;                 /* of the coarse side, of the fine side */
    int coarse[SPATIAL], fine[SPATIAL]; /* D H W */
} SweepSides;

/* Results on the coarse side, at which the window stops; on the fine side, over which it moves.
 * Owned by the arena. */
const Sweep *sweep_down(Arena *arena, const SweepSides *sides);
const Sweep *sweep_up(Arena *arena, const SweepSides *sides);
